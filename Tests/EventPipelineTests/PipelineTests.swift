import EventPipeline
import LinkTypes
import Quantities
import TestSupport
import Testing

/// Rules of the event path, one by one, on streams small enough to check by hand.
struct PipelineTests {
    private static let tick = TickPeriod(picoseconds: 100)

    private static func input() -> TaggerInput {
        TaggerInput(
            clock: ClockModel(tickPeriod: tick),
            detectors: (0..<4).map { DetectorInput(channel: $0, detector: $0) })
    }

    /// Slots of 100,000 ps: 1,000 ticks.
    private static func pipeline(
        taggers: [TaggerInput] = [input()], halfWidth: Int64 = 50_000, guardTime: Int64 = 0,
        firstSlot: UInt64 = 0, pending: Int = 1 << 20, seed: UInt64 = 1
    ) throws -> DetectionPipeline {
        try DetectionPipeline(
            PipelineConfiguration(
                slotPeriod: TickPeriod(picoseconds: 100_000), taggers: taggers,
                gate: SlotGate(halfWidth: Picoseconds(halfWidth)),
                guardTime: Picoseconds(guardTime), phaseBins: 10,
                firstSlot: SlotIndex(firstSlot), maximumPendingClicks: pending),
            drawing: SeededGenerator(seed: seed))
    }

    /// Tags as (tick, channel).
    private static func block(
        _ tags: [(UInt64, UInt8)], losses: [LossMark<DeviceTicks>] = [], through: UInt64,
        provenance: Provenance = .device
    ) -> TagBlock {
        TagBlock(
            tickPeriod: tick, tags: tags.map { TimeTag(ticks: $0, channel: $1) }, losses: losses,
            completeThrough: DeviceTicks(through), arrival: .zero, provenance: provenance)
    }

    private static func loss(
        _ range: Range<UInt64>, count: UInt64? = nil, _ reason: LossReason = .deviceOverflow
    ) -> LossMark<DeviceTicks> {
        LossMark(
            start: DeviceTicks(range.lowerBound), end: DeviceTicks(range.upperBound),
            count: count, reason: reason)
    }

    private static func lost(
        _ range: Range<UInt64>, _ count: UInt64?, _ reason: LossReason
    ) -> LossMark<SlotIndex> {
        LossMark(
            start: SlotIndex(range.lowerBound), end: SlotIndex(range.upperBound), count: count,
            reason: reason)
    }

