import Quantities

/// How one frame is reconciled: the code, the frame's length, and the budget for blind rounds.
///
/// The plan is public. Both ends derive it from the announced error rate and frame length, or one
/// end announces its fields.
public struct ReconciliationPlan: Hashable, Sendable {
    /// The code both ends build.
    public let shape: LDPCShape
    /// The number of key bits in the frame; the code's remaining bits count as zero.
    public let frameBits: Int

    /// The number of blind rounds after which the frame is given up.
    public static let maximumReveals = 4

    /// How much the first message discloses.
    public enum Strategy: Hashable, Sendable {
        /// So much that about one frame in a hundred asks for more.
        case oneWay
        /// So little that most frames ask for more, some in two or three rounds: fewest bits in
        /// the end, for links on which questions are cheap.
        case blind
    }

    /// Wraps a code and a frame length of 1...`shape.bitCount` bits; `nil` outside.
    public init?(shape: LDPCShape, frameBits: Int) {
        guard (1...shape.bitCount).contains(frameBits) else { return nil }
        self.shape = shape
        self.frameBits = frameBits
    }

    private init(unchecked shape: LDPCShape, frameBits: Int) {
        self.shape = shape
        self.frameBits = frameBits
    }

    /// The syndrome bits the first message discloses.
    public var syndromeBits: Int { shape.syndromeBits }

    /// The least number of positions disclosed in blind round `round`, 1...`maximumReveals`: a share
    /// of the syndrome about as large as the scatter of what frames of this length need, the same
    /// again, twice and eight times as much. The decoder asks for more when the syndromes show that
    /// the error rate was underestimated by more than that.
    public func revealBits(round: Int) -> Int {
        precondition((1...Self.maximumReveals).contains(round))
        let rate = Self.errorRate(entropy: shape.syndromeRate / 1.1)
        let share = max(0.008, 0.9 * Self.scatter(errorRate: rate, frameBits: frameBits))
        return max(16, Int(Double(shape.syndromeBits) * share)) * [1, 1, 2, 8][round - 1]
    }

    /// Chooses the code for a frame at an estimated error rate.
    ///
    /// The code has the fewest columns that hold the frame, with the smallest circulant that
    /// allows it, and as many rows as give f(e, n)·n·h(e) syndrome bits, with
    /// `expectedEfficiency` for f. Very short frames and error rates below about 0.5 % get more,
    /// because the family has no smaller code.
    ///
    /// - Parameters:
    ///   - estimatedQBER: the expected error rate, 0...0.5; above about 11 % the family ends.
    ///   - frameBits: 1...`LDPCShape.largestFrame`.
    ///   - strategy: whether blind rounds are the exception or the rule.
    public static func choose(
        estimatedQBER: Double, frameBits: Int, strategy: Strategy = .oneWay
    ) -> ReconciliationPlan {
        precondition((1...LDPCShape.largestFrame).contains(frameBits))
        precondition(estimatedQBER >= 0 && estimatedQBER <= 0.5)
        // Many small circulants leave more freedom, large ones decode faster.
        let lift = LDPCShape.lifts.first { frameBits <= columnsWanted(lift: $0) * $0 } ?? 512
        let columns = max(
            LDPCShape.columnBlockRange.lowerBound, (frameBits + lift - 1) / lift)
        let bits =
            expectedEfficiency(
                errorRate: estimatedQBER, frameBits: frameBits, strategy: strategy)
            * Double(frameBits) * FiniteKey.binaryEntropy(estimatedQBER)
        let range = LDPCShape.rowBlockRange(columnBlocks: columns)
        let rows = min(
            max(Int((bits / Double(lift)).rounded(.up)), range.lowerBound), range.upperBound)
        return ReconciliationPlan(
            unchecked: LDPCShape(unchecked: rows, columnBlocks: columns, lift: lift),
            frameBits: frameBits)
    }

    /// The most columns with circulants of one size: 25 600 bits with 64, 102 400 with 128,
    /// 409 600 with 256.
    private static func columnsWanted(lift: Int) -> Int {
        min(LDPCShape.columnBlockRange.upperBound, lift * 25 / 4)
    }

    /// Splits `bits` bits into the fewest frames the family holds, of nearly one length, in order.
    public static func frames(bits: Int, estimatedQBER: Double) -> [ReconciliationPlan] {
        precondition(bits >= 0)
        let count = (bits + LDPCShape.largestFrame - 1) / LDPCShape.largestFrame
        return (0..<count).map { index in
            let length = bits * (index + 1) / count - bits * index / count
            return choose(estimatedQBER: estimatedQBER, frameBits: length)
        }
    }

    /// The syndrome bits per n·h(e) of the first message.
    ///
    /// One way, the larger of two needs: what all but one frame in a hundred are corrected with,
    /// 1.072 and 2.6 times the scatter of a frame's entropy; and 1.0955, where decoding takes about
    /// a third of the sweeps it takes at the first when the scatter is small. Blind, the first
    /// message is a little below the thresholds of the family (`DegreeDistribution`).
    public static func expectedEfficiency(
        errorRate: Double, frameBits: Int, strategy: Strategy = .oneWay
    ) -> Double {
        let rate = min(max(errorRate, 0.004), 0.12)
        let scatter = scatter(errorRate: rate, frameBits: frameBits)
        return switch strategy {
        case .oneWay: max(1.0955, 1.072 + 2.6 * scatter)
        case .blind: 1.045
        }
    }

    /// σ = √(e(1−e)/n) log₂((1−e)/e) / h(e), the relative scatter of the entropy of a frame's errors.
    static func scatter(errorRate: Double, frameBits: Int) -> Double {
        (errorRate * (1 - errorRate) / Double(max(frameBits, 1024))).squareRoot()
            * binaryLog((1 - errorRate) / errorRate) / FiniteKey.binaryEntropy(errorRate)
    }

    /// The error rate below one half with this binary entropy.
    private static func errorRate(entropy: Double) -> Double {
        var (low, high) = (1e-6, 0.5)
        for _ in 0..<40 {
            let middle = 0.5 * (low + high)
            if FiniteKey.binaryEntropy(middle) < entropy { low = middle } else { high = middle }
        }
        return low
    }
}
