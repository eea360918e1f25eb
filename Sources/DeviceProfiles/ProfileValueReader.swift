import Yams

/// Collects the errors of one file and remembers where every value stood.
final class ErrorSink {
    /// After this many errors a file is not worth reading on.
    static let errorsMax = 50

    let file: String
    private(set) var errors: [ProfileError] = []
    /// Dotted paths of all values that are not sections, in file order.
    private(set) var statedFields: [String] = []
    private(set) var marks: [String: ProfileScreen.Position] = [:]

    init(file: String) { self.file = file }

    func note(_ path: String, _ position: ProfileScreen.Position, leaf: Bool) {
        marks[path] = position
        if leaf { statedFields.append(path) }
    }

    func report(
        _ path: String, at position: ProfileScreen.Position, expected: String, found: String
    ) {
        guard errors.count < Self.errorsMax else { return }
        errors.append(
            ProfileError(
                file: file, line: position.line, column: position.column, path: path,
                expected: expected, found: found))
    }

    /// Reports an error found after reading, at the place where `path` or its closest section was.
    func report(_ path: String, expected: String, found: String) {
        var place = path
        while marks[place] == nil, let dot = place.lastIndex(of: ".") {
            place = String(place[..<dot])
        }
        let position = marks[place] ?? ProfileScreen.Position(line: 1, column: 1)
        report(path, at: position, expected: expected, found: found)
    }
}

/// One value of the file with its path.
struct ValueReader {
    let node: Node
    let path: String
    let sink: ErrorSink
    /// The key of the value, for mappings whose keys are not fixed.
    var key: Node?

    var position: ProfileScreen.Position { node.position }

    /// Reports something wrong with the key rather than the value.
    func failKey(_ expected: String, found: String) {
        sink.report(path, at: (key ?? node).position, expected: expected, found: found)
    }

    /// Reports text whose form is wrong.
    func failText(_ expected: String, found: String) {
        sink.report(path, expected: expected, found: "\"\(found)\"")
    }

    private func fail(_ expected: String) {
        sink.report(path, at: position, expected: expected, found: node.whatItIs)
    }

    func integer(_ range: ClosedRange<Int>, expecting what: String? = nil) -> Int? {
        sink.note(path, position, leaf: true)
        let expected = what ?? "an integer from \(range.lowerBound) to \(range.upperBound)"
        guard let value = node.plainText.flatMap(Self.integer), range.contains(value) else {
            fail(expected)
            return nil
        }
        return value
    }

    func number(_ range: ClosedRange<Double>) -> Double? {
        sink.note(path, position, leaf: true)
        guard let value = node.plainText.flatMap(Self.number), range.contains(value) else {
            fail("a number from \(Self.show(range.lowerBound)) to \(Self.show(range.upperBound))")
            return nil
        }
        return value
    }

    func flag() -> Bool? {
        sink.note(path, position, leaf: true)
        switch node.plainText {
        case "true": return true
        case "false": return false
        default:
            fail("true or false")
            return nil
        }
    }

    /// Text with quotes, or plain text that could not be taken for anything else.
    func text(max length: Int = 200) -> String? {
        sink.note(path, position, leaf: true)
        guard let text = node.textValue, (1...length).contains(text.count) else {
            fail("text of 1 to \(length) characters\(node.quotingHint)")
            return nil
        }
        return text
    }

