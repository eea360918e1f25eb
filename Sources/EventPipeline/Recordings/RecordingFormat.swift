import LinkTypes
import Quantities

/// The formats recordings are read from.
public enum RecordingFormat: Hashable, Sendable {
    /// PicoQuant unified TTTR file; its header names the record type.
    case picoQuant
    /// Raw events of S-Fifteen and other qcrypto time taggers.
    case sFifteen(SFifteenEncoding, SFifteenLayout)

    /// The name used on the command line and in reports.
    public var name: String {
        switch self {
        case .picoQuant: "ptu"
        case .sFifteen(let encoding, let layout): "\(encoding.rawValue)-\(layout.rawValue)"
        }
    }

    /// Every format, in the order of the list shown to people.
    public static let all: [RecordingFormat] =
        [.picoQuant]
        + SFifteenEncoding.allCases.flatMap { encoding in
            SFifteenLayout.allCases.map { .sFifteen(encoding, $0) }
        }

    /// The format with a name from `all`, or `nil`.
    public init?(name: String) {
        guard let format = Self.all.first(where: { $0.name == name }) else { return nil }
        self = format
    }
}

/// How the words of an S-Fifteen recording are written.
///
/// The names are those of the option `-a` of the qcrypto programs `readevents…`.
public enum SFifteenEncoding: String, Hashable, Sendable, CaseIterable {
    /// `-a 1`: binary.
    case a1
    /// `-a 0`: a line of 8 hexadecimal digits for each 32-bit word, low word first.
    case a0
    /// `-a 2`: a line of 16 hexadecimal digits for each event.
    case a2
}

/// What the words of an S-Fifteen recording mean (qcrypto, `timestamp7/readevents7.c`,
/// `timestamp3/readevents3.c`, `remotecrypto/filespec.txt`).
public enum SFifteenLayout: String, Hashable, Sendable, CaseIterable {
    /// 64-bit little-endian: 54 bits of time in 1/256 ns, bit 4 marks a rollover, 4 bits pattern.
    case bits54 = "54"
    /// The same with the two 32-bit halves exchanged (option `-X`).
    case bits54Swapped = "54x"
    /// 64-bit little-endian: 49 bits of time in 1/8 ns, 11 spare bits, 4 bits pattern.
    case bits49 = "49"
    /// The same with the two 32-bit halves exchanged: the order of the older cards.
    case bits49Swapped = "49x"
    /// 32-bit words of the fast mode: 26 bits of time in 1/256 ns, 6 bits flags and pattern. The
    /// counter wraps every 262.144 µs, seen by its highest bit falling.
    case fast32 = "32"

    /// The bytes of one event.
    var recordSize: Int { self == .fast32 ? 4 : 8 }
    var isSwapped: Bool { self == .bits54Swapped || self == .bits49Swapped }
    var timeShift: UInt64 { self == .bits49 || self == .bits49Swapped ? 15 : 10 }
    /// The length of a tick.
    public var tickPeriod: TickPeriod {
        switch self {
        case .bits49, .bits49Swapped: TickPeriod(picoseconds: 125)
        case .bits54, .bits54Swapped, .fast32: TickPeriod(numerator: 125, denominator: 32)
        }
    }
}

/// Numbers of records by what they are.
public struct RecordCounts: Hashable, Sendable {
    /// All records read.
    public var records: UInt64 = 0
    /// Records of one or more clicks, sync included.
    public var events: UInt64 = 0
    /// Clicks, sync included; more than `events` where a record holds several.
    public var clicks: UInt64 = 0
    /// Marker records.
    public var markers: UInt64 = 0
    /// Records that only announce counter overflows or rollovers.
    public var overflowRecords: UInt64 = 0
    /// Counter overflows announced by those records.
    public var overflows: UInt64 = 0
    /// Records without meaning by convention, such as all-zero words of empty transfers.
    public var voids: UInt64 = 0
    /// Records of an event without a click.
    public var empty: UInt64 = 0
    /// Records that can not be what the format allows.
    public var corrupt: UInt64 = 0
    /// Events earlier than one before them in the file.
    public var orderViolations: UInt64 = 0

    /// All zero.
    public init() {}

    /// Adds the counts of `other`.
    public static func += (left: inout Self, right: Self) {
        left.records += right.records
        left.events += right.events
        left.clicks += right.clicks
        left.markers += right.markers
        left.overflowRecords += right.overflowRecords
        left.overflows += right.overflows
        left.voids += right.voids
        left.empty += right.empty
        left.corrupt += right.corrupt
        left.orderViolations += right.orderViolations
    }
}

/// A marker that an experiment fed into the recorder.
public struct RecordedMarker: Hashable, Sendable {
    /// When, in ticks of the recording.
    public var ticks: DeviceTicks
    /// One bit for each marker input.
    public var mask: UInt16

    /// A marker.
    public init(ticks: DeviceTicks, mask: UInt16) {
        self.ticks = ticks
        self.mask = mask
    }
}

/// A run of records of a recording, decoded.
public struct RecordedBlock: Sendable {
    /// The channel number that stands for the sync input of a PicoQuant recorder.
    public static let syncChannel: UInt8 = 64

    /// The clicks in the order of the file, which is not always the order of time.
    public var tags: [TimeTag] = []
    /// For T3 recordings, the time after the sync pulse for each tag; otherwise empty.
    public var microtimes: [UInt16] = []
    /// The markers.
    public var markers: [RecordedMarker] = []
    /// Where corrupt records were.
    public var losses: [LossMark<DeviceTicks>] = []
    /// The latest time reached, in ticks.
    public var completeThrough = DeviceTicks(0)
    /// The records of the block.
    public var counts = RecordCounts()
    /// The byte of the file the first corrupt record of the block starts at.
    public var firstCorrupt: UInt64?

    /// The clicks as a block of tags for the pipeline.
    ///
    /// Events that the recording holds out of order stay so; the pipeline counts them as late and
    /// marks their slots. Not for T3 recordings, whose ticks are sync periods.
    public func tagBlock(tickPeriod: TickPeriod, arrival: HostInstant) -> TagBlock {
        TagBlock(
            tickPeriod: tickPeriod, tags: tags, losses: losses, completeThrough: completeThrough,
            arrival: arrival, provenance: .recording)
    }
}

/// What a recording says about itself.
public struct RecordingDescription: Sendable {
    /// The format it was read as.
    public var format: RecordingFormat
    /// The record type in words, such as "HydraHarp V2 T2".
    public var recordType: String
    /// The maker's name of the device and its serial number, where the recording has them.
    public var device: String?
    /// The length of a tick; for T3 the period of the sync pulses.
    public var tickPeriod: TickPeriod
    /// For T3, the length of a tick of the microtime.
    public var microtimePeriod: TickPeriod?
    /// The number of records the header announces.
    public var announcedRecords: UInt64?
    /// The duration of the measurement the header announces, in seconds.
    public var announcedDuration: Double?
    /// The length of the header in bytes.
    public var headerSize: UInt64
    /// All tags of a PTU header.
    public var header: [PTUTag]

    /// Whether events are counted in sync periods and microtimes.
    public var isT3: Bool { microtimePeriod != nil }
}
