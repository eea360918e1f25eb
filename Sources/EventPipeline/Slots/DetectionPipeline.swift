import LinkTypes
import Quantities

/// Counts of what the pipeline left out; everything else is in the tally and the losses.
public struct PipelineCounters: Hashable, Sendable {
    /// Tags on inputs that lead to no detector.
    public var unassignedTags: UInt64 = 0
    /// Tags before the first slot.
    public var tagsBeforeStart: UInt64 = 0
    /// Tags that came after their place in the order was passed; also losses where still possible.
    public var lateTags: UInt64 = 0
    /// Tags dropped because too many clicks were pending; also losses.
    public var overrunTags: UInt64 = 0
    /// Tags whose time is beyond the horizon; they come from corrupt records.
    public var tagsBeyondHorizon: UInt64 = 0
    /// Detections discarded within the guard time; also losses.
    public var guardedDetections: UInt64 = 0
    /// Losses that concern slots already handed on, in whole or in part.
    public var lateLosses: UInt64 = 0
}

/// Tag blocks of one or more taggers in, detections slot by slot out.
///
/// A block passes the clock model and the channel delays into one lane an input; `drain` merges the
/// lanes as far as every tagger is known to be complete, assigns slots, applies gate and guard
/// time, and resolves multiple clicks. Detections and the slots covered by losses do not depend on
/// how the streams were cut into blocks, nor on when `drain` is called; they do depend on it only
/// after an overrun, which is reported as a loss.
///
/// A value, not an actor: it belongs to the one task that runs the event path.
public struct DetectionPipeline: Sendable {
    /// What was left out so far.
    public private(set) var counters = PipelineCounters()
    /// The first slot not yet handed on.
    public private(set) var nextSlot: SlotIndex

    private var rules: AssignmentRules
    private let maximumPendingClicks: Int
    private let startTime: Int64
    private var taggers: [TaggerState]
    private var losses = SlotLosses()
    private var generator: any RandomNumberGenerator & Sendable
    private var guardedUntil = Int64.min
    private var counts: AssignmentCounts
    private var coveredSlots: UInt64 = 0
    private var lostSlots: UInt64 = 0
    private var provenance: Provenance?
    private var merged: [ClickKey] = []
    private var lanes: [TagLane] = []

    private struct TaggerState: Sendable {
        var clock: ClockModel
        var laneOfChannel: [UInt8]
        var minimumDelay: Int64
        var maximumDelay: Int64
        /// The tick up to which the tagger is complete; `nil` before its first block.
        var completeThrough: DeviceTicks?
        /// The first tick no tag was converted at or after.
        var convertedBefore = DeviceTicks(0)
        /// The tagger was interrupted: its clock does not hold for what follows.
        var isClockLost = false
    }

    /// A pipeline that draws the detectors of multiple clicks from `generator`.
    ///
    /// The draws become key bits: on a real link the generator must be unpredictable. One number
    /// is drawn for each slot with clicks of several detectors, in slot order.
    /// Throws `PipelineError.badConfiguration`.
    public init(
        _ configuration: PipelineConfiguration,
        drawing generator: any RandomNumberGenerator & Sendable
    ) throws(PipelineError) {
        try configuration.validate()
        let grid = SlotGrid(period: configuration.slotPeriod)
        rules = AssignmentRules(
            grid: grid, gate: configuration.gate, guardTime: configuration.guardTime.rawValue,
            phaseBins: configuration.phaseBins)
        counts = AssignmentCounts(phaseBins: configuration.phaseBins)
        maximumPendingClicks = configuration.maximumPendingClicks
        nextSlot = configuration.firstSlot
        startTime = grid.start(of: configuration.firstSlot).picoseconds
        self.generator = generator
        taggers = []
        for input in configuration.taggers {
            var table = [UInt8](repeating: 255, count: 256)
            for detector in input.detectors {
                table[Int(detector.channel)] = UInt8(lanes.count)
                lanes.append(
                    TagLane(detector: detector.detector, delay: detector.delay.rawValue))
            }
            let delays = input.detectors.map(\.delay.rawValue)
            taggers.append(
                TaggerState(
                    clock: input.clock, laneOfChannel: table, minimumDelay: delays.min() ?? 0,
                    maximumDelay: delays.max() ?? 0, completeThrough: nil))
        }
    }

    /// The clicks waiting for other taggers or for the end of their slot.
    public var pendingClicks: Int { lanes.reduce(0) { $0 + $1.pending } }

