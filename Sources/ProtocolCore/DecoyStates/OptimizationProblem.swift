import Quantities

/// What the optimiser is asked: a channel, and the conditions a key is made under.
public struct OptimizationProblem: Hashable, Sendable {
    /// The intensities to choose, and the proof.
    public enum Scheme: Hashable, Sendable {
        /// Two intensities: `Rusca2018`.
        case oneDecoy
        /// Three intensities, the smallest one given: `Lim2014`.
        case twoDecoy(weak: Double)
        /// Three intensities, the smallest one given: `Tupkary2024`.
        case twoDecoyAnySize(weak: Double)
    }

    /// The size of a block.
    public enum BlockSize: Hashable, Sendable {
        /// n: detections in the key basis.
        case keyDetections(Double)
        /// As many as come in this time, in seconds, but at most `limit`: the larger a block the better,
        /// so the size follows from how long a key may take and what memory holds.
        case seconds(Double, limit: Double)
    }

    /// The failure probabilities promised.
    public enum Promise: Hashable, Sendable {
        /// For a block.
        case block(SecurityParameters)
        /// ε_sec = κ ℓ, and ε_cor for a block (Lim et al. 2014, section IV).
        case keyBit(secrecy: Double, correctness: Double)
    }

    /// The measured channel.
    public var channel: MeasuredChannel
    /// The intensities to choose, and the proof.
    public var scheme: Scheme
    /// The size of a block.
    public var block: BlockSize
    /// The failure probabilities promised.
    public var promise: Promise
    /// f: bits disclosed by reconciliation over n h(e), 1 or above.
    public var reconciliationEfficiency: Double
    /// Bob's probability of the key basis, when his receiver fixes it (a passive splitter); `nil` when
    /// he can follow Alice's.
    public var receiverKeyProbability: Double?
    /// The sampling bound and the mismatch that the keys will be made with.
    public var conditions: BoundConditions
    /// The largest µ1 that the source may send.
    public var largestIntensity: Double

    /// Wraps the question.
    public init(
        channel: MeasuredChannel, scheme: Scheme, block: BlockSize, promise: Promise,
        reconciliationEfficiency: Double = 1.1, receiverKeyProbability: Double? = nil,
        conditions: BoundConditions = .forKeys(), largestIntensity: Double = 1.2
    ) {
        precondition(reconciliationEfficiency >= 1 && largestIntensity > 0)
        self.channel = channel
        self.scheme = scheme
        self.block = block
        self.promise = promise
        self.reconciliationEfficiency = reconciliationEfficiency
        self.receiverKeyProbability = receiverKeyProbability
        self.conditions = conditions
        self.largestIntensity = largestIntensity
    }
}

/// Settings of a link, and what a block yields with them on average.
public struct LinkSettings: Hashable, Sendable {
    /// Alice's probability of the key basis.
    public var senderKeyProbability: Double
    /// Bob's probability of the key basis.
    public var receiverKeyProbability: Double
    /// The probability of sending µ1.
    public var signalProbability: Double
    /// The probability of sending µ2; 1 − `signalProbability` with one decoy.
    public var decoyProbability: Double
    /// µ1.
    public var signal: Double
    /// µ2.
    public var decoy: Double

    /// n: detections in the key basis of a block.
    public internal(set) var keyDetections = 0.0
    /// The pulses of a block.
    public internal(set) var pulses = 0.0
    /// ℓ of the mean counts, not rounded; 0 or below when no key can be made.
    public internal(set) var length = 0.0
    /// The error rate of the key basis.
    public internal(set) var keyErrorRate = 0.0
    /// The bound of the phase error rate.
    public internal(set) var phaseErrorRate = 0.5

    /// Wraps settings without results; see `ParameterOptimizer.evaluated`.
    public init(
        senderKeyProbability: Double, receiverKeyProbability: Double, signalProbability: Double,
        decoyProbability: Double, signal: Double, decoy: Double
    ) {
        self.senderKeyProbability = senderKeyProbability
        self.receiverKeyProbability = receiverKeyProbability
        self.signalProbability = signalProbability
        self.decoyProbability = decoyProbability
        self.signal = signal
        self.decoy = decoy
    }

    /// ℓ per pulse, at least 0.
    public var rate: Double { pulses > 0 ? max(0, length) / pulses : 0 }

    /// ℓ per second through `channel`, at least 0.
    public func rate(through channel: MeasuredChannel) -> Double {
        rate * channel.repetitionRate.rawValue
    }
}