    @Test func nothingIsConvertedAfterAnInterruption() throws {
        var pipeline = try Self.pipeline(halfWidth: 50_000)
        try pipeline.push(Self.block([(1_000, 0), (5_500, 1)], through: 5_000), from: 0)
        let before = pipeline.drain()
        #expect(before.detections.count == 1)
        var interrupted = Self.block([], through: 5_000)
        interrupted.event = .interrupted(since: .zero, reason: "unplugged")
        try pipeline.push(interrupted, from: 0)
        var resumed = Self.block(
            [], losses: [Self.loss(5_000..<90_000, .disconnected)], through: 90_000)
        resumed.event = .resumed(
            TagGap(epoch: 1, loss: resumed.losses[0], lostSince: .zero, resumed: .zero))
        try pipeline.push(resumed, from: 0)
        #expect(throws: PipelineError.clockLost(tagger: 0)) {
            try pipeline.push(Self.block([(91_000, 0)], through: 95_000), from: 0)
        }
        // Neither the click that waited nor any slot after the interruption is handed on.
        let after = pipeline.drain()
        #expect(after.slots.isEmpty && after.slots.lowerBound == before.slots.upperBound)
        #expect(after.detections.isEmpty)
    }

    @Test func clicksGetSlotPhaseAndTally() throws {
        var pipeline = try Self.pipeline(halfWidth: 20_000)
        try pipeline.push(
            Self.block([(10, 0), (1_199, 1), (1_200, 2), (1_800, 3), (2_499, 0)], through: 2_500),
            from: 0)
        let batch = pipeline.drain()
        #expect(batch.slots == SlotIndex(0)..<SlotIndex(3))
        #expect(
            batch.detections == [
                Detection(slot: SlotIndex(0), phase: 1_000, detector: 0),
                Detection(slot: SlotIndex(1), phase: 19_900, detector: 1),
                Detection(slot: SlotIndex(2), phase: -20_000, detector: 3),
            ])
        #expect(batch.losses.isEmpty && batch.provenance == .device)
        let tally = pipeline.takeTally()
        #expect(tally.clicks == [1, 1, 0, 1])
        #expect(tally.outsideGate == [1, 0, 1, 0])
        #expect(tally.slots == 3 && tally.lostSlots == 0 && tally.multipleClicks == 0)
        // Bins of 10,000 ps from −50,000: 1,000 is in bin 5, 49,900 in bin 9.
        #expect(tally.phaseHistogram[0] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1])
        #expect(tally.phaseHistogram[3] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        #expect(pipeline.takeTally() == LinkTally(detectors: 4, phaseBins: 10))
    }

    @Test func waitsForTheSlowestTaggerAndTheLongestDelay() throws {
        let second = TaggerInput(
            clock: ClockModel(tickPeriod: Self.tick),
            detectors: [DetectorInput(channel: 0, detector: 3, delay: Picoseconds(150_000))])
        var pipeline = try Self.pipeline(taggers: [Self.input(), second])
        try pipeline.push(Self.block([(1_000, 0), (3_000, 1)], through: 9_000), from: 0)
        #expect(pipeline.drain().slots.isEmpty, "the second tagger has said nothing yet")
        try pipeline.push(Self.block([(3_500, 0)], through: 4_000), from: 1)
        // Complete through 400,000 − 150,000 ps, the very end of slot 2.
        let first = pipeline.drain()
        #expect(first.slots == SlotIndex(0)..<SlotIndex(3))
        #expect(first.detections.map(\.slot.rawValue) == [1, 2])
        #expect(first.detections.map(\.detector) == [0, 3])
        try pipeline.push(Self.block([], through: 20_000), from: 1)
        #expect(pipeline.drain().detections.map(\.slot.rawValue) == [3])
    }

    @Test func lossesCoverEverySlotTheyTouch() throws {
        var pipeline = try Self.pipeline()
        let losses = [
            Self.loss(1_600..<2_501, count: 4), Self.loss(2_600..<2_700, count: 1),
            Self.loss(4_600..<4_600, .transferFailure),
        ]
        try pipeline.push(
            Self.block(
                [(1_000, 0), (2_000, 0), (3_000, 0), (4_000, 0), (5_000, 0)], losses: losses,
                through: 6_600), from: 0)
        let batch = pipeline.drain()
        let expected = [
            Self.lost(2..<4, 5, .deviceOverflow), Self.lost(5..<6, nil, .transferFailure),
        ]
        #expect(batch.losses == expected)
        #expect(batch.detections.map(\.slot.rawValue) == [1, 4])
        let tally = pipeline.takeTally()
        #expect(tally.lostSlots == 3 && tally.clicks == [2, 0, 0, 0])
    }

    @Test func aLossThatContinuesIsCutAtTheEndOfABatch() throws {
        var pipeline = try Self.pipeline()
        try pipeline.push(
            Self.block([], losses: [Self.loss(1_000..<5_000, count: 9)], through: 3_000), from: 0)
        #expect(pipeline.drain().losses == [Self.lost(1..<3, 9, .deviceOverflow)])
        try pipeline.push(Self.block([], through: 9_000), from: 0)
        #expect(pipeline.drain().losses == [Self.lost(3..<6, nil, .deviceOverflow)])
    }

    @Test func guardTimeDiscardsOnAllDetectors() throws {
        var pipeline = try Self.pipeline(halfWidth: 30_000, guardTime: 250_000)
        try pipeline.push(
            Self.block(
                [(1_000, 0), (3_000, 1), (5_499, 2), (8_000, 3), (10_400, 0), (13_000, 1)],
                through: 20_000), from: 0)
        let batch = pipeline.drain()
        // Slot 3 is 200,000 ps after slot 1, so it goes; 5,499 and 10,400 are outside the gate but
        // make their detectors dead until 799,900 and 1,290,000 ps, just before slots 8 and 13.
        #expect(batch.detections.map(\.slot.rawValue) == [1, 8, 13])
        #expect(batch.losses == [Self.lost(3..<4, 1, .discarded)])
        #expect(pipeline.counters.guardedDetections == 1)
        #expect(pipeline.takeTally().lostSlots == 0)
    }

    @Test func doubleClicksAreFairAndFlagged() throws {
        var pipeline = try Self.pipeline(seed: 20)
        let rounds: UInt64 = 20_000
        var tags: [(UInt64, UInt8)] = []
        // In turn: H and V, D and A, H and D, V twice.
        let pairs: [(UInt8, UInt8)] = [(0, 1), (2, 3), (0, 2), (1, 1)]
        for round in 0..<rounds {
            for (index, pair) in pairs.enumerated() {
                let centre = (4 * round + UInt64(index) + 1) * 1_000
                tags += [(centre, pair.0), (centre + 7, pair.1)]
            }
        }
        try pipeline.push(Self.block(tags, through: 4 * rounds * 1_000 + 9_000), from: 0)
        var counts = [[Int]](repeating: [0, 0, 0, 0], count: 4)
        for detection in pipeline.drain().detections {
            let kind = Int((detection.slot.rawValue - 1) % 4)
            counts[kind][Int(detection.detector)] += 1
            #expect(detection.isMultiple == (kind < 3))
            // The phase is that of the chosen detector, else of the first click.
            let isSecond = kind < 3 && detection.detector == pairs[kind].1
            #expect(detection.phase == (isSecond ? 700 : 0))
        }
        #expect(pipeline.takeTally().multipleClicks == 3 * rounds)
        // Five standard deviations of the binomial.
        let half = 5 * (Double(rounds) / 4).squareRoot()
        let quarter = 5 * (Double(rounds) * 3 / 16).squareRoot()
        for index in [0, 1] {
            #expect(abs(Double(counts[0][index]) - Double(rounds) / 2) < half)
            #expect(abs(Double(counts[1][2 + index]) - Double(rounds) / 2) < half)
        }
        #expect(counts[0][2] + counts[0][3] + counts[1][0] + counts[1][1] == 0)
        for index in 0..<4 {
            #expect(abs(Double(counts[2][index]) - Double(rounds) / 4) < quarter)
        }
        #expect(counts[3] == [0, Int(rounds), 0, 0])
    }

    @Test func overrunBecomesALoss() throws {
        var pipeline = try Self.pipeline(taggers: [Self.input(), Self.input()], pending: 3)
        try pipeline.push(Self.block([(1_000, 0), (2_000, 0)], through: 2_100), from: 0)
        try pipeline.push(Self.block([(3_000, 0), (4_000, 1)], through: 4_100), from: 0)
        #expect(pipeline.counters.overrunTags == 2 && pipeline.pendingClicks == 2)
        try pipeline.push(Self.block([(5_000, 2)], through: 8_000), from: 0)
        try pipeline.push(Self.block([], through: 8_000), from: 1)
        let batch = pipeline.drain()
        #expect(batch.detections.map(\.slot.rawValue) == [1, 2, 5])
        #expect(batch.losses == [Self.lost(3..<5, 2, .hostOverrun)])
    }

    @Test func lateTagsAreCountedAndMarked() throws {
        var pipeline = try Self.pipeline()
        try pipeline.push(Self.block([(1_000, 0), (5_000, 0)], through: 5_000), from: 0)
        _ = pipeline.drain()
        // Earlier than what was handed on; earlier than the one before it; an unknown channel.
        try pipeline.push(
            Self.block([(2_000, 1), (7_000, 0), (6_000, 0), (6_500, 9)], through: 9_000), from: 0)
        let batch = pipeline.drain()
        #expect(batch.detections.map(\.slot.rawValue) == [5, 7])
        #expect(pipeline.counters.lateTags == 2 && pipeline.counters.unassignedTags == 1)
        #expect(batch.losses == [Self.lost(6..<7, 1, .corruptRecords)])
        #expect(pipeline.counters.lateLosses == 1)
    }

    @Test func startsAtTheFirstSlotAsked() throws {
        var pipeline = try Self.pipeline(firstSlot: 5)
        try pipeline.push(
            Self.block([(1_000, 0), (4_499, 0), (4_500, 1)], through: 7_000), from: 0)
        let batch = pipeline.drain()
        #expect(batch.slots == SlotIndex(5)..<SlotIndex(7))
        #expect(batch.detections.map(\.phase) == [-50_000])
        #expect(pipeline.counters.tagsBeforeStart == 2)
    }

    @Test func steeringChangesOnlyLaterTags() throws {
        var pipeline = try Self.pipeline()
        try pipeline.push(Self.block([(1_000_000, 0)], through: 1_000_000), from: 0)
        #expect(throws: PipelineError.self) {
            try pipeline.steer(tagger: 0, from: DeviceTicks(1_000_000), fractionalOffset: 1e-6)
        }
        try pipeline.steer(tagger: 0, from: DeviceTicks(1_000_001), fractionalOffset: 1e-3)
        try pipeline.push(Self.block([(1_100_001, 1)], through: 1_200_000), from: 0)
        let detections = pipeline.finish().detections
        #expect(detections.map(\.slot.rawValue) == [1_000, 1_100])
        // 100,000 ticks of 100.1 ps after 100,000,100 ps.
        #expect(detections.map(\.phase) == [0, 10_100])
    }

    @Test func aNewGateAppliesToSlotsNotYetHandedOn() throws {
        var pipeline = try Self.pipeline()
        try pipeline.push(Self.block([(1_100, 0), (2_100, 0)], through: 1_500), from: 0)
        #expect(pipeline.drain().detections.count == 1)
        pipeline.setGate(SlotGate(halfWidth: Picoseconds(5_000)))
        #expect(pipeline.finish().detections.isEmpty)
        #expect(pipeline.takeTally().outsideGate[0] == 1)
    }

    @Test func provenanceOfAllTaggersCounts() throws {
        var pipeline = try Self.pipeline(taggers: [Self.input(), Self.input()])
        try pipeline.push(Self.block([], through: 5_000), from: 0)
        try pipeline.push(Self.block([], through: 5_000, provenance: .emulated), from: 1)
        #expect(pipeline.drain().provenance == .emulated)
    }

    @Test func wrongInputsAreRefused() throws {
        var pipeline = try Self.pipeline()
        #expect(throws: PipelineError.noSuchTagger(1)) {
            try pipeline.push(Self.block([], through: 1), from: 1)
        }
        var block = Self.block([], through: 1)
        block.tickPeriod = TickPeriod(picoseconds: 1)
        #expect(throws: PipelineError.self) { try pipeline.push(block, from: 0) }
        #expect(throws: PipelineError.beyondHorizon(tagger: 0, at: DeviceTicks(.max))) {
            try pipeline.push(Self.block([], through: .max), from: 0)
        }
        // A damaged loss must not trap, nor end before it ends.
        try pipeline.push(
            Self.block([(1_000, 0)], losses: [Self.loss(0..<UInt64.max)], through: 2_000), from: 0)
        let batch = pipeline.drain()
        #expect(batch.detections.isEmpty && batch.losses.map(\.end) == [SlotIndex(2)])
    }

    @Test func badConfigurationsAreRefused() {
        let changes: [(inout PipelineConfiguration) -> Void] = [
            { $0.taggers = [] }, { $0.phaseBins = 70_000 },
            { $0.slotPeriod = TickPeriod(picoseconds: 1) }, { $0.guardTime = Picoseconds(-1) },
            { $0.maximumPendingClicks = 0 }, { $0.taggers[0].detectors[0].detector = 4 },
            { $0.taggers[0].detectors[0].channel = 1 },
            { $0.taggers[0].detectors[0].delay = Picoseconds(1 << 50) },
            { $0.firstSlot = SlotIndex(.max) },
        ]
        for change in changes {
            var configuration = PipelineConfiguration(
                slotPeriod: TickPeriod(picoseconds: 100_000), taggers: [Self.input()],
                gate: SlotGate(halfWidth: Picoseconds(1)))
            change(&configuration)
            let changed = configuration
            #expect(throws: PipelineError.self) {
                _ = try DetectionPipeline(changed, drawing: SeededGenerator(seed: 1))
            }
        }
    }
}
