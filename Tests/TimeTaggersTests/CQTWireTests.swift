import DeviceProfiles
import FirmwareProfiles
import LinkTypes
import Quantities
import TestSupport
import Testing
import TimeTaggers

/// An encoder of event records written from the published description of the card, not from the
/// decoder: what the hardware latches for an event at `ticks` on the inputs of `mask` (bit 3 is A).
struct ReferenceCard {
    /// A pattern for each phase of the table of board revision 2; 10 and 15 never occur.
    static let patterns: [UInt64: UInt64] = [
        0: 375, 1: 359, 2: 295, 3: 39, 4: 7, 5: 6, 6: 12, 7: 152, 8: 216, 9: 472, 11: 504, 12: 505,
        13: 497, 14: 371,
    ]

    /// The nearest earlier time whose phase the hardware can show.
    static func representable(_ ticks: UInt64) -> UInt64 {
        [10, 15].contains(ticks % 16) ? ticks - 1 : ticks
    }

    static func record(ticks: UInt64, mask: UInt64) -> [UInt8] {
        let fast = ticks / 16 % 32
        var slow = ticks / 512
        if fast < 17 { slow = (slow &- 1) & 0xFF_FFFF_FFFF }
        var low = patterns[ticks % 16] ?? 0
        low += fast * 512
        low += (mask / 4) * 0x4000
        low += (mask % 4) * 0x10000
        low += (slow % 256) * 0x100_0000
        let high = slow / 256
        return (0..<4).map { UInt8(low >> (8 * $0) & 255) }
            + (0..<4).map { UInt8(high >> (8 * $0) & 255) }
    }
}

struct CQTWireTests {
    let profile: DeviceProfile
    let wire: CQTTimestampWire
    /// Detector bit 3 is input A, channel 0.
    let channelMap: [UInt8] = [3, 2, 1, 0] + [UInt8](repeating: 0, count: 28)

    init() throws {
        profile = try #require(try FirmwareProfiles.catalog()["cqt-timestamp-usb"])
        wire = try CQTTimestampWire(profile)
    }

    private func decoder() -> CQTStreamDecoder {
        CQTStreamDecoder(format: wire.format, channelMap: channelMap)
    }
    private func collector() -> TagCollector {
        TagCollector(tickPeriod: TickPeriod(picoseconds: 125), provenance: .device)
    }
    private func take(_ collector: inout TagCollector, _ promise: UInt64) -> TagBlock? {
        collector.takeBlock(completeThrough: promise, arrival: .zero)
    }
    private func decode(
        _ bytes: [UInt8], _ decoder: inout CQTStreamDecoder, _ collector: inout TagCollector,
        limit: UInt64 = .max
    ) {
        bytes.withUnsafeBytes { decoder.decode($0, notAfter: limit, into: &collector) }
    }

    /// Packets as the published driver and its header write them.
    @Test(
        arguments: [
            ("reset_card", [], "030104"), ("send_dac", [1, 3586], "0502021e27"),
            ("initialize_dac", [], "030306"), ("initialize_rf_source", [], "030407"),
            ("rf_reference", [1], "0405010a"), ("rf_parameter", [0x790], "05069007a2"),
            ("set_inhibit", [], "03070a"), ("clear_inhibit", [], "03080b"),
            ("calibration_off", [], "03090c"), ("initialize_fifo", [], "030b0e"),
            ("stop", [], "030c0f"), ("autoflush", [50], "040d3243"),
            ("start_transfer", [], "030e11"),
            ("fresh_restart", [], "030f12"), ("request_status", [8], "0410081c"),
            ("reset_slow_counter", [], "031215"), ("reset_partial_fifo", [], "031316"),
        ] as [(String, [Double], String)])
    func commandPackets(name: String, values: [Double], expected: String) throws {
        #expect(hex(try wire.packet(try profile.command(name), values)) == expected)
    }

    @Test func refusesValuesOutsideTheProfile() throws {
        let dac = try profile.command("send_dac")
        #expect(throws: (any Error).self) { try wire.packet(dac, [8, 0]) }
        #expect(throws: (any Error).self) { try wire.packet(dac, [0, 4096]) }
        #expect(throws: (any Error).self) { try wire.packet(dac, [0, .nan]) }
        #expect(throws: (any Error).self) { try wire.packet(dac, [0]) }
    }

    /// One second on input D, as readevents3 decodes it.
    @Test func decodesTheKnownEvent() throws {
        var decoder = decoder()
        var collector = collector()
        decode(bytes(hex: "070001276bee0000"), &decoder, &collector)
        #expect(collector.tags == [TimeTag(ticks: 8_000_000_004, channel: 3)])
    }

    /// The last tick before the slow counter steps, and the first after: the raw slow count lags.
    @Test func addsTheSlowStepWithCarry() throws {
        for ticks: UInt64 in [511, 512, 512 * 256 - 1, 512 * 256, 1 << 32, (1 << 49) - 2] {
            let (decoded, detectors) = wire.format.decode(
                ReferenceCard.record(ticks: ReferenceCard.representable(ticks), mask: 8)
                    .reversed().reduce(0) { $0 << 8 | UInt64($1) })
            #expect(decoded == ReferenceCard.representable(ticks))
            #expect(detectors == 8)
        }
    }

