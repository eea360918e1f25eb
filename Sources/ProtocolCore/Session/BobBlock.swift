import LinkTypes
import Quantities

/// Bob's post-processing of one block, message by message.
struct BobBlock {
    private enum Stage {
        case sifting
        case waitingForDiscard
        case reconciling
        case verifying
        case amplifying
        case confirming
        case releasing
    }

    private var stage = Stage.sifting
    private var account: BlockAccount
    private var epochs: [EpochRecord]
    private var nextRecord = 0
    private var frames: [Frame] = []
    private var codes = CodeCache()
    private var cascade: CascadeBob?
    private var corrected = SecretBits(capacity: 0)
    private var key: (secret: SecretParcel, length: KeyLengthReport)?
    /// The length of the key that is held until Alice has released hers.
    private var agreedLength: KeyLengthReport?
    private let epsilonBefore: Double

    /// One frame on its way to Alice's.
    private struct Frame {
        var decoder: FrameDecoder
        /// The positions asked for, in the order in which the decoder wants their bits; `nil` when
        /// nothing or the whole frame was asked for.
        var asked: [Int]?
        var isWhole = false
        var corrected: BitBuffer?
    }

    init(_ epochs: BlockEpochs, quota: Int, epsilonBefore: Double) {
        account = BlockAccount(epochs, quota: quota)
        self.epochs = epochs.records
        self.epsilonBefore = epsilonBefore
        let trials = epochs.records.reduce(0) { $0 + $1.disclosedKey.trials }
        let errors = epochs.records.reduce(0) { $0 + $1.disclosedKey.errors }
        account.estimate = ErrorEstimate(
            block: epochs.block, trials: UInt32(trials), errors: UInt32(errors))
    }

    /// What the block needs from Alice.
    var awaiting: String {
        let what =
            switch stage {
            case .sifting: "sifting"
            case .waitingForDiscard: "discard"
            case .reconciling: "reconciliation"
            case .verifying: "verification"
            case .amplifying: "amplification"
            case .confirming: "tag"
            case .releasing: "release"
            }
        return "\(what) of block \(account.block)"
    }

    mutating func destroy() {
        account.destroy()
        corrected.destroy()
        for index in frames.indices { frames[index].corrected?.erase() }
        (epochs, frames, key, cascade) = ([], [], nil, nil)
    }

    /// Announces the bases: the block is closed, its last slot long measured.
    mutating func start(_ core: inout SessionCore) throws(AbortReason) {
        for record in epochs {
            try core.send(.bases(record.announcement(block: account.block)))
        }
    }

    /// Handles one message and says whether the block is finished.
    mutating func handle(
        _ message: Message, _ core: inout SessionCore
    ) throws(AbortReason) -> Bool {
        switch (message, stage) {
        case (.sifting(let reply), .sifting): try sift(reply, &core)
        case (.syndromes(let syndrome), .reconciling): try decode(syndrome, &core)
        case (.revealed(let reply), .reconciling): try take(reply, &core)
        case (.cascadeStart(let start), .reconciling): try begin(start, core)
        case (.cascadeParities(let parities), .reconciling): try step(parities, &core)
        case (.verification(let verification), .verifying): try compare(verification, &core)
        case (.amplification(let order), .amplifying): try amplify(order, &core)
        case (.blockTag(let tag), .confirming): try confirm(tag, &core)
        case (.released(let tag), .releasing):
            try release(tag, &core)
            return true
        case (.discard(let notice), .waitingForDiscard), (.discard(let notice), .amplifying):
            try check(notice.block, message, core)
            try discard(&core)
            return true
        default: throw core.violation(message, "not expected while waiting for \(awaiting)")
        }
        return false
    }

    private func check(
        _ block: UInt32, _ message: Message, _ core: borrowing SessionCore
    ) throws(AbortReason) {
        guard block == account.block else {
            throw core.violation(message, "block \(block), expected \(account.block)")
        }
    }

    // MARK: Sifting

    private mutating func sift(
        _ reply: SiftingReply, _ core: inout SessionCore
    ) throws(AbortReason) {
        try check(reply.block, .sifting(reply), core)
        let record = epochs[nextRecord]
        guard reply.epoch == record.number else {
            throw core.violation(
                .sifting(reply), "epoch \(reply.epoch), expected \(record.number)")
        }
        guard account.sift(record, with: reply) else {
            throw core.violation(
                .sifting(reply), "the planes do not fit the \(record.count) detections announced")
        }
        nextRecord += 1
        guard nextRecord == epochs.count else { return }
        epochs = []
        account.assessHealth(core.parameters, core.healthExpectation)
        guard account.sifted.isComplete else {
            stage = .waitingForDiscard
            return
        }
        let (errors, trials) = (account.testErrors.total, account.testDetections.total)
        try core.checkErrorRate(.x, errors: errors, trials: trials)
        guard let estimate = account.estimate else { return }
        if core.parameters.reconciliation == .ldpc { account.plan() }
        try core.send(.estimate(estimate))
        stage = .reconciling
    }

    // MARK: Reconciliation

