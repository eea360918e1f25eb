import LinkTypes
import Quantities

/// Alice's end of a session: answers Bob's detections from the pattern she sent and turns blocks
/// into keys.
///
/// A pure state machine: no input or output but the inputs and the actions they return, except that
/// the injected stores make the consumption of authentication key durable before it is used. Every
/// queue is bounded; the first wrong, forged, repeated or missing message ends the session.
public struct AliceSession: ~Copyable {
    private var core: SessionCore
    private let pattern: any PulsePattern
    private let leadSlots: UInt64
    private var emittedBefore = SlotIndex(0)
    private var keyRanges = KeyRanges()
    private var lastRequest: UInt32 = 0
    /// Announced epochs whose pulses are not known to have been sent yet.
    private var parked: [DetectionAnnouncement] = []
    private var nextEpoch: UInt32 = 0
    private var epochsEnd = SlotIndex(0)
    private var open = BlockEpochs(block: 0)
    /// The detections at which a block is closed. It depends on earlier blocks only, never on the
    /// bases of the block it closes.
    private var blockDetections: Int
    private var closed: [BlockEpochs] = []
    private var current: AliceBlock?

    /// A session that has not started.
    ///
    /// - Parameters:
    ///   - parameters: what both ends share.
    ///   - limits: what this end holds and how long it waits.
    ///   - pattern: the secret pattern that the source sends in key slots.
    ///   - expectedKeyFraction: the expected fraction of undisclosed detections with both ends in
    ///     the key basis, in (0, 1]; sets when the first block closes, later blocks use what the
    ///     earlier ones had.
    ///   - lead: how long before its first slot a new pattern must be known to the source.
    ///   - authenticator: the pools and the hash key shared with Bob.
    ///   - store: where keys and fresh authentication key are made durable.
    ///   - memory: what the store knows of earlier sessions.
    ///   - random: the source of Alice's random numbers; in production a quantum or hardware one.
    public init(
        parameters: SessionParameters, limits: SessionLimits = SessionLimits(),
        pattern: any PulsePattern, expectedKeyFraction: Double,
        lead: Duration = .milliseconds(10), authenticator: consuming Authenticator,
        store: any SessionStore, memory: consuming SessionMemory = SessionMemory(),
        random: any RandomNumberGenerator & Sendable
    ) {
        precondition(expectedKeyFraction > 0 && expectedKeyFraction <= 1)
        core = SessionCore(
            role: .alice, parameters: parameters, limits: limits, authenticator: authenticator,
            store: store, memory: memory, random: random)
        self.pattern = pattern
        leadSlots = UInt64(lead.inSeconds * parameters.slotRate.rawValue)
        blockDetections = Self.detections(
            for: parameters.blockBits, keyFraction: expectedKeyFraction)
    }

    /// The name of the session, 0 before both ends greeted.
    public var session: UInt64 { core.session }

    /// What the health signals of the next blocks compare with.
    public var healthExpectation: HealthExpectation {
        get { core.healthExpectation }
        set { core.healthExpectation = newValue }
    }

    /// Whether the session has ended.
    public var isOver: Bool { core.phase == .over }

    /// Enough detections that the quota of key events is missed once in 10⁹ blocks or less: six
    /// standard deviations above the mean.
    private static func detections(for quota: Int, keyFraction: Double) -> Int {
        Int(Double(quota) / keyFraction * (1 + 6 / Double(quota).squareRoot())) + 1
    }

    /// Answers one input with the actions it causes.
    public mutating func step(_ input: SessionInput) -> [SessionAction] {
        guard !isOver else { return [] }
        do throws(AbortReason) {
            let (frames, refusal) = try core.take(input)
            for frame in frames {
                if let message = try core.admit(frame) { try handle(message) }
                core.awaiting = current?.awaiting ?? (core.phase == .greeting ? "hello" : nil)
            }
            if let refusal { throw refusal }
        } catch {
            end(error)
        }
        return core.takeActions()
    }

    /// The source has sent all pulses before `slot`; nothing is said about later ones.
    public mutating func emitted(before slot: SlotIndex) -> [SessionAction] {
        guard !isOver else { return [] }
        emittedBefore = max(emittedBefore, slot)
        do throws(AbortReason) { try answerParked() } catch { end(error) }
        return core.takeActions()
    }

    private mutating func end(_ reason: AbortReason) {
        core.end(reason)
        current?.destroy()
        current = nil
        (open, closed, parked) = (BlockEpochs(block: 0), [], [])
    }

    private mutating func handle(_ message: Message) throws(AbortReason) {
        switch message {
        case .patternRequest(let request): try grant(request)
        case .detections(let announcement): try accept(announcement)
        case .bases(let announced):
            if current == nil, !closed.isEmpty {
                current = AliceBlock(
                    closed.removeFirst(), quota: core.parameters.blockBits,
                    epsilonBefore: core.authenticationEpsilon)
            }
            try continueBlock(.bases(announced))
        default: try continueBlock(message)
        }
    }

    private mutating func continueBlock(_ message: Message) throws(AbortReason) {
        guard let finished = try current?.handle(message, &core) else {
            throw core.violation(message, "no block is in post-processing")
        }
        if let fraction = current?.takeKeyFraction(), fraction > 0 {
            blockDetections = Self.detections(
                for: core.parameters.blockBits, keyFraction: fraction)
        }
        if finished { current = nil }
    }

    // MARK: Patterns

