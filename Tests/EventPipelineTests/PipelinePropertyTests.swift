import EventPipeline
import LinkTypes
import Quantities
import TestSupport
import Testing

/// Random links through the pipeline, cut at random, against the reference.
struct PipelinePropertyTests {
    private static func randomLink(_ generator: inout SeededGenerator) -> ReferencePipeline {
        let periods = [
            TickPeriod(picoseconds: 1_000), TickPeriod(numerator: 100_000, denominator: 3),
            TickPeriod(picoseconds: 50_000), TickPeriod(numerator: 1_000_003, denominator: 128),
        ]
        let period = periods[Int(generator.next() % 4)]
        var taggers: [ReferencePipeline.Tagger] = []
        for _ in 0...(generator.next() % 3) {
            taggers.append(randomTagger(length: 4_000 * period.picoseconds, &generator))
        }
        let half = Int64(period.picoseconds * generator.uniform() * 0.6)
        let guardTime =
            generator.bernoulli(0.5) ? Int64(generator.next() % UInt64(8 * period.picoseconds)) : 0
        return ReferencePipeline(
            period: period, gate: SlotGate(halfWidth: Picoseconds(half)), guardTime: guardTime,
            taggers: taggers)
    }

    private static func randomTagger(
        length: Double, _ generator: inout SeededGenerator
    ) -> ReferencePipeline.Tagger {
        let numerator: Int64 = [125 * 32, 125, 32 * 81][Int(generator.next() % 3)]
        let end = UInt64(length * 32 / Double(numerator))
        func offset() -> Int64 { Int64(generator.next() % 200_000) - 100_000 }
        let clock = ReferencePipeline.Clock(
            numerator: numerator, origin: Int64(generator.next() % 100_000) - 20_000,
            offsets: (offset(), offset()), steeredAt: generator.next() % (end + 1))
        // Up to five inputs; delays of up to several slots either way.
        let inputs = (0..<(1 + Int(generator.next() % 5))).map { channel in
            DetectorInput(
                channel: UInt8(channel * 3), detector: UInt8(generator.next() % 4),
                delay: Picoseconds(offset()))
        }
        return ReferencePipeline.Tagger(
            clock: clock, inputs: inputs, tags: randomTags(below: end, &generator),
            losses: randomLosses(below: end, &generator), end: end)
    }

    /// Clicks in bursts, so that slots hold several, some on a channel without a detector.
    private static func randomTags(
        below end: UInt64, _ generator: inout SeededGenerator
    ) -> [TimeTag] {
        var tags: [TimeTag] = []
        for _ in 0..<600 {
            let centre = generator.next() % end
            for _ in 0...(generator.next() % 3) {
                tags.append(
                    TimeTag(
                        ticks: min(end - 1, centre + generator.next() % 6),
                        channel: UInt8(generator.next() % 6) * 3))
            }
        }
        return tags.sorted()
    }

    private static func randomLosses(
        below end: UInt64, _ generator: inout SeededGenerator
    ) -> [LossMark<DeviceTicks>] {
        let losses = (0..<(generator.next() % 6)).map { _ in
            let start = generator.next() % end
            let length = generator.next() % (end / 100 + 1)
            return LossMark(
                start: DeviceTicks(start), end: DeviceTicks(min(end, start + length)),
                count: generator.bernoulli(0.5) ? 3 : nil, reason: .deviceOverflow)
        }
        return losses.sorted { $0.start < $1.start }
    }

    /// One tagger's stream as blocks cut anywhere, complete through any tick that allows.
    private static func cut(
        _ tagger: ReferencePipeline.Tagger, pieces: Int, _ generator: inout SeededGenerator
    ) -> [TagBlock] {
        var cuts = (0..<(pieces - 1)).map { _ in
            Int(generator.next() % UInt64(tagger.tags.count + 1))
        }
        cuts.sort()
        cuts.append(tagger.tags.count)
        var blocks: [TagBlock] = []
        var start = 0
        var losses = tagger.losses[...]
        var complete: UInt64 = 0
        for (index, end) in cuts.enumerated() {
            // At most the tick of the next tag, at least what was promised.
            let limit = end < tagger.tags.count ? tagger.tags[end].ticks : tagger.end
            complete += generator.next() % (limit - complete + 1)
            if index == cuts.count - 1 { complete = tagger.end }
            let due = losses.prefix { $0.start.rawValue <= complete }
            losses = losses.dropFirst(due.count)
            blocks.append(
                TagBlock(
                    tickPeriod: TickPeriod(numerator: tagger.clock.numerator, denominator: 32),
                    tags: Array(tagger.tags[start..<end]), losses: Array(due),
                    completeThrough: DeviceTicks(complete), arrival: .zero,
                    provenance: .emulated))
            start = end
        }
        return blocks
    }