    private mutating func decode(
        _ syndrome: SyndromeMessage, _ core: inout SessionCore
    ) throws(AbortReason) {
        let message = Message.syndromes(syndrome)
        try check(syndrome.block, message, core)
        let index = Int(syndrome.frame)
        guard index == frames.count, Int(syndrome.frameCount) == account.plans.count else {
            throw core.violation(
                message,
                "frame \(index) of \(syndrome.frameCount), expected \(frames.count)"
                    + " of \(account.plans.count)")
        }
        let plan = account.plans[index]
        guard syndrome.shape == plan.shape, Int(syndrome.frameBits) == plan.frameBits else {
            throw core.violation(
                message,
                "\(syndrome.shape) for \(syndrome.frameBits) bits, expected \(plan.shape)"
                    + " for \(plan.frameBits)")
        }
        account.leakage.append(.syndrome, bits: syndrome.syndrome.count, frame: index)
        let decoder = FrameDecoder(plan: plan, code: codes.code(of: plan.shape))
        frames.append(Frame(decoder: decoder))
        var noisy = account.sifted.keyBits.bits.slice(account.range(ofFrame: index))
        let outcome = frames[index].decoder.decode(
            syndrome: syndrome.syndrome, noisy: noisy, priorQBER: account.estimatedErrorRate)
        noisy.erase()
        try take(outcome, frame: index, &core)
    }

    private mutating func take(
        _ outcome: FrameOutcome, frame index: Int, _ core: inout SessionCore
    ) throws(AbortReason) {
        switch outcome {
        case .corrected(let bits, _):
            frames[index].corrected = bits
            try finishReconciliation(&core)
        case .needsReveal(let positions):
            frames[index].asked = positions
            let asked = CodedPositions(
                encoding: positions.map(UInt32.init).sorted(),
                below: UInt64(account.plans[index].frameBits))
            try request(asked, index, &core)
        case .failed:
            frames[index].isWhole = true
            account.droppedFrames += 1
            try request(nil, index, &core)
        }
    }

    private mutating func request(
        _ positions: CodedPositions?, _ index: Int, _ core: inout SessionCore
    ) throws(AbortReason) {
        let request = RevealRequest(
            block: account.block, frame: UInt16(index), positions: positions)
        account.leakage.append(.feedback, bits: request.payloadBits)
        try core.send(.revealRequest(request))
    }

    private mutating func take(
        _ reply: RevealReply, _ core: inout SessionCore
    ) throws(AbortReason) {
        let message = Message.revealed(reply)
        try check(reply.block, message, core)
        let index = Int(reply.frame)
        guard index < frames.count, frames[index].corrected == nil else {
            throw core.violation(message, "frame \(index) was not asked for")
        }
        let plan = account.plans[index]
        if let asked = frames[index].asked {
            guard reply.bits.count == asked.count else {
                throw core.violation(
                    message, "\(reply.bits.count) bits, expected \(asked.count)")
            }
            frames[index].asked = nil
            account.revealRounds += 1
            account.leakage.append(.blindReveal, bits: reply.bits.count, frame: index)
            // The bits travel in the order of their positions; the decoder named its own order.
            let order = asked.indices.sorted { asked[$0] < asked[$1] }
            var bits = BitBuffer(zeros: asked.count)
            for (rank, place) in order.enumerated() { bits[place] = reply.bits[rank] }
            try take(frames[index].decoder.reveal(bits), frame: index, &core)
        } else {
            guard frames[index].isWhole, reply.bits.count == plan.frameBits else {
                throw core.violation(
                    message, "\(reply.bits.count) bits, expected \(plan.frameBits)")
            }
            account.leakage.appendDroppedFrame(index, frameBits: plan.frameBits)
            frames[index].corrected = reply.bits
            try finishReconciliation(&core)
        }
    }

    /// Once all frames are corrected: counts the errors of each intensity and tells Alice.
    private mutating func finishReconciliation(
        _ core: inout SessionCore
    ) throws(AbortReason) {
        guard frames.count == account.plans.count,
            frames.allSatisfy({ $0.corrected != nil })
        else { return }
        let whole = SecretBits(capacity: account.sifted.quota)
        for index in frames.indices {
            if let bits = frames[index].corrected { whole.append(contentsOf: bits) }
            frames[index].corrected?.erase()
        }
        frames = []
        try finish(whole, &core)
    }

    private mutating func begin(
        _ start: CascadeStart, _ core: borrowing SessionCore
    ) throws(AbortReason) {
        let message = Message.cascadeStart(start)
        try check(start.block, message, core)
        let expected = account.cascadeParameters
        guard core.parameters.reconciliation == .cascade, cascade == nil,
            start.parameters == expected
        else {
            throw core.violation(message, "expected once, with blocks \(expected.blockSizes)")
        }
        cascade = CascadeBob(
            parameters: expected, seed: start.seed, bits: account.sifted.keyBits.bits)
    }

