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

    /// The least number of positions disclosed in blind round `round`, 1...`maximumReveals`: 3 % of
    /// the syndrome, then twice as many each time. The decoder asks for more when the syndromes
    /// show that the error rate was underestimated by more than that.
    public func revealBits(round: Int) -> Int {
        precondition((1...Self.maximumReveals).contains(round))
        return max(16, shape.syndromeBits * 3 / 100) << (round - 1)
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
    public static func choose(estimatedQBER: Double, frameBits: Int) -> ReconciliationPlan {
        precondition((1...LDPCShape.largestFrame).contains(frameBits))
        precondition(estimatedQBER >= 0 && estimatedQBER <= 0.5)
        let most = LDPCShape.columnBlockRange.upperBound
        let lift = LDPCShape.lifts.first { most * $0 >= frameBits } ?? 256
        let columns = max(
            LDPCShape.columnBlockRange.lowerBound, (frameBits + lift - 1) / lift)
        let bits =
            expectedEfficiency(errorRate: estimatedQBER, frameBits: frameBits) * Double(frameBits)
            * FiniteKey.binaryEntropy(estimatedQBER)
        let range = LDPCShape.rowBlockRange(columnBlocks: columns)
        let rows = min(
            max(Int((bits / Double(lift)).rounded(.up)), range.lowerBound), range.upperBound)
        return ReconciliationPlan(
            unchecked: LDPCShape(unchecked: rows, columnBlocks: columns, lift: lift),
            frameBits: frameBits)
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

    /// The syndrome bits per n·h(e) at which about one frame in fifty fails the first attempt.
    ///
    /// f = 1.085 + 2.6 σ + 6·10⁻⁵ e^(−3/2), with σ = √(e(1−e)/n) log₂((1−e)/e) / h(e) the relative
    /// scatter of the entropy of a frame's errors; fitted to decodings of this family for error
    /// rates of 0.5 to 10 % and frames of 15 360 and 61 440 bits. The last term stands for the few
    /// rows, and so the few large degrees, of codes for small error rates.
    public static func expectedEfficiency(errorRate: Double, frameBits: Int) -> Double {
        let rate = min(max(errorRate, 0.004), 0.12)
        let scatter =
            (rate * (1 - rate) / Double(max(frameBits, 1024))).squareRoot()
            * binaryLog((1 - rate) / rate) / FiniteKey.binaryEntropy(rate)
        return 1.085 + 2.6 * scatter + 6e-5 / (rate * rate.squareRoot())
    }
}
