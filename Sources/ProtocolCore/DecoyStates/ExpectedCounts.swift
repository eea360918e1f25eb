import Quantities

/// The channel and receiver as the simulation model of Rusca et al. 2018, appendix B, sees them.
public struct DecoyChannelModel: Hashable, Sendable {
    /// η: the probability that a photon sent is detected when both ends use one basis, in (0, 1].
    public let transmittance: Double
    /// P_DC: the probability of a dark count per pulse, in 0..<1.
    public let darkCountProbability: Double
    /// P_err: the probability that a detected photon shows the wrong bit, in 0...0.5.
    public let misalignment: Double
    /// The probability that both ends choose the key basis, in (0, 1).
    public let keyBasisProbability: Double
    /// The probability that both ends choose the test basis, in (0, 1).
    public let testBasisProbability: Double
    /// R: pulses per second.
    public let repetitionRate: Hertz
    /// t_DT: the time a basis' detectors are blind after a detection.
    public let deadTime: Picoseconds

    /// Wraps the parameters; throws when one is out of its range.
    public init(
        transmittance: Double, darkCountProbability: Double, misalignment: Double,
        keyBasisProbability: Double, testBasisProbability: Double,
        repetitionRate: Hertz, deadTime: Picoseconds = Picoseconds(0)
    ) throws(DecoyStateError) {
        let ranges: [(String, Double, ClosedRange<Double>)] = [
            ("transmittance", transmittance, .leastNonzeroMagnitude...1),
            ("darkCountProbability", darkCountProbability, 0...1.0.nextDown),
            ("misalignment", misalignment, 0...0.5),
            ("keyBasisProbability", keyBasisProbability, .leastNonzeroMagnitude...1.0.nextDown),
            ("testBasisProbability", testBasisProbability, .leastNonzeroMagnitude...1.0.nextDown),
            ("basis probabilities together", keyBasisProbability + testBasisProbability, 0...1),
            ("repetitionRate", repetitionRate.rawValue, .leastNonzeroMagnitude...1e15),
            ("deadTime", deadTime.seconds, 0...1),
        ]
        for (name, value, range) in ranges where !range.contains(value) {
            throw .channelParameterOutOfRange(name: name, value: value)
        }
        self.transmittance = transmittance
        self.darkCountProbability = darkCountProbability
        self.misalignment = misalignment
        self.keyBasisProbability = keyBasisProbability
        self.testBasisProbability = testBasisProbability
        self.repetitionRate = repetitionRate
        self.deadTime = deadTime
    }
}

/// The mean counts a channel model predicts for a number of pulses (Rusca et al. 2018, B1–B6).
///
/// P_det,k = c P_basis p_k (1 − e^{−kη} + P_DC), P_err,k = c P_basis p_k [(1 − e^{−kη}) P_err +
/// P_DC/2], with c = 1 / (1 + R P_det,tot t_DT) for the detectors of that basis.
public struct ExpectedCounts: Hashable, Sendable {
    /// Mean counts at the two intensities.
    public struct Means: Hashable, Sendable {
        /// The mean at µ1.
        public let signal: Double
        /// The mean at µ2.
        public let decoy: Double
        /// Both together.
        public var total: Double { signal + decoy }

        func rounded() -> IntensityCounts {
            IntensityCounts(signal: Int(signal.rounded()), decoy: Int(decoy.rounded()))
        }
    }

    /// The number of pulses the means are for.
    public let pulses: Double
    /// Mean n_Z,k.
    public let keyDetections: Means
    /// Mean m_Z,k.
    public let keyErrors: Means
    /// Mean n_X,k.
    public let testDetections: Means
    /// Mean m_X,k.
    public let testErrors: Means
    /// The dead-time factor c of the key basis, in (0, 1].
    public let keyDeadTimeFactor: Double

    /// The means for `pulses` pulses through `channel`.
    public init(pulses: Double, channel: DecoyChannelModel, intensities: DecoyIntensities) {
        precondition(pulses >= 0 && pulses <= Double(DecoyCounts.largestCount))
        let key = Self.basis(channel.keyBasisProbability, pulses, channel, intensities)
        let test = Self.basis(channel.testBasisProbability, pulses, channel, intensities)
        self.pulses = pulses
        keyDetections = key.detections
        keyErrors = key.errors
        testDetections = test.detections
        testErrors = test.errors
        keyDeadTimeFactor = key.deadTimeFactor
    }

    /// The means for as many pulses as give `keyBlock` detections in the key basis on average.
    public init(keyBlock: Double, channel: DecoyChannelModel, intensities: DecoyIntensities) {
        let one = ExpectedCounts(pulses: 1, channel: channel, intensities: intensities)
        self.init(
            pulses: keyBlock / one.keyDetections.total, channel: channel, intensities: intensities)
    }

    /// The mean error rate of the key basis.
    public var keyErrorRate: Double {
        keyDetections.total > 0 ? keyErrors.total / keyDetections.total : 0
    }

