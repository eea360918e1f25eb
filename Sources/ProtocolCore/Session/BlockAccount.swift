import LinkTypes
import Quantities

/// What both ends know about a block under post-processing. Both compute the key length from it,
/// so every number in it was either said on the channel, under the tags, or counted by both from
/// what was said.
struct BlockAccount {
    /// The key bits that go back to the two pools.
    static let authenticationBits =
        8 * (AgreedKey.aliceRefillOctets + AgreedKey.bobRefillOctets)

    let block: UInt32
    let slots: Range<SlotIndex>
    let epochs: Int
    let provenance: Provenance
    let multipleClicks: Int
    private let announcedDetections: Int
    private(set) var sifted: SiftedBlock
    private(set) var plans: [ReconciliationPlan] = []
    var estimate: ErrorEstimate?
    var leakage = LeakageLedger()
    var keyErrors: IntensityCounts?
    var revealRounds = 0
    var droppedFrames = 0
    /// What Bob's detections and the disclosed ones show; empty at Alice.
    private let evidence: DetectionEvidence
    private(set) var health: [HealthSignal] = []

    init(_ epochs: BlockEpochs, quota: Int) {
        block = epochs.block
        let first = epochs.records.first?.slots.lowerBound ?? SlotIndex(0)
        slots = first..<(epochs.records.last?.slots.upperBound ?? first)
        self.epochs = epochs.records.count
        provenance = epochs.provenance
        multipleClicks = epochs.records.reduce(0) { $0 + Int($1.multipleCount) }
        sifted = SiftedBlock(quota: quota)
        evidence = epochs.evidence
        announcedDetections = epochs.detectionCount + evidence.disclosedCount
    }

    /// Evaluates the health signals, once everything is sifted and before the key is destroyed.
    mutating func assessHealth(
        _ parameters: SessionParameters, _ expectation: HealthExpectation
    ) {
        let slotCount = slots.upperBound.rawValue - slots.lowerBound.rawValue
        let rate = Double(announcedDetections) / Double(max(1, evidence.slots ?? slotCount))
        health =
            evidence.signals(expectation)
            + sifted.signals(rate: rate, parameters.intensities, expectation)
    }

    mutating func sift(
        _ record: EpochRecord, with announced: BasisAnnouncement
    ) -> SiftingReply? {
        sifted.sift(record, with: announced)
    }

    mutating func sift(_ record: EpochRecord, with reply: SiftingReply) -> Bool {
        sifted.sift(record, with: reply)
    }

    var keyDetections: IntensityCounts {
        IntensityCounts(
            signal: sifted.keyDetections.signal, decoy: sifted.keyDetections.decoy)
    }
    var testDetections: IntensityCounts {
        IntensityCounts(
            signal: sifted.testDetections.signal, decoy: sifted.testDetections.decoy)
    }
    var testErrors: IntensityCounts {
        IntensityCounts(signal: sifted.testErrors.signal, decoy: sifted.testErrors.decoy)
    }

    /// The error rate to reconcile for: the disclosed sample with the weight of 20 more trials at
    /// 5 %, so that neither an empty nor an error-free sample promises too much.
    var estimatedErrorRate: Double {
        (Double(estimate?.errors ?? 0) + 1) / (Double(estimate?.trials ?? 0) + 20)
    }

    /// Splits the sifted key into frames once the estimate is known; both ends do the same.
    mutating func plan() {
        plans = ReconciliationPlan.frames(
            bits: sifted.quota, estimatedQBER: estimatedErrorRate)
    }

    /// The parameters of Cascade once the estimate is known; both ends derive the same.
    var cascadeParameters: CascadeParameters {
        .optimized(bits: sifted.quota, errorRate: estimatedErrorRate)
    }

    /// The bits of the sifted key that frame `index` holds.
    func range(ofFrame index: Int) -> Range<Int> {
        let start = plans[..<index].reduce(0) { $0 + $1.frameBits }
        return start..<start + plans[index].frameBits
    }

    /// The key length after verification. Throws only when the peer's error counts are impossible.
    func keyLength(
        _ parameters: SessionParameters
    ) throws(DecoyStateError) -> KeyLengthReport {
        let counts = try DecoyCounts(
            keyDetections: keyDetections,
            keyErrors: keyErrors ?? IntensityCounts(signal: 0, decoy: 0),
            testDetections: testDetections, testErrors: testErrors)
        return Rusca2018.keyLength(
            counts: counts, intensities: parameters.intensities, security: parameters.security,
            leakage: leakage, conditions: parameters.boundConditions)
    }

