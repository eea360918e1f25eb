import Quantities

/// The arithmetic a key-length formula is written in: plain `Double` for the reported
/// intermediates and the optimiser, `OutwardInterval` for the length that is used.
package protocol KeyLengthScalar {
    /// The value itself.
    init(_ exact: Double)
    /// A value known to lie between two numbers; `Double` takes the middle.
    init(from lower: Double, to upper: Double)
    static func + (left: Self, right: Self) -> Self
    static func - (left: Self, right: Self) -> Self
    static func * (left: Self, right: Self) -> Self
    static func / (left: Self, right: Self) -> Self
    /// The root of the value, which is 0 or above.
    var root: Self { get }
    var naturalLogarithm: Self { get }
    var naturalExponential: Self { get }
    /// ln 2.
    static var logTwo: Self { get }
    /// The smaller, and the larger, of two values.
    static func least(_ left: Self, _ right: Self) -> Self
    static func greatest(_ left: Self, _ right: Self) -> Self
    /// A value not above the true one, and one not below it.
    var lowerValue: Double { get }
    var upperValue: Double { get }
}

extension KeyLengthScalar {
    func clipped(to upper: Self) -> Self { Self.least(Self.greatest(self, Self(0)), upper) }

    var binaryLogarithm: Self { naturalLogarithm / Self.logTwo }
}

extension Double: KeyLengthScalar {
    package init(from lower: Double, to upper: Double) { self = 0.5 * (lower + upper) }
    package var root: Double { squareRoot() }
    package var naturalLogarithm: Double { naturalLog(self) }
    package var naturalExponential: Double { exponential(self) }
    package static var logTwo: Double { 0x1.62e42fefa39efp-1 }
    package static func least(_ left: Double, _ right: Double) -> Double { min(left, right) }
    package static func greatest(_ left: Double, _ right: Double) -> Double { max(left, right) }
    package var lowerValue: Double { self }
    package var upperValue: Double { self }
}
