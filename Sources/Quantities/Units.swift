/// A physical quantity stored as one `Double` in a fixed unit.
///
/// Conforming types differ only by unit, so a voltage can not be passed where an angle is meant.
public protocol Quantity: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The value in the unit the type is named after.
    var rawValue: Double { get }
    /// Wraps a value given in the unit the type is named after.
    init(_ rawValue: Double)
    /// The symbol printed after the value.
    static var symbol: String { get }
}

extension Quantity {
    /// The value with its unit symbol, such as `12.5 V`.
    public var description: String { "\(rawValue) \(Self.symbol)" }
    /// Orders by value.
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    // The defaults of `Comparable` negate `<`, by which a value that is no number would lie inside
    // every range.
    /// Orders by value; false when one is no number.
    public static func <= (left: Self, right: Self) -> Bool { left.rawValue <= right.rawValue }
    /// Orders by value; false when one is no number.
    public static func > (left: Self, right: Self) -> Bool { left.rawValue > right.rawValue }
    /// Orders by value; false when one is no number.
    public static func >= (left: Self, right: Self) -> Bool { left.rawValue >= right.rawValue }
    /// The sum of two values of one unit.
    public static func + (left: Self, right: Self) -> Self { Self(left.rawValue + right.rawValue) }
    /// The difference of two values of one unit.
    public static func - (left: Self, right: Self) -> Self { Self(left.rawValue - right.rawValue) }
    /// The negated value.
    public static prefix func - (value: Self) -> Self { Self(-value.rawValue) }
    /// The value scaled by a plain number.
    public static func * (left: Self, right: Double) -> Self { Self(left.rawValue * right) }
    /// The value divided by a plain number.
    public static func / (left: Self, right: Double) -> Self { Self(left.rawValue / right) }
    /// The ratio of two values of one unit.
    public static func / (left: Self, right: Self) -> Double { left.rawValue / right.rawValue }
}

/// An angle in radians.
public struct Radians: Quantity {
    /// The angle in radians.
    public let rawValue: Double
    /// Wraps an angle in radians.
    public init(_ rawValue: Double) { self.rawValue = rawValue }
    /// Converts an angle from degrees.
    public init(degrees: Double) { self.rawValue = degrees * .pi / 180 }
    /// The angle in degrees.
    public var degrees: Double { rawValue * 180 / .pi }
    /// The unit symbol.
    public static let symbol = "rad"
}

/// An electrical potential in volts.
public struct Volts: Quantity {
    /// The potential in volts.
    public let rawValue: Double
    /// Wraps a potential in volts.
    public init(_ rawValue: Double) { self.rawValue = rawValue }
    /// The unit symbol.
    public static let symbol = "V"
}

/// A temperature in degrees Celsius.
public struct Celsius: Quantity {
    /// The temperature in degrees Celsius.
    public let rawValue: Double
    /// Wraps a temperature in degrees Celsius.
    public init(_ rawValue: Double) { self.rawValue = rawValue }
    /// The unit symbol.
    public static let symbol = "°C"
}

/// A frequency or rate in hertz.
public struct Hertz: Quantity {
    /// The frequency in hertz.
    public let rawValue: Double
    /// Wraps a frequency in hertz.
    public init(_ rawValue: Double) { self.rawValue = rawValue }
    /// The unit symbol.
    public static let symbol = "Hz"
}

/// A power ratio in decibels; losses are positive.
public struct Decibels: Quantity {
    /// The ratio in decibels.
    public let rawValue: Double
    /// Wraps a ratio in decibels.
    public init(_ rawValue: Double) { self.rawValue = rawValue }
    /// The transmitted fraction of power, `10^(-loss/10)`, when the value is read as a loss.
    public var transmittance: Double { exponentialBase10(-rawValue / 10) }
    /// The unit symbol.
    public static let symbol = "dB"
}

/// An optical power in watts.
public struct Watts: Quantity {
    /// The power in watts.
    public let rawValue: Double
    /// Wraps a power in watts.
    public init(_ rawValue: Double) { self.rawValue = rawValue }
    /// The unit symbol.
    public static let symbol = "W"
}

/// An optical wavelength in vacuum in nanometres.
public struct Nanometres: Quantity {
    /// The wavelength in nanometres.
    public let rawValue: Double
    /// Wraps a wavelength in nanometres.
    public init(_ rawValue: Double) { self.rawValue = rawValue }
    /// The unit symbol.
    public static let symbol = "nm"
}
