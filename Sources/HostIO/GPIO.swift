import Quantities

/// A line of a GPIO chip.
public struct GPIOLineID: Hashable, Sendable, CustomStringConvertible {
    /// The chip, such as `gpiochip0`.
    public var chip: String
    /// The offset of the line on the chip.
    public var offset: UInt32
    /// A line.
    public init(chip: String, offset: UInt32) {
        self.chip = chip
        self.offset = offset
    }
    /// Chip and offset.
    public var description: String { "\(chip):\(offset)" }
}

/// A GPIO chip and its lines.
public struct GPIOChipSummary: Hashable, Sendable {
    /// The name, such as `gpiochip0`.
    public var name: String
    /// The label the driver gave it.
    public var label: String
    /// The name of each line, if it has one.
    public var lineNames: [String?]
    /// The consumer of each line, if it is in use.
    public var consumers: [String?]
    /// Whether the chip is a model of one.
    public var isEmulated: Bool
    /// A summary.
    public init(
        name: String, label: String, lineNames: [String?], consumers: [String?], isEmulated: Bool
    ) {
        self.name = name
        self.label = label
        self.lineNames = lineNames
        self.consumers = consumers
        self.isEmulated = isEmulated
    }
}

/// Why a GPIO operation did not succeed.
public enum GPIOError: Error, Hashable, Sendable {
    /// There is no such chip or line.
    case notFound(String)
    /// Another consumer has the line.
    case busy(GPIOLineID, consumer: String)
    /// The user may not open the chip.
    case accessDenied(String)
    /// The line was released or its chip is gone.
    case closed(GPIOLineID)
    /// Anything else the system reported.
    case system(code: Int32, message: String)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .notFound: "BRK-GPIO-001"
        case .busy: "BRK-GPIO-002"
        case .accessDenied: "BRK-GPIO-003"
        case .closed: "BRK-GPIO-004"
        case .system: "BRK-GPIO-005"
        }
    }
}

extension GPIOError: CustomStringConvertible {
    /// What happened, as a phrase.
    public var description: String {
        switch self {
        case .notFound(let what): "\(what) not found"
        case .busy(let line, let consumer): "line \(line) is used by \(consumer)"
        case .accessDenied(let chip): "no permission to open \(chip)"
        case .closed(let line): "line \(line) is closed"
        case .system(let code, let message): "\(message) (code \(code))"
        }
    }
}

/// A change of level seen on an input line.
public struct GPIOEdge: Hashable, Sendable {
    /// When the kernel saw it, on the host's monotonic clock.
    public var time: HostInstant
    /// Whether the line became active.
    public var isRising: Bool
    /// Whether edges before this one may have been lost: uAPI v1 drops silently when 16 wait.
    public var lossPossible: Bool
    /// An edge.
    public init(time: HostInstant, isRising: Bool, lossPossible: Bool) {
        self.time = time
        self.isRising = isRising
        self.lossPossible = lossPossible
    }
}

/// How a line is asked for.
public struct GPIOLineOptions: Hashable, Sendable {
    /// The name shown to others who look at the line.
    public var consumer: String
    /// Whether a low level counts as active.
    public var isActiveLow: Bool
    /// Options.
    public init(consumer: String, isActiveLow: Bool = false) {
        self.consumer = consumer
        self.isActiveLow = isActiveLow
    }
}

/// The GPIO chips of this machine, or of an emulated bench.
public protocol GPIOHost: AnyObject, Sendable {
    /// The chips present, ordered by name.
    func chips() async throws(GPIOError) -> [GPIOChipSummary]

    /// Asks for an output line. It is driven to `safeLevel` at once, when it is released, and when
    /// the owner goes away in good order; releasing a line does not guarantee its level after that.
    func output(
        _ line: GPIOLineID, safeLevel: Bool, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOOutput

    /// Asks for an input line whose edges are reported.
    func input(
        _ line: GPIOLineID, options: GPIOLineOptions
    ) async throws(GPIOError) -> any GPIOInput
}

/// An output line in our hands. Levels are logical: `true` is active.
public protocol GPIOOutput: AnyObject, Sendable {
    /// Which line.
    var line: GPIOLineID { get }
    /// Drives the line.
    func set(_ level: Bool) async throws(GPIOError)
    /// Drives the safe level and gives the line back. May be called twice.
    func release() async
}

/// An input line in our hands. Levels are logical: `true` is active.
public protocol GPIOInput: AnyObject, Sendable {
    /// Which line.
    var line: GPIOLineID { get }
    /// The present level.
    func level() async throws(GPIOError) -> Bool
    /// The next edge; waits for it.
    ///
    /// - Throws: `closed` once the line is released.
    func nextEdge() async throws(GPIOError) -> GPIOEdge
    /// Gives the line back. May be called twice.
    func release() async
}
