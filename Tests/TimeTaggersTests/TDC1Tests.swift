import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities
import Synchronization
import TestSupport
import Testing
import TimeTaggers

/// The words of a TDC1 for events in order of time, with the dummy words it adds at every half of
/// its range; written from the description of the stream.
private func words(_ events: [(ticks: UInt64, mask: UInt32)], until end: UInt64? = nil) -> [UInt32]
{
    var result: [UInt32] = []
    var nextDummy: UInt64 = 1 << 26
    func dummies(before ticks: UInt64) {
        while nextDummy <= ticks {
            result.append(UInt32(nextDummy % (1 << 27)) * 32 + 16)
            nextDummy += 1 << 26
        }
    }
    for event in events {
        dummies(before: event.ticks)
        result.append(UInt32(event.ticks % (1 << 27)) * 32 + event.mask)
    }
    if let end { dummies(before: end) }
    return result
}

private func stream(_ words: [UInt32]) -> [UInt8] {
    words.flatMap { word in (0..<4).map { UInt8(word >> (8 * $0) & 255) } }
}

struct TDC1WireTests {
    let format: TDC1WordFormat
    let channelMap: [UInt8] = [0, 1, 2, 3] + [UInt8](repeating: 0, count: 28)

    init() throws {
        format = try TDC1WordFormat(try #require(try FirmwareProfiles.catalog()["s15-tdc1"]))
    }

    private func decode(_ bytes: [UInt8], pieces: [Int] = []) -> TagBlock? {
        var decoder = TDC1StreamDecoder(format: format, channelMap: channelMap)
        var collector = TagCollector(
            tickPeriod: TickPeriod(picoseconds: 2000), provenance: .device)
        var rest = bytes[...]
        for count in pieces {
            decoder.decode(Array(rest.prefix(count)), into: &collector)
            rest = rest.dropFirst(count)
        }
        decoder.decode(Array(rest), isLast: true, into: &collector)
        return collector.takeBlock(completeThrough: collector.lastTick, arrival: .zero)
    }

    /// The three words of the profile's source, and the one time they mean.
    @Test func decodesTheKnownWords() throws {
        let block = try #require(
            decode(bytes(hex: "017d0000 10000080 e8ffffff")))
        #expect(
            block.tags == [
                TimeTag(ticks: 1000, channel: 0), TimeTag(ticks: (1 << 27) - 1, channel: 3),
            ])
        #expect(block.losses.isEmpty)
    }

    @Test(arguments: seeds(10)) func followsTheCounterThroughWraps(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "tdc1")
        var events: [(ticks: UInt64, mask: UInt32)] = []
        var expected: [TimeTag] = []
        var ticks: UInt64 = 0
        let spread: UInt64 = [500, 50_000, 5_000_000, 500_000_000][Int(seed % 4)]
        for _ in 0..<2000 {
            ticks += 20 + generator.next() % spread
            let mask = UInt32(1 + generator.next() % 15)
            events.append((ticks, mask))
            for bit: UInt8 in 0..<4 where mask >> UInt32(bit) & 1 == 1 {
                expected.append(TimeTag(ticks: ticks, channel: bit))
            }
        }
        let all = stream(words(events))
        var pieces: [Int] = []
        while pieces.reduce(0, +) < all.count { pieces.append(Int(generator.next() % 97)) }
        let block = try #require(decode(all, pieces: pieces))
        #expect(block.tags == expected)
        #expect(block.losses.isEmpty)
    }

    /// One 16-bit word is lost at high rate: a few tags and a mark, then everything is right again.
    @Test(arguments: seeds(60)) func findsTheAlignmentAgain(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "slip")
        var events: [(ticks: UInt64, mask: UInt32)] = []
        var ticks: UInt64 = 60_000_000
        for _ in 0..<2000 {
            ticks += 20 + generator.next() % 1000
            events.append((ticks, 1 << UInt32(generator.next() % 4)))
        }
        var all = stream(words(events))
        let slip = 2 * Int(1000 + generator.next() % 2000)
        all.removeSubrange(slip..<slip + 2)
        let block = try #require(decode(all))
        let truth = Set(
            events.map { TimeTag(ticks: $0.ticks, channel: UInt8($0.mask.trailingZeroBitCount)) })
        let invented = block.tags.filter { !truth.contains($0) }
        let loss = try #require(block.losses.first)
        #expect(block.losses.count == 1 && loss.reason == .corruptRecords)
        // What is missing lies inside the mark, and so does what should not be there.
        let found = Set(block.tags)
        let missing = truth.subtracting(found)
        #expect(
            missing.allSatisfy { loss.start.rawValue <= $0.ticks && $0.ticks <= loss.end.rawValue })
        #expect(!missing.isEmpty && missing.count <= 200)
        #expect(
            invented.allSatisfy { loss.start.rawValue <= $0.ticks && $0.ticks <= loss.end.rawValue }
        )
        #expect(invented.count <= 1)
    }

    @Test(arguments: seeds(40)) func anyBytesAreHandled(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "tdc1 mutation")
        var events: [(ticks: UInt64, mask: UInt32)] = []
        for index in 1...500 as ClosedRange<UInt64> { events.append((index * 1000, 1)) }
        let damaged = mutated(stream(words(events)), using: &generator)
        let block = decode(damaged)
        let tags = block?.tags ?? []
        #expect(tags == tags.sorted())
        #expect(tags.count <= 4 * (damaged.count / 4 + 1))
    }

    /// A line of text that got into the stream never becomes an endless search.
    @Test func skipsWhatIsNoStream() {
        var decoder = TDC1StreamDecoder(format: format, channelMap: channelMap)
        var collector = TagCollector(
            tickPeriod: TickPeriod(picoseconds: 2000), provenance: .device)
        decoder.decode([UInt8](repeating: 0x40, count: 10_000), into: &collector)
        #expect(decoder.skippedInARow > 9000)
        #expect(collector.tags.isEmpty)
    }

    @Test func readsReplies() {
        #expect(TDC1Wire.gateTime("1000") == 1000)
        #expect(TDC1Wire.gateTime("-25536") == 40000)
        #expect(TDC1Wire.gateTime("-1") == 65535)
        #expect(TDC1Wire.gateTime("70000") == nil)
        #expect(TDC1Wire.gateTime("ten") == nil)
        #expect(TDC1Wire.integers("1 22 333 4444") == [1, 22, 333, 4444])
        #expect(TDC1Wire.integers("1 x") == nil)
        #expect(TDC1Wire.integers("") == nil)
        #expect(TDC1Wire.status(Array("0010 \r\n".utf8)) == 0x10)
        #expect(TDC1Wire.status(Array("0010\r\n ".utf8)) == nil)
        #expect(TDC1Wire.status(Array("00g0 \r\n".utf8)) == nil)
        #expect(TDC1Wire.status(Array("+010 \r\n".utf8)) == nil)
    }

    @Test(arguments: seeds(20)) func anyReplyIsHandled(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "tdc1 replies")
        for _ in 0..<200 {
            let reply = mutated(Array("0010 \r\n".utf8), using: &generator)
            if let status = TDC1Wire.status(reply) {
                #expect(
                    UInt16(String(decoding: reply.prefix(4), as: UTF8.self), radix: 16) == status)
            }
            _ = TDC1Wire.gateTime(String(decoding: reply, as: UTF8.self))
        }
    }
}

