import Quantities

/// What is known about one instrument model over a range of firmware versions, read from a
/// strict YAML file.
///
/// Drivers and emulators take every model-dependent number from here and share nothing else. The
/// fields of the file are described in `firmware-profiles/README.md`, with the same names.
public struct DeviceProfile: Sendable {
    /// Where the profile came from.
    public let source: ProfileSource
    /// Which model this is.
    public let identity: DeviceIdentity
    /// How the device presents itself on USB; nil for devices that are not on USB.
    public let usb: USBIdentity?
    /// The state before firmware is loaded; nil for devices that keep their firmware.
    public let coldBoot: ColdBoot?
    /// Line settings of devices behind a serial port or a bridge to one.
    public let serialPort: SerialPortSettings?
    /// How to ask the device what it is; nil when it can not tell.
    public let identification: Identification?
    /// The firmware versions the profile is valid for.
    public let firmware: FirmwareRange
    /// Channels, paddles or inputs, in file order.
    public let channels: [Channel]
    /// GPIO lines by role, in file order.
    public let lines: [LineRole]
    /// The clock of a time tagger.
    public let timeBase: TimeBase?
    /// The event record of a time tagger.
    public let record: RecordLayout?
    /// How a printed event is laid out; nil for devices that send no text records.
    public let textRecord: TextRecord?
    /// The command language.
    public let dialect: Dialect?
    /// Command sequences by name, such as `initialize`, `start`, `stop`, `safe`.
    public let sequences: NamedTable<[SequenceStep]>
    /// Ranges of settings and absolute maxima by name.
    public let limits: NamedTable<Limit>
    /// Conversions between units by name.
    public let scaling: NamedTable<Scale>
    /// Tables of how one quantity follows another, by name.
    public let curves: NamedTable<ResponseCurve>
    /// Durations in milliseconds by name; every name ends in `_ms`.
    public let timing: NamedTable<Double>
    /// Error conditions the device reports, and faults an emulator can inject.
    public let faults: Faults
    /// Deviations from what a reasonable reader would expect, by name.
    public let quirks: NamedTable<Quirk>
    /// Sources, date and test vectors.
    public let provenance: ProfileProvenance
    /// Against what the driver and the emulated model were checked; nil when nobody says.
    public let proof: ProfileProof?
    /// What an emulated device shows where the real value is unknown.
    public let emulation: EmulationIdentity?
    /// How sure each field is.
    public let confidence: ConfidenceMap

    /// Where each value stands in the file.
    let marks: [String: ProfileScreen.Position]

    /// The stable identifier, unique among all loaded profiles.
    public var id: String { identity.id }
}

/// The file a profile was read from.
public struct ProfileSource: Hashable, Sendable {
    /// The name given to the reader: a file name, or a path for external profiles.
    public let file: String
    /// Whether the profile was compiled in or added by the user.
    public let origin: ProfileOrigin
    /// The complete text; what a record of a measurement hashes.
    public let text: String
}

/// Where a profile came from.
public enum ProfileOrigin: String, Hashable, Sendable {
    /// Compiled into the program.
    case builtIn = "built-in"
    /// Given by the user with `--profiles`.
    case external
}

// MARK: - Facts a caller can not do without

extension DeviceProfile {
    private func require<Value>(
        _ value: Value?, _ path: String
    ) throws(MissingProfileField) -> Value {
        guard let value else { throw MissingProfileField(profile: id, path: path) }
        return value
    }

    /// The USB section. Throws `MissingProfileField` when the device is not on USB.
    public func requireUSB() throws(MissingProfileField) -> USBIdentity {
        try require(usb, "usb")
    }
    /// The endpoint named `name`. Throws `MissingProfileField` when the profile has none.
    public func endpoint(_ name: String) throws(MissingProfileField) -> Endpoint {
        try require(usb?.endpoints[name], "usb.endpoints.\(name)")
    }
    /// The time base. Throws `MissingProfileField` for devices that are no time taggers.
    public func requireTimeBase() throws(MissingProfileField) -> TimeBase {
        try require(timeBase, "time_base")
    }
    /// The layout of printed records. Throws `MissingProfileField` for devices without any.
    public func requireTextRecord() throws(MissingProfileField) -> TextRecord {
        try require(textRecord, "text_record")
    }
    /// The line `name` that the device prints by itself. Throws `MissingProfileField` when the
    /// profile has none.
    public func printedLine(_ name: String) throws(MissingProfileField) -> PrintedLine {
        try require(dialect?.lines[name], "dialect.lines.\(name)")
    }
    /// The record layout. Throws `MissingProfileField` for devices without event records.
    public func requireRecord() throws(MissingProfileField) -> RecordLayout {
        try require(record, "record")
    }
    /// The bit field `name` of the event record. Throws `MissingProfileField` when there is none.
    public func recordField(_ name: String) throws(MissingProfileField) -> BitField {
        try require(record?.fields[name], "record.fields.\(name)")
    }
    /// The command language. Throws `MissingProfileField` for devices without commands.
    public func requireDialect() throws(MissingProfileField) -> Dialect {
        try require(dialect, "dialect")
    }
    /// The command `name`. Throws `MissingProfileField` when the profile has none.
    public func command(_ name: String) throws(MissingProfileField) -> Command {
        try require(dialect?.commands[name], "dialect.commands.\(name)")
    }
    /// The integer constant `name` of the dialect. Throws `MissingProfileField` when absent.
    public func constant(_ name: String) throws(MissingProfileField) -> Int {
        try require(dialect?.constants[name], "dialect.constants.\(name)")
    }
    /// The bit number of the status flag `name`. Throws `MissingProfileField` when absent.
    public func statusBit(_ name: String) throws(MissingProfileField) -> Int {
        try require(dialect?.statusBits[name], "dialect.status_bits.\(name)")
    }
    /// The sequence `name`. Throws `MissingProfileField` when the profile has none.
    public func sequence(_ name: String) throws(MissingProfileField) -> [SequenceStep] {
        try require(sequences[name], "sequences.\(name)")
    }
    /// The limit `name`. Throws `MissingProfileField` when the profile has none.
    public func limit(_ name: String) throws(MissingProfileField) -> Limit {
        try require(limits[name], "limits.\(name)")
    }
    /// The conversion `name`. Throws `MissingProfileField` when the profile has none.
    public func scale(_ name: String) throws(MissingProfileField) -> Scale {
        try require(scaling[name], "scaling.\(name)")
    }
    /// The table `name`. Throws `MissingProfileField` when the profile has none.
    public func curve(_ name: String) throws(MissingProfileField) -> ResponseCurve {
        try require(curves[name], "curves.\(name)")
    }
    /// The duration `name`, which ends in `_ms`. Throws `MissingProfileField` when absent.
    public func duration(_ name: String) throws(MissingProfileField) -> Duration {
        try .nanoseconds(Int64((require(timing[name], "timing.\(name)") * 1e6).rounded()))
    }
    /// The GPIO line with `role`. Throws `MissingProfileField` when the profile has none.
    public func line(_ role: String) throws(MissingProfileField) -> LineRole {
        try require(lines.first { $0.role == role }, "lines.\(role)")
    }

    /// The value of a yes-or-no quirk; false when the profile does not mention it.
    public func hasQuirk(_ name: String) -> Bool {
        if case .flag(true) = quirks[name]?.value { true } else { false }
    }
    /// The value of a numeric quirk, or nil when the profile does not mention it.
    public func integerQuirk(_ name: String) -> Int? {
        if case .integer(let value) = quirks[name]?.value { value } else { nil }
    }
}
