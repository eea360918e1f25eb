import DeviceProfiles
import FirmwareProfiles
import LinkTypes
import Quantities
import TestSupport
import Testing
import TimeTaggers

/// Records as `docs/timetag-format` of timetag-fpga draws them: six bytes, the highest first.
enum ReferenceTimetag {
    static func record(
        _ time: UInt64, _ channels: UInt8 = 0, lost: Bool = false, delta: Bool = false
    ) -> [UInt8] {
        let counter = time % 68_719_476_736
        let flags: UInt8 = (lost ? 0x80 : 0) | (counter == 0 ? 0x40 : 0) | (delta ? 0x20 : 0)
        return [
            flags, channels * 16 + UInt8(counter / 4_294_967_296),
            UInt8(counter / 16_777_216 % 256), UInt8(counter / 65536 % 256),
            UInt8(counter / 256 % 256), UInt8(counter % 256),
        ]
    }
}

struct TimetagWireTests {
    private let profile: DeviceProfile
    private let wire: TimetagWire
    private static let round: UInt64 = 1 << 36

    init() throws {
        profile = try #require(try FirmwareProfiles.catalog()["umass-timetag-fpga"])
        wire = try TimetagWire(profile)
    }

    private func collector() -> TagCollector {
        TagCollector(
            tickPeriod: TickPeriod(numerator: 15625, denominator: 2), provenance: .emulated)
    }

    private func decoder() -> TimetagStreamDecoder {
        TimetagStreamDecoder(format: wire.format, channelMap: [0, 1, 2, 3])
    }

    private func decode(
        _ bytes: [UInt8], _ decoder: inout TimetagStreamDecoder, _ collector: inout TagCollector,
        earliest: UInt64 = 0, latest: UInt64 = 1 << 50
    ) {
        bytes.withUnsafeBytes {
            decoder.decode(
                $0, within: TimetagBounds(earliest: earliest, latest: latest), into: &collector)
        }
    }

