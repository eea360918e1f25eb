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
struct SiftedBlock {
    let quota: Int
    private let key: SecretBits
    /// The intensity class of each key bit: one for decoy. Public.
    private(set) var intensities = BitBuffer()
    private(set) var keyDetections = (signal: 0, decoy: 0)
    private(set) var testDetections = (signal: 0, decoy: 0)
    private(set) var testErrors = (signal: 0, decoy: 0)
    /// All undisclosed detections looked at, and all key events among them, past the quota as well.
    private(set) var detectionCount = 0
    private(set) var keyEventCount = 0

    init(quota: Int) {
        self.quota = quota
        key = SecretBits(capacity: quota)
    }

    var isComplete: Bool { key.count == quota }

    /// The key bits. Only meaningful once the block is complete.
    var keyBits: SecretBits { key }

    mutating func addMismatch() { detectionCount += 1 }

    mutating func addKeyEvent(bit: Bool, isDecoy: Bool) {
        detectionCount += 1
        keyEventCount += 1
        guard !isComplete else { return }
        key.append(bit)
        intensities.append(isDecoy)
        if isDecoy { keyDetections.decoy += 1 } else { keyDetections.signal += 1 }
    }

    mutating func addTestEvent(isError: Bool, isDecoy: Bool) {
        detectionCount += 1
        guard !isComplete else { return }
        let error = isError ? 1 : 0
        if isDecoy {
            testDetections.decoy += 1
            testErrors.decoy += error
        } else {
            testDetections.signal += 1
            testErrors.signal += error
        }
    }

    /// Alice's side of one epoch: adds its events and returns what she tells Bob.
    ///
    /// Returns `nil` when Bob's planes do not fit the epoch.
    mutating func sift(
        _ record: EpochRecord, with announced: BasisAnnouncement
    ) -> SiftingReply? {
        guard announced.bases.count == record.count else { return nil }
        var reply = SiftingReply(
            block: announced.block, epoch: announced.epoch, bases: BitBuffer(),
            intensities: BitBuffer(), testValues: BitBuffer())
        record.withStates { states in
            var test = 0
            for (index, state) in states.enumerated() {
                let (bit, isX, isDecoy) = (state & 1 == 1, state & 2 == 2, state & 4 == 4)
                let peerIsX = announced.bases[index]
                reply.bases.append(isX)
                if isX == peerIsX { reply.intensities.append(isDecoy) }
                switch (isX, peerIsX) {
                case (false, false): addKeyEvent(bit: bit, isDecoy: isDecoy)
                case (true, true):
                    reply.testValues.append(bit)
                    addTestEvent(isError: bit != announced.testValues[test], isDecoy: isDecoy)
                default: addMismatch()
                }
                if peerIsX { test += 1 }
            }
        }
        return reply
    }

    /// Bob's side of one epoch. Returns `false` when Alice's planes do not fit the epoch.
    mutating func sift(_ record: EpochRecord, with reply: SiftingReply) -> Bool {
        guard reply.bases.count == record.count else { return false }
        return record.withStates { states in
            var matches = 0
            var tests = 0
            for (index, state) in states.enumerated() {
                let (bit, isX) = (state & 1 == 1, state & 2 == 2)
                guard isX == reply.bases[index] else {
                    addMismatch()
                    continue
                }
                guard matches < reply.intensities.count else { return false }
                let isDecoy = reply.intensities[matches]
                matches += 1
                if isX {
                    guard tests < reply.testValues.count else { return false }
                    addTestEvent(isError: bit != reply.testValues[tests], isDecoy: isDecoy)
                    tests += 1
                } else {
                    addKeyEvent(bit: bit, isDecoy: isDecoy)
                }
            }
            return matches == reply.intensities.count && tests == reply.testValues.count
        }
    }

    func destroy() { key.destroy() }
}
