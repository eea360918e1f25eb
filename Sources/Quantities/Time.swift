// Named time domains. They never mix implicitly: conversions live in one clock model
// (`EventPipeline`), and the oscillator models of `OpticalBench`.

/// A span of time in integer picoseconds; ±106 days.
public struct Picoseconds: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// The number of picoseconds.
    public var rawValue: Int64
    /// Wraps a number of picoseconds.
    @inlinable public init(_ rawValue: Int64) { self.rawValue = rawValue }
    /// Converts from seconds, rounded to the nearest picosecond.
    @inlinable public init(seconds: Double) { rawValue = Int64((seconds * 1e12).rounded()) }
    /// The span in seconds.
    @inlinable public var seconds: Double { Double(rawValue) * 1e-12 }
    /// Orders by length.
    @inlinable public static func < (left: Self, right: Self) -> Bool {
        left.rawValue < right.rawValue
    }
    /// The sum of two spans.
    @inlinable public static func + (left: Self, right: Self) -> Self {
        Self(left.rawValue + right.rawValue)
    }
    /// The difference of two spans.
    @inlinable public static func - (left: Self, right: Self) -> Self {
        Self(left.rawValue - right.rawValue)
    }
    /// The negated span.
    @inlinable public static prefix func - (value: Self) -> Self { Self(-value.rawValue) }
    /// The value with its unit.
    public var description: String { "\(rawValue) ps" }
}

/// A reading of this machine's monotonic clock, in nanoseconds.
///
/// On the live machine the origin is that of CLOCK_MONOTONIC; on virtual time it is the start of
/// the simulation.
public struct HostInstant: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// Nanoseconds since the clock's origin.
    public var nanoseconds: Int64
    /// Wraps a number of nanoseconds since the clock's origin.
    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    /// The origin of the clock.
    public static let zero = HostInstant(nanoseconds: 0)
    /// The instant in seconds since the origin.
    @inlinable public var seconds: Double { Double(nanoseconds) * 1e-9 }
    /// Orders earlier before later.
    @inlinable public static func < (left: Self, right: Self) -> Bool {
        left.nanoseconds < right.nanoseconds
    }
    /// The instant `duration` later; sub-nanosecond parts are dropped.
    @inlinable public static func + (left: Self, right: Duration) -> Self {
        Self(nanoseconds: left.nanoseconds + right.wholeNanoseconds)
    }
    /// The time from `right` to `left`.
    @inlinable public static func - (left: Self, right: Self) -> Duration {
        .nanoseconds(left.nanoseconds - right.nanoseconds)
    }
    /// The instant as seconds with nanosecond digits.
    public var description: String { "\(nanoseconds) ns" }
}

extension Duration {
    /// The duration in whole nanoseconds, truncated towards zero.
    @inlinable public var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
    /// The duration in seconds.
    @inlinable public var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}

/// The counter of one time tagger, unwrapped to 64 bit.
public struct DeviceTicks: Hashable, Comparable, Sendable {
    /// The number of ticks since the start of the acquisition.
    public var rawValue: UInt64
    /// Wraps a number of ticks.
    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// Orders earlier before later.
    @inlinable public static func < (left: Self, right: Self) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// The nominal length of one device tick as an exact fraction of picoseconds.
public struct TickPeriod: Hashable, Sendable {
    /// Picoseconds per `denominator` ticks; positive.
    public let numerator: Int64
    /// The number of ticks that last `numerator` picoseconds; positive.
    public let denominator: Int64
    /// A tick of `numerator / denominator` picoseconds. Both must be positive.
    public init(numerator: Int64, denominator: Int64) {
        precondition(numerator > 0 && denominator > 0, "a tick period is a positive fraction")
        self.numerator = numerator
        self.denominator = denominator
    }
    /// A tick of a whole number of picoseconds.
    public init(picoseconds: Int64) { self.init(numerator: picoseconds, denominator: 1) }
    /// The period in picoseconds.
    @inlinable public var picoseconds: Double { Double(numerator) / Double(denominator) }
    /// The nominal picoseconds of `ticks` ticks, rounded down; exact while the result fits 63 bits.
    @inlinable public func picoseconds(of ticks: UInt64) -> Int64 {
        let (high, low) = ticks.multipliedFullWidth(by: UInt64(numerator))
        return Int64(UInt64(denominator).dividingFullWidth((high, low)).quotient)
    }
}

/// Picoseconds on the common time scale of the link, zero at the start of the session.
public struct LinkTime: Hashable, Comparable, Sendable {
    /// Picoseconds since the session epoch.
    public var picoseconds: Int64
    /// Wraps picoseconds since the session epoch.
    @inlinable public init(picoseconds: Int64) { self.picoseconds = picoseconds }
    /// Orders earlier before later.
    @inlinable public static func < (left: Self, right: Self) -> Bool {
        left.picoseconds < right.picoseconds
    }
}

/// The number of a pulse slot, counted by Alice's oscillator from the start of the session.
public struct SlotIndex: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// The slot number.
    public var rawValue: UInt64
    /// Wraps a slot number.
    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// Orders earlier before later.
    @inlinable public static func < (left: Self, right: Self) -> Bool {
        left.rawValue < right.rawValue
    }
    /// The slot number in decimal digits.
    public var description: String { "\(rawValue)" }
}