/// An instrument that understands what the driver sends, one command at a time.
private final class FakeTDC1: Sendable {
    struct State {
        var commands: [String] = []
        var status: UInt16 = 0
        var gate = 0
        var isStreaming = false
        var identity = "TDC1-0019 emulated"
    }
    let stream: ScriptedStream
    let state = Mutex(State())

    init(reactor: any Reactor) {
        stream = ScriptedStream(reactor: reactor)
        stream.onWrite { [weak self] bytes in self?.take(String(decoding: bytes, as: UTF8.self)) }
    }
    var commands: [String] { state.withLock { $0.commands } }
    func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }

    private func take(_ text: String) {
        for command in text.split(whereSeparator: { ";\r\n".contains($0) }).map({ $0.uppercased() })
        {
            let reply = state.withLock { state -> String? in
                state.commands.append(command)
                switch command {
                case "*IDN?": return state.identity + "\r\n"
                case "LEVEL?": return "-0.500 V\r\n"
                case "TIME?": return "\(Int16(truncatingIfNeeded: state.gate))\r\n"
                case "STATUS?":
                    let digits = String(state.status, radix: 16)
                    return String(repeating: "0", count: 4 - digits.count) + digits + " \r\n"
                case "COUNTS?" where state.commands.contains("SINGLES"): return "10 20 30 40\r\n"
                case "COUNTS?": state.isStreaming = true
                case "ABORT": state.isStreaming = false
                default:
                    if command.hasPrefix("TIME ") { state.gate = Int(command.dropFirst(5)) ?? -1 }
                }
                return nil
            }
            if let reply { stream.send(reply, after: .milliseconds(1)) }
        }
    }
}

struct TDC1DriverTests {
    let reactor = VirtualReactor()
    private let device: FakeTDC1
    let driver: TDC1Driver

    init() throws {
        let device = FakeTDC1(reactor: reactor)
        self.device = device
        driver = try TDC1Driver(
            profile: try #require(try FirmwareProfiles.catalog()["s15-tdc1"]),
            source: StreamSource(name: "test") { () async throws(ByteStreamError) in
                InstrumentStream(device.stream)
            }, serial: "TDC1-0019", isEmulated: false, reactor: reactor)
    }

