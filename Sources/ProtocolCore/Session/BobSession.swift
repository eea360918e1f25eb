import LinkTypes
import Quantities

/// Bob's end of a session: announces detections, reports disclosed ones to the polarization
/// tracker, corrects his string and turns blocks into keys.
///
/// A pure state machine: no input or output but the inputs and the actions they return, except that
/// the injected stores make the consumption of authentication key durable before it is used. Every
/// queue is bounded; the first wrong, forged, repeated or missing message ends the session.
public struct BobSession: ~Copyable {
    private var core: SessionCore
    /// What a click of each detector stands for; may change between training and key production.
    public var labels: DetectorLabels
    private var keyRanges = KeyRanges()
    private var requests: [PatternRequest] = []
    private var lastRequest: UInt32 = 0
    private var nextEpoch: UInt32 = 0
    private var epochsEnd = SlotIndex(0)
    private var outstanding: [OutstandingEpoch] = []
    private var open = BlockEpochs(block: 0)
    /// Disclosed detections of the open block with both ends in one basis, and errors among them.
    private var alarm = (
        z: (trials: 0, errors: 0), x: (trials: 0, errors: 0)
    )
    private var closed: [BlockEpochs] = []
    private var current: BobBlock?

    /// An announced epoch whose disclosure has not arrived.
    private struct OutstandingEpoch {
        let announcement: DetectionAnnouncement
        let detections: SecretParcel
        let labels: DetectorLabels
        let statistics: DetectionStatistics
    }

