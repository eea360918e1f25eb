/// A number with `digits` digits after the point, rounded half away from zero.
///
/// The same text on every machine and in every locale, as reports must be comparable byte by byte.
public func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 9e18 else { return "\(value)" }
    let number = UInt64(scaled)
    let sign = value < 0 && number > 0 ? "-" : ""
    guard digits > 0 else { return sign + String(number) }
    let whole = number / UInt64(scale)
    let fraction = String(number % UInt64(scale))
    return "\(sign)\(whole)." + String(repeating: "0", count: digits - fraction.count) + fraction
}

/// A small number with two significant digits and an exponent, such as `1.5e-12`.
public func scientific(_ value: Double, _ digits: Int = 2) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
    var exponent = 0
    var mantissa = abs(value)
    while mantissa >= 10 {
        mantissa /= 10
        exponent += 1
    }
    while mantissa < 1 {
        mantissa *= 10
        exponent -= 1
    }
    var text = fixed(mantissa, digits - 1)
    if text.hasPrefix("10") {
        exponent += 1
        text = fixed(1, digits - 1)
    }
    return (value < 0 ? "-" : "") + text + "e\(exponent)"
}