    @Test func decodesTwoHundredThousandRandomEvents() throws {
        var generator = SeededGenerator(seed: 11, label: "cqt")
        var stream: [UInt8] = []
        var expected: [TimeTag] = []
        var ticks: UInt64 = 100
        for _ in 0..<200_000 {
            ticks += 16 + generator.next() % (generator.next() % 100 == 0 ? 1 << 40 : 60_000)
            let shown = ReferenceCard.representable(ticks)
            let mask = 1 + generator.next() % 15
            stream += ReferenceCard.record(ticks: shown & ((1 << 49) - 1), mask: mask)
            for channel: UInt64 in 0..<4 where mask & (8 >> channel) != 0 {
                expected.append(TimeTag(ticks: shown, channel: UInt8(channel)))
            }
            ticks = shown
        }
        var decoder = decoder()
        var collector = collector()
        // In transfers of any length, so that records straddle them.
        var rest = stream[...]
        while !rest.isEmpty {
            let count = Int(generator.next() % 700)
            decode(Array(rest.prefix(count)), &decoder, &collector)
            rest = rest.dropFirst(count)
        }
        #expect(ticks > 1 << 49, "the counter wrapped on the way")
        #expect(collector.tags == expected)
        #expect(decoder.recordCount == 200_000)
        let block = try #require(take(&collector, ticks))
        #expect(block.losses.isEmpty)
    }

    @Test func passesOverVoidRecords() {
        var decoder = decoder()
        var collector = collector()
        let zero = [UInt8](repeating: 0, count: 8)
        decode(zero + ReferenceCard.record(ticks: 5000, mask: 1) + zero, &decoder, &collector)
        #expect(collector.tags.map(\.ticks) == [5000])
        #expect(decoder.recordCount == 1)
    }

    @Test func marksTimesThatCanNotBe() throws {
        var decoder = decoder()
        var collector = collector()
        func send(_ ticks: UInt64) {
            decode(
                ReferenceCard.record(ticks: ticks, mask: 2), &decoder, &collector, limit: 1_000_000)
        }
        send(100_000)
        send(50_000)  // backwards
        send(2_000_000)  // ahead of the clock
        #expect(decoder.rejectedInARow == 2)
        // An open loss holds the promise back to where it may begin.
        let first = try #require(take(&collector, 100_000))
        #expect(first.completeThrough == DeviceTicks(0))
        send(200_000)
        let block = try #require(take(&collector, 200_000))
        #expect(first.tags.map(\.ticks) + block.tags.map(\.ticks) == [100_000, 200_000])
        #expect(
            block.losses == [
                LossMark(
                    start: DeviceTicks(0), end: DeviceTicks(200_000), count: nil,
                    reason: .corruptRecords)
            ])
        #expect(block.completeThrough == DeviceTicks(200_000))
    }

    @Test func aTagBeforeThePromiseBecomesALoss() throws {
        var decoder = decoder()
        var collector = collector()
        decode(ReferenceCard.record(ticks: 1000, mask: 4), &decoder, &collector)
        _ = collector.takeBlock(completeThrough: 900_000, arrival: .zero)
        decode(ReferenceCard.record(ticks: 800_000, mask: 0b0110), &decoder, &collector)
        let block = try #require(take(&collector, 900_000))
        #expect(block.tags.isEmpty)
        #expect(
            block.losses == [
                LossMark(
                    start: DeviceTicks(800_000), end: DeviceTicks(800_001), count: 2,
                    reason: .hostOverrun)
            ])
    }

    /// Whatever arrives: no crash, tags in order, none beyond the limit, and damage that loses time
    /// order shows as a loss.
    @Test(arguments: seeds(40)) func anyBytesAreHandled(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "cqt mutation")
        var clean: [UInt8] = []
        for index in 1...400 as ClosedRange<UInt64> {
            clean += ReferenceCard.record(ticks: index * 8192, mask: 1 + generator.next() % 15)
        }
        var decoder = decoder()
        var collector = collector()
        decode(mutated(clean, using: &generator), &decoder, &collector, limit: 500 * 8192)
        #expect(collector.tags == collector.tags.sorted())
        #expect(collector.tags.allSatisfy { $0.ticks <= 500 * 8192 })
        #expect(collector.tags.count <= 4 * 500)
    }

    @Test func otherPhaseTablesAndMissingOnes() throws {
        let other = try CQTTimestampWire(profile, phaseTable: "rev0")
        let record: UInt64 = 504 | 20 << 9 | 1 << 16
        #expect(wire.format.decode(record).ticks == 20 * 16 + 11)
        #expect(other.format.decode(record).ticks == 20 * 16 + 12)
        #expect(throws: MissingProfileField.self) {
            try CQTTimestampWire(profile, phaseTable: "rev9")
        }
    }
}
