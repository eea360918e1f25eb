import LinkTypes
import Quantities

/// Alice's post-processing of one block, message by message.
struct AliceBlock {
    private enum Stage {
        case sifting
        case estimating
        case reconciling
        case verifying
        case confirming
    }

    private var stage = Stage.sifting
    private var account: BlockAccount
    private var epochs: [EpochRecord]
    private var nextRecord = 0
    private var keyFraction: Double?
    private var frames: [FrameState] = []
    private var codes = CodeCache()
    private var cascade: CascadeAlice?
    private var key: (secret: SecretParcel, length: KeyLengthReport)?
    private let epsilonBefore: Double

    /// What was revealed of one frame.
    private struct FrameState {
        var rounds = 0
        var isWhole = false
    }

    init(_ epochs: BlockEpochs, quota: Int, epsilonBefore: Double) {
        account = BlockAccount(epochs, quota: quota)
        self.epochs = epochs.records
        self.epsilonBefore = epsilonBefore
    }

    /// What the block needs from Bob.
    var awaiting: String {
        let what =
            switch stage {
            case .sifting: "bases"
            case .estimating: "error estimate"
            case .reconciling: "reconciliation"
            case .verifying: "verification"
            case .confirming: "tag"
            }
        return "\(what) of block \(account.block)"
    }

    /// The fraction of key events among the undisclosed detections, once, when it is known.
    mutating func takeKeyFraction() -> Double? {
        defer { keyFraction = nil }
        return keyFraction
    }

    mutating func destroy() {
        account.destroy()
        epochs = []
        key = nil
        cascade = nil
    }

