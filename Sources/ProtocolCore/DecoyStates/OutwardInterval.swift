import Quantities

/// The arithmetic a key-length formula is written in: plain `Double` for the reported
/// intermediates, `OutwardInterval` for the length that is used.
protocol KeyLengthScalar {
    init(_ exact: Double)
    static func + (left: Self, right: Self) -> Self
    static func - (left: Self, right: Self) -> Self
    static func * (left: Self, right: Self) -> Self
    static func / (left: Self, right: Self) -> Self
    /// The root of the value, which is 0 or above.
    var root: Self { get }
    var naturalLogarithm: Self { get }
    var naturalExponential: Self { get }
    /// The smaller, and the larger, of two values.
    static func least(_ left: Self, _ right: Self) -> Self
    static func greatest(_ left: Self, _ right: Self) -> Self
    /// A value not above the true one, and one not below it.
    var lowerValue: Double { get }
    var upperValue: Double { get }
}

extension KeyLengthScalar {
    func clipped(to upper: Self) -> Self { Self.least(Self.greatest(self, Self(0)), upper) }
}

extension Double: KeyLengthScalar {
    var root: Double { squareRoot() }
    var naturalLogarithm: Double { naturalLog(self) }
    var naturalExponential: Double { exponential(self) }
    static func least(_ left: Double, _ right: Double) -> Double { min(left, right) }
    static func greatest(_ left: Double, _ right: Double) -> Double { max(left, right) }
    var lowerValue: Double { self }
    var upperValue: Double { self }
}

/// A closed interval that is rounded outwards after every operation, so that the exact result of
/// a formula over exact inputs always lies inside.
///
/// One step of `nextDown`/`nextUp` covers the rounding of the basic operations; exponential and
/// logarithm get four steps, since the C library promises less than one unit in the last place
/// but not correct rounding. Source of the method: Moore, Kearfott, Cloud, "Introduction to
/// Interval Analysis", SIAM 2009.
struct OutwardInterval: KeyLengthScalar {
    let lowerValue: Double
    let upperValue: Double

    init(_ exact: Double) {
        lowerValue = exact
        upperValue = exact
    }

    private init(_ lower: Double, _ upper: Double, steps: Int) {
        var (lower, upper) = (lower, upper)
        if lower.isNaN || upper.isNaN { (lower, upper) = (-.infinity, .infinity) }
        for _ in 0..<steps { (lower, upper) = (lower.nextDown, upper.nextUp) }
        lowerValue = lower
        upperValue = upper
    }

    static func + (left: Self, right: Self) -> Self {
        Self(left.lowerValue + right.lowerValue, left.upperValue + right.upperValue, steps: 1)
    }

    static func - (left: Self, right: Self) -> Self {
        Self(left.lowerValue - right.upperValue, left.upperValue - right.lowerValue, steps: 1)
    }

    static func * (left: Self, right: Self) -> Self {
        spanning(
            left.lowerValue * right.lowerValue, left.lowerValue * right.upperValue,
            left.upperValue * right.lowerValue, left.upperValue * right.upperValue)
    }

    static func / (left: Self, right: Self) -> Self {
        if right.lowerValue <= 0, right.upperValue >= 0 {
            return Self(-.infinity, .infinity, steps: 0)
        }
        return spanning(
            left.lowerValue / right.lowerValue, left.lowerValue / right.upperValue,
            left.upperValue / right.lowerValue, left.upperValue / right.upperValue)
    }

    private static func spanning(_ a: Double, _ b: Double, _ c: Double, _ d: Double) -> Self {
        Self(min(min(a, b), min(c, d)), max(max(a, b), max(c, d)), steps: 1)
    }

    var root: Self {
        Self(max(0, lowerValue).squareRoot(), max(0, upperValue).squareRoot(), steps: 1)
    }

    var naturalLogarithm: Self { Self(naturalLog(lowerValue), naturalLog(upperValue), steps: 4) }

    var naturalExponential: Self {
        Self(exponential(lowerValue), exponential(upperValue), steps: 4)
    }

    static func least(_ left: Self, _ right: Self) -> Self {
        Self(
            min(left.lowerValue, right.lowerValue), min(left.upperValue, right.upperValue),
            steps: 0)
    }

    static func greatest(_ left: Self, _ right: Self) -> Self {
        Self(
            max(left.lowerValue, right.lowerValue), max(left.upperValue, right.upperValue),
            steps: 0)
    }
}
