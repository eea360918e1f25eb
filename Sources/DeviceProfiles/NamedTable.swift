/// Values under names, in the order the profile lists them.
///
/// A profile names most of its facts (commands, limits, fields of a record); messages, tests and
/// emulators must see them in one fixed order; a dictionary has none.
public struct NamedTable<Value: Sendable>: Sendable {
    /// The entries in file order.
    public let entries: [(name: String, value: Value)]
    private let positions: [String: Int]

    /// A table of `entries`; of two entries with one name the first is found by the subscript.
    public init(_ entries: [(name: String, value: Value)] = []) {
        self.entries = entries
        positions = Dictionary(
            entries.enumerated().map { ($0.element.name, $0.offset) },
            uniquingKeysWith: { first, _ in first })
    }

    /// The value under `name`, or nil when the profile has none.
    public subscript(name: String) -> Value? {
        positions[name].map { entries[$0].value }
    }

    /// The names in file order.
    public var names: [String] { entries.map(\.name) }
    /// Whether the table has no entry.
    public var isEmpty: Bool { entries.isEmpty }
    /// The number of entries.
    public var count: Int { entries.count }
}
