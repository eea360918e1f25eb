import Quantities

/// What a channel of an instrument is.
public enum ChannelKind: String, CaseIterable, Hashable, Sendable {
    /// An input whose edges are time-tagged.
    case timingInput = "timing_input"
    /// A fibre paddle that is turned about the fibre.
    case paddle
    /// A mount that turns a wave plate about the beam.
    case rotator
    /// A retarder with a fixed axis whose retardance follows a voltage.
    case retarder
    /// An output of a voltage.
    case voltageOutput = "voltage_output"
    /// An input that a voltage is read at.
    case voltageInput = "voltage_input"
    /// A photon detector.
    case detector
}

/// The edge or pulse polarity an input reacts to.
public enum SignalEdge: String, CaseIterable, Hashable, Sendable {
    /// From low to high.
    case rising
    /// From high to low.
    case falling
    /// Both.
    case both
}

/// One channel, paddle or input.
public struct Channel: Hashable, Sendable {
    /// The number the device's protocol and our data types use.
    public let index: Int
    /// What is printed on the connector.
    public let label: String
    /// What it is.
    public let kind: ChannelKind
    /// The bit that stands for the channel in records and commands; nil where none does.
    public let mask: UInt32?
    /// The edge an input reacts to.
    public let edge: SignalEdge?
    /// The threshold after power-up or initialisation.
    public let defaultThreshold: Volts?
    /// The time after an event during which another is not seen, in picoseconds.
    public let deadTime: Picoseconds?
    /// The highest event rate without loss.
    public let maxRate: Hertz?
}

/// How the reader of a counter notices that it has wrapped.
public enum RolloverRule: String, CaseIterable, Hashable, Sendable {
    /// The counter outlives any acquisition.
    case none
    /// The most significant bit falls; dummy records guarantee that it is seen.
    case msbFalling = "msb_falling"
    /// A flag in the record.
    case flag
}

/// Where zero of the counter is.
public enum CounterOrigin: String, CaseIterable, Hashable, Sendable {
    /// The last counter reset command.
    case counterReset = "counter_reset"
    /// The start of the acquisition.
    case acquisitionStart = "acquisition_start"
}

/// The clock of a time tagger.
public struct TimeBase: Sendable {
    /// The length of one tick.
    public let tick: TickPeriod
    /// The width of the counter in bits, 1 to 64.
    public let counterBits: Int
    /// How a wrap is noticed.
    public let rollover: RolloverRule
    /// The longest time between two records when there is no event, in milliseconds.
    public let maxDummyIntervalMilliseconds: Double?
    /// Where zero is.
    public let origin: CounterOrigin
    /// Selectable reference clocks.
    public let references: [String]
    /// How raw phase patterns become a number of ticks.
    public let interpolation: Interpolation?
    /// A carry that the hardware forgets and the reader adds.
    public let lagCorrection: LagCorrection?

    /// The time after which the counter wraps; nil when it never does or only after more than the
    /// 106 days that `Picoseconds` can hold.
    public var rolloverPeriod: Picoseconds? {
        guard rollover != .none, counterBits < 63 else { return nil }
        let ticks = UInt64(1) << UInt64(counterBits)
        guard Double(ticks) * tick.picoseconds < 9e18 else { return nil }
        return Picoseconds(tick.picoseconds(of: ticks))
    }
}

/// Tables from a raw phase pattern to ticks, one per board revision.
public struct Interpolation: Sendable {
    /// The record field that holds the pattern.
    public let field: String
    /// The number of patterns, a power of two.
    public let size: Int
    /// The value of patterns that no table lists, in ticks.
    public let missing: Int
    /// The table of a board whose own calibration is unknown.
    public let defaultTable: String
    /// Pattern and value in ticks, ordered by pattern.
    public let tables: NamedTable<[(pattern: Int, value: Int)]>

