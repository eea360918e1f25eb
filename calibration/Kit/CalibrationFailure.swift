/// Why a calibration did not commit, with a stable code listed in `docs/errors.md`.
public enum CalibrationFailureCode: String, Hashable, Sendable, CaseIterable {
    /// A device or the pipeline failed.
    case environment = "BRK-CAL-001"
    /// The run used up its moves, detections, steps or time.
    case limitExceeded = "BRK-CAL-002"
    /// The run was cancelled.
    case cancelled = "BRK-CAL-003"
    /// The procedure gave up.
    case rolledBack = "BRK-CAL-004"
    /// The result did not stand up to held-out data.
    case rejected = "BRK-CAL-005"
    /// The previous settings could not be restored.
    case restoreFailed = "BRK-CAL-006"
    /// The history could not be read or written.
    case store = "BRK-CAL-007"
    /// An earlier run has not been recovered, or another one is under way.
    case recoveryNeeded = "BRK-CAL-008"
    /// The result is recorded but could not be put in force.
    case publicationFailed = "BRK-CAL-009"
    /// The procedure broke the rules of its protocol.
    case protocolViolation = "BRK-CAL-010"
}

/// A calibration that did not commit.
public struct CalibrationFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// The stable code.
    public var code: CalibrationFailureCode
    /// The procedure.
    public var procedure: String
    /// What should have happened.
    public var expected: String
    /// What happened instead.
    public var found: String
    /// What to do next.
    public var advice: String
    /// Whether the actuators are back where they were.
    public var isRestored: Bool

    /// A failure; `isRestored` is set by the runner.
    public init(
        code: CalibrationFailureCode, procedure: String, expected: String, found: String,
        advice: String, isRestored: Bool = false
    ) {
        self.code = code
        self.procedure = procedure
        self.expected = expected
        self.found = found
        self.advice = advice
        self.isRestored = isRestored
    }

    /// One line for people.
    public var description: String {
        "\(code.rawValue) \(procedure): expected \(expected), found \(found); \(advice)"
    }
}