    /// A session that has not started.
    ///
    /// - Parameters:
    ///   - parameters: what both ends share.
    ///   - limits: what this end holds and how long it waits.
    ///   - labels: what a click of each detector stands for.
    ///   - authenticator: the pools and the hash key shared with Alice.
    ///   - store: where keys and fresh authentication key are made durable.
    ///   - memory: what the store knows of earlier sessions.
    ///   - random: the source of the session's nonce.
    public init(
        parameters: SessionParameters, limits: SessionLimits = SessionLimits(),
        labels: DetectorLabels = DetectorLabels(), authenticator: consuming Authenticator,
        store: any SessionStore, memory: consuming SessionMemory = SessionMemory(),
        random: any RandomNumberGenerator & Sendable
    ) {
        core = SessionCore(
            role: .bob, parameters: parameters, limits: limits, authenticator: authenticator,
            store: store, memory: memory, random: random)
        self.labels = labels
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

    /// Answers one input with the actions it causes.
    public mutating func step(_ input: SessionInput) -> [SessionAction] {
        guard !isOver else { return [] }
        do throws(AbortReason) {
            let (frames, refusal) = try core.take(input)
            for frame in frames {
                if let message = try core.admit(frame) { try handle(message) }
            }
            if let refusal { throw refusal }
            updateAwaited()
        } catch {
            end(error)
        }
        return core.takeActions()
    }

    /// Asks Alice for another pattern, not before slot `earliestSlot`. Her answer comes back as
    /// `.patternStarted`. Ignored before the session is established; at most 8 may be unanswered.
    public mutating func request(
        _ pattern: PulsePatternKind, earliestSlot: SlotIndex
    ) -> [SessionAction] {
        guard core.phase == .running else { return [] }
        do throws(AbortReason) {
            guard requests.count < 8 else {
                throw .limitExceeded(what: "unanswered pattern requests", limit: 8)
            }
            lastRequest += 1
            let request = PatternRequest(
                identifier: lastRequest, pattern: pattern, earliestSlot: earliestSlot)
            requests.append(request)
            try core.send(.patternRequest(request))
            updateAwaited()
        } catch {
            end(error)
        }
        return core.takeActions()
    }

    /// Announces a run of detections. Parts outside the slots of the secret pattern are ignored;
    /// parts that no queue has room for are reported as `.dropped`. Batches come in slot order.
    public mutating func announce(_ batch: DetectionBatch) -> [SessionAction] {
        guard core.phase == .running else { return [] }
        precondition(
            zip(batch.detections, batch.detections.dropFirst()).allSatisfy { $0.slot < $1.slot },
            "a batch has at most one detection a slot, in slot order")
        do throws(AbortReason) {
            for slots in keyRanges.intersections(with: batch.slots)
            where slots.upperBound > epochsEnd {
                let fresh = max(slots.lowerBound, epochsEnd)..<slots.upperBound
                try announceEpoch(batch.clipped(to: fresh))
            }
            updateAwaited()
        } catch {
            end(error)
        }
        return core.takeActions()
    }

    private mutating func updateAwaited() {
        if let current {
            core.awaiting = current.awaiting
        } else if let first = outstanding.first {
            core.awaiting = "disclosure of epoch \(first.announcement.epoch)"
        } else if let first = requests.first {
            core.awaiting = "start of pattern \(first.identifier)"
        } else {
            core.awaiting = core.phase == .greeting ? "hello" : nil
        }
    }

    private mutating func end(_ reason: AbortReason) {
        core.end(reason)
        current?.destroy()
        current = nil
        (open, closed, outstanding, requests) = (BlockEpochs(block: 0), [], [], [])
    }

    private mutating func handle(_ message: Message) throws(AbortReason) {
        switch message {
        case .patternStart(let start): try begin(start)
        case .disclosure(let disclosure): try take(disclosure)
        default: try continueBlock(message)
        }
    }

    private mutating func begin(_ start: PatternStart) throws(AbortReason) {
        guard let request = requests.first, request.identifier == start.identifier else {
            throw core.violation(.patternStart(start), "pattern \(start.identifier) is not awaited")
        }
        guard start.slot >= request.earliestSlot, start.slot > keyRanges.lastStart,
            start.slot.rawValue < UInt64.max / 2
        else {
            throw core.violation(
                .patternStart(start),
                "slot \(start.slot) is before the slot asked for or out of reach")
        }
        requests.removeFirst()
        keyRanges.start(request.pattern, at: start.slot)
        core.emit(.patternStarted(request.pattern, from: start.slot))
    }

    // MARK: Epochs

    private mutating func announceEpoch(_ batch: DetectionBatch) throws(AbortReason) {
        let length = batch.slots.upperBound.rawValue - batch.slots.lowerBound.rawValue
        if length > MessageLimits.slotsPerEpoch
            || batch.detections.count > MessageLimits.detectionsPerEpoch
        {
            let middle = SlotIndex(batch.slots.lowerBound.rawValue + length / 2)
            try announceEpoch(batch.clipped(to: batch.slots.lowerBound..<middle))
            try announceEpoch(batch.clipped(to: middle..<batch.slots.upperBound))
            return
        }
        epochsEnd = batch.slots.upperBound
        keyRanges.forget(before: epochsEnd)
        guard outstanding.count < core.limits.outstandingEpochs,
            closed.count < core.limits.waitingBlocks,
            let losses = batch.mergedLosses(limit: MessageLimits.lossesPerEpoch)
        else {
            core.emit(.dropped(batch.slots))
            return
        }
        let first = batch.slots.lowerBound.rawValue
        var positions: [UInt32] = []
        var detectors: [UInt8] = []
        var multiples: UInt32 = 0
        var loss = losses[...]
        var statistics = DetectionStatistics(slotRate: core.parameters.slotRate)
        for detection in batch.detections {
            let position = detection.slot.rawValue - first
            while let next = loss.first, next.upperBound <= position { loss.removeFirst() }
            if let next = loss.first, next.contains(position) { continue }
            positions.append(UInt32(position))
            detectors.append(detection.detector)
            if detection.isMultiple { multiples += 1 }
            statistics.add(detection, slot: position, run: losses.count - loss.count)
        }
        statistics.endEpoch(slotCount: length, losses: losses)
        let announcement = DetectionAnnouncement(
            epoch: nextEpoch, firstSlot: batch.slots.lowerBound, slotCount: length,
            provenance: batch.provenance, multipleCount: multiples, losses: losses,
            positions: CodedPositions(encoding: positions, below: length))
        nextEpoch += 1
        outstanding.append(
            OutstandingEpoch(
                announcement: announcement,
                detections: SecretParcel(SecretBytes(copying: detectors)), labels: labels,
                statistics: statistics))
        detectors.erase()
        try core.send(.detections(announcement))
    }

    private mutating func take(_ disclosure: Disclosure) throws(AbortReason) {
        let message = Message.disclosure(disclosure)
        guard let epoch = outstanding.first, epoch.announcement.epoch == disclosure.epoch else {
            throw core.violation(message, "epoch \(disclosure.epoch) is not awaited")
        }
        let count = epoch.announcement.positions.count
        let ranks: [UInt32]
        do throws(PositionCodeError) {
            ranks = try disclosure.ranks.decode(below: UInt64(count))
        } catch {
            throw core.violation(message, "ranks of \(count) detections: \(error)")
        }
        outstanding.removeFirst()
        let announced = epoch.announcement
        let first = announced.firstSlot
        let slots = first..<SlotIndex(first.rawValue + announced.slotCount)
        let detections = epoch.detections.open()
        let split = detections.withBytes { SplitEpoch($0, ranks, disclosure, epoch.labels) }
        if split.counts.total > 0 { core.emit(.calibrationCounts(split.counts, slots: slots)) }
        alarm.z.trials += split.key.trials
        alarm.z.errors += split.key.errors
        alarm.x.trials += split.test.trials
        alarm.x.errors += split.test.errors
        open.append(
            EpochRecord(
                number: announced.epoch, slots: slots, provenance: announced.provenance,
                multipleCount: announced.multipleCount,
                planes: split.remaining, disclosedKey: split.key),
            DetectionEvidence(
                disclosedCount: ranks.count, statistics: epoch.statistics, errors: split.errors))
        try core.checkErrorRate(.z, errors: alarm.z.errors, trials: alarm.z.trials)
        try core.checkErrorRate(.x, errors: alarm.x.errors, trials: alarm.x.trials)
        if disclosure.closesBlock {
            closed.append(open)
            open = BlockEpochs(block: open.block + 1)
            alarm = ((0, 0), (0, 0))
            try startBlock()
        } else if open.records.count > 2 * core.limits.epochsPerBlock {
            throw .limitExceeded(
                what: "epochs of one block", limit: 2 * core.limits.epochsPerBlock)
        } else if open.detectionCount > 64 * core.parameters.blockBits {
            throw .limitExceeded(
                what: "detections of one block", limit: 64 * core.parameters.blockBits)
        }
    }

    // MARK: Blocks

    private mutating func startBlock() throws(AbortReason) {
        guard current == nil, !closed.isEmpty else { return }
        var block = BobBlock(
            closed.removeFirst(), quota: core.parameters.blockBits,
            epsilonBefore: core.authenticationEpsilon)
        try block.start(&core)
        current = block
    }

    private mutating func continueBlock(_ message: Message) throws(AbortReason) {
        guard let finished = try current?.handle(message, &core) else {
            throw core.violation(message, "no block is in post-processing")
        }
        guard finished else { return }
        current = nil
        try startBlock()
    }
}

/// One epoch after Alice's disclosure: what the tracker may see, and what remains secret.
private struct SplitEpoch {
    var counts = StateDetectorCounts()
    var key = (trials: 0, errors: 0)
    var test = (trials: 0, errors: 0)
    var errors = (z: ErrorsByBit(), x: ErrorsByBit())
    let remaining: DetectionPlanes

