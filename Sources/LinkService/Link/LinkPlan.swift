import LinkTypes
import ProtocolCore
import Quantities

/// What both ends of a link agree on before they start.
public struct LinkPlan: Hashable, Sendable {
    /// The time between pulses.
    public var slotPeriod = Picoseconds(50_000)
    /// The mean photon number of signal pulses.
    public var signalIntensity = 0.5
    /// The mean photon number of decoy pulses.
    public var decoyIntensity = 0.15
    /// The fraction of signal pulses.
    public var signalProbability = 0.7
    /// The fraction of pulses in the key basis; the receiver's splitter should agree.
    public var probabilityZ = 0.8
    /// The key-basis bits of a block.
    public var blockBits = 1_000_000
    /// The distance from a perfectly secret key that is promised for each block.
    public var epsilonSecrecy = 1e-9
    /// The probability of different keys that is promised for each block.
    public var epsilonCorrectness = 1e-15
    /// The fraction of key-basis detections disclosed for tracking.
    public var disclosedFractionZ = 1.0 / 16
    /// The fraction of test-basis detections disclosed for tracking.
    public var disclosedFractionX = 0.25
    /// The published key of the synchronization and training patterns.
    public var publishedKey: UInt64 = 0x6265_7265_6B00_0001
    /// The loss from Alice's output to the detectors, for expectations.
    public var expectedLoss = Decibels(21.3)

    /// A 20 MHz link with one decoy.
    public init() {}

    /// Pulses per second.
    public var slotRate: Hertz { Hertz(1e12 / Double(slotPeriod.rawValue)) }

    /// The session parameters that this plan means.
    ///
    /// - Throws: the error of the first value that is out of range.
    public func sessionParameters() throws -> SessionParameters {
        try SessionParameters(
            slotRate: slotRate,
            intensities: DecoyIntensities(
                signal: signalIntensity, decoy: decoyIntensity,
                signalProbability: signalProbability),
            probabilityZ: probabilityZ, disclosedFractionZ: disclosedFractionZ,
            disclosedFractionX: disclosedFractionX, blockBits: blockBits,
            security: SecurityParameters(
                epsilonSecrecy: epsilonSecrecy, epsilonCorrectness: epsilonCorrectness))
    }

    /// Alice's secret pattern on an emulated source.
    public func secretPattern(seed: UInt64) -> KeyedPulsePattern {
        var keys = SeededGenerator(seed: seed, label: "Alice's quantum random numbers")
        return KeyedPulsePattern(
            key: keys.next(), probabilityZ: probabilityZ, probabilitySignal: signalProbability)
    }

    /// The fraction of undisclosed detections expected to have both ends in the key basis, for a
    /// receiver that chooses it with probability `receiverZ`.
    public func expectedKeyFraction(receiverZ: Double) -> Double {
        let both = probabilityZ * receiverZ * (1 - disclosedFractionZ)
        let kept =
            probabilityZ * (1 - disclosedFractionZ) + (1 - probabilityZ) * (1 - disclosedFractionX)
        return both / kept
    }
}
