import Yams

/// A mapping of the file. Every key that is asked for becomes a known key; `finish()` reports the
/// keys that nobody asked for.
///
/// Reading goes on after an error with a substitute value, so that one run shows everything that
/// is wrong; the profile is thrown away in that case.
final class SectionReader {
    let path: String
    let position: ProfileScreen.Position
    let sink: ErrorSink
    private let mapping: Node.Mapping
    private var values: [String: Node] = [:]
    private var known: [String] = []

    init(
        _ mapping: Node.Mapping, path: String, position: ProfileScreen.Position, sink: ErrorSink
    ) {
        self.mapping = mapping
        self.path = path
        self.position = position
        self.sink = sink
        for (key, value) in mapping {
            if let name = key.scalar?.string { values[name] = value }
        }
    }

    func join(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// Whether the key is stated. It counts as known from now on.
    func has(_ key: String) -> Bool {
        know(key)
        return values[key] != nil
    }

    private func know(_ key: String) {
        if !known.contains(key) { known.append(key) }
    }

    func optional(_ key: String) -> ValueReader? {
        know(key)
        return values[key].map { ValueReader(node: $0, path: join(key), sink: sink) }
    }

    func required(_ key: String) -> ValueReader? {
        if let value = optional(key) { return value }
        sink.report(path, at: position, expected: "the key `\(key)`", found: "none")
        return nil
    }

    /// Reports keys that are not known, and keys that are not plain words.
    func finish() {
        for (key, _) in mapping {
            guard let name = key.scalar?.string else {
                sink.report(path, at: key.position, expected: "a plain key", found: key.whatItIs)
                continue
            }
            if known.contains(name) { continue }
            let list = known.sorted().joined(separator: ", ")
            sink.report(
                join(name), at: key.position, expected: "one of the keys \(list)",
                found: "the unknown key `\(Node.excerpt(name))`")
        }
    }
}

// MARK: - Typed access

extension SectionReader {
    func integer(_ key: String, _ range: ClosedRange<Int>) -> Int {
        required(key)?.integer(range) ?? range.lowerBound
    }
    func optionalInteger(_ key: String, _ range: ClosedRange<Int>) -> Int? {
        optional(key)?.integer(range)
    }
    func word(_ key: String) -> UInt16 { UInt16(integer(key, 0...0xffff)) }
    func optionalWord(_ key: String) -> UInt16? {
        optionalInteger(key, 0...0xffff).map { UInt16($0) }
    }
    func byte(_ key: String) -> UInt8 { UInt8(integer(key, 0...0xff)) }

    func number(_ key: String, _ range: ClosedRange<Double>) -> Double {
        required(key)?.number(range) ?? range.lowerBound
    }
    func optionalNumber(_ key: String, _ range: ClosedRange<Double>) -> Double? {
        optional(key)?.number(range)
    }
    func flag(_ key: String, default standard: Bool) -> Bool {
        optional(key)?.flag() ?? standard
    }
    func text(_ key: String, max length: Int = 200) -> String {
        required(key)?.text(max: length) ?? ""
    }
    func optionalText(_ key: String, max length: Int = 200) -> String? {
        optional(key)?.text(max: length)
    }
    func choice<Choice: RawRepresentable & CaseIterable>(
        _ key: String, default standard: Choice
    ) -> Choice where Choice.RawValue == String {
        required(key)?.choice(Choice.self) ?? standard
    }
    func optionalChoice<Choice: RawRepresentable & CaseIterable>(
        _ key: String, _ type: Choice.Type
    ) -> Choice? where Choice.RawValue == String {
        optional(key)?.choice(type)
    }
    func optionalChoices<Choice: RawRepresentable & CaseIterable>(
        _ key: String, _ type: Choice.Type
    ) -> [Choice] where Choice.RawValue == String {
        optional(key)?.items().compactMap { $0.choice(type) } ?? []
    }
    func texts(_ key: String) -> [String] {
        optional(key)?.items().compactMap { $0.text() } ?? []
    }

    /// The mapping under `key`, read by `body`, which must not keep the reader.
    func section<Value>(_ key: String, _ body: (SectionReader) -> Value) -> Value? {
        guard let reader = required(key)?.section() else { return nil }
        defer { reader.finish() }
        return body(reader)
    }
    func optionalSection<Value>(_ key: String, _ body: (SectionReader) -> Value) -> Value? {
        guard let reader = optional(key)?.section() else { return nil }
        defer { reader.finish() }
        return body(reader)
    }
    /// The items of the sequence under `key`, each a mapping.
    func sections<Value>(
        _ key: String, _ count: ClosedRange<Int>, _ body: (SectionReader) -> Value
    ) -> [Value] {
        (optional(key)?.items(count) ?? []).compactMap { item in
            guard let reader = item.section() else { return nil }
            defer { reader.finish() }
            return body(reader)
        }
    }

    /// The mapping under `key` from free names to values. Names are lower-case words.
    func table<Value: Sendable>(
        _ key: String, _ body: (String, ValueReader) -> Value?
    ) -> NamedTable<Value> {
        NamedTable(
            pairs(key).compactMap { name, value in
                guard Self.isName(name) else {
                    value.failKey(
                        "a name of lower-case letters, digits and underscores",
                        found: "`\(Node.excerpt(name))`")
                    return nil
                }
                return body(name, value).map { (name, $0) }
            })
    }

    /// The mapping under `key` from free names to mappings.
    func sectionTable<Value: Sendable>(
        _ key: String, _ body: (SectionReader) -> Value
    ) -> NamedTable<Value> {
        table(key) { _, value in
            guard let reader = value.section() else { return nil }
            defer { reader.finish() }
            return body(reader)
        }
    }

    /// The keys and values of the mapping under `key`, in file order.
    func pairs(_ key: String) -> [(String, ValueReader)] {
        (optional(key)?.pairs() ?? []).compactMap { key, value in
            guard let name = key.node.scalar?.string else {
                sink.report(
                    value.path, at: key.position, expected: "a plain key",
                    found: key.node.whatItIs)
                return nil
            }
            return (name, value)
        }
    }

    static func isName(_ text: String) -> Bool {
        guard (1...48).contains(text.utf8.count), let first = text.utf8.first, 97...122 ~= first
        else { return false }
        return text.utf8.allSatisfy { 97...122 ~= $0 || 48...57 ~= $0 || $0 == 95 }
    }
}