    init(
        _ detectors: UnsafeBufferPointer<UInt8>, _ ranks: [UInt32], _ disclosure: Disclosure,
        _ labels: DetectorLabels
    ) {
        remaining = DetectionPlanes(capacity: detectors.count - ranks.count)
        var next = 0
        for (rank, detector) in detectors.enumerated() {
            let outcome = labels.outcome(of: detector)
            guard next < ranks.count, ranks[next] == UInt32(rank) else {
                remaining.append(outcome)
                continue
            }
            let sent = QubitState(
                basis: disclosure.bases[next] ? .x : .z, bit: disclosure.values[next])
            next += 1
            counts[sent.index, Int(detector)] += 1
            guard sent.basis == outcome.basis else { continue }
            let error = sent.bit == outcome.bit ? 0 : 1
            if sent.basis == .z {
                errors.z.add(sent: sent.bit, isError: error == 1)
                key = (key.trials + 1, key.errors + error)
            } else {
                errors.x.add(sent: sent.bit, isError: error == 1)
                test = (test.trials + 1, test.errors + error)
            }
        }
    }
}

extension DetectionBatch {
    /// The part of the batch in `slots`.
    func clipped(to slots: Range<SlotIndex>) -> DetectionBatch {
        DetectionBatch(
            slots: slots, detections: detections.filter { slots.contains($0.slot) },
            losses: losses.filter { $0.start < slots.upperBound && slots.lowerBound < $0.end },
            provenance: provenance)
    }

    /// The lost slots relative to the first, in order and disjoint; `nil` when there are more than
    /// `limit`.
    func mergedLosses(limit: Int) -> [Range<UInt64>]? {
        var merged: [Range<UInt64>] = []
        for loss in losses.sorted(by: { $0.start < $1.start }) {
            let range = (loss.start..<loss.end).clamped(to: slots)
            guard !range.isEmpty else { continue }
            let start = range.lowerBound.rawValue - slots.lowerBound.rawValue
            let end = range.upperBound.rawValue - slots.lowerBound.rawValue
            if let last = merged.last, start <= last.upperBound {
                merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, end)
            } else {
                merged.append(start..<end)
            }
        }
        return merged.count <= limit ? merged : nil
    }
}
