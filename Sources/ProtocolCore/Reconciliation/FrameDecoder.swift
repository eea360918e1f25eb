import CKernels
import Quantities

/// What a decoding attempt ended with.
public enum FrameOutcome: Hashable, Sendable {
    /// The frame now has Alice's syndrome; `errors` bits differed from Bob's.
    case corrected(BitBuffer, errors: Int)
    /// Alice must disclose the bits at these positions of the frame, in this order.
    case needsReveal([Int])
    /// The frame is given up: the last blind round failed, or the syndrome is far too short for
    /// the errors there are. `FrameDecoder.assumedErrorRate` then tells what to plan with; the
    /// caller drops the frame, or sends a second, longer syndrome and counts both.
    case failed
}

/// Bob's side of one frame: a state machine without input or output of its own.
///
/// Decodes the error pattern against the difference of the two syndromes by layered sum-product
/// decoding with messages of 8 bits (`berek_ldpc_sweep`), and stops only when the whole syndrome of
/// the found pattern equals that difference. When decoding does not converge, Alice is asked for
/// the bits the decoder is least sure of, and decoding goes on where it stopped (blind
/// reconciliation: Martinez-Mateo, Elkouss, Martin, Quantum Inf. Comput. 12, 791, 2012; requests by
/// reliability: Kiktenko, Trushechkin, Lim, Kurochkin, Fedorov, Phys. Rev. Applied 8, 044017,
/// 2017). A found pattern can be wrong although its syndrome fits: verification decides.
public struct FrameDecoder: Sendable {
    /// The plan in force.
    public let plan: ReconciliationPlan
    /// The blind rounds used so far.
    public private(set) var revealRounds = 0
    /// The bits disclosed in blind rounds so far.
    public private(set) var revealedBits = 0
    /// The sweeps of all attempts.
    public private(set) var sweeps = 0
    /// The error rate assumed.
    public private(set) var assumedErrorRate = 0.0

    private let code: LDPCCode
    private let kernel: berek_kernel
    private var noisy = BitBuffer()
    /// The wanted syndrome of the error pattern.
    private var wanted: [UInt64] = []
    /// The bits that are known, and of those the ones that are wrong.
    private var known: [UInt64] = []
    private var knownWrong: [UInt64] = []
    /// Present while the frame is undecided.
    private var state: DecoderState?
    private var requested: [Int] = []

    /// What makes a bit certain whatever the checks say.
    private static let certain: Int32 = 4096
    /// The sweeps after which an attempt is given up.
    static let sweepLimit = 120
    /// An attempt is also given up when so many sweeps have met less than one hundredth of the
    /// checks that were violated before them.
    static let patience = 12
    /// The sweeps of an attempt when fewer bits are disclosed than the entropy of the errors: none
    /// can succeed then, and a few are enough to tell the doubtful bits from the others.
    static let hopelessSweepLimit = 10
    /// The disclosed bits per bit of that entropy that Alice is then asked to fill up to.
    static let catchUp = 1.1
    /// The share of that entropy below which disclosing single bits is a waste, since a bit that
    /// is not known to be doubtful tells only h(e) bits about the errors.
    ///
    /// The entropy is that of an estimate: in a frame of 30,000 bits at 2 % it scatters by 4 %.
    static let leastShare = 0.75

    /// A decoder for one frame; `code` must be the code of `plan.shape`.
    public init(plan: ReconciliationPlan, code: LDPCCode) {
        self.init(plan: plan, code: code, kernel: BEREK_KERNEL_BEST)
    }

    init(plan: ReconciliationPlan, code: LDPCCode, kernel: berek_kernel) {
        precondition(code.shape == plan.shape, "the code is not the one of the plan")
        self.plan = plan
        self.code = code
        self.kernel = kernel
    }