    func choice<Choice: RawRepresentable & CaseIterable>(_ type: Choice.Type) -> Choice?
    where Choice.RawValue == String {
        sink.note(path, position, leaf: true)
        // The values are compared as written: `none` or `off` are words here, whatever they mean
        // elsewhere.
        guard let value = node.scalar.flatMap({ Choice(rawValue: $0.string) }) else {
            fail("one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
            return nil
        }
        return value
    }

    func pattern() -> TextPattern? {
        guard let text = text() else { return nil }
        guard let pattern = TextPattern(text) else {
            fail("a pattern that does not end in a lone backslash")
            return nil
        }
        return pattern
    }

    func version() -> FirmwareVersion? {
        guard let text = text(max: 40) else { return nil }
        guard let version = FirmwareVersion(text) else {
            fail("a version of one to four numbers between dots")
            return nil
        }
        return version
    }

    func items(_ count: ClosedRange<Int> = 0...256) -> [ValueReader] {
        sink.note(path, position, leaf: false)
        guard let sequence = node.sequence, count.contains(sequence.count) else {
            fail("a sequence of \(count.lowerBound) to \(count.upperBound) items")
            return []
        }
        return sequence.enumerated().map {
            ValueReader(node: $0.element, path: "\(path).\($0.offset)", sink: sink)
        }
    }

    /// Keys and values of a mapping whose keys are not fixed, in file order.
    func pairs() -> [(key: ValueReader, value: ValueReader)] {
        sink.note(path, position, leaf: false)
        guard let mapping = node.mapping else {
            fail("a mapping")
            return []
        }
        return mapping.map { key, value in
            let path = "\(path).\(key.scalar?.string ?? "?")"
            return (
                ValueReader(node: key, path: path, sink: sink),
                ValueReader(node: value, path: path, sink: sink, key: key)
            )
        }
    }

    /// The value as a key that is a number.
    func key(_ range: ClosedRange<Int>) -> Int? {
        guard let value = node.plainText.flatMap(Self.integer), range.contains(value) else {
            fail("a key from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return value
    }

    func section() -> SectionReader? {
        sink.note(path, position, leaf: false)
        guard let mapping = node.mapping else {
            fail("a mapping")
            return nil
        }
        return SectionReader(mapping, path: path, position: position, sink: sink)
    }
}

extension ValueReader {
    /// Decimal digits without leading zero, or hexadecimal digits after `0x`; nil for the rest.
    static func integer(_ text: String) -> Int? {
        let negative = text.utf8.first == UInt8(ascii: "-")
        let digits = negative ? text.dropFirst() : text[...]
        let magnitude: UInt64?
        if digits.hasPrefix("0x") {
            let digits = digits.dropFirst(2)
            guard !negative, digits.utf8.allSatisfy(\.isHexDigit) else { return nil }
            magnitude = UInt64(digits, radix: 16)
        } else {
            guard digits.utf8.allSatisfy({ 48...57 ~= $0 }), digits == "0" || digits.first != "0"
            else { return nil }
            magnitude = UInt64(digits)
        }
        guard let magnitude, let value = Int(exactly: magnitude) else { return nil }
        return negative ? -value : value
    }

    /// An integer as above or a decimal fraction with optional exponent; always finite.
    static func number(_ text: String) -> Double? {
        if let value = integer(text) { return Double(value) }
        guard text.utf8.allSatisfy({ 48...57 ~= $0 || [43, 45, 46, 69, 101].contains($0) }),
            let first = text.utf8.first, 48...57 ~= first || first == 45,
            let value = Double(text), value.isFinite
        else { return nil }
        return value
    }

    /// A number without a fraction when it has none.
    static func show(_ value: Double) -> String {
        Int(exactly: value).map(String.init) ?? "\(value)"
    }
}

extension UInt8 {
    /// Whether the byte is an ASCII hexadecimal digit.
    var isHexDigit: Bool {
        switch self {
        case 48...57, 65...70, 97...102: true
        default: false
        }
    }
}

extension Node {
    private enum PlainKind {
        case text, number, truth, nothing
    }

    private static func kind(of text: String) -> PlainKind {
        switch text {
        case "", "~", "null", "Null", "NULL": .nothing
        case "true", "True", "TRUE", "false", "False", "FALSE": .truth
        default: ValueReader.number(text) == nil ? .text : .number
        }
    }

    /// Whether the tree has no anchors and aliases, and is at most `depth` deep.
    func isPlainTree(depth: Int) -> Bool {
        guard depth > 0, anchor == nil else { return false }
        switch self {
        case .alias: return false
        case .scalar: return true
        case .sequence(let items): return items.allSatisfy { $0.isPlainTree(depth: depth - 1) }
        case .mapping(let pairs):
            return pairs.allSatisfy {
                $0.key.isPlainTree(depth: depth - 1) && $0.value.isPlainTree(depth: depth - 1)
            }
        }
    }

    /// Where the node begins.
    var position: ProfileScreen.Position {
        ProfileScreen.Position(line: mark?.line ?? 1, column: mark?.column ?? 1)
    }

    /// The text of a scalar without quotes.
    var plainText: String? {
        guard let scalar, scalar.style == .plain else { return nil }
        return scalar.string
    }

    /// The text of a scalar that is text beyond doubt.
    var textValue: String? {
        guard let scalar else { return nil }
        guard scalar.style == .plain else { return scalar.string }
        return Self.kind(of: scalar.string) == .text ? scalar.string : nil
    }

    /// What to do about a number or truth value where text is wanted.
    var quotingHint: String {
        guard let plainText, !plainText.isEmpty, Self.kind(of: plainText) != .text else {
            return ""
        }
        return " (in quotes)"
    }

    /// The value in the words of an error message.
    var whatItIs: String {
        switch self {
        case .mapping: return "a mapping"
        case .sequence(let sequence): return "a sequence of \(sequence.count) items"
        case .alias: return "an alias"
        case .scalar(let scalar):
            let text = Self.excerpt(scalar.string)
            guard scalar.style == .plain else { return "the text \"\(text)\"" }
            switch Self.kind(of: scalar.string) {
            case .nothing: return "nothing"
            case .number: return "the number \(text)"
            case .truth: return text
            case .text: return "the text \"\(text)\""
            }
        }
    }

    /// At most 40 characters, control characters made visible.
    static func excerpt(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars.prefix(40) {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                if scalar.value < 0x20 {
                    result += "\\x" + String(scalar.value, radix: 16)
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return text.unicodeScalars.count > 40 ? result + "…" : result
    }
}
