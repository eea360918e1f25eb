/// Data elements of SCPI replies. Pure decoding.
///
/// Source: IEEE 488.2-1992, section 8.7 (response data), SCPI-99 volume 1, section 7.2.1.4 (infinity
/// and not-a-number) and volume 2, section 21.8 (the error queue).
package enum SCPI {
    /// A numeric reply.
    package enum Number: Hashable, Sendable {
        /// A value.
        case value(Double)
        /// Above or below what the instrument can measure: 9.9E37 with its sign.
        case outOfRange
        /// No measurement: 9.91E37.
        case notANumber

        /// Reads NR1, NR2 or NR3 text; nil for anything else.
        package init?(_ text: String) {
            guard let value = SCPI.decimal(text) else { return nil }
            if abs(value) < 9.9e37 {
                self = .value(value)
            } else {
                self = abs(value / 9.91e37 - 1) < 1e-4 ? .notANumber : .outOfRange
            }
        }
    }

    /// A finite decimal number and nothing else: `Double` also reads "nan", "inf" and hexadecimal.
    package static func decimal(_ text: String) -> Double? {
        guard !text.isEmpty, text.utf8.count <= 32,
            text.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }),
            let value = Double(text), value.isFinite
        else { return nil }
        return value
    }

    /// A whole number of counts.
    package static func count(_ text: String) -> UInt64? {
        guard let value = decimal(text), value >= 0, value < 1e15, value == value.rounded() else {
            return nil
        }
        return UInt64(value)
    }

    /// A yes or no: NR1 or a word.
    package static func flag(_ text: String) -> Bool? {
        switch text.uppercased() {
        case "1", "ON", "TRUE": true
        case "0", "OFF", "FALSE": false
        default: nil
        }
    }

    /// The fields of a reply; commas inside double quotes do not separate.
    package static func fields(_ text: String) -> [String] {
        var fields: [String] = [""]
        var isQuoted = false
        for character in text {
            if character == "\"" {
                isQuoted.toggle()
            } else if character == ",", !isQuoted {
                fields.append("")
            } else {
                fields[fields.count - 1].append(character)
            }
        }
        return fields.map { $0.trimming(" ") }
    }

    /// An entry of the error queue.
    package struct QueuedError: Hashable, Sendable {
        /// The number; 0 when the queue is empty, negative for the errors of SCPI itself.
        package var code: Int
        /// The description, without quotes.
        package var message: String

        /// Reads `-113,"Undefined header"`; nil for anything else.
        package init?(_ text: String) {
            let fields = SCPI.fields(text)
            guard fields.count >= 2 else { return nil }
            let digits = fields[0].hasPrefix("+") ? String(fields[0].dropFirst()) : fields[0]
            guard digits.utf8.count <= 6, let code = Int(digits) else { return nil }
            self.code = code
            message = fields[1...].joined(separator: ",")
        }
    }
}

extension String {
    fileprivate func trimming(_ character: Character) -> String {
        var text = self[...]
        while text.first == character { text.removeFirst() }
        while text.last == character { text.removeLast() }
        return String(text)
    }
}
