/// How the secrecy failure ε_sec of a proof is divided: its terms, each a multiple of one equal
/// share ε_sec / K.
///
/// The K of a formula is the sum of these multiples and nothing else, so that a term can not be
/// forgotten in one place and counted in another, and constants of two proofs can not be mixed.
public struct FailureBudget: Hashable, Sendable {
    /// One kind of failure.
    public struct Term: Hashable, Sendable {
        /// What fails.
        public let name: String
        /// How many shares it costs.
        public let shares: Int
    }

    /// The terms in the order of the paper's sum.
    public let terms: [Term]
    /// K, the number of shares.
    public let shares: Int
    /// The paper and equation of the sum.
    public let source: String

    init(source: String, _ terms: [(String, Int)]) {
        self.source = source
        self.terms = terms.map { Term(name: $0.0, shares: $0.1) }
        shares = terms.reduce(0) { $0 + $1.1 }
    }

    init(extending other: FailureBudget, source: String, _ terms: [(String, Int)]) {
        self.init(
            source: "\(other.source); \(source)",
            other.terms.map { ($0.name, $0.shares) } + terms)
    }

    /// One share, rounded up: an upper bound of the probability of each single failure.
    public func share(of security: SecurityParameters) -> Double {
        OutwardInterval(security.epsilonSecrecy).divided(by: shares).upperValue
    }

    /// The contributions for a ledger. Their rounded sum is not below ε_sec.
    public func entries(_ security: SecurityParameters) -> [EpsilonLedger.Entry] {
        let share = OutwardInterval(security.epsilonSecrecy).divided(by: shares)
        return terms.map { term in
            let value = share * OutwardInterval(Double(term.shares))
            return EpsilonLedger.Entry(name: term.name, value: value.upperValue, source: source)
        }
    }
}

extension OutwardInterval {
    fileprivate func divided(by whole: Int) -> Self { self / Self(Double(whole)) }
}
