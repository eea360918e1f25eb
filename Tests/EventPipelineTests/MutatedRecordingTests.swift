import EventPipeline
import LinkTypes
import Quantities
import TestSupport
import Testing

/// Damaged recordings: any outcome but a trap, a hang, or counts that do not add up.
struct MutatedRecordingTests {
    private static func read(_ bytes: [UInt8], format: RecordingFormat?) {
        do throws(RecordingError) {
            var reader = try RecordingReader(MemoryByteSource(bytes), format: format)
            let summary = try RecordingSummary(reading: &reader)
            let counts = summary.counts
            let places = UInt64(bytes.count / 4)
            #expect(counts.records <= places)
            #expect(counts.clicks <= 4 * counts.records)
            #expect(
                counts.events + counts.markers + counts.overflowRecords + counts.voids
                    + counts.empty + counts.corrupt == counts.records)
            #expect(summary.channels.reduce(0) { $0 + $1.clicks } == counts.clicks)
            #expect(!summary.json.text.isEmpty)
            try convert(bytes, format: format)
        } catch {
            #expect(!error.description.isEmpty)
        }
    }

    private static func convert(
        _ bytes: [UInt8], format: RecordingFormat?
    ) throws(RecordingError) {
        for target in [ConversionFormat.csv, .sFifteen(.a1, .bits54)] {
            var reader = try RecordingReader(MemoryByteSource(bytes), format: format)
            var sink = MemoryByteSink()
            let report = try convertRecording(&reader, to: target, sink: &sink)
            #expect(report.recordsWritten <= UInt64(sink.bytes.count))
        }
    }

    @Test(arguments: PicoQuantRecordType.allCases, seeds(60))
    func picoQuant(type: PicoQuantRecordType, seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "mutations")
        let file = PTUFile(recordType: type.rawValue)
        let events = (0..<30).map { index in
            PTUFile.Event.photon(
                channel: 1, time: UInt64(index) * file.wrap / 3, micro: file.isT3 ? index : 0)
        }
        let bytes = file.bytes(events)
        Self.read(mutated(bytes, using: &generator), format: .picoQuant)
        // Damage to the header alone, where the meaning of everything else is decided.
        let size = file.header(records: 0).count
        var header = Array(bytes[..<size])
        for _ in 0..<4 {
            header[Int(generator.next() % UInt64(size))] = UInt8(
                truncatingIfNeeded: generator.next())
        }
        Self.read(header + bytes[size...], format: nil)
    }

    @Test(arguments: RecordingFormat.all.dropFirst(), seeds(40))
    func sFifteen(format: RecordingFormat, seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "mutations")
        guard case .sFifteen(let encoding, let layout) = format else { return }
        var bytes: [UInt8] = []
        for index: UInt64 in 0..<40 {
            let time = generator.next() >> 12 &+ index
            switch encoding {
            case .a1: bytes += PTUFile.little(time << 10 | 1, layout == .fast32 ? 4 : 8)
            case .a0: bytes += Array((hex(PTUFile.little(time, 4)) + "\n").utf8)
            case .a2: bytes += Array((hex(PTUFile.little(time, 8)) + "\n").utf8)
            }
        }
        Self.read(mutated(bytes, using: &generator), format: format)
        Self.read(mutated(bytes, using: &generator), format: nil)
    }

    /// A stream with arbitrary ticks and marks through the pipeline.
    @Test(arguments: seeds(60)) func pipelineSurvivesNonsense(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "nonsense")
        var pipeline = try DetectionPipeline(
            PipelineConfiguration(
                slotPeriod: TickPeriod(numerator: 100_000, denominator: 3),
                taggers: [
                    TaggerInput(
                        clock: ClockModel(tickPeriod: TickPeriod(picoseconds: 125)),
                        detectors: (0..<4).map { DetectorInput(channel: $0, detector: $0) })
                ], gate: SlotGate(halfWidth: Picoseconds(10_000)),
                guardTime: Picoseconds(1_000), maximumPendingClicks: 500),
            drawing: SeededGenerator(seed: seed))
        func anyTick() -> UInt64 { generator.next() >> (generator.next() % 64) }
        var pushed: UInt64 = 0
        var out: UInt64 = 0
        for _ in 0..<40 {
            let (a, b) = (anyTick(), anyTick())
            let block = TagBlock(
                tickPeriod: TickPeriod(picoseconds: 125),
                tags: (0..<20).map { _ in TimeTag(rawValue: anyTick()) },
                losses: [
                    LossMark(
                        start: DeviceTicks(min(a, b)), end: DeviceTicks(max(a, b)),
                        count: anyTick(), reason: .corruptRecords)
                ], completeThrough: DeviceTicks(anyTick() >> 8), arrival: .zero,
                provenance: .emulated)
            do throws(PipelineError) {
                try pipeline.push(block, from: 0)
                pushed += 20
            } catch {
                #expect(error.code == "BRK-EVT-004")
            }
            let batch = pipeline.drain()
            out += UInt64(batch.detections.count)
            for (left, right) in zip(batch.detections, batch.detections.dropFirst()) {
                #expect(left.slot < right.slot)
            }
        }
        #expect(out + UInt64(pipeline.pendingClicks) <= pushed)
    }
}
