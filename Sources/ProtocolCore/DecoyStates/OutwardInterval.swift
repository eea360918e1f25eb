/// A closed interval that is rounded outwards after every operation, so that the exact result of
/// a formula over exact inputs always lies inside. This is what keeps a rounding from lengthening
/// a key: the length is the floor of the lower end.
///
/// **What the proof rests on.** Only the basic operations of binary64: IEEE 754 rounds sum,
/// difference, product, quotient and square root correctly, so the true result lies within half a
/// unit in the last place, and one step of `nextDown`/`nextUp` encloses it, at powers of two, in
/// the subnormal range and at overflow (to infinity) too. Logarithm and exponential are not taken
/// from the C library, whose accuracy is measured but not promised (the glibc manual lists 1 unit
/// in the last place as the largest error *known*); they are series in the same interval
/// arithmetic with an explicit bound of what is cut off, see `logarithm(of:)` and
/// `exponential(of:)`. Source of the method: Moore, Kearfott, Cloud, "Introduction to Interval
/// Analysis", SIAM 2009, chapters 2 and 5.
///
/// An operation without a bound (a zero in a divisor, the logarithm of a value that may be
/// negative, a NaN) gives the whole real line, from which no key follows.
package struct OutwardInterval: KeyLengthScalar {
    package let lowerValue: Double
    package let upperValue: Double

    package init(_ exact: Double) { self.init(from: exact, to: exact) }

    package init(from lower: Double, to upper: Double) {
        if lower <= upper {
            (lowerValue, upperValue) = (lower, upper)
        } else {
            // A NaN, or ends in the wrong order: nothing is known.
            (lowerValue, upperValue) = (-.infinity, .infinity)
        }
    }

    package static let everything = Self(from: -.infinity, to: .infinity)

    /// The enclosure of an operation whose ends were computed with one correct rounding.
    private static func rounded(_ lower: Double, _ upper: Double) -> Self {
        Self(from: lower.nextDown, to: upper.nextUp)
    }

    package static func + (left: Self, right: Self) -> Self {
        rounded(left.lowerValue + right.lowerValue, left.upperValue + right.upperValue)
    }

    package static func - (left: Self, right: Self) -> Self {
        rounded(left.lowerValue - right.upperValue, left.upperValue - right.lowerValue)
    }

    package static func * (left: Self, right: Self) -> Self {
        spanning(
            left.lowerValue * right.lowerValue, left.lowerValue * right.upperValue,
            left.upperValue * right.lowerValue, left.upperValue * right.upperValue)
    }

    package static func / (left: Self, right: Self) -> Self {
        if right.lowerValue <= 0, right.upperValue >= 0 { return everything }
        return spanning(
            left.lowerValue / right.lowerValue, left.lowerValue / right.upperValue,
            left.upperValue / right.lowerValue, left.upperValue / right.upperValue)
    }

    private static func spanning(_ a: Double, _ b: Double, _ c: Double, _ d: Double) -> Self {
        // `min` may drop a NaN of 0 · ∞; the sum keeps it.
        if (a + b + c + d).isNaN, a.isNaN || b.isNaN || c.isNaN || d.isNaN { return everything }
        return rounded(min(min(a, b), min(c, d)), max(max(a, b), max(c, d)))
    }

    package var root: Self {
        if upperValue.isNaN { return .everything }
        return Self(
            from: max(0, max(0, lowerValue).squareRoot().nextDown),
            to: max(0, upperValue).squareRoot().nextUp)
    }

    package var naturalLogarithm: Self {
        guard lowerValue >= 0, upperValue > 0 else { return .everything }
        let below = lowerValue > 0 ? Self.logarithm(of: lowerValue).lowerValue : -.infinity
        return Self(from: below, to: Self.logarithm(of: upperValue).upperValue)
    }

    package var naturalExponential: Self {
        Self(
            from: Self.exponential(of: lowerValue).lowerValue,
            to: Self.exponential(of: upperValue).upperValue)
    }

    /// ln 2 = 0x0.b17217f7d1cf79abc9e3b398…, between this binary64 number and the next one.
    package static let logTwo = Self(from: 0x1.62e42fefa39efp-1, to: 0x1.62e42fefa39f0p-1)

    package static func least(_ left: Self, _ right: Self) -> Self {
        Self(
            from: min(left.lowerValue, right.lowerValue),
            to: min(left.upperValue, right.upperValue))
    }

    package static func greatest(_ left: Self, _ right: Self) -> Self {
        Self(
            from: max(left.lowerValue, right.lowerValue),
            to: max(left.upperValue, right.upperValue))
    }
}

extension OutwardInterval {
    private static let oddReciprocals = (0...10).map { Self(1) / Self(Double(2 * $0 + 1)) }
    private static let integers = (0...14).map { Self(Double($0)) }

    /// An enclosure of ln x for a positive number.
    ///
    /// With x = 2^k m, m in [0.705, 1.41), and z = (m − 1)/(m + 1),
    /// ln x = k ln 2 + 2z Σ z^{2i} / (2i + 1). As |z| < 0.1731, the terms from i = 11 on add
    /// between 0 and z²² / (23 (1 − z²)) < 8·10⁻¹⁹ to the sum of the others.
    package static func logarithm(of x: Double) -> Self {
        guard x > 0 else { return everything }
        guard x < .infinity else { return Self(from: 709, to: .infinity) }
        var exponent = Double(x.exponent)
        var mantissa = x.significand
        if mantissa >= 1.41 {
            mantissa *= 0.5
            exponent += 1
        }
        let z = (Self(mantissa) - Self(1)) / (Self(mantissa) + Self(1))
        let square = z * z
        var sum = oddReciprocals[10]
        for index in stride(from: 9, through: 0, by: -1) {
            sum = sum * square + oddReciprocals[index]
        }
        sum = sum + Self(from: 0, to: 8e-19)
        return Self(2) * z * sum + Self(exponent) * logTwo
    }

    /// An enclosure of e^x.
    ///
    /// With k the integer nearest to x / ln 2 and r = x − k ln 2, |r| < 0.35, e^x = 2^k e^r, and
    /// the terms of Σ r^i / i! from i = 15 on are below r^15 / 15! · 1.03 < 1.2·10⁻¹⁹ together.
    package static func exponential(of x: Double) -> Self {
        guard !x.isNaN else { return everything }
        // Beyond the range in which 2^k and the product are exact: e^690 > 10^299.
        if x > 690 { return Self(from: 1e299, to: .infinity) }
        if x < -690 { return Self(from: 0, to: 1e-299) }
        let power = (x / Double.logTwo).rounded()
        let rest = Self(x) - Self(power) * logTwo
        var sum = Self(1)
        for index in stride(from: 14, through: 1, by: -1) {
            sum = Self(1) + rest * sum / integers[index]
        }
        sum = sum + Self(from: -2e-19, to: 2e-19)
        let scale = Double(sign: .plus, exponent: Int(power), significand: 1)
        return Self(from: sum.lowerValue * scale, to: sum.upperValue * scale)
    }
}
