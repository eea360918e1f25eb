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
/// decoding, and stops only when the whole syndrome of the found pattern equals that difference.
/// When decoding does not converge, Alice is asked for the bits the decoder is least sure of
/// (blind reconciliation: Martinez-Mateo, Elkouss, Martin, Quantum Inf. Comput. 12, 791, 2012;
/// requests by reliability: Kiktenko, Trushechkin, Lim, Kurochkin, Fedorov, Phys. Rev. Applied 8,
/// 044017, 2017). A found pattern can be wrong although its syndrome fits: verification decides.
public struct FrameDecoder: Sendable {
    /// The plan in force.
    public let plan: ReconciliationPlan
    /// The blind rounds used so far.
    public private(set) var revealRounds = 0
    /// The bits disclosed in blind rounds so far.
    public private(set) var revealedBits = 0
    /// The sweeps of the last attempt.
    public private(set) var sweeps = 0
    /// The error rate the last attempt assumed.
    public private(set) var assumedErrorRate = 0.0

    private let code: LDPCCode
    private let kernel: berek_kernel
    private var noisy = BitBuffer()
    /// The wanted syndrome of the error pattern, as words and as signs of the checks.
    private var wanted: [UInt64] = []
    private var signs: [Float] = []
    /// Log-likelihood ratios of "no error" before decoding, one per bit of the code.
    private var channel: [Float] = []
    private var posterior: [Float] = []
    private var requested: [Int] = []

    /// The log-likelihood ratio of a bit that is known.
    private static let certain: Float = 30
    /// The sweeps after which an attempt is given up.
    static let sweepLimit = 120
    /// The same when fewer bits are disclosed than the entropy of the errors: no attempt can
    /// succeed then, and a few sweeps are enough to tell the doubtful bits from the others.
    static let hopelessSweepLimit = 10
    /// The disclosed bits per bit of that entropy that Alice is then asked to fill up to.
    static let catchUp = 1.15
    /// The share of that entropy below which disclosing single bits is a waste, since a bit that
    /// is not known to be doubtful tells only h(e) bits about the errors.
    static let leastShare = 0.85

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

    /// Tries to find Alice's frame from her syndrome and Bob's noisy frame.
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
        signs = (0..<plan.syndromeBits).map { check in
            wanted[check >> 6] >> UInt64(check & 63) & 1 == 1 ? -1 : 1
        }
        let ratio = Float(naturalLog((1 - assumedErrorRate) / assumedErrorRate))
        channel = [Float](repeating: ratio, count: plan.shape.bitCount)
        for index in plan.frameBits..<plan.shape.bitCount { channel[index] = Self.certain }
        return attempt()
    }

    /// Takes the bits Alice disclosed for the positions last asked for, and tries again.
    ///
    /// `bits` has one bit per position of the last `needsReveal`, in its order.
    public mutating func reveal(_ bits: BitBuffer) -> FrameOutcome {
        precondition(bits.count == requested.count && !requested.isEmpty, "nothing was asked for")
        for (index, position) in requested.enumerated() {
            let wrong = bits[index] != noisy[position]
            channel[position] = wrong ? -Self.certain : Self.certain
        }
        revealRounds += 1
        revealedBits += bits.count
        requested = []
        return attempt()
    }

    private mutating func attempt() -> FrameOutcome {
        if Double(plan.syndromeBits + revealedBits) < Self.leastShare * bitsNeeded {
            return .failed
        }
        if let pattern = findPattern() {
            let errors = BitBuffer(words: pattern, count: plan.shape.bitCount)
                .slice(0..<plan.frameBits)
            return .corrected(noisy ^ errors, errors: errors.populationCount)
        }
        guard revealRounds < ReconciliationPlan.maximumReveals else { return .failed }
        let missing =
            isHopeless
            ? Int(Self.catchUp * bitsNeeded) - plan.syndromeBits - revealedBits : 0
        requested = leastCertain(max(plan.revealBits(round: revealRounds + 1), missing))
        return requested.isEmpty ? .failed : .needsReveal(requested)
    }

    /// The entropy of the frame's errors at the assumed rate, in bits.
    private var bitsNeeded: Double {
        Double(plan.frameBits) * FiniteKey.binaryEntropy(assumedErrorRate)
    }

    /// Whether fewer bits are disclosed than the errors have entropy.
    private var isHopeless: Bool { Double(plan.syndromeBits + revealedBits) < bitsNeeded }

    /// An error pattern with the wanted syndrome and no error where a bit is known to be right.
    private mutating func findPattern() -> [UInt64]? {
        let lift = plan.shape.lift
        let stride = lift + Int(BEREK_LDPC_TILE)
        posterior = [Float](repeating: 0, count: plan.shape.columnBlocks * stride)
        for column in 0..<plan.shape.columnBlocks {
            for lane in 0..<stride {
                posterior[column * stride + lane] = channel[column * lift + lane % lift]
            }
        }
        var messages = [Float](repeating: 0, count: code.column.count * lift)
        var decided = [UInt64](repeating: 0, count: plan.shape.bitCount / 64)
        let limit = isHopeless ? Self.hopelessSweepLimit : Self.sweepLimit
        sweeps = 0
        while sweeps < limit {
            decide(&decided)
            if code.syndromeWords(decided) == wanted { return agrees(decided) ? decided : nil }
            sweep(&messages)
            sweeps += 1
        }
        decide(&decided)
        return code.syndromeWords(decided) == wanted && agrees(decided) ? decided : nil
    }

    /// Whether a pattern contradicts no bit that is known.
    private func agrees(_ pattern: [UInt64]) -> Bool {
        for index in channel.indices where abs(channel[index]) == Self.certain {
            let wrong = pattern[index >> 6] >> UInt64(index & 63) & 1 == 1
            if wrong != (channel[index] < 0) { return false }
        }
        return true
    }

    private mutating func sweep(_ messages: inout [Float]) {
        let kernel = self.kernel
        code.withKernelCode { code in
            posterior.withUnsafeMutableBufferPointer { posterior in
                messages.withUnsafeMutableBufferPointer { messages in
                    signs.withUnsafeBufferPointer { signs in
                        guard let values = posterior.baseAddress,
                            let state = messages.baseAddress, let signs = signs.baseAddress
                        else { return }
                        berek_ldpc_sweep(code, values, state, signs, kernel)
                    }
                }
            }
        }
    }

    private func decide(_ decided: inout [UInt64]) {
        posterior.withUnsafeBufferPointer { posterior in
            decided.withUnsafeMutableBufferPointer { decided in
                guard let values = posterior.baseAddress, let bits = decided.baseAddress
                else { return }
                berek_ldpc_decide(
                    Int32(plan.shape.columnBlocks), Int32(plan.shape.lift), values, bits, kernel)
            }
        }
    }

    /// The `count` unknown positions of the frame with the smallest posterior magnitude.
    private func leastCertain(_ count: Int) -> [Int] {
        let lift = plan.shape.lift
        let stride = lift + Int(BEREK_LDPC_TILE)
        var candidates: [(magnitude: Float, position: Int)] = []
        candidates.reserveCapacity(plan.frameBits)
        for position in 0..<plan.frameBits where abs(channel[position]) != Self.certain {
            let value = posterior[position / lift * stride + position % lift]
            candidates.append((abs(value), position))
        }
        candidates.sort { ($0.magnitude, $0.position) < ($1.magnitude, $1.position) }
        return candidates.prefix(count).map(\.position)
    }
}