    /// What came out of the pipeline, and up to which slot.
    private struct Collected {
        var result = ReferencePipeline.Result()
        var reached = SlotIndex(0)

        mutating func take(_ batch: DetectionBatch) {
            #expect(batch.slots.lowerBound == reached, "batches leave no gap")
            reached = batch.slots.upperBound
            result.detections += batch.detections
            #expect(batch.detections.allSatisfy { batch.slots.contains($0.slot) })
            for (left, right) in zip(batch.losses, batch.losses.dropFirst()) {
                #expect(left.end <= right.start, "losses are disjoint and in order")
            }
            for loss in batch.losses {
                #expect(batch.slots.lowerBound <= loss.start && loss.end <= batch.slots.upperBound)
                if loss.reason == .discarded {
                    result.discarded.append(loss.start.rawValue)
                } else {
                    result.lost.formUnion(loss.start.rawValue..<loss.end.rawValue)
                }
            }
        }
    }

    private static func run(
        _ link: ReferencePipeline, pieces: Int, drawSeed: UInt64,
        _ generator: inout SeededGenerator
    ) throws -> Collected {
        let inputs = try link.taggers.map {
            TaggerInput(clock: try $0.clock.model(), detectors: $0.inputs)
        }
        var pipeline = try DetectionPipeline(
            PipelineConfiguration(
                slotPeriod: link.period, taggers: inputs, gate: link.gate,
                guardTime: Picoseconds(link.guardTime), phaseBins: 16),
            drawing: SeededGenerator(seed: drawSeed, label: "draws"))
        var queues: [ArraySlice<TagBlock>] = []
        for tagger in link.taggers {
            queues.append(cut(tagger, pieces: pieces, &generator)[...])
        }
        var collected = Collected()
        while queues.contains(where: { !$0.isEmpty }) {
            let number = Int(generator.next() % UInt64(queues.count))
            guard let block = queues[number].popFirst() else { continue }
            try pipeline.push(block, from: number)
            if generator.bernoulli(0.4) { collected.take(pipeline.drain()) }
        }
        collected.take(pipeline.finish())
        #expect(pipeline.pendingClicks == 0)
        #expect(pipeline.counters.lateTags == 0 && pipeline.counters.lateLosses == 0)
        let tally = pipeline.takeTally()
        #expect(tally.slots == collected.reached.rawValue)
        #expect(tally.lostSlots == UInt64(collected.result.lost.count))
        collected.result.clicks = tally.clicks
        collected.result.outside = tally.outsideGate
        collected.result.multiple = tally.multipleClicks
        for detector in 0..<4 {
            #expect(
                tally.phaseHistogram[detector].reduce(0, +)
                    == tally.clicks[detector] + tally.outsideGate[detector])
        }
        return collected
    }

    @Test(arguments: seeds(60)) func agreesWithReferenceHoweverCut(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "links")
        let link = Self.randomLink(&generator)
        var draws = SeededGenerator(seed: seed, label: "draws")
        let expected = link.run(drawing: &draws)
        for pieces in [1, 2, 7, 60, 400] {
            let collected = try Self.run(link, pieces: pieces, drawSeed: seed, &generator)
            // The reference does not know where the streams end.
            var bounded = expected
            bounded.lost = expected.lost.filter { $0 < collected.reached.rawValue }
            #expect(collected.result == bounded, "\(pieces) pieces")
        }
        #expect(!expected.clicks.allSatisfy { $0 == 0 } || link.gate.halfWidths[0].rawValue < 500)
    }
}
