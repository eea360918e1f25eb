/// The unit of a number in a profile.
public enum Unit: String, CaseIterable, Hashable, Sendable {
    /// A plain number.
    case none
    /// Counts of an encoder, a counter or a detector.
    case counts
    /// Codes of a converter.
    case codes
    /// Per cent.
    case percent
    /// Decibels of attenuation.
    case decibels
    /// Degrees of angle.
    case degrees
    /// Degrees of angle per second.
    case degreesPerSecond = "degrees_per_second"
    /// Radians of angle or phase.
    case radians
    /// Volts.
    case volts
    /// Millivolts.
    case millivolts
    /// Microvolts.
    case microvolts
    /// Milliamperes.
    case milliamperes
    /// Degrees Celsius.
    case celsius
    /// Thousandths of a degree Celsius.
    case millicelsius
    /// Nanometres of wavelength.
    case nanometres
    /// Watts.
    case watts
    /// Hertz.
    case hertz
    /// Events per second.
    case eventsPerSecond = "events_per_second"
    /// Picoseconds.
    case picoseconds
    /// Nanoseconds.
    case nanoseconds
    /// Microseconds.
    case microseconds
    /// Milliseconds.
    case milliseconds
    /// Bytes.
    case bytes
    /// Records.
    case records
}

/// The range of a setting or of a quantity.
public struct Limit: Hashable, Sendable {
    /// The smallest allowed value; nil for no lower end.
    public let min: Double?
    /// The largest allowed value; nil for no upper end.
    public let max: Double?
    /// The distance between settings; nil for continuous ones.
    public let step: Double?
    /// The value after power-up or the recommended one.
    public let standard: Double?
    /// The unit of all of these.
    public let unit: Unit

    /// Whether `value`, in `unit`, is allowed. Not-a-number is not.
    public func allows(_ value: Double) -> Bool {
        value.isFinite && value >= (min ?? -.infinity) && value <= (max ?? .infinity)
    }
}

/// A linear conversion: `numerator` of `unit` are `denominator` of `per`.
public struct Scale: Hashable, Sendable {
    /// How many of `unit`; not zero.
    public let numerator: Double
    /// Make how many of `per`; not zero.
    public let denominator: Double
    /// The unit of the device.
    public let unit: Unit
    /// The physical unit.
    public let per: Unit
    /// The device value for a physical value.
    public func deviceValue(_ physical: Double) -> Double { physical * numerator / denominator }
    /// The physical value for a device value.
    public func physicalValue(_ device: Double) -> Double { device * denominator / numerator }
}

/// Which way a digital line goes, seen from the host.
public enum LineDirection: String, CaseIterable, Hashable, Sendable {
    /// The host reads it.
    case input
    /// The host drives it.
    case output
}

/// The electrical level of a digital line.
public enum LineLevel: String, CaseIterable, Hashable, Sendable {
    /// Near ground.
    case low
    /// Near the supply.
    case high
}

/// A digital line by its role.
public struct LineRole: Hashable, Sendable {
    /// The role, such as `gate_enable`.
    public let role: String
    /// Which way it goes.
    public let direction: LineDirection
    /// The level that means yes.
    public let active: LineLevel
    /// The level an output must have at open, at close and when in doubt.
    public let safe: LineLevel?
    /// The edges an input is watched for, as electrical edges.
    public let edge: SignalEdge?
    /// Whether a bench without this line can not be used.
    public let required: Bool
    /// Whether the activity of this input forces the `safe` sequence.
    public let trips: Bool
    /// Whether the inactivity of this input forces the `safe` sequence.
    public let permits: Bool
}

/// How bad an error is.
public enum FaultSeverity: String, CaseIterable, Hashable, Sendable {
    /// Worth a line in the log.
    case notice
    /// Data may be lost.
    case warning
    /// The operation failed.
    case error
    /// Hardware or key material is in danger; outputs go to their safe state.
    case critical
}

/// An error condition a device reports.
public struct DeviceFault: Hashable, Sendable {
    /// The number or bit the device reports it by; nil when it has none.
    public let code: Int?
    /// Where the number is found.
    public let source: FaultSource
    /// How bad it is.
    public let severity: FaultSeverity
    /// What it means.
    public let meaning: String
    /// What to do.
    public let recovery: String
}

/// Where the number of a device fault is found.
public enum FaultSource: String, CaseIterable, Hashable, Sendable {
    /// A bit of the status word, counted from zero.
    case statusBit = "status_bit"
    /// The value of a status reply.
    case statusValue = "status_value"
    /// An error message with a number.
    case errorCode = "error_code"
    /// A GPIO line; the name of the fault is the role.
    case line
    /// No reply where one is due.
    case silence
}

/// A fault an emulated device can produce.
public enum InjectableFault: String, CaseIterable, Hashable, Sendable {
    /// An endpoint refuses transfers until it is cleared.
    case stall
    /// The device answers "not yet" until the host gives up.
    case nakTimeout = "nak_timeout"
    /// A packet is cut.
    case shortPacket = "short_packet"
    /// A byte is lost.
    case byteSlip = "byte_slip"
    /// A 16-bit word is lost.
    case wordSlip = "word_slip"
    /// A check sum is wrong.
    case checksumError = "checksum_error"
    /// The device leaves the bus.
    case disconnect
    /// The device restarts with default settings.
    case reboot
    /// A buffer overflows.
    case overflow
    /// One bit of the data is stuck.
    case stuckBit = "stuck_bit"
    /// The reference clock is lost.
    case clockLoss = "clock_loss"
    /// The counter of the reference clock jumps forward.
    case clockStep = "clock_step"
    /// The device reports another firmware.
    case wrongFirmware = "wrong_firmware"
    /// A command is ignored.
    case ignoredCommand = "ignored_command"
    /// A motion never completes.
    case stuckMotion = "stuck_motion"
    /// An actuator hunts around its target and never settles.
    case oscillatingMotion = "oscillating_motion"
    /// A GPIO input stays at one level.
    case stuckLine = "stuck_line"
    /// Edges of a GPIO input are lost.
    case lostEdges = "lost_edges"
    /// Too much light on a detector.
    case overLight = "over_light"
}

/// Error conditions of a device.
public struct Faults: Sendable {
    /// What the device reports, by name.
    public let reported: NamedTable<DeviceFault>
    /// What an emulated device can produce, in file order.
    public let injectable: [InjectableFault]
}

/// A deviation from what a reasonable reader would expect.
public struct Quirk: Hashable, Sendable {
    /// The value.
    public let value: QuirkValue
    /// How sure it is.
    public let confidence: Confidence
    /// Where it is known from, or what it means; nil when the name says it.
    public let note: String?
}

/// The value of a quirk.
public enum QuirkValue: Hashable, Sendable {
    /// Yes or no.
    case flag(Bool)
    /// A whole number.
    case integer(Int)
    /// Text.
    case text(String)
}
