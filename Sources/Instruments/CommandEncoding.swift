import DeviceProfiles

/// Why a command of a profile could not be put into bytes or text.
package enum CommandEncodingError: Error, Hashable, Sendable {
    case argumentCount(expected: Int, found: Int)
    case outOfRange(argument: String, value: Double, allowed: ClosedRange<Double>)
    case notBinary(argument: String)
    case noTemplate
}

extension Command {
    /// Checks the values and pairs them with the arguments, in the order they are sent.
    private func checked(
        _ values: [Double]
    ) throws(CommandEncodingError) -> [(name: String, argument: Argument, value: Double)] {
        guard values.count == arguments.count else {
            throw .argumentCount(expected: arguments.count, found: values.count)
        }
        var result: [(name: String, argument: Argument, value: Double)] = []
        for (entry, value) in zip(arguments.entries, values) {
            let argument = entry.value
            guard value.isFinite, value >= argument.min, value <= argument.max else {
                throw .outOfRange(
                    argument: entry.name, value: value, allowed: argument.min...argument.max)
            }
            result.append((entry.name, argument, value))
        }
        return result
    }

    /// The arguments as bytes: at their offsets, or one after the other; arguments that state bits
    /// share one word.
    package func argumentBytes(_ values: [Double]) throws(CommandEncodingError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: dataBytes)
        var word: (value: UInt64, count: Int)?
        for (name, argument, value) in try checked(values) {
            guard let count = argument.encoding.fixedBytes else { throw .notBinary(argument: name) }
            let bits = UInt64(bitPattern: Int64(value.rounded()))
            if let low = argument.lowBit, let high = argument.highBit {
                let mask = (UInt64(1) << UInt64(high - low + 1)) - 1
                word = ((word?.value ?? 0) | (bits & mask) << UInt64(low), count)
            } else if let offset = argument.offset {
                for index in 0..<count where offset + index < bytes.count {
                    bytes[offset + index] = UInt8(truncatingIfNeeded: bits >> UInt64(8 * index))
                }
            } else {
                bytes += Self.littleEndian(bits, count: count)
            }
        }
        if let word { bytes += Self.littleEndian(word.value, count: word.count) }
        return bytes
    }

    private static func littleEndian(_ value: UInt64, count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    /// The text of the command with its placeholders filled, without terminator.
    package func text(_ values: [Double] = []) throws(CommandEncodingError) -> String {
        guard let template else { throw .noTemplate }
        var text = template
        for (name, argument, value) in try checked(values) {
            let digits =
                if let count = argument.encoding.hexDigits {
                    hexadecimalText(Int64(value.rounded()), digits: count)
                } else if argument.encoding == .integer {
                    String(Int64(value.rounded()))
                } else {
                    decimalText(value)
                }
            let placeholder = "{\(name)}"
            guard let range = text.firstRange(of: placeholder) else { continue }
            text.replaceSubrange(range, with: digits)
        }
        return text
    }
}

/// `value` with at most six decimals and no exponent, as instruments with small parsers read it.
package func decimalText(_ value: Double) -> String {
    precondition(abs(value) < 1e12, "the value is checked against the range of the profile")
    let scaled = Int64((abs(value) * 1e6).rounded())
    let whole = scaled / 1_000_000
    var text = (value < 0 && scaled > 0 ? "-" : "") + String(whole)
    var fraction = String(scaled % 1_000_000 + 1_000_000).dropFirst()
    while fraction.last == "0" { fraction.removeLast() }
    if !fraction.isEmpty { text += "." + fraction }
    return text
}

/// The low `digits` hexadecimal digits of `value` in two's complement, in upper case.
private func hexadecimalText(_ value: Int64, digits: Int) -> String {
    let bits = UInt64(bitPattern: value) & (UInt64.max >> UInt64(64 - 4 * digits))
    let text = String(bits, radix: 16, uppercase: true)
    return String(repeating: "0", count: digits - text.utf8.count) + text
}

extension DataField {
    /// The number at this field's place, or nil when `data` is too short or the field is text.
    package func number(in data: [UInt8]) -> Int64? {
        if let count = encoding.hexDigits { return hexadecimal(in: data, digits: count) }
        guard let count = encoding.fixedBytes, offset + count <= data.count else { return nil }
        var bits: UInt64 = 0
        for index in (0..<count).reversed() { bits = bits << 8 | UInt64(data[offset + index]) }
        switch encoding {
        case .i16le: return Int64(Int16(truncatingIfNeeded: bits))
        case .i32le: return Int64(Int32(truncatingIfNeeded: bits))
        default: return Int64(bits)
        }
    }

    /// The number written in hexadecimal digits of either case, or nil when one is none.
    private func hexadecimal(in data: [UInt8], digits: Int) -> Int64? {
        guard offset + digits <= data.count else { return nil }
        var bits: UInt64 = 0
        for byte in data[offset..<offset + digits] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                return nil
            }
            bits = bits << 4 | UInt64(digit)
        }
        guard encoding.isSigned else { return Int64(bits) }
        let shift = UInt64(64 - 4 * digits)
        return Int64(bitPattern: bits << shift) >> Int64(shift)
    }

    /// The text at this field's place without padding, or nil when `data` is too short.
    package func string(in data: [UInt8]) -> String? {
        guard encoding == .ascii, offset + bytes <= data.count else { return nil }
        let raw = data[offset..<offset + bytes].prefix { $0 != 0 }
        var text = String(decoding: raw.map { $0 < 0x80 ? $0 : 0x3F }, as: UTF8.self)
        while text.last == " " { text.removeLast() }
        return text
    }
}

extension DriverError {
    /// The error of a profile that lacks a fact the driver needs.
    package init(_ error: MissingProfileField, instrument: String, operation: String) {
        self.init(
            code: .notSupported, instrument: instrument, operation: operation,
            expected: "\(error.path) in profile \(error.profile)", found: "no such field",
            advice: "add the field to the profile, or use the profile that came with the program")
    }

    /// The error of a value that can not be sent.
    package init(_ error: CommandEncodingError, instrument: String, operation: String) {
        switch error {
        case .outOfRange(let argument, let value, let allowed):
            self.init(
                code: .outOfRange, instrument: instrument, operation: operation,
                expected:
                    "\(argument) from \(allowed.lowerBound) to \(allowed.upperBound)",
                found: "\(value)", advice: "choose a value inside the range of the profile")
        case .argumentCount(let expected, let found):
            self.init(
                code: .notSupported, instrument: instrument, operation: operation,
                expected: "a command with \(found) arguments", found: "one with \(expected)",
                advice: "compare the profile with the one that came with the program")
        case .notBinary(let argument):
            self.init(
                code: .notSupported, instrument: instrument, operation: operation,
                expected: "a binary encoding of \(argument)", found: "text",
                advice: "compare the profile with the one that came with the program")
        case .noTemplate:
            self.init(
                code: .notSupported, instrument: instrument, operation: operation,
                expected: "a command with a text", found: "a command without",
                advice: "compare the profile with the one that came with the program")
        }
    }
}