    /// The means rounded to whole counts.
    public func rounded() throws(DecoyStateError) -> DecoyCounts {
        try DecoyCounts(
            keyDetections: keyDetections.rounded(), keyErrors: keyErrors.rounded(),
            testDetections: testDetections.rounded(), testErrors: testErrors.rounded())
    }

    /// Counts of one block drawn around the means: Poisson errors and correct detections,
    /// independent of each other.
    public func sample(
        using generator: inout some RandomNumberGenerator
    ) throws(DecoyStateError) -> DecoyCounts {
        func draw(_ detections: Double, _ errors: Double) -> (detections: Int, errors: Int) {
            let wrong = generator.poisson(mean: errors)
            return (wrong + generator.poisson(mean: max(0, detections - errors)), wrong)
        }
        let keySignal = draw(keyDetections.signal, keyErrors.signal)
        let keyDecoy = draw(keyDetections.decoy, keyErrors.decoy)
        let testSignal = draw(testDetections.signal, testErrors.signal)
        let testDecoy = draw(testDetections.decoy, testErrors.decoy)
        return try DecoyCounts(
            keyDetections: IntensityCounts(
                signal: keySignal.detections, decoy: keyDecoy.detections),
            keyErrors: IntensityCounts(signal: keySignal.errors, decoy: keyDecoy.errors),
            testDetections: IntensityCounts(
                signal: testSignal.detections, decoy: testDecoy.detections),
            testErrors: IntensityCounts(signal: testSignal.errors, decoy: testDecoy.errors))
    }

    private static func basis(
        _ basisProbability: Double, _ pulses: Double, _ channel: DecoyChannelModel,
        _ intensities: DecoyIntensities
    ) -> (detections: Means, errors: Means, deadTimeFactor: Double) {
        func one(_ intensity: Double, _ probability: Double) -> (click: Double, error: Double) {
            let photon = -exponentialMinus1(-intensity * channel.transmittance)
            let sent = basisProbability * probability
            return (
                sent * (photon + channel.darkCountProbability),
                sent * (photon * channel.misalignment + channel.darkCountProbability / 2)
            )
        }
        let signal = one(intensities.signal, intensities.signalProbability)
        let decoy = one(intensities.decoy, 1 - intensities.signalProbability)
        let rate = channel.repetitionRate.rawValue * (signal.click + decoy.click)
        let factor = 1 / (1 + rate * channel.deadTime.seconds)
        let scale = pulses * factor
        return (
            Means(signal: scale * signal.click, decoy: scale * decoy.click),
            Means(signal: scale * signal.error, decoy: scale * decoy.error), factor
        )
    }
}

/// What a block is expected to yield, and how far single blocks scatter around it.
public struct PredictedKeyLength: Hashable, Sendable {
    /// The report for the mean counts.
    public let expected: KeyLengthReport
    /// The mean length over the drawn blocks.
    public let mean: Double
    /// The standard deviation of the length over the drawn blocks.
    public let standardDeviation: Double
    /// The number of blocks drawn.
    public let samples: Int
}

extension Rusca2018 {
    /// Predicts the key length of a block by parametric bootstrap: draws blocks around the
    /// expected counts and evaluates each like a real one.
    ///
    /// λ_EC is taken as ⌈f n_Z h(m_Z/n_Z)⌉ of the drawn counts, with the reconciliation efficiency
    /// f ≥ 1 given. `samples` is at least 2.
    public static func predictedKeyLength(
        _ expectation: ExpectedCounts, intensities: DecoyIntensities,
        security: SecurityParameters, reconciliationEfficiency: Double,
        conditions: BoundConditions = BoundConditions(), samples: Int = 200,
        using generator: inout some RandomNumberGenerator
    ) throws(DecoyStateError) -> PredictedKeyLength {
        precondition(samples >= 2 && reconciliationEfficiency >= 1)
        func evaluate(_ counts: DecoyCounts) -> KeyLengthReport {
            var leakage = LeakageLedger()
            let entropy = FiniteKey.binaryEntropy(counts.keyErrorRate)
            let detections = Double(counts.keyDetections.total)
            let bits = (reconciliationEfficiency * detections * entropy).rounded(.up)
            leakage.append(.syndrome, bits: Int(bits))
            return keyLength(
                counts: counts, intensities: intensities, security: security, leakage: leakage,
                conditions: conditions)
        }
        var sum = 0.0
        var squares = 0.0
        let expected = evaluate(try expectation.rounded())
        for _ in 0..<samples {
            // Centred on the expected length, so that the squares keep their digits.
            let length = Double(
                evaluate(try expectation.sample(using: &generator)).length - expected.length)
            sum += length
            squares += length * length
        }
        let offset = sum / Double(samples)
        let variance = max(0, squares - sum * offset) / Double(samples - 1)
        return PredictedKeyLength(
            expected: expected, mean: Double(expected.length) + offset,
            standardDeviation: variance.squareRoot(), samples: samples)
    }
}
