import Quantities

/// An operation of the environment that did not succeed.
public struct EnvironmentFailure: Error, Hashable, Sendable {
    /// The stable code of the layer that failed, such as that of a `DriverError`.
    public var code: String
    /// What was expected, what was found, what to do next.
    public var message: String
    /// Whether the operation ended because the task was cancelled.
    public var isCancellation: Bool
    /// A failure.
    public init(code: String, message: String, isCancellation: Bool = false) {
        self.code = code
        self.message = message
        self.isCancellation = isCancellation
    }
}

/// The bench as a calibration sees it; the composition root makes one from drivers and pipeline.
public protocol CalibrationEnvironment: Sendable {
    /// The host's clock.
    func now() async -> HostInstant
    /// The snapshot in force.
    func snapshot() async throws(EnvironmentFailure) -> CalibrationSnapshot
    /// Where an actuator stands, by its own readback.
    func settings(of actuator: ActuatorName) async throws(EnvironmentFailure) -> ActuatorSettings
    /// Moves an actuator, waits until it stands, and tells where. Detections taken meanwhile are
    /// marked `LossReason.actuatorMoving`.
    func move(_ target: ActuatorSettings) async throws(EnvironmentFailure) -> ActuatorSettings
    /// Puts an actuator back. Must run to its end even in a cancelled task.
    func restore(_ target: ActuatorSettings) async throws(EnvironmentFailure) -> ActuatorSettings
    /// Waits.
    func settle(_ duration: Duration) async throws(EnvironmentFailure)
    /// Takes data as requested; fewer detections when the time is over.
    func measure(_ request: MeasurementRequest) async throws(EnvironmentFailure)
        -> CalibrationMeasurement
    /// Puts a snapshot in force, atomically: every batch is made under one snapshot.
    func publish(_ snapshot: CalibrationSnapshot) async throws(EnvironmentFailure)
}
