import Quantities

/// What a decoding attempt ended with.
public enum FrameOutcome: Hashable, Sendable {
    /// The frame now has Alice's syndrome; `errors` bits differed.
    case corrected(BitBuffer, errors: Int)
    /// Alice must disclose the bits at these positions of the frame, in this order.
    case needsReveal([Int])
    /// The frame is given up after the last blind round.
    case failed
}

/// Bob's side of one frame: a state machine without input or output of its own.
public struct FrameDecoder: Sendable {
    /// The plan in force.
    public let plan: ReconciliationPlan
    /// The blind rounds used so far.
    public private(set) var revealRounds: Int
    /// The bits disclosed in blind rounds so far.
    public private(set) var revealedBits: Int

    /// A decoder for one frame; `code` must be the code of `plan.shape`.
    public init(plan: ReconciliationPlan, code: LDPCCode) {
        self.plan = plan
        revealRounds = 0
        revealedBits = 0
    }

    /// Tries to find Alice's frame from her syndrome and Bob's noisy frame.
    public mutating func decode(
        syndrome: BitBuffer, noisy: BitBuffer, priorQBER: Double
    ) -> FrameOutcome {
        preconditionFailure()
    }

    /// Takes the bits Alice disclosed for the positions last asked for, and tries again.
    public mutating func reveal(_ bits: BitBuffer) -> FrameOutcome {
        preconditionFailure()
    }
}
