import HostIO
import Quantities

/// A command on its way to the instrument: its parameters, read as the instrument needs them.
struct SCPICall {
    /// When it is carried out.
    let now: HostInstant
    /// The numeric suffixes of the header, in order.
    let suffixes: [Int]
    /// The parameters as they were sent.
    let parameters: [String]

    /// Refuses more parameters than `count`.
    func expect(atMost count: Int) throws(SCPIFault) {
        if parameters.count > count { throw .parameterNotAllowed }
    }

    private func parameter() throws(SCPIFault) -> String {
        guard let first = parameters.first else { throw .missingParameter }
        try expect(atMost: 1)
        return first.uppercased()
    }

    /// One of some words, given as a manual writes them; the index of it.
    func choice(_ words: [String]) throws(SCPIFault) -> Int {
        let text = try parameter()
        let index = words.firstIndex {
            text == $0.uppercased() || text == $0.filter { !$0.isLowercase }
        }
        guard let index else { throw .illegalValue }
        return index
    }

    /// ON, OFF or a number (SCPI-99 volume 1, section 7.3).
    func flag() throws(SCPIFault) -> Bool {
        switch try parameter() {
        case "ON": return true
        case "OFF": return false
        case let text:
            guard let value = Double(text), value.isFinite else { throw .dataType }
            return value.rounded() != 0
        }
    }

    /// A number in `range`, or MINimum, MAXimum, DEFault (SCPI-99 volume 1, section 7.2.1).
    ///
    /// - Parameter units: what the number is multiplied with when one of these suffixes follows it.
    func number(
        in range: ClosedRange<Double>, default standard: Double? = nil,
        units: [String: Double] = [:]
    ) throws(SCPIFault) -> Double {
        let text = try parameter()
        if let named = Self.named(text, range, standard) { return named }
        let digits = text.prefix { "+-.0123456789".contains($0) || $0 == "E" }
        let unit = text.dropFirst(digits.count).drop { $0 == " " }
        guard digits.first != "E", let value = Double(String(digits)), value.isFinite else {
            throw .dataType
        }
        guard let factor = unit.isEmpty ? 1 : units[String(unit)] else { throw .invalidSuffix }
        guard range.contains(value * factor) else { throw .dataOutOfRange }
        return value * factor
    }

    /// What a query asks for: the present value without parameter, or one of the named values.
    func asked(
        _ present: Double, in range: ClosedRange<Double>, default standard: Double? = nil
    ) throws(SCPIFault) -> Double {
        guard !parameters.isEmpty else { return present }
        guard let named = Self.named(try parameter(), range, standard) else {
            throw .illegalValue
        }
        return named
    }

    private static func named(
        _ text: String, _ range: ClosedRange<Double>, _ standard: Double?
    ) -> Double? {
        switch text {
        case "MIN", "MINIMUM": range.lowerBound
        case "MAX", "MAXIMUM": range.upperBound
        case "DEF", "DEFAULT": standard
        default: nil
        }
    }
}

/// A number in NR3 form with `places` decimals, such as `1.550000E+03`.
func scientific(_ value: Double, places: Int) -> String {
    guard value != 0, value.isFinite else { return decimal(0, places: places) + "E+00" }
    var exponent = 0
    var mantissa = abs(value)
    // Powers of ten are exact up to 22; instruments show fewer digits than the error of the rest.
    while mantissa >= 10 {
        mantissa /= 10
        exponent += 1
    }
    while mantissa < 1 {
        mantissa *= 10
        exponent -= 1
    }
    var text = decimal(mantissa, places: places)
    if text.hasPrefix("10") {
        text = decimal(1, places: places)
        exponent += 1
    }
    let digits = abs(exponent)
    return (value < 0 ? "-" : "") + text + (exponent < 0 ? "E-" : "E+")
        + (digits < 10 ? "0" : "") + "\(digits)"
}