    /// The bits of the key length's seed.
    func seedBits(_ length: KeyLengthReport) -> Int {
        ModifiedToeplitz.seedBits(inputBits: sifted.quota, outputBits: length.length)
    }

    /// The hash that compares the two strings, with a collision bound of ε_cor or less.
    func verificationHash(_ parameters: SessionParameters) -> VerificationHash {
        VerificationHash(
            keyBits: sifted.quota, epsilon: parameters.security.epsilonCorrectness)
            ?? VerificationHash(tagBits: 128)
    }

    /// The key extracted from `bits`, whose length and the seed's were checked.
    func amplified(_ bits: SecretBits, length: KeyLengthReport, seed: BitBuffer) -> SecretParcel {
        do throws(PrivacyAmplificationError) {
            let hash = try ModifiedToeplitz(
                inputBits: sifted.quota, outputBits: length.length, seed: seed)
            return SecretParcel(try hash.hash(bits.bits))
        } catch {
            preconditionFailure("the sizes were checked: \(error)")
        }
    }

    /// Why a block without its quota gives no key.
    var incompleteReason: String {
        "\(sifted.keyEventCount) key-basis detections, \(sifted.quota) needed"
    }

    /// Why a block with different hashes gives no key.
    static let mismatchReason = "the hashes of the two strings differ after reconciliation"

    /// The octets released from a key of `length` bits: what remains after the pools are refilled,
    /// in whole octets; negative when not even the tags are paid for.
    static func netOctets(ofKeyBits length: Int) -> Int {
        length < authenticationBits ? -1 : (length - authenticationBits) / 8
    }

    /// Why a block with this key length gives no key, or `nil` when it does.
    func shortfall(_ report: KeyLengthReport) -> String? {
        guard Self.netOctets(ofKeyBits: report.length) <= 0 else { return nil }
        let (n, m) = (report.counts.testDetections.total, report.counts.testErrors.total)
        let test = "X-basis error rate \(percent(report.counts.testErrorRate)) (\(m) of \(n))"
        if report.keySinglePhotonLower <= 0 {
            return "single-photon key detections s_Z,1 ≥ 0 out of"
                + " \(report.counts.keyDetections.total) is no bound above 0"
        }
        if report.testSinglePhotonLower <= 0 {
            return "single-photon test detections s_X,1 ≥ 0 out of \(n) is no bound above 0"
        }
        if report.phaseErrorRateUpper >= 0.5 {
            return "phase error rate φ_Z ≤ 50.00 % is no bound below 1/2: \(test)"
        }
        let whole = "key length \(Int(report.unroundedLength.rounded(.down))) bits"
        return "\(whole) does not exceed the \(Self.authenticationBits) bits its tags cost:"
            + " λ_EC \(report.chargedLeakage), φ_Z ≤ \(percent(report.phaseErrorRateUpper)), \(test)"
    }

    /// The record of the block.
    func report(
        session: UInt64, outcome: BlockReport.Outcome, keyLength: KeyLengthReport?,
        epsilon: EpsilonLedger
    ) -> BlockReport {
        let isDelivered = if case .delivered = outcome { true } else { false }
        return BlockReport(
            session: session, block: block, outcome: outcome, slots: slots, epochs: epochs,
            provenance: provenance, detections: sifted.detectionCount,
            multipleClicks: multipleClicks, keyDetections: keyDetections, keyErrors: keyErrors,
            testDetections: testDetections, testErrors: testErrors,
            estimateTrials: Int(estimate?.trials ?? 0), estimateErrors: Int(estimate?.errors ?? 0),
            frames: plans.count, revealRounds: revealRounds, droppedFrames: droppedFrames,
            leakage: leakage, epsilon: epsilon, keyLength: keyLength,
            authenticationBits: isDelivered ? Self.authenticationBits : 0)
    }

    func destroy() { sifted.destroy() }
}

/// The codes of the frames in work; building one takes longer than using it.
struct CodeCache {
    private var codes: [LDPCCode] = []

    mutating func code(of shape: LDPCShape) -> LDPCCode {
        if let known = codes.first(where: { $0.shape == shape }) { return known }
        let code = LDPCCode(shape: shape)
        if codes.count == 4 { codes.removeFirst() }
        codes.append(code)
        return code
    }
}
