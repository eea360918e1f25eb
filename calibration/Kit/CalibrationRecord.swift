import LinkTypes
import Quantities

/// How a run of a procedure ended.
public enum CalibrationOutcome: Hashable, Sendable, Codable {
    /// The result was verified and published.
    case committed
    /// The result did not stand up to held-out data; settings were restored.
    case rejected
    /// The procedure gave up; settings were restored.
    case rolledBack(reason: String)
    /// The run failed or was cancelled; settings were restored.
    case failed(code: String, message: String)
    /// The process died during the run; settings were restored after the restart.
    case recovered
}

/// One measurement of a run, as kept for replay and comparison.
public struct RecordedInput: Hashable, Sendable, Codable {
    /// What was asked for.
    public var request: MeasurementRequest
    /// The number of detections that came.
    public var detections: Int
    /// The sixteen cells, for a measurement of state counts.
    public var cells: [UInt64]?
    /// Where the actuators stood.
    public var settings: [ActuatorSettings]
    /// When the measurement began.
    public var started: HostInstant
    /// When it ended.
    public var finished: HostInstant
    /// Whether it was the held-out measurement.
    public var isHeldOut: Bool

    /// The record of one measurement.
    public init(request: MeasurementRequest, measurement: CalibrationMeasurement, isHeldOut: Bool) {
        self.request = request
        detections = measurement.detections
        if case .stateCounts(let counts) = measurement.payload { cells = counts.cells }
        settings = measurement.settings
        started = measurement.started
        finished = measurement.finished
        self.isHeldOut = isHeldOut
    }
}

/// What a run was made with: the facts that a later reader needs to judge it.
public struct CalibrationContext: Hashable, Sendable, Codable {
    /// The version of this software.
    public var software: String
    /// Digests of the firmware profiles in force, in a fixed order.
    public var profileDigests: [String]
    /// The facts of a run.
    public init(software: String, profileDigests: [String]) {
        self.software = software
        self.profileDigests = profileDigests
    }
}

/// One run of one procedure, in the append-only history.
public struct CalibrationRecord: Hashable, Sendable, Codable {
    /// The position in the history, from 1.
    public var sequence: UInt64
    /// The digest of the record before, as the store computes it; empty for the first.
    public var previousHash: String
    /// The procedure.
    public var procedure: String
    /// How it ended.
    public var outcome: CalibrationOutcome
    /// The measurements, in order.
    public var inputs: [RecordedInput]
    /// The result, when one was staged.
    public var result: StagedResult?
    /// The judgement, when the result came to verification.
    public var verification: VerificationVerdict?
    /// The generation of the snapshot that the run started from: the parent.
    public var parentGeneration: UInt64
    /// Where the actuators stood before.
    public var settingsBefore: [ActuatorSettings]
    /// Where the actuators stand after.
    public var settingsAfter: [ActuatorSettings]
    /// The published snapshot, when the run was committed.
    public var published: CalibrationSnapshot?
    /// Moves made, restoring not counted.
    public var moves: Int
    /// What made the data; `nil` when none were taken.
    public var provenance: Provenance?
    /// The facts of the run.
    public var context: CalibrationContext
    /// When the run began.
    public var started: HostInstant
    /// When it ended.
    public var finished: HostInstant
}

/// What a run is about to change, written before the first move.
public struct CalibrationIntent: Hashable, Sendable, Codable {
    /// The sequence number that the record of the run will have.
    public var sequence: UInt64
    /// The procedure.
    public var procedure: String
    /// Where to put the actuators back.
    public var settings: [ActuatorSettings]
    /// The generation of the snapshot in force.
    public var parentGeneration: UInt64
    /// When the run began.
    public var started: HostInstant
    /// An intent.
    public init(
        sequence: UInt64, procedure: String, settings: [ActuatorSettings],
        parentGeneration: UInt64, started: HostInstant
    ) {
        self.sequence = sequence
        self.procedure = procedure
        self.settings = settings
        self.parentGeneration = parentGeneration
        self.started = started
    }
}
