/// A JSON document (RFC 8259), built in the order its members shall appear.
public enum JSONText: Sendable {
    /// `null`, which also stands for numbers that are not finite.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A whole number.
    case integer(Int64)
    /// A whole number without a sign.
    case count(UInt64)
    /// A number.
    case number(Double)
    /// A string.
    case string(String)
    /// An array.
    case array([JSONText])
    /// An object.
    case object([(String, JSONText)])

    /// The document, indented by two spaces a level.
    public var text: String {
        var result = ""
        write(into: &result, indent: 0)
        return result
    }

    /// The document on one line, for protocols whose messages are lines.
    public var line: String {
        switch self {
        case .array(let items): "[" + items.map(\.line).joined(separator: ",") + "]"
        case .object(let members):
            "{"
                + members.map { JSONText.string($0.0).line + ":" + $0.1.line }
                .joined(separator: ",") + "}"
        default: text
        }
    }

    private func write(into text: inout String, indent: Int) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .count(let value): text += String(value)
        case .number(let value): text += value.isFinite ? value.description : "null"
        case .string(let value): Self.writeQuoted(value, into: &text)
        case .array(let items):
            Self.writeList("[", "]", items.count, into: &text, indent: indent) { index, text in
                items[index].write(into: &text, indent: indent + 1)
            }
        case .object(let members):
            Self.writeList("{", "}", members.count, into: &text, indent: indent) { index, text in
                Self.writeQuoted(members[index].0, into: &text)
                text += ": "
                members[index].1.write(into: &text, indent: indent + 1)
            }
        }
    }

    private static func writeList(
        _ open: String, _ close: String, _ count: Int, into text: inout String, indent: Int,
        item: (Int, inout String) -> Void
    ) {
        text += open
        for index in 0..<count {
            text += index == 0 ? "\n" : ",\n"
            text += String(repeating: "  ", count: indent + 1)
            item(index, &text)
        }
        if count > 0 { text += "\n" + String(repeating: "  ", count: indent) }
        text += close
    }

    private static func writeQuoted(_ value: String, into text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
