// The elementary functions the core needs, from the C library, in one place: the other targets
// stay free of platform imports.
#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The sine of an angle in radians.
@inlinable public func sine(_ x: Double) -> Double { sin(x) }
/// The cosine of an angle in radians.
@inlinable public func cosine(_ x: Double) -> Double { cos(x) }
/// The angle of the vector (x, y) in radians, in −π…π.
@inlinable public func arcTangent(_ y: Double, _ x: Double) -> Double { atan2(y, x) }
/// The angle in 0…π whose cosine is `x`; values outside −1…1 are clamped.
@inlinable public func arcCosine(_ x: Double) -> Double { acos(max(-1, min(1, x))) }
/// e raised to `x`.
@inlinable public func exponential(_ x: Double) -> Double { exp(x) }
/// e raised to `x`, minus 1, exact for small `x`.
@inlinable public func exponentialMinus1(_ x: Double) -> Double { expm1(x) }
/// 10 raised to `x`.
@inlinable public func exponentialBase10(_ x: Double) -> Double { pow(10, x) }
/// The natural logarithm.
@inlinable public func naturalLog(_ x: Double) -> Double { log(x) }
/// The natural logarithm of 1 + x, exact for small `x`.
@inlinable public func naturalLog1p(_ x: Double) -> Double { log1p(x) }
/// The binary logarithm.
@inlinable public func binaryLog(_ x: Double) -> Double { log2(x) }
/// `x` raised to the power `y`.
@inlinable public func power(_ x: Double, _ y: Double) -> Double { pow(x, y) }
/// The error function.
@inlinable public func errorFunction(_ x: Double) -> Double { erf(x) }
/// The complementary error function.
@inlinable public func complementaryErrorFunction(_ x: Double) -> Double { erfc(x) }
/// The natural logarithm of the gamma function for positive `x`.
@inlinable public func logGamma(_ x: Double) -> Double { lgamma(x) }
