import Quantities

/// The two failure probabilities a key is promised with.
///
/// A key is ε-secret with ε = `secrecy` and ε-correct with ε = `correctness` in the composable
/// sense (Portmann and Renner, Rev. Mod. Phys. 94, 025008, 2022); it is secure up to their sum.
public struct SecurityParameters: Hashable, Sendable {
    /// ε_sec: the distance of the key from a perfectly secret one.
    public let epsilonSecrecy: Double
    /// ε_cor: the probability that the two ends hold different keys after verification succeeded.
    public let epsilonCorrectness: Double

    /// Wraps the two probabilities; each must lie strictly between 0 and 1.
    public init(epsilonSecrecy: Double, epsilonCorrectness: Double) throws(DecoyStateError) {
        for value in [epsilonSecrecy, epsilonCorrectness] where !(value > 0 && value < 1) {
            throw .probabilityOutOfRange(name: "epsilon", value: value)
        }
        self.epsilonSecrecy = epsilonSecrecy
        self.epsilonCorrectness = epsilonCorrectness
    }
}

/// The two mean photon numbers of the one-decoy protocol and how often each is sent.
public struct DecoyIntensities: Hashable, Sendable {
    /// µ1, the larger mean photon number per pulse.
    public let signal: Double
    /// µ2, the smaller mean photon number per pulse, above 0.
    public let decoy: Double
    /// The probability of sending µ1; µ2 has the rest.
    public let signalProbability: Double
    /// The relative error of both intensities: each lies within ± this part of its value. The key
    /// length holds for every pair of intensities in that range.
    public let relativeTolerance: Double

    /// Wraps the source parameters, which must satisfy 0 < µ2 < µ1, also at the ends of their
    /// tolerance, 0 < p < 1, and 0 ≤ tolerance < 1.
    ///
    /// They must be measured values: the bounds are proved for the intensities really sent.
    public init(
        signal: Double, decoy: Double, signalProbability: Double, relativeTolerance: Double = 0
    ) throws(DecoyStateError) {
        guard relativeTolerance >= 0, relativeTolerance < 1 else {
            throw .probabilityOutOfRange(name: "relativeTolerance", value: relativeTolerance)
        }
        guard signal.isFinite, decoy > 0,
            decoy * (1 + relativeTolerance) < signal * (1 - relativeTolerance)
        else {
            throw .intensitiesOutOfOrder(signal: signal, decoy: decoy)
        }
        self.relativeTolerance = relativeTolerance
        guard signalProbability > 0, signalProbability < 1 else {
            throw .probabilityOutOfRange(name: "signalProbability", value: signalProbability)
        }
        self.signal = signal
        self.decoy = decoy
        self.signalProbability = signalProbability
    }
}

/// One count for each intensity.
public struct IntensityCounts: Hashable, Sendable {
    /// The count at µ1.
    public let signal: Int
    /// The count at µ2.
    public let decoy: Int
    /// The counts at both intensities together.
    public var total: Int { signal + decoy }

    /// Wraps the two counts.
    public init(signal: Int, decoy: Int) {
        self.signal = signal
        self.decoy = decoy
    }
}

/// What one block showed: detections and errors per basis and intensity, both ends in one basis.
///
/// The key basis is the Z of the papers and the test basis their X. The errors of the key basis
/// need no sacrificed sample: they are counted exactly once the corrected key is verified.
public struct DecoyCounts: Hashable, Sendable {
    /// n_Z,k: detections in the key basis.
    public let keyDetections: IntensityCounts
    /// m_Z,k: errors in the key basis.
    public let keyErrors: IntensityCounts
    /// n_X,k: detections in the test basis.
    public let testDetections: IntensityCounts
    /// m_X,k: errors in the test basis.
    public let testErrors: IntensityCounts

    /// The largest count accepted, 2^50: every smaller integer is exact in a `Double`.
    public static let largestCount = 1 << 50

    /// Wraps the counts of one block.
    ///
    /// Throws when a count is negative or above `largestCount`, or when more errors than
    /// detections are given.
    public init(
        keyDetections: IntensityCounts, keyErrors: IntensityCounts,
        testDetections: IntensityCounts, testErrors: IntensityCounts
    ) throws(DecoyStateError) {
        for (errors, detections) in [(keyErrors, keyDetections), (testErrors, testDetections)] {
            for (error, detection) in [
                (errors.signal, detections.signal), (errors.decoy, detections.decoy),
            ] {
                guard error >= 0, detection >= 0, detection <= Self.largestCount else {
                    throw .countOutOfRange(error < 0 ? error : detection)
                }
                guard error <= detection else {
                    throw .moreErrorsThanDetections(errors: error, detections: detection)
                }
            }
        }
        self.keyDetections = keyDetections
        self.keyErrors = keyErrors
        self.testDetections = testDetections
        self.testErrors = testErrors
    }

    /// The error rate of the key basis, 0 for an empty block.
    public var keyErrorRate: Double {
        keyDetections.total > 0 ? Double(keyErrors.total) / Double(keyDetections.total) : 0
    }

    /// The error rate of the test basis, 0 for an empty block.
    public var testErrorRate: Double {
        testDetections.total > 0 ? Double(testErrors.total) / Double(testDetections.total) : 0
    }
}

/// Why a key length can not be evaluated from the given parameters.
public enum DecoyStateError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A probability outside the open interval (0, 1).
    case probabilityOutOfRange(name: String, value: Double)
    /// The intensities do not satisfy 0 < µ2 < µ1.
    case intensitiesOutOfOrder(signal: Double, decoy: Double)
    /// A negative count or one above `DecoyCounts.largestCount`.
    case countOutOfRange(Int)
    /// More errors than detections at one intensity and basis.
    case moreErrorsThanDetections(errors: Int, detections: Int)
    /// A parameter of the channel model is outside its range.
    case channelParameterOutOfRange(name: String, value: Double)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .probabilityOutOfRange: "BRK-KEY-001"
        case .intensitiesOutOfOrder: "BRK-KEY-002"
        case .countOutOfRange: "BRK-KEY-003"
        case .moreErrorsThanDetections: "BRK-KEY-004"
        case .channelParameterOutOfRange: "BRK-KEY-005"
        }
    }

    /// What was expected and what was found.
    public var description: String {
        switch self {
        case .probabilityOutOfRange(let name, let value):
            "\(name) must lie strictly between 0 and 1, found \(value)"
        case .intensitiesOutOfOrder(let signal, let decoy):
            "intensities must satisfy 0 < decoy < signal, found signal \(signal), decoy \(decoy)"
        case .countOutOfRange(let count):
            "counts must lie in 0...2^50, found \(count)"
        case .moreErrorsThanDetections(let errors, let detections):
            "errors must not exceed detections, found \(errors) errors of \(detections)"
        case .channelParameterOutOfRange(let name, let value):
            "channel parameter \(name) is out of range: \(value)"
        }
    }
}
