import Quantities

/// What a procedure asks the runner to do.
public enum CalibrationAction: Hashable, Sendable {
    /// Move an actuator and wait until it stands.
    case move(ActuatorSettings)
    /// Wait for optics or electronics to come to rest.
    case settle(Duration)
    /// Take data.
    case measure(MeasurementRequest)
    /// Offer a result for verification.
    case stage(StagedResult)
    /// Verify what is staged and commit it. Ends the procedure.
    case finish
    /// Give up and restore. Ends the procedure.
    case rollBack(reason: String)
}

/// What a procedure is told. After a list of actions it hears of the last one only.
public enum CalibrationObservation: Hashable, Sendable {
    /// The procedure begins, with the state of the link as it is.
    case started(CalibrationSnapshot, settings: [ActuatorSettings])
    /// An actuator stands; by its own readback.
    case moved(ActuatorSettings)
    /// The wait is over.
    case settled
    /// Data are in.
    case measured(CalibrationMeasurement)
    /// The result is staged.
    case staged
}

/// A calibration as a pure state machine.
///
/// A procedure performs no I/O and knows no time but that of its observations, so a run can be
/// simulated and replayed exactly.
public protocol CalibrationProcedure: Sendable {
    /// The name in records, such as `polarization`.
    var name: String { get }
    /// The actuators it moves; the runner restores them when the procedure does not succeed.
    var actuators: [ActuatorName] { get }
    /// The next actions. An empty list is a programming error and ends the run.
    mutating func step(_ observation: CalibrationObservation) -> [CalibrationAction]
    /// The fresh measurement that a staged result is verified with.
    func verificationRequest(for result: StagedResult) -> MeasurementRequest
    /// Judges a staged result by data that took no part in it.
    func verify(_ result: StagedResult, with measurement: CalibrationMeasurement)
        -> VerificationVerdict
}

/// What a procedure may use up.
public struct CalibrationLimits: Hashable, Sendable, Codable {
    /// Moves, counted for each command to an actuator.
    public var moves: Int
    /// Detections, over all measurements.
    public var detections: Int
    /// Time from start to commit.
    public var duration: Duration
    /// Steps of the state machine.
    public var steps: Int
    /// Limits of a run.
    public init(
        moves: Int = 60, detections: Int = 2_000_000, duration: Duration = .seconds(120),
        steps: Int = 1000
    ) {
        self.moves = moves
        self.detections = detections
        self.duration = duration
        self.steps = steps
    }
}

/// A result waiting for verification.
public struct StagedResult: Hashable, Sendable, Codable {
    /// What would change in the snapshot.
    public var change: CalibrationChange
    /// The numbers with their uncertainties.
    public var values: [MeasuredValue]
    /// How far the result is from what physics allows.
    public var limit: LimitComparison?
    /// A result.
    public init(change: CalibrationChange, values: [MeasuredValue], limit: LimitComparison?) {
        self.change = change
        self.values = values
        self.limit = limit
    }
}

/// A number with its standard uncertainty.
public struct MeasuredValue: Hashable, Sendable, Codable {
    /// What it is.
    public var name: String
    /// The value.
    public var value: Double
    /// One standard deviation; zero for a count.
    public var uncertainty: Double
    /// The unit symbol; empty for a pure number.
    public var unit: String
    /// A value in a unit.
    public init(_ name: String, _ value: Double, uncertainty: Double = 0, unit: String = "") {
        self.name = name
        self.value = value
        self.uncertainty = uncertainty
        self.unit = unit
    }
}

/// A result beside the best that any procedure could have done with the same detections.
public struct LimitComparison: Hashable, Sendable, Codable {
    /// The bound, with its source.
    public var bound: String
    /// The value of the bound for the detections used.
    public var limit: Double
    /// What was achieved, in the same unit.
    public var achieved: Double
    /// `achieved / limit`; 1 is perfect.
    public var ratio: Double { achieved / limit }
    /// A comparison; `limit` must be positive.
    public init(bound: String, limit: Double, achieved: Double) {
        self.bound = bound
        self.limit = limit
        self.achieved = achieved
    }
}

/// The judgement of a staged result by held-out data.
public struct VerificationVerdict: Hashable, Sendable, Codable {
    /// Whether the result may be published.
    public var passed: Bool
    /// What was tested, in one sentence.
    public var rule: String
    /// The test statistic.
    public var statistic: Double
    /// The largest statistic that passes.
    public var threshold: Double
    /// The number of held-out detections.
    public var detections: Int
    /// Passes when `statistic` is at most `threshold`; a statistic that is not a number fails.
    public init(rule: String, statistic: Double, threshold: Double, detections: Int) {
        self.rule = rule
        self.statistic = statistic
        self.threshold = threshold
        self.detections = detections
        passed = statistic <= threshold
    }
}