    @Test func runsAnAcquisition() throws {
        let blocks = try reactor.run { [self] () -> [TagBlock] in
            try await driver.open()
            let source = try await driver.start(
                AcquisitionPlan(
                    thresholds: [0: Volts(-0.25), 3: Volts(-0.25)], usesExternalReference: true))
            device.stream.send(stream(words([(1000, 1), (2000, 2)])), after: .milliseconds(5))
            try await reactor.sleep(for: .milliseconds(50))
            device.stream.send(stream([UInt32(3000 * 32 + 8)]))
            try await driver.stop()
            var blocks: [TagBlock] = []
            while let block = try await source.next() { blocks.append(block) }
            await driver.close()
            return blocks
        }
        #expect(
            device.commands == [
                "ABORT", "*IDN?", "*RST", "NIM", "TIME 0",
                "*RST", "NIM", "TIME 0", "NEG -0.25", "REFCLK 1", "INPKT", "TIMESTAMP", "COUNTS?",
                "ABORT", "STATUS?", "*RST",
            ])
        #expect(blocks.flatMap(\.tags).map(\.ticks) == [1000, 2000, 3000])
        #expect(blocks.flatMap(\.losses).isEmpty)
        #expect(blocks.last?.completeThrough == DeviceTicks(3000))
        #expect(!device.stream.isOpen)
    }

    @Test func anOverflowMarksTheWholeRun() throws {
        device.set { $0.status = 0x10 }
        let blocks = try reactor.run { [self] () -> [TagBlock] in
            try await driver.open()
            let source = try await driver.start(AcquisitionPlan())
            device.stream.send(stream(words([(1000, 1), (2000, 2)])))
            try await reactor.sleep(for: .milliseconds(50))
            try await driver.stop()
            var blocks: [TagBlock] = []
            while let block = try await source.next() { blocks.append(block) }
            return blocks
        }
        #expect(
            blocks.flatMap(\.losses) == [
                LossMark(
                    start: DeviceTicks(0), end: DeviceTicks(2000), count: nil,
                    reason: .deviceOverflow)
            ])
    }

    @Test(arguments: [
        (ByteStreamError.usb(.disconnected), DriverErrorCode.disconnected),
        (ByteStreamError.usb(.stall), DriverErrorCode.transport),
    ])
    func theEndOfTheStreamEndsTheSource(error: ByteStreamError, code: DriverErrorCode) throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            let source = try await driver.start(AcquisitionPlan())
            device.stream.send(stream(words([(1000, 1)])))
            try await reactor.sleep(for: .milliseconds(50))
            device.stream.fail(error)
            var reasons: [LossReason] = []
            let thrown = await #expect(throws: DriverError.self) {
                while let block = try await source.next() { reasons += block.losses.map(\.reason) }
            }
            #expect(thrown?.code == code)
            #expect(reasons.count == 1)
            await driver.close()
        }
    }

    @Test func silenceIsAnError() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            let source = try await driver.start(AcquisitionPlan())
            let thrown = await #expect(throws: DriverError.self) {
                while try await source.next() != nil {}
            }
            #expect(thrown?.code == .timedOut)
            await driver.close()
        }
    }

    @Test func countsAndRefusesImpossibleGates() throws {
        try reactor.run { [self] in
            try await driver.open()
            let counting = try #require(await driver.counting)
            #expect(try await counting.counts(for: .milliseconds(40_000)) == [10, 20, 30, 40])
            for duration in [Duration.zero, .seconds(66)] {
                let error = await #expect(throws: DriverError.self) {
                    try await counting.counts(for: duration)
                }
                #expect(error?.code == .outOfRange)
            }
            let report = try await driver.selfTest()
            #expect(report.passed)
        }
        #expect(
            device.commands.suffix(7).prefix(4) == ["SINGLES", "TIME 40000", "TIME?", "COUNTS?"])
    }

    @Test func refusesOtherInstruments() throws {
        device.set { $0.identity = "Quad LCD driver" }
        try reactor.run { [self] () -> Void in
            let error = await #expect(throws: DriverError.self) { try await driver.open() }
            #expect(error?.code == .wrongDevice)
            #expect(error?.found == "\"Quad LCD driver\"")
        }
        #expect(!device.stream.isOpen)
    }

    @Test func stopsReadingWhenNobodyTakesBlocks() throws {
        try reactor.run { [self] in
            try await driver.open()
            let source = try await driver.start(AcquisitionPlan())
            let count = 1_500_000
            // As long as an instrument takes to make them; tags from the future are refused.
            try await reactor.sleep(for: .milliseconds(350))
            device.stream.send(stream(words((1...UInt64(count)).map { ($0 * 100, 1) })))
            try await reactor.sleep(for: .milliseconds(500))
            #expect(device.stream.unread > 1_000_000, "bytes stay in the line")
            let reading = Task(executorPreference: reactor) { () -> Int in
                var tags = 0
                while let block = try await source.next() { tags += block.tags.count }
                return tags
            }
            try await reactor.sleep(for: .milliseconds(100))
            try await driver.stop()
            #expect(try await reading.value == count)
        }
    }
}
