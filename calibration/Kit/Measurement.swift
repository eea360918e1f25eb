import LinkTypes
import Quantities

/// An actuator that procedures may move, by the name the composition root gives it.
public struct ActuatorName: RawRepresentable, Hashable, Sendable, Codable {
    /// The name.
    public var rawValue: String
    /// Wraps a name.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// The polarization controller in front of the receiver.
    public static let polarizationController = ActuatorName(rawValue: "polarization-controller")
}

/// Where all axes of one actuator stand, or should stand.
public struct ActuatorSettings: Hashable, Sendable, Codable {
    /// The actuator.
    public var actuator: ActuatorName
    /// One number for each axis, in radians of the mount or in volts.
    public var values: [Double]
    /// Settings of an actuator.
    public init(actuator: ActuatorName, values: [Double]) {
        self.actuator = actuator
        self.values = values
    }
}

/// What Alice sends while a measurement runs.
public enum TrainingPattern: String, Hashable, Sendable, Codable {
    /// `SynchronizationPattern` with the published key.
    case synchronization
    /// `KeyedPulsePattern` with the published key, both bases equally often, signal intensity.
    case training
}

/// What a procedure wants measured.
public struct MeasurementRequest: Hashable, Sendable, Codable {
    /// The kind of data.
    public enum Quantity: String, Hashable, Sendable, Codable {
        /// Raw time tags, before any clock model.
        case timeTags
        /// Click times within the slot, under the published clock.
        case arrivalPhases
        /// Coincidences of Alice's state with Bob's detector, under the published clock and gate.
        case stateCounts
    }
    /// The kind of data.
    public var quantity: Quantity
    /// What Alice sends.
    public var pattern: TrainingPattern
    /// The measurement ends when this many detections are in.
    public var detections: Int
    /// The measurement ends after this time at the latest.
    public var maximumDuration: Duration
    /// A request that ends after `detections` or `maximumDuration`, whichever comes first.
    public init(
        _ quantity: Quantity, pattern: TrainingPattern, detections: Int, maximumDuration: Duration
    ) {
        precondition(detections > 0 && maximumDuration > .zero)
        self.quantity = quantity
        self.pattern = pattern
        self.detections = detections
        self.maximumDuration = maximumDuration
    }
}

/// What the host's clock says about slot numbers: good to milliseconds, not to slots.
public struct CoarseSlotTime: Hashable, Sendable {
    /// A tick of the tagger.
    public var ticks: DeviceTicks
    /// The slot thought to be at Bob at that tick.
    public var slot: SlotIndex
    /// The largest error of `slot`, in slots.
    public var uncertainty: UInt64
    /// A coarse correspondence.
    public init(ticks: DeviceTicks, slot: SlotIndex, uncertainty: UInt64) {
        self.ticks = ticks
        self.slot = slot
        self.uncertainty = uncertainty
    }
}

/// Raw detections with what is needed to find the clock in them.
public struct TimeTagSample: Hashable, Sendable {
    /// The nominal tick of the tagger.
    public var tickPeriod: TickPeriod
    /// The tags in time order; the channel is the detector, 0…3.
    public var tags: [TimeTag]
    /// The coarse slot number.
    public var coarse: CoarseSlotTime
    /// A sample.
    public init(tickPeriod: TickPeriod, tags: [TimeTag], coarse: CoarseSlotTime) {
        self.tickPeriod = tickPeriod
        self.tags = tags
        self.coarse = coarse
    }
}

/// When a click came within its slot.
public struct ArrivalPhase: Hashable, Sendable {
    /// The detector, 0…3.
    public var detector: UInt8
    /// Picoseconds from the centre of the slot, before channel delays are taken off.
    public var picoseconds: Double
    /// A click of `detector`.
    public init(detector: UInt8, picoseconds: Double) {
        self.detector = detector
        self.picoseconds = picoseconds
    }
}

/// What was measured.
public struct CalibrationMeasurement: Hashable, Sendable {
    /// The data.
    public enum Payload: Hashable, Sendable {
        /// Raw time tags.
        case timeTags(TimeTagSample)
        /// Click times within the slot.
        case arrivalPhases([ArrivalPhase])
        /// Coincidences of Alice's state with Bob's detector.
        case stateCounts(StateDetectorCounts)
    }
    /// The data.
    public var payload: Payload
    /// Where the actuators stood, by their own readback.
    public var settings: [ActuatorSettings]
    /// When the measurement began.
    public var started: HostInstant
    /// When it ended.
    public var finished: HostInstant
    /// What made the data.
    public var provenance: Provenance
    /// A measurement.
    public init(
        payload: Payload, settings: [ActuatorSettings], started: HostInstant,
        finished: HostInstant, provenance: Provenance
    ) {
        self.payload = payload
        self.settings = settings
        self.started = started
        self.finished = finished
        self.provenance = provenance
    }
    /// The number of detections.
    public var detections: Int {
        switch payload {
        case .timeTags(let sample): sample.tags.count
        case .arrivalPhases(let phases): phases.count
        case .stateCounts(let counts): Int(clamping: counts.total)
        }
    }
}