    private mutating func step(
        _ announced: CascadeParities, _ core: inout SessionCore
    ) throws(AbortReason) {
        let message = Message.cascadeParities(announced)
        try check(announced.block, message, core)
        guard let cascade, Int(announced.step) == cascade.steps else {
            throw core.violation(message, "step \(announced.step) is not the next one")
        }
        let differences: BitBuffer
        do throws(CascadeError) {
            differences = try cascade.step(parities: announced.parities)
        } catch {
            throw core.violation(message, "\(error)")
        }
        account.leakage.append(.cascadeParityA, bits: announced.parities.count)
        account.leakage.append(.cascadeParityB, bits: differences.count)
        try core.send(
            .cascadeDifferences(
                CascadeDifferences(
                    block: account.block, step: announced.step, differences: differences)))
        guard cascade.isFinished else { return }
        let whole = SecretBits(capacity: account.sifted.quota)
        var bits = cascade.corrected
        whole.append(contentsOf: bits)
        bits.erase()
        self.cascade = nil
        try finish(whole, &core)
    }

    private mutating func finish(
        _ whole: SecretBits, _ core: inout SessionCore
    ) throws(AbortReason) {
        var errors = (signal: 0, decoy: 0)
        let own = account.sifted.keyBits.bits
        for (index, word) in own.words.enumerated() {
            let difference = word ^ whole.bits.words[index]
            let decoys = account.sifted.intensities.words[index]
            errors.signal += (difference & ~decoys).nonzeroBitCount
            errors.decoy += (difference & decoys).nonzeroBitCount
        }
        corrected = whole
        account.keyErrors = IntensityCounts(signal: errors.signal, decoy: errors.decoy)
        account.leakage.append(.feedback, bits: ReconciledNotice.countBits)
        try core.send(
            .reconciled(
                ReconciledNotice(
                    block: account.block, signalErrors: UInt32(errors.signal),
                    decoyErrors: UInt32(errors.decoy))))
        stage = .verifying
    }

    // MARK: Verification and amplification

    private mutating func compare(
        _ verification: VerificationMessage, _ core: inout SessionCore
    ) throws(AbortReason) {
        try check(verification.block, .verification(verification), core)
        let hash = account.verificationHash(core.parameters)
        guard verification.tag.count == hash.tagBits else {
            throw core.violation(
                .verification(verification),
                "tag of \(verification.tag.count) bits, expected \(hash.tagBits)")
        }
        account.leakage.append(.verificationTag, bits: verification.tag.count)
        let matches =
            hash.tag(of: corrected.bits, point: verification.point) == verification.tag
        try core.send(.verified(VerifiedNotice(block: account.block, matches: matches)))
        if matches { core.cutSent() }
        stage = matches ? .amplifying : .waitingForDiscard
    }

    private mutating func amplify(
        _ order: AmplificationMessage, _ core: inout SessionCore
    ) throws(AbortReason) {
        let message = Message.amplification(order)
        try check(order.block, message, core)
        let length = try keyLength(message, core)
        let seedBits = account.seedBits(length)
        guard Int(order.keyBits) == length.length, account.shortfall(length) == nil,
            order.seed.count == seedBits
        else {
            throw core.violation(
                message,
                "key of \(order.keyBits) bits with a seed of \(order.seed.count), expected"
                    + " \(length.length) with \(seedBits)")
        }
        core.cutReceived()
        key = (account.amplified(corrected, length: length, seed: order.seed), length)
        account.destroy()
        corrected.destroy()
        stage = .confirming
    }

    private func keyLength(
        _ message: Message, _ core: borrowing SessionCore
    ) throws(AbortReason) -> KeyLengthReport {
        do throws(DecoyStateError) {
            return try account.keyLength(core.parameters)
        } catch {
            throw core.violation(message, "impossible counts: \(error)")
        }
    }

    private mutating func confirm(
        _ tag: BlockTag, _ core: inout SessionCore
    ) throws(AbortReason) {
        try check(tag.block, .blockTag(tag), core)
        try core.verify(tag)
        guard let (secret, length) = key else { return }
        key = nil
        core.agree(secret, of: account, keyBits: length.length)
        try core.hold()
        try core.sendTag(block: account.block)
        agreedLength = length
        stage = .releasing
    }

    private mutating func release(
        _ tag: BlockTag, _ core: inout SessionCore
    ) throws(AbortReason) {
        try check(tag.block, .released(tag), core)
        try core.verifyReleased(tag)
        guard let agreedLength else { return }
        try core.release(of: account, keyLength: agreedLength, epsilonBefore: epsilonBefore)
    }

    /// The reason is Bob's own finding, not Alice's words.
    private mutating func discard(_ core: inout SessionCore) throws(AbortReason) {
        let message = Message.discard(DiscardNotice(block: account.block, reason: ""))
        let isVerified = stage == .amplifying
        let isComplete = account.sifted.isComplete
        account.destroy()
        corrected.destroy()
        guard isVerified else {
            let reason =
                isComplete ? BlockAccount.mismatchReason : account.incompleteReason
            return try core.discard(account, reason: reason)
        }
        let length = try keyLength(message, core)
        guard let reason = account.shortfall(length) else {
            throw core.violation(message, "the block has a key of \(length.length) bits")
        }
        try core.discard(account, reason: reason, keyLength: length)
    }
}