    /// Takes a block of tagger `number`, counted from 0.
    ///
    /// After a block with an event no other is taken: the clock must be locked again and a new
    /// pipeline made, because an old clock would put clicks into wrong slots without a sign of it.
    /// Slots not handed on by then are lost.
    ///
    /// Throws when there is no such tagger, when its tick is another than its clock's, when the
    /// tagger was interrupted, or when the block reaches beyond the horizon of link time; the
    /// pipeline is then unchanged.
    public mutating func push(_ block: TagBlock, from number: Int) throws(PipelineError) {
        guard taggers.indices.contains(number) else { throw .noSuchTagger(number) }
        guard block.event == nil else {
            taggers[number].isClockLost = true
            return
        }
        guard !taggers[number].isClockLost else { throw .clockLost(tagger: number) }
        let clock = taggers[number].clock
        guard block.tickPeriod == clock.tickPeriod else {
            throw .tickPeriodMismatch(
                tagger: number, expected: clock.tickPeriod, found: block.tickPeriod)
        }
        guard clock.linkTime(of: block.completeThrough).picoseconds < ClockModel.horizon else {
            throw .beyondHorizon(tagger: number, at: block.completeThrough)
        }
        provenance = provenance.map { $0.combined(with: block.provenance) } ?? block.provenance
        for loss in block.losses { add(loss, of: number) }
        if block.tags.count > maximumPendingClicks - pendingClicks {
            overrun(block, of: number)
        } else {
            let refused = distribute(
                block.tags.span, clock: clock, laneOfChannel: taggers[number].laneOfChannel,
                window: ClickWindow(
                    start: startTime, released: rules.grid.start(of: nextSlot).picoseconds,
                    bias: rules.bias),
                lanes: &lanes)
            account(for: refused)
            if let last = block.tags.last {
                taggers[number].convertedBefore = max(
                    taggers[number].convertedBefore, DeviceTicks(last.ticks + 1))
            }
        }
        taggers[number].completeThrough = max(
            taggers[number].completeThrough ?? block.completeThrough, block.completeThrough)
    }

    /// The detections of the slots that became complete since the last call; the batch covers a
    /// possibly empty run of slots from `nextSlot` on.
    public mutating func drain() -> DetectionBatch {
        var limit = Int64.max
        for tagger in taggers {
            guard let complete = tagger.completeThrough else { return release(before: nextSlot) }
            let time = tagger.clock.linkTime(of: complete).picoseconds - tagger.maximumDelay
            limit = min(limit, time)
        }
        guard limit > rules.grid.start(of: nextSlot).picoseconds else {
            return release(before: nextSlot)
        }
        return release(before: rules.grid.locate(LinkTime(picoseconds: limit)).slot)
    }

    /// At the end of the streams, the detections of all slots up to the last click or the tick a
    /// tagger is complete through, whichever is later.
    public mutating func finish() -> DetectionBatch {
        var batch = drain()
        var last = rules.grid.start(of: nextSlot).picoseconds - 1
        for lane in lanes where lane.pending > 0 {
            last = max(last, Int64(lane.keys[lane.keys.count - 1] >> 2) - rules.bias)
        }
        for tagger in taggers {
            guard let complete = tagger.completeThrough else { continue }
            // The tick itself may still bring tags; the one before it may not.
            last = max(last, tagger.clock.linkTime(of: complete).picoseconds - 1)
        }
        guard last >= rules.grid.start(of: nextSlot).picoseconds else { return batch }
        let slot = rules.grid.locate(LinkTime(picoseconds: last)).slot
        let rest = release(before: SlotIndex(slot.rawValue + 1))
        batch.detections += rest.detections
        batch.losses += rest.losses
        batch.slots = batch.slots.lowerBound..<rest.slots.upperBound
        return batch
    }

    /// The counts since the last call.
    ///
    /// Clicks in lost slots are in none of the counts, so rates are counts over
    /// `slots − lostSlots`. Slots discarded by the guard time do not count as lost.
    public mutating func takeTally() -> LinkTally {
        let bins = rules.phaseBins
        var tally = LinkTally(detectors: 4, phaseBins: bins)
        tally.clicks = counts.clicks
        tally.outsideGate = counts.outsideGate
        tally.multipleClicks = counts.multipleClicks
        tally.slots = coveredSlots
        tally.lostSlots = lostSlots
        for detector in 0..<4 {
            tally.phaseHistogram[detector] = Array(
                counts.histogram[(detector * bins)..<((detector + 1) * bins)])
        }
        counts = AssignmentCounts(phaseBins: bins)
        (coveredSlots, lostSlots) = (0, 0)
        return tally
    }

    /// From the slots not yet handed on, accepts clicks within `gate`.
    public mutating func setGate(_ gate: SlotGate) {
        rules = AssignmentRules(
            grid: rules.grid, gate: gate, guardTime: rules.guardTime, phaseBins: rules.phaseBins)
    }