    /// Decodes for the first time.
    ///
    /// - Parameters:
    ///   - syndrome: Alice's, of `plan.syndromeBits` bits.
    ///   - noisy: Bob's frame, of `plan.frameBits` bits.
    ///   - priorQBER: the expected error rate. The rate the syndromes themselves show is used
    ///     instead as long as it lies between a third and three times the expected one.
    public mutating func decode(
        syndrome: BitBuffer, noisy: BitBuffer, priorQBER: Double
    ) -> FrameOutcome {
        precondition(syndrome.count == plan.syndromeBits && noisy.count == plan.frameBits)
        self.noisy = noisy
        wanted = (code.syndrome(of: noisy) ^ syndrome).words
        let weight = wanted.reduce(0) { $0 + $1.nonzeroBitCount }
        let shown = code.errorRate(syndromeWeight: weight, frameBits: plan.frameBits)
        let rate = min(max(shown, priorQBER / 3), priorQBER * 3)
        assumedErrorRate = min(max(rate, 1e-4), 0.25)
        var state = DecoderState(
            code: code, level: DecoderState.level(errorRate: assumedErrorRate), kernel: kernel)
        let rest = plan.frameBits..<plan.shape.bitCount
        known = [UInt64](repeating: 0, count: plan.shape.bitCount / 64)
        knownWrong = known
        for position in rest { known[position >> 6] |= 1 << UInt64(position & 63) }
        state.nudge(rest.lazy.map { ($0, Self.certain) })
        self.state = state
        return attempt()
    }

    /// Takes the bits Alice disclosed for the positions last asked for, and goes on.
    ///
    /// `bits` has one bit per position of the last `needsReveal`, in its order.
    public mutating func reveal(_ bits: BitBuffer) -> FrameOutcome {
        precondition(bits.count == requested.count && !requested.isEmpty, "nothing was asked for")
        var news: [(position: Int, amount: Int32)] = []
        for (index, position) in requested.enumerated() {
            let isWrong = bits[index] != noisy[position]
            let (word, bit) = (position >> 6, UInt64(1) << UInt64(position & 63))
            known[word] |= bit
            if isWrong { knownWrong[word] |= bit }
            news.append((position, isWrong ? -Self.certain : Self.certain))
        }
        state?.nudge(news)
        revealRounds += 1
        revealedBits += bits.count
        requested = []
        return attempt()
    }

    private mutating func attempt() -> FrameOutcome {
        if Double(plan.syndromeBits + revealedBits) < Self.leastShare * bitsNeeded {
            return end(.failed)
        }
        if let pattern = findPattern() {
            let errors = BitBuffer(words: pattern, count: plan.shape.bitCount)
                .slice(0..<plan.frameBits)
            return end(.corrected(noisy ^ errors, errors: errors.populationCount))
        }
        guard revealRounds < ReconciliationPlan.maximumReveals else { return end(.failed) }
        let missing =
            isHopeless
            ? Int(Self.catchUp * bitsNeeded) - plan.syndromeBits - revealedBits : 0
        requested =
            state?.leastCertain(
                max(plan.revealBits(round: revealRounds + 1), missing), below: plan.frameBits,
                without: known) ?? []
        return requested.isEmpty ? end(.failed) : .needsReveal(requested)
    }

    private mutating func end(_ outcome: FrameOutcome) -> FrameOutcome {
        state = nil
        noisy.erase()
        return outcome
    }

    /// The entropy of the frame's errors at the assumed rate, in bits.
    private var bitsNeeded: Double {
        Double(plan.frameBits) * FiniteKey.binaryEntropy(assumedErrorRate)
    }

    /// Whether fewer bits are disclosed than the errors have entropy.
    private var isHopeless: Bool { Double(plan.syndromeBits + revealedBits) < bitsNeeded }

    /// An error pattern with the wanted syndrome and no error where a bit is known to be right.
    private mutating func findPattern() -> [UInt64]? {
        guard var state else { return nil }
        self.state = nil
        defer { self.state = state }
        let limit = isHopeless ? Self.hopelessSweepLimit : Self.sweepLimit
        var decided = [UInt64](repeating: 0, count: plan.shape.bitCount / 64)
        var violated: [Int] = []
        while violated.count < limit {
            violated.append(state.sweep(towards: wanted))
            sweeps += 1
            let now = violated[violated.count - 1]
            // The count is of what bits told their checks, one by one; it need not reach zero.
            if now * 64 <= plan.syndromeBits {
                state.decide(&decided)
                if code.syndromeWords(decided) == wanted { return agrees(decided) ? decided : nil }
            }
            if violated.count > Self.patience,
                now * 100 > violated[violated.count - 1 - Self.patience] * 99
            {
                return nil
            }
        }
        return nil
    }

    /// Whether a pattern contradicts no bit that is known.
    private func agrees(_ pattern: [UInt64]) -> Bool {
        pattern.indices.allSatisfy { (pattern[$0] ^ knownWrong[$0]) & known[$0] == 0 }
    }
}