    /// The table `name` with one entry per pattern, or nil when there is no such table.
    public func expanded(_ name: String) -> [UInt8]? {
        guard let entries = tables[name] else { return nil }
        var table = [UInt8](repeating: UInt8(missing), count: size)
        for entry in entries { table[entry.pattern] = UInt8(entry.value) }
        return table
    }
}

/// A field that lags by a constant while another is below a threshold.
public struct LagCorrection: Hashable, Sendable {
    /// The field to compare.
    public let field: String
    /// The correction applies while `field` is below this value.
    public let below: Int
    /// What the reader adds, in ticks.
    public let addTicks: Int
}

/// The order of bytes in a record or a number.
public enum Endianness: String, CaseIterable, Hashable, Sendable {
    /// Least significant byte first.
    case little
    /// Most significant byte first.
    case big
}

/// Bits `low` to `high` of a record, counted from its least significant bit.
public struct BitField: Hashable, Sendable {
    /// The lowest bit.
    public let low: Int
    /// The highest bit, included.
    public let high: Int
    /// The weight of the lowest bit in ticks, for parts of the time.
    public let ticks: Int64?
    /// The position of the lowest bit within the channel mask, for parts of the mask.
    public let shift: Int?
    /// The width in bits.
    @inlinable public var width: Int { high - low + 1 }
    /// The mask over the record.
    @inlinable public var mask: UInt64 {
        (width == 64 ? .max : (1 << UInt64(width)) - 1) << UInt64(low)
    }
    /// The value of the field in `record`.
    @inlinable public func value(in record: UInt64) -> UInt64 { (record & mask) >> UInt64(low) }
}

/// How a device tells that it lost events.
public enum OverflowRule: String, CaseIterable, Hashable, Sendable {
    /// A status command tells, and the stream shows only a gap in time.
    case statusAndGap = "status_and_gap"
    /// A flag in the first record after the loss.
    case recordFlag = "record_flag"
    /// Nothing tells.
    case silent
}

/// The event record of a time tagger.
public struct RecordLayout: Sendable {
    /// Length of a record in bytes, 1 to 8.
    public let bytes: Int
    /// The order of the bytes.
    public let endianness: Endianness
    /// The bit fields by name.
    public let fields: NamedTable<BitField>
    /// A record that carries nothing and is skipped; nil when there is none.
    public let void: UInt64?
    /// The single-bit field that marks a record without event, or nil.
    public let dummyField: String?
    /// How a loss shows.
    public let overflow: OverflowRule
    /// What makes a device with few events hand them over.
    public let flush: FlushRule
    /// The capacity of the buffer in front of the host, in records.
    public let fifoRecords: Int?
}

/// How a printed time shows that it is negative.
public enum NegativeTime: String, CaseIterable, Hashable, Sendable {
    /// A minus sign before the magnitude: −0.3 s is `-0.3`.
    case leading
    /// A minus sign between point and fraction of the magnitude: −0.3 s is `0.-3`.
    case afterPoint = "after_point"
    /// The sign belongs to the seconds alone and the fraction counts upwards: −0.3 s is `-1.7`.
    case floor
}

/// A time tag printed as a line of text: seconds, a point, decimals, a name of the channel.
public struct TextRecord: Hashable, Sendable {
    /// The number of decimals; where the device can be set, what it is set to when new.
    public let decimals: Int
    /// The entry of `dialect.lines` that states the number of decimals; nil when it is fixed.
    public let decimalsLine: String?
    /// What stands between the time and the one character that names the channel.
    public let channelPrefix: String
    /// How a time before zero looks.
    public let negative: NegativeTime
    /// How many tags the device collects before it prints them, each group in order of channel.
    public let group: Int
    /// How a loss shows.
    public let overflow: OverflowRule
}

/// What makes a device send a packet that is not full.
public struct FlushRule: Hashable, Sendable {
    /// A packet of this many bytes goes out by itself.
    public let packetBytes: Int?
    /// The command that sends a partial packet, or switches a timed flush on.
    public let command: String?
    /// The unit of that command's argument, in milliseconds.
    public let unitMilliseconds: Double?
}