    /// Changes the length of a tick of tagger `number` from tick `start` on, without a step.
    ///
    /// Throws when tags at or after `start` were already converted, when losses up to it may have
    /// been, or when the offset is out of range.
    public mutating func steer(
        tagger number: Int, from start: DeviceTicks, fractionalOffset: Double
    ) throws(PipelineError) {
        guard taggers.indices.contains(number) else { throw .noSuchTagger(number) }
        if let complete = taggers[number].completeThrough {
            guard start >= complete, start >= taggers[number].convertedBefore else {
                throw .steering(tagger: number, .startsBeforeLastSegment(start))
            }
            taggers[number].clock.forget(before: complete)
        }
        do throws(ClockModel.SteeringError) {
            try taggers[number].clock.steer(from: start, fractionalOffset: fractionalOffset)
        } catch {
            throw .steering(tagger: number, error)
        }
    }

    /// The clock of tagger `number`.
    public func clock(of number: Int) -> ClockModel { taggers[number].clock }

    private mutating func release(before end: SlotIndex) -> DetectionBatch {
        let start = nextSlot
        var batch = DetectionBatch(
            slots: start..<end, detections: [], provenance: provenance ?? .recording)
        guard start < end else { return batch }
        // Out of `self`, so that its span does not lock the state the assignment changes.
        var clicks: [ClickKey] = []
        swap(&clicks, &merged)
        clicks.removeAll(keepingCapacity: true)
        let limit = rules.grid.start(of: end).picoseconds + rules.bias
        mergeLanes(&lanes, before: ClickKey(UInt64(limit) << 2), into: &clicks)
        batch.losses = losses.take(before: end)
        var discarded: [SlotIndex] = []
        batch.detections.reserveCapacity(clicks.count)
        assignSlots(
            clicks.span, rules: rules, losses: batch.losses, guardedUntil: &guardedUntil,
            drawing: &generator, counts: &counts, detections: &batch.detections,
            discarded: &discarded)
        swap(&clicks, &merged)
        coveredSlots += end.rawValue - start.rawValue
        for loss in batch.losses { lostSlots += loss.end.rawValue - loss.start.rawValue }
        if !discarded.isEmpty {
            counters.guardedDetections += UInt64(discarded.count)
            batch.losses = mergeDiscards(discarded, into: batch.losses)
        }
        nextSlot = end
        return batch
    }

    /// Losses and discarded slots in slot order; a discarded slot is never inside a loss.
    private func mergeDiscards(
        _ discarded: [SlotIndex], into losses: [LossMark<SlotIndex>]
    ) -> [LossMark<SlotIndex>] {
        var result: [LossMark<SlotIndex>] = []
        result.reserveCapacity(losses.count + discarded.count)
        var lossIndex = 0
        for slot in discarded {
            while lossIndex < losses.count, losses[lossIndex].start <= slot {
                result.append(losses[lossIndex])
                lossIndex += 1
            }
            result.append(
                LossMark(
                    start: slot, end: SlotIndex(slot.rawValue + 1), count: 1, reason: .discarded))
        }
        result += losses[lossIndex...]
        return result
    }

    /// Every slot in which a click of the interval may be missing, through any of the tagger's
    /// delays, and those whose guard time a missing click may have opened.
    private mutating func add(_ loss: LossMark<DeviceTicks>, of number: Int) {
        let tagger = taggers[number]
        let first =
            tagger.clock.linkTime(of: loss.start).picoseconds - tagger.maximumDelay
        // An interval without a length says that something is missing at that tick.
        let lastTick = loss.end > loss.start ? DeviceTicks(loss.end.rawValue - 1) : loss.start
        let last =
            tagger.clock.linkTime(of: lastTick).picoseconds - tagger.minimumDelay
            + rules.guardTime
        addLoss(first: first, last: last, count: loss.count, reason: loss.reason)
    }

    private mutating func addLoss(first: Int64, last: Int64, count: UInt64?, reason: LossReason) {
        guard last >= startTime else { return }
        let released = rules.grid.start(of: nextSlot).picoseconds
        if first < released, released > startTime {
            counters.lateLosses += 1
        }
        guard last >= released else { return }
        let from = rules.grid.locate(LinkTime(picoseconds: max(first, released))).slot
        let through = rules.grid.locate(LinkTime(picoseconds: last)).slot
        losses.add(
            LossMark(
                start: from, end: SlotIndex(through.rawValue + 1), count: count, reason: reason))
    }

    private mutating func overrun(_ block: TagBlock, of number: Int) {
        counters.overrunTags += UInt64(block.tags.count)
        guard let first = block.tags.first, let last = block.tags.last else { return }
        add(
            LossMark(
                start: DeviceTicks(min(first.ticks, last.ticks)),
                end: DeviceTicks(max(first.ticks, last.ticks) + 1),
                count: UInt64(block.tags.count), reason: .hostOverrun),
            of: number)
    }

    private mutating func account(for refused: RefusedTags) {
        counters.unassignedTags += refused.unassigned
        counters.tagsBeforeStart += refused.beforeStart
        counters.tagsBeyondHorizon += refused.beyondHorizon
        counters.lateTags += UInt64(refused.late.count)
        for time in refused.late {
            addLoss(
                first: time, last: time + rules.guardTime, count: 1, reason: .corruptRecords)
        }
    }
}