    /// Handles one message and says whether the block is finished.
    mutating func handle(
        _ message: Message, _ core: inout SessionCore
    ) throws(AbortReason) -> Bool {
        switch (message, stage) {
        case (.bases(let announced), .sifting): return try sift(announced, &core)
        case (.estimate(let estimate), .estimating): try begin(estimate, &core)
        case (.revealRequest(let request), .reconciling): try reveal(request, &core)
        case (.cascadeDifferences(let differences), .reconciling):
            try step(differences, &core)
        case (.reconciled(let notice), .reconciling): try verify(notice, &core)
        case (.verified(let notice), .verifying): return try amplify(notice, &core)
        case (.blockTag(let tag), .confirming):
            try confirm(tag, &core)
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
        _ announced: BasisAnnouncement, _ core: inout SessionCore
    ) throws(AbortReason) -> Bool {
        try check(announced.block, .bases(announced), core)
        let record = epochs[nextRecord]
        guard announced.epoch == record.number else {
            throw core.violation(
                .bases(announced), "epoch \(announced.epoch), expected \(record.number)")
        }
        guard let reply = account.sift(record, with: announced) else {
            throw core.violation(
                .bases(announced),
                "\(announced.bases.count) bases, expected one for each of \(record.count)"
                    + " undisclosed detections")
        }
        try core.send(.sifting(reply))
        nextRecord += 1
        guard nextRecord == epochs.count else { return false }
        epochs = []
        account.assessHealth(core.parameters, core.healthExpectation)
        let sifted = account.sifted
        keyFraction =
            sifted.detectionCount > 0
            ? Double(sifted.keyEventCount) / Double(sifted.detectionCount) : nil
        guard sifted.isComplete else {
            return try discard(account.incompleteReason, nil, &core)
        }
        let (errors, trials) = (account.testErrors.total, account.testDetections.total)
        try core.checkErrorRate(.x, errors: errors, trials: trials)
        stage = .estimating
        return false
    }

    // MARK: Reconciliation

    private mutating func begin(
        _ estimate: ErrorEstimate, _ core: inout SessionCore
    ) throws(AbortReason) {
        try check(estimate.block, .estimate(estimate), core)
        try core.checkErrorRate(.z, errors: Int(estimate.errors), trials: Int(estimate.trials))
        account.estimate = estimate
        stage = .reconciling
        if core.parameters.reconciliation == .cascade { return try beginCascade(&core) }
        account.plan()
        frames = [FrameState](repeating: FrameState(), count: account.plans.count)
        for (index, plan) in account.plans.enumerated() {
            var bits = account.sifted.keyBits.bits.slice(account.range(ofFrame: index))
            let syndrome = codes.code(of: plan.shape).syndrome(of: bits)
            bits.erase()
            account.leakage.append(.syndrome, bits: syndrome.count, frame: index)
            try core.send(
                .syndromes(
                    SyndromeMessage(
                        block: account.block, frame: UInt16(index),
                        frameCount: UInt16(account.plans.count), shape: plan.shape,
                        frameBits: UInt32(plan.frameBits), syndrome: syndrome)))
        }
    }

    private mutating func beginCascade(_ core: inout SessionCore) throws(AbortReason) {
        // The seed is drawn only now that the string is complete.
        let start = CascadeStart(
            block: account.block, seed: core.drawWord(), parameters: account.cascadeParameters)
        let engine = CascadeAlice(
            parameters: start.parameters, seed: start.seed, bits: account.sifted.keyBits.bits)
        cascade = engine
        try core.send(.cascadeStart(start))
        try announce(engine.start(), step: 0, &core)
    }

    private mutating func announce(
        _ parities: BitBuffer, step: Int, _ core: inout SessionCore
    ) throws(AbortReason) {
        account.leakage.append(.cascadeParityA, bits: parities.count)
        try core.send(
            .cascadeParities(
                CascadeParities(block: account.block, step: UInt32(step), parities: parities)))
    }

    private mutating func step(
        _ answer: CascadeDifferences, _ core: inout SessionCore
    ) throws(AbortReason) {
        let message = Message.cascadeDifferences(answer)
        try check(answer.block, message, core)
        guard let cascade, Int(answer.step) + 1 == cascade.steps else {
            throw core.violation(message, "step \(answer.step) was not asked for")
        }
        account.leakage.append(.cascadeParityB, bits: answer.differences.count)
        let next: BitBuffer?
        do throws(CascadeError) {
            next = try cascade.step(differences: answer.differences)
        } catch {
            throw core.violation(message, "\(error)")
        }
        if let next { try announce(next, step: cascade.steps - 1, &core) }
    }

    private mutating func reveal(
        _ request: RevealRequest, _ core: inout SessionCore
    ) throws(AbortReason) {
        let message = Message.revealRequest(request)
        try check(request.block, message, core)
        let index = Int(request.frame)
        guard index < frames.count, !frames[index].isWhole else {
            throw core.violation(message, "frame \(index) does not exist or is revealed already")
        }
        let plan = account.plans[index]
        let range = account.range(ofFrame: index)
        account.leakage.append(.feedback, bits: request.payloadBits)
        var bits = BitBuffer()
        if let code = request.positions {
            guard frames[index].rounds < ReconciliationPlan.maximumReveals else {
                throw core.violation(
                    message, "expected at most \(ReconciliationPlan.maximumReveals) requests")
            }
            let positions: [UInt32]
            do throws(PositionCodeError) {
                positions = try code.decode(below: UInt64(plan.frameBits))
            } catch {
                throw core.violation(message, error.description)
            }
            frames[index].rounds += 1
            account.revealRounds += 1
            for position in positions {
                bits.append(account.sifted.keyBits.bits[range.lowerBound + Int(position)])
            }
            account.leakage.append(.blindReveal, bits: bits.count, frame: index)
        } else {
            frames[index].isWhole = true
            account.droppedFrames += 1
            bits = account.sifted.keyBits.bits.slice(range)
            account.leakage.appendDroppedFrame(index, frameBits: plan.frameBits)
        }
        try core.send(
            .revealed(RevealReply(block: account.block, frame: request.frame, bits: bits)))
    }

    // MARK: Verification

    private mutating func verify(
        _ notice: ReconciledNotice, _ core: inout SessionCore
    ) throws(AbortReason) {
        try check(notice.block, .reconciled(notice), core)
        guard cascade?.isFinished != false else {
            throw core.violation(.reconciled(notice), "before all parities agree")
        }
        cascade = nil
        account.leakage.append(.feedback, bits: ReconciledNotice.countBits)
        account.keyErrors = IntensityCounts(
            signal: Int(notice.signalErrors), decoy: Int(notice.decoyErrors))
        let hash = account.verificationHash(core.parameters)
        let point = GF128(low: core.drawWord(), high: core.drawWord())
        let tag = hash.tag(of: account.sifted.keyBits.bits, point: point)
        account.leakage.append(.verificationTag, bits: tag.count)
        try core.send(
            .verification(VerificationMessage(block: account.block, point: point, tag: tag)))
        stage = .verifying
    }

    private mutating func amplify(
        _ notice: VerifiedNotice, _ core: inout SessionCore
    ) throws(AbortReason) -> Bool {
        try check(notice.block, .verified(notice), core)
        guard notice.matches else { return try discard(BlockAccount.mismatchReason, nil, &core) }
        core.cutReceived()
        let length: KeyLengthReport
        do throws(DecoyStateError) {
            length = try account.keyLength(core.parameters)
        } catch {
            throw core.violation(.verified(notice), "impossible error counts: \(error)")
        }
        let counts = length.counts
        try core.checkErrorRate(
            .z, errors: counts.keyErrors.total, trials: counts.keyDetections.total)
        if let reason = account.shortfall(length) { return try discard(reason, length, &core) }
        // The seed is drawn only now: every pulse of the block was measured long ago.
        let seed = core.drawBits(account.seedBits(length))
        try core.send(
            .amplification(
                AmplificationMessage(
                    block: account.block, keyBits: UInt32(length.length), seed: seed)))
        core.cutSent()
        key = (account.amplified(account.sifted.keyBits, length: length, seed: seed), length)
        account.destroy()
        try core.sendTag(block: account.block)
        stage = .confirming
        return false
    }

    private mutating func confirm(
        _ tag: BlockTag, _ core: inout SessionCore
    ) throws(AbortReason) {
        try check(tag.block, .blockTag(tag), core)
        try core.verify(tag)
        guard let (secret, length) = key else { return }
        key = nil
        // Bob's tag says that he holds the key.
        core.agree(secret, of: account, keyBits: length.length)
        try core.release(of: account, keyLength: length, epsilonBefore: epsilonBefore)
        try core.sendReleased(block: account.block)
    }

    private mutating func discard(
        _ reason: String, _ length: KeyLengthReport?, _ core: inout SessionCore
    ) throws(AbortReason) -> Bool {
        account.destroy()
        try core.send(.discard(DiscardNotice(block: account.block, reason: reason)))
        try core.discard(account, reason: reason, keyLength: length)
        return true
    }
}
