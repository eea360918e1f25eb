import Quantities

/// How the two ends make their key strings equal.
public enum ReconciliationEngine: String, Hashable, Sendable, CaseIterable {
    /// Syndromes of low-density parity-check codes: few messages, little announced by Bob.
    case ldpc
    /// Cascade: some hundred round trips. Both directions are charged, so it gives less key than
    /// the codes under the bounds that are implemented.
    case cascade
}

/// What both ends must agree on; a digest of all of it is compared in the first message.
public struct SessionParameters: Hashable, Sendable {
    /// The rate of pulse slots.
    public var slotRate: Hertz
    /// The measured intensities and how often each is sent.
    public var intensities: DecoyIntensities
    /// The probability with which Alice uses the key basis, in (0, 1).
    public var probabilityZ: Double
    /// The fraction of Alice's key-basis detections that she gives away for calibration and for the
    /// first estimate of the error rate, in 0…0.5.
    public var disclosedFractionZ: Double
    /// The fraction of Alice's test-basis detections that she gives away for calibration, in
    /// 0…0.9; the rest bounds the phase error rate.
    public var disclosedFractionX: Double
    /// n_Z: the key bits of a block, fixed beforehand as the finite-key bound demands;
    /// 1024…2^26.
    public var blockBits: Int
    /// The failure probabilities promised for every key.
    public var security: SecurityParameters
    /// The error rate of either basis above which the session ends with an alarm, in (0, 0.5).
    public var maximumErrorRate: Double
    /// How far Bob's detectors may differ, as calibration bounds it; `nil` states that they do not,
    /// which no pair of real detectors fulfils.
    public var detectorMismatch: DetectorMismatch?
    /// How the key strings are reconciled.
    public var reconciliation: ReconciliationEngine

    /// Parameters with the defaults of a link at rest.
    ///
    /// Throws `SessionParametersError` naming the field that is out of range.
    public init(
        slotRate: Hertz, intensities: DecoyIntensities, probabilityZ: Double,
        disclosedFractionZ: Double = 1.0 / 16, disclosedFractionX: Double = 0.25,
        blockBits: Int = 1 << 20, security: SecurityParameters, maximumErrorRate: Double = 0.11,
        detectorMismatch: DetectorMismatch? = nil,
        reconciliation: ReconciliationEngine = .ldpc
    ) throws(SessionParametersError) {
        self.slotRate = slotRate
        self.intensities = intensities
        self.probabilityZ = probabilityZ
        self.disclosedFractionZ = disclosedFractionZ
        self.disclosedFractionX = disclosedFractionX
        self.blockBits = blockBits
        self.security = security
        self.maximumErrorRate = maximumErrorRate
        self.detectorMismatch = detectorMismatch
        self.reconciliation = reconciliation
        try validate()
    }

    private func validate() throws(SessionParametersError) {
        func check(
            _ name: String, _ value: Double, _ range: ClosedRange<Double>
        ) throws(SessionParametersError) {
            guard range.contains(value) else {
                throw SessionParametersError(name: name, value: value, range: range)
            }
        }
        try check("slot rate", slotRate.rawValue, 1...1e11)
        try check("Z probability", probabilityZ, 0.01...0.99)
        try check("disclosed fraction in Z", disclosedFractionZ, 0...0.5)
        try check("disclosed fraction in X", disclosedFractionX, 0...0.9)
        try check("block bits", Double(blockBits), 1024...0x1p26)
        // The tag of the largest string must be able to meet the promise.
        try check("correctness", security.epsilonCorrectness, 0x1p-100...0x1p-10)
        try check("secrecy", security.epsilonSecrecy, 0x1p-100...0x1p-10)
        try check("maximum error rate", maximumErrorRate, 0.001...0.499)
    }

    /// The conditions under which every key of the session gets its length.
    public var boundConditions: BoundConditions { .forKeys(mismatch: detectorMismatch) }

    /// SHA-256 over all fields in a fixed order; differs when any parameter differs.
    public var digest: [UInt8] {
        var writer = ByteWriter()
        writer.put(bytes: "berek session parameters 1".utf8)
        for value in [
            slotRate.rawValue, intensities.signal, intensities.decoy,
            intensities.signalProbability, probabilityZ, disclosedFractionZ, disclosedFractionX,
            Double(blockBits), security.epsilonSecrecy, security.epsilonCorrectness,
            maximumErrorRate, intensities.relativeTolerance,
            detectorMismatch?.efficiencyRatio ?? -1,
            detectorMismatch?.darkCountProbability.lowerBound ?? -1,
            detectorMismatch?.darkCountProbability.upperBound ?? -1,
        ] { writer.put(value) }
        writer.put(bytes: boundConditions.label(Rusca2018.name).utf8)
        // The codes came first and are not named.
        if reconciliation != .ldpc { writer.put(bytes: reconciliation.rawValue.utf8) }
        return SHA256.digest(of: writer.bytes)
    }
}

/// A parameter of a session is outside its range.
public struct SessionParametersError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The parameter.
    public var name: String
    /// Its value.
    public var value: Double
    /// The values allowed.
    public var range: ClosedRange<Double>
    /// Name, expectation and finding.
    public var description: String {
        "\(name): expected \(range.lowerBound)…\(range.upperBound), found \(value)"
    }
}

/// How much one end is willing to hold and how long it waits; local, never sent.
public struct SessionLimits: Hashable, Sendable {
    /// Epochs announced by Bob that Alice has not answered; more are dropped by Bob and end the
    /// session at Alice.
    public var outstandingEpochs = 64
    /// Closed blocks that wait for post-processing; detections are dropped while it is reached.
    public var waitingBlocks = 2
    /// Epochs of one block.
    public var epochsPerBlock = 1 << 16
    /// Bytes of both directions that the tags of one block cover.
    public var transcriptBytes = 1 << 28
    /// Blocks without key in a row before the session ends.
    public var discardedBlocks = 3
    /// Silence of the peer that ends the session; the own side speaks after a quarter of it.
    public var silence: Duration = .seconds(10)
    /// Time without the answer that the session needs to go on.
    public var response: Duration = .seconds(60)

    /// The limits of a node.
    public init() {}
}
