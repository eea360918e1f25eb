import LinkTypes
import Quantities

/// One end's sifted block: key bits up to a quota fixed beforehand, and the counts that the
/// finite-key bound needs.
///
/// The block is the shortest run of detections that holds `quota` key events, so its last event is
/// a key event and, given the number of test events, every arrangement of the two kinds before it
/// is equally likely: the test events are a uniform random sample. No basis of the run is announced
/// before its last slot has been measured, so nobody could act on the arrangement. This is the
/// repair that Pfister et al., New J. Phys. 18, 053001 (2016) ask of sifting in finite-size proofs.
package struct SiftedBlock {
    package let quota: Int
    private let key: SecretBits
    /// The intensity class of each key bit: one for decoy. Public.
    package private(set) var intensities = BitBuffer()
    package private(set) var keyDetections = (signal: 0, decoy: 0)
    package private(set) var testDetections = (signal: 0, decoy: 0)
    package private(set) var testErrors = (signal: 0, decoy: 0)
    /// Alice's test bits that were sifted and the errors among them.
    private(set) var testByBit = ErrorsByBit()
    /// All undisclosed detections looked at, and all key events among them, past the quota as well.
    package private(set) var detectionCount = 0
    package private(set) var keyEventCount = 0

    package init(quota: Int) {
        self.quota = quota
        key = SecretBits(capacity: quota)
    }

    package var isComplete: Bool { key.count == quota }

    /// The key bits. Only meaningful once the block is complete.
    package var keyBits: SecretBits { key }

    /// Alice's side of one epoch: adds its events and returns what she tells Bob.
    ///
    /// Returns `nil` when Bob's planes do not fit the epoch.
    package mutating func sift(
        _ record: EpochRecord, with announced: BasisAnnouncement
    ) -> SiftingReply? {
        let planes = record.planes
        let inX = DetectionMask(count: record.count) { planes.bases[$0] }
        let pair = BasisPair(own: inX, peer: announced.bases)
        guard announced.bases.count == record.count,
            announced.testValues.count == announced.bases.populationCount
        else { return nil }
        let reply = SiftingReply(
            block: announced.block, epoch: announced.epoch,
            bases: BitBuffer(planes.bases, count: record.count),
            intensities: pair.match.compress(planes.decoys),
            testValues: pair.test.compress(planes.values))
        // Bob's results are those of his X events; Alice compares where she used X as well.
        let bobInX = DetectionMask(count: record.count) { announced.bases.words[$0] }
        let shared = bobInX.compress(planes.bases)
        let results = DetectionMask(count: shared.count) { shared.words[$0] }
            .compress(announced.testValues)
        add(
            pair, values: planes.values, keyDecoys: pair.key.compress(planes.decoys),
            testDecoys: pair.test.compress(planes.decoys), testBits: reply.testValues,
            testErrors: reply.testValues ^ results)
        return reply
    }

    /// Bob's side of one epoch. Returns `false` when Alice's planes do not fit the epoch.
    package mutating func sift(_ record: EpochRecord, with reply: SiftingReply) -> Bool {
        let planes = record.planes
        let inX = DetectionMask(count: record.count) { planes.bases[$0] }
        let pair = BasisPair(own: inX, peer: reply.bases)
        guard reply.bases.count == record.count, reply.intensities.count == pair.match.ones,
            reply.testValues.count == pair.test.ones
        else { return false }
        // Alice's intensities are those of matching events; split them by basis.
        let matchInX = pair.match.compress(planes.bases)
        let ofTest = DetectionMask(count: matchInX.count) { matchInX.words[$0] }
        let ofKey = DetectionMask(count: matchInX.count) { ~matchInX.words[$0] }
        add(
            pair, values: planes.values, keyDecoys: ofKey.compress(reply.intensities),
            testDecoys: ofTest.compress(reply.intensities), testBits: reply.testValues,
            testErrors: reply.testValues ^ pair.test.compress(planes.values))
        return true
    }

    /// Adds one epoch, up to the key event that fills the quota. `keyDecoys` has a bit for each key
    /// event, `testDecoys`, Alice's `testBits` and `testErrors` one for each test event.
    private mutating func add(
        _ pair: BasisPair, values: UnsafeBufferPointer<UInt64>, keyDecoys: BitBuffer,
        testDecoys: BitBuffer, testBits: BitBuffer, testErrors: BitBuffer
    ) {
        detectionCount += pair.count
        keyEventCount += pair.key.ones
        let missing = quota - key.count
        guard missing > 0 else { return }
        var (keyMask, testMask) = (pair.key, pair.test)
        if pair.key.ones >= missing {
            let end = pair.key.place(of: missing - 1) + 1
            (keyMask, testMask) = (pair.key.prefix(end), pair.test.prefix(end))
        }
        key.append(compressing: values, by: keyMask)
        intensities.append(contentsOf: keyDecoys.slice(0..<keyMask.ones))
        let keyDecoyCount = keyDecoys.slice(0..<keyMask.ones).populationCount
        keyDetections.decoy += keyDecoyCount
        keyDetections.signal += keyMask.ones - keyDecoyCount
        let decoys = testDecoys.slice(0..<testMask.ones)
        let errors = testErrors.slice(0..<testMask.ones)
        let decoyErrors = zip(decoys.words, errors.words).reduce(0) {
            $0 + ($1.0 & $1.1).nonzeroBitCount
        }
        testDetections.decoy += decoys.populationCount
        testDetections.signal += testMask.ones - decoys.populationCount
        self.testErrors.decoy += decoyErrors
        self.testErrors.signal += errors.populationCount - decoyErrors
        testByBit.add(sent: testBits.slice(0..<testMask.ones), errors: errors)
    }

    /// What the sifted bits show about the devices, when a fraction `rate` of all slots had a
    /// detection. Signals of key bits are confidential.
    func signals(
        rate: Double, _ intensities: DecoyIntensities, _ expectation: HealthExpectation
    ) -> [HealthSignal] {
        var statistics = BitStatistics(isConfidential: true)
        for (index, word) in key.bits.words.enumerated() where 64 * index < key.count {
            statistics.add(word, bitCount: min(64, key.count - 64 * index))
        }
        var signals = [statistics.bias("key bits", expected: expectation.bias)]
        signals += statistics.autocorrelation("key bits")
        signals.append(testByBit.signal("sifted X", alarmRate: HealthSignal.familyAlarmRate))
        let share = IntensityModel.signalShare(rate: rate, intensities, expectation)
        for (basis, counts) in [("Z", keyDetections), ("X", testDetections)] {
            guard let share else { break }
            signals.append(
                .proportion(
                    .intensityRatio, "signal pulses in \(basis)", ones: counts.signal,
                    trials: counts.signal + counts.decoy, expected: share,
                    alarmRate: HealthSignal.familyAlarmRate / 2))
        }
        return signals
    }

    package func destroy() { key.destroy() }
}

/// Which detections of an epoch both ends measured in one basis, and in which.
private struct BasisPair {
    let count: Int
    /// Both in Z.
    let key: DetectionMask
    /// Both in X.
    let test: DetectionMask
    /// Both in one basis.
    let match: DetectionMask

    /// Compares bases; a peer's plane that is too short leaves masks that no caller uses.
    init(own: DetectionMask, peer: BitBuffer) {
        let count = min(peer.count, 64 * own.words.count)
        let (a, b) = (own.words, peer.words)
        key = DetectionMask(count: count) { ~(a[$0] | b[$0]) }
        test = DetectionMask(count: count) { a[$0] & b[$0] }
        match = DetectionMask(count: count) { ~(a[$0] ^ b[$0]) }
        self.count = count
    }
}