    private mutating func grant(_ request: PatternRequest) throws(AbortReason) {
        guard request.identifier == lastRequest + 1 else {
            throw core.violation(
                .patternRequest(request),
                "request \(request.identifier), expected \(lastRequest + 1)")
        }
        guard keyRanges.count < core.limits.outstandingEpochs else {
            throw .limitExceeded(what: "key ranges", limit: core.limits.outstandingEpochs)
        }
        guard request.earliestSlot.rawValue < UInt64.max / 2 else {
            throw core.violation(
                .patternRequest(request), "slot \(request.earliestSlot) is out of reach")
        }
        lastRequest = request.identifier
        let earliest = max(
            request.earliestSlot, SlotIndex(emittedBefore.rawValue + leadSlots),
            SlotIndex(keyRanges.lastStart.rawValue + 1))
        keyRanges.start(request.pattern, at: earliest)
        core.emit(.preparePattern(request.pattern, from: earliest))
        try core.send(
            .patternStart(PatternStart(identifier: request.identifier, slot: earliest)))
    }

    // MARK: Epochs

    private mutating func accept(_ announced: DetectionAnnouncement) throws(AbortReason) {
        let start = announced.firstSlot
        let slots = start..<SlotIndex(start.rawValue + announced.slotCount)
        func refuse(_ problem: String) -> AbortReason {
            core.violation(.detections(announced), problem)
        }
        guard announced.epoch == nextEpoch else {
            throw refuse("epoch \(announced.epoch), expected \(nextEpoch)")
        }
        guard start >= epochsEnd else {
            throw refuse("slot \(start) was announced before; expected \(epochsEnd) or later")
        }
        guard keyRanges.contains(slots) else {
            throw refuse("slots \(slots) are not all slots of the secret pattern")
        }
        guard parked.count < core.limits.outstandingEpochs else {
            throw .limitExceeded(
                what: "epochs ahead of the source", limit: core.limits.outstandingEpochs)
        }
        nextEpoch += 1
        epochsEnd = slots.upperBound
        parked.append(announced)
        try answerParked()
    }

    private mutating func answerParked() throws(AbortReason) {
        while let first = parked.first,
            first.firstSlot.rawValue + first.slotCount <= emittedBefore.rawValue
        {
            parked.removeFirst()
            try answer(first)
        }
        keyRanges.forget(before: parked.first?.firstSlot ?? epochsEnd)
    }

    private mutating func answer(_ announced: DetectionAnnouncement) throws(AbortReason) {
        let positions: [UInt32]
        do throws(PositionCodeError) {
            positions = try announced.positions.decode(below: announced.slotCount)
        } catch {
            throw core.violation(.detections(announced), error.description)
        }
        guard !announced.hasDetectionInLoss(positions) else {
            throw core.violation(
                .detections(announced), "a detection lies in an interval announced as lost")
        }
        var ranks: [UInt32] = []
        let remaining = DetectionPlanes(capacity: positions.count)
        var disclosure = Disclosure(
            epoch: announced.epoch, ranks: CodedPositions(count: 0, code: []),
            bases: BitBuffer(), values: BitBuffer(), closesBlock: false)
        for (rank, position) in positions.enumerated() {
            let slot = SlotIndex(announced.firstSlot.rawValue + UInt64(position))
            let symbol = pattern.symbol(at: slot)
            let isX = symbol.state.basis == .x
            // A coin that depends on Alice's basis alone: the bases of what remains are still
            // independent of each other and unknown.
            let fraction =
                isX ? core.parameters.disclosedFractionX : core.parameters.disclosedFractionZ
            if core.draw(probability: fraction) {
                ranks.append(UInt32(rank))
                disclosure.bases.append(isX)
                disclosure.values.append(symbol.state.bit)
            } else {
                remaining.append(symbol.state, isDecoy: symbol.intensity != 0)
            }
        }
        disclosure.ranks = CodedPositions(encoding: ranks, below: UInt64(positions.count))
        let end = SlotIndex(announced.firstSlot.rawValue + announced.slotCount)
        open.append(
            EpochRecord(
                number: announced.epoch, slots: announced.firstSlot..<end,
                provenance: announced.provenance, multipleCount: announced.multipleCount,
                planes: remaining),
            DetectionEvidence(disclosedCount: ranks.count))
        disclosure.closesBlock =
            open.detectionCount >= blockDetections
            || open.records.count >= core.limits.epochsPerBlock
        try core.send(.disclosure(disclosure))
        if disclosure.closesBlock { try closeBlock() }
    }

    private mutating func closeBlock() throws(AbortReason) {
        let limit = core.limits.waitingBlocks + core.limits.outstandingEpochs
        guard closed.count < limit else {
            throw .limitExceeded(what: "blocks waiting for post-processing", limit: limit)
        }
        closed.append(open)
        open = BlockEpochs(block: open.block + 1)
    }
}

extension DetectionAnnouncement {
    /// Whether one of the increasing `positions` lies in one of the increasing losses.
    func hasDetectionInLoss(_ positions: [UInt32]) -> Bool {
        var index = 0
        for loss in losses {
            while index < positions.count, positions[index] < loss.lowerBound { index += 1 }
            if index < positions.count, positions[index] < loss.upperBound { return true }
        }
        return false
    }
}

extension [UInt8] {
    /// Overwrites the octets with zeros where they lie.
    @inline(never)
    mutating func erase() {
        for index in indices { self[index] = 0 }
    }
}