    @Test func packetsOfTheDocument() throws {
        let vectors = profile.provenance.vectors
        #expect(
            try wire.packet(profile.command("read_register"), [1])
                == vectors["read_version"]?.bytes)
        #expect(
            try wire.packet(profile.command("write_register"), [3, 3])
                == vectors["start_capture"]?.bytes)
        #expect(
            try wire.packet(profile.command("write_register"), [0x1234, 4_294_967_295])
                == bytes(hex: "aa 01 34 12 ff ff ff ff"))
        #expect(throws: (any Error).self) {
            try wire.packet(profile.command("read_register"), [65536])
        }
        #expect(wire.value(of: try #require(vectors["clock_reply"]).bytes) == 128_000_000)
        #expect(wire.value(of: [6, 0, 0]) == nil && wire.value(of: [6, 0, 0, 0, 0]) == nil)
    }

    @Test(arguments: [
        ("000000000000", "zero without a wrap"), ("400000000001", "a wrap that is not zero"),
        ("000000000001", "no channel"), ("20500000000f", "a delta record"),
        ("011000000001", "a reserved bit"), ("101000000001", "a reserved bit"),
    ])
    func impossibleRecords(hex text: String, why: String) {
        let raw = bytes(hex: text).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        #expect(wire.format.decode(raw) == nil, "\(why)")
    }

    @Test func recordsOfTheProfile() throws {
        func decoded(_ name: String) throws -> TimetagRecordFormat.Record? {
            let vector = try #require(profile.provenance.vectors[name])
            return wire.format.decode(vector.bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        }
        #expect(
            try decoded("first_record")
                == .init(time: 0, channels: 0, hasLost: false, hasWrapped: true))
        #expect(
            try decoded("strobe_one_second")
                == .init(time: 128_000_000, channels: 1, hasLost: false, hasWrapped: false))
        #expect(
            try decoded("lost_two_channels")
                == .init(time: 1_000_000_000, channels: 6, hasLost: true, hasWrapped: false))
        #expect(try decoded("delta_two_outputs") == nil)
    }

    /// The published reader adds 2^36 - 1 for a wrap; the counter of the Verilog has 2^36 states.
    @Test func aWrapIsTwoToThe36() {
        var (decoder, collector) = (decoder(), collector())
        let times: [UInt64] = [5, Self.round - 1, Self.round + 7, 2 * Self.round + 7]
        var stream = ReferenceTimetag.record(0) + ReferenceTimetag.record(times[0], 1)
        stream += ReferenceTimetag.record(times[1], 2) + ReferenceTimetag.record(Self.round)
        stream += ReferenceTimetag.record(times[2], 4) + ReferenceTimetag.record(2 * Self.round, 8)
        stream += ReferenceTimetag.record(times[3], 1)
        decode(stream, &decoder, &collector)
        #expect(
            collector.tags.map(\.ticks)
                == [times[0], times[1], times[2], 2 * Self.round, times[3]])
        #expect(collector.tags.map(\.channel) == [0, 1, 2, 3, 0])
        #expect(decoder.recordCount == 7 && decoder.lossCount == 0)
    }

    /// A million ticks to a minute between events, several channels in one tick, any cut.
    @Test(arguments: seeds(4)) func randomEventsInPieces(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var (decoder, collector) = (decoder(), collector())
        var (stream, expected): ([UInt8], [TimeTag]) = (ReferenceTimetag.record(0), [])
        var time: UInt64 = 0
        for _ in 0..<2000 {
            let next = time + 1 + generator.next() % (generator.next() % 8 == 0 ? 1 << 33 : 4096)
            if next / Self.round != time / Self.round, next % Self.round != 0 {
                stream += ReferenceTimetag.record(next / Self.round * Self.round)
            }
            time = next
            let mask = UInt8(1 + generator.next() % 15)
            stream += ReferenceTimetag.record(time, mask)
            for channel in 0..<4 where mask >> channel & 1 == 1 {
                expected.append(TimeTag(ticks: time, channel: UInt8(channel)))
            }
        }
        while !stream.isEmpty {
            let count = min(stream.count, 1 + Int(generator.next() % 600))
            decode(Array(stream[..<count]), &decoder, &collector)
            stream.removeFirst(count)
        }
        #expect(collector.tags == expected, "seed \(seed)")
        #expect(
            collector.takeBlock(completeThrough: 0, arrival: .zero)?.losses.isEmpty == true,
            "seed \(seed)")
    }

    /// What is decoded is always true, and what is missing always marked, after a lost byte.
    @Test(arguments: seeds(40)) func aLostByteIsFoundAndMarked(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var (decoder, collector) = (decoder(), collector())
        let times = (1...200).map { UInt64($0) * 32_000 }
        var stream = ReferenceTimetag.record(0)
        for time in times { stream += ReferenceTimetag.record(time, 1 << UInt8(seed % 4)) }
        stream.remove(at: Int(generator.next() % UInt64(600)))
        // Ten records at a time, with a clock that knows when they come.
        for (index, start) in stride(from: 0, to: stream.count, by: 60).enumerated() {
            decode(
                Array(stream[start..<min(start + 60, stream.count)]), &decoder, &collector,
                latest: UInt64(index + 1) * 320_000 + 1000)
        }
        let tags = collector.tags.map(\.ticks)
        let taken = collector.takeBlock(completeThrough: .max, arrival: .zero)
        let block = try #require(taken)
        func isMarked(_ time: UInt64) -> Bool {
            block.losses.contains { $0.start.rawValue <= time && time <= $0.end.rawValue }
        }
        #expect(tags.allSatisfy { times.contains($0) || isMarked($0) }, "seed \(seed)")
        #expect(tags.count >= 185, "seed \(seed): \(tags.count)")
        let found = Set(tags)
        for time in times where !found.contains(time) {
            #expect(isMarked(time), "seed \(seed): \(time) in \(block.losses)")
        }
        #expect(block.losses.allSatisfy { $0.reason == .corruptRecords }, "seed \(seed)")
    }

    @Test func theHostsClockTellsWhetherAWrapWasLost() throws {
        // One second of events, a loss that swallows the wrap, and another event 600 s later.
        let later = UInt64(600) * 128_000_000
        for (earliest, latest, ticks) in [
            (later - 10_000_000, later + 10_000_000, later),
            (later - Self.round - 10_000_000, later - Self.round + 10_000_000, later - Self.round),
        ] {
            var (decoder, collector) = (decoder(), collector())
            decode(
                ReferenceTimetag.record(0) + ReferenceTimetag.record(128_000, 1), &decoder,
                &collector)
            decode(
                ReferenceTimetag.record(later, 2, lost: true), &decoder, &collector,
                earliest: earliest, latest: latest)
            #expect(collector.tags.last?.ticks == ticks)
            let taken = collector.takeBlock(completeThrough: .max, arrival: .zero)
            let block = try #require(taken)
            #expect(block.losses.map(\.start) == [DeviceTicks(128_001)])
            #expect(block.losses.map(\.end) == [DeviceTicks(ticks)])
            #expect(block.losses.map(\.reason) == [.deviceOverflow])
        }
    }

    /// When the host can not know either, nothing is guessed.
    @Test func anAmbiguousTimeIsNotGuessed() throws {
        var (decoder, collector) = (decoder(), collector())
        let later = UInt64(600) * 128_000_000
        decode(
            ReferenceTimetag.record(0) + ReferenceTimetag.record(128_000, 1), &decoder, &collector)
        decode(
            ReferenceTimetag.record(later, 2, lost: true), &decoder, &collector,
            earliest: 128_000, latest: later + 1000)
        #expect(collector.tags.count == 1 && decoder.ambiguousCount == 1)
        #expect(
            collector.takeBlock(completeThrough: .max, arrival: .zero)?.completeThrough
                == DeviceTicks(128_000))
        // As soon as it is known when records are made, they count again.
        decode(
            ReferenceTimetag.record(later + 500, 4), &decoder, &collector,
            earliest: later - 1000, latest: later + 1000)
        #expect(collector.tags.map(\.ticks) == [later + 500])
        let taken = collector.takeBlock(completeThrough: .max, arrival: .zero)
        let block = try #require(taken)
        #expect(block.losses.map(\.start) == [DeviceTicks(128_000)])
        #expect(block.losses.map(\.end) == [DeviceTicks(later + 500)])
    }

    /// The flag waits for the next record, be it in another acquisition.
    @Test func theFirstRecordCanNotTellOfALoss() {
        var (decoder, collector) = (decoder(), collector())
        decode(
            ReferenceTimetag.record(0, lost: true) + ReferenceTimetag.record(9, 1), &decoder,
            &collector)
        #expect(decoder.lossCount == 0 && collector.tags.count == 1)
        #expect(
            collector.takeBlock(completeThrough: 0, arrival: .zero)?.losses.isEmpty == true)
    }

    @Test(arguments: seeds(60)) func damagedStreamsKeepThePromises(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var (decoder, collector) = (decoder(), collector())
        var stream = ReferenceTimetag.record(0)
        for index in 1...150 {
            stream += ReferenceTimetag.record(
                UInt64(index) * 4001, 1 << UInt8(index % 4), lost: index % 50 == 0)
        }
        let damaged = mutated(stream, using: &generator)
        var promise = DeviceTicks(0)
        var last: TimeTag?
        for start in stride(from: 0, to: damaged.count, by: 100) {
            decode(
                Array(damaged[start..<min(start + 100, damaged.count)]), &decoder, &collector,
                latest: 700_000)
            guard
                let block = collector.takeBlock(
                    completeThrough: collector.lastTick, arrival: .zero)
            else {
                continue
            }
            #expect(block.completeThrough >= promise, "seed \(seed)")
            promise = block.completeThrough
            for tag in block.tags {
                if let last { #expect(last < tag, "seed \(seed)") }
                #expect(tag.ticks <= 700_000, "seed \(seed)")
                last = tag
            }
        }
    }
}
