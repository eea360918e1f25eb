/// The failure probabilities one key, or one node, has accumulated, each with its origin.
///
/// Composability makes them add; the sum is rounded up at every step, so it is never too small.
public struct EpsilonLedger: Hashable, Sendable {
    /// One contribution.
    public struct Entry: Hashable, Sendable {
        /// What can fail, such as "verification collision".
        public let name: String
        /// An upper bound of the probability, 0 or above.
        public let value: Double
        /// Where the bound comes from: a paper with equation, or the formula evaluated.
        public let source: String

        /// Wraps one contribution; `value` must be 0 or above and not NaN.
        public init(name: String, value: Double, source: String) {
            precondition(value >= 0, "a failure probability is 0 or above")
            self.name = name
            self.value = value
            self.source = source
        }
    }

    /// The contributions in the order they were added.
    public private(set) var entries: [Entry] = []

    /// An empty ledger.
    public init() {}

    /// Adds a contribution.
    public mutating func add(_ entry: Entry) { entries.append(entry) }

    /// Adds a contribution; `value` must be 0 or above.
    public mutating func add(name: String, value: Double, source: String) {
        add(Entry(name: name, value: value, source: source))
    }

    /// Adds the contributions of another ledger.
    public mutating func add(contentsOf other: EpsilonLedger) {
        entries.append(contentsOf: other.entries)
    }

    /// An upper bound of the sum of all contributions.
    public var total: Double {
        entries.reduce(0) { sum, entry in
            if entry.value == 0 { return sum }
            return sum == 0 ? entry.value : (sum + entry.value).nextUp
        }
    }
}
