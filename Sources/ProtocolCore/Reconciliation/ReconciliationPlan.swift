import Quantities

/// How one frame is reconciled: the code, the frame's length, and the budget for blind rounds.
public struct ReconciliationPlan: Hashable, Sendable {
    /// The code both ends build.
    public let shape: LDPCShape
    /// The number of key bits in the frame; the code's remaining bits are shortened to zero.
    public let frameBits: Int
    /// The positions disclosed in each blind round.
    public let revealBits: Int
    /// The number of blind rounds after which the frame is given up.
    public let maximumReveals: Int

    /// Chooses the code for a frame of `frameBits` bits, 1...61 440, at an estimated error rate.
    public static func choose(estimatedQBER: Double, frameBits: Int) -> ReconciliationPlan {
        preconditionFailure()
    }

    /// Splits `bits` bits evenly into the fewest frames of at most 61 440 bits, each with its plan.
    public static func frames(bits: Int, estimatedQBER: Double) -> [ReconciliationPlan] {
        preconditionFailure()
    }

    /// The syndrome bits the first message discloses.
    public var syndromeBits: Int { shape.syndromeBits }
}
