import EventPipeline
import LinkTypes
import Quantities
import TestSupport
import Testing

/// S-Fifteen raw events in all layouts and encodings, written by independent code.
struct SFifteenTests {
    private struct Event {
        /// In 1/256 ns.
        var time: UInt64
        var pattern: UInt64
        var isRollover = false
    }

    /// A word as `readevents7` leaves it: bits 9 and 8 set.
    private static func word(_ event: Event, layout: SFifteenLayout) -> [UInt8] {
        var word: UInt64
        switch layout {
        case .bits54, .bits54Swapped:
            word = event.time << 10 | 0x300 | (event.isRollover ? 0x10 : 0) | event.pattern
        case .bits49, .bits49Swapped: word = (event.time / 32) << 15 | event.pattern
        case .fast32:
            let short = event.time << 6 & 0xFFFF_FFC0
            return PTUFile.little(short | (event.isRollover ? 0x10 : 0) | event.pattern, 4)
        }
        if layout == .bits54Swapped || layout == .bits49Swapped { word = word << 32 | word >> 32 }
        return PTUFile.little(word, 8)
    }

    /// Hexadecimal lines of `readevents -a 0` (8 digits, low word first) or `-a 2` (16 digits).
    private static func lines(_ bytes: [UInt8], digits: Int, end: String) -> [UInt8] {
        stride(from: 0, to: bytes.count, by: digits / 2).flatMap { start in
            Array((hex(bytes[start..<(start + digits / 2)].reversed()) + end).utf8)
        }
    }

    private static func events(count: Int, _ generator: inout SeededGenerator) -> [Event] {
        // Rollover marks at least every half lap of the fast counter, as from the device.
        var time = generator.next() % (1 << 53)
        time -= time % (1 << 26)
        var result: [Event] = []
        while result.count < count {
            let next = time + 32 * (1 + generator.next() % 1_500_000)
            var mark = (time / (1 << 25) + 1) * (1 << 25)
            while mark <= next {
                result.append(Event(time: mark, pattern: 8, isRollover: true))
                mark += 1 << 25
            }
            time = next
            let pattern = generator.next() % 40 == 0 ? 0b1010 : 1 << (generator.next() % 4)
            result.append(Event(time: time, pattern: UInt64(pattern)))
        }
        return result
    }

    private static func check(
        _ decoded: Decoded, _ events: [Event], layout: SFifteenLayout, offset: UInt64 = 0
    ) {
        var times: [UInt64] = []
        var channels: [UInt8] = []
        let unit: UInt64 = layout == .bits49 || layout == .bits49Swapped ? 32 : 1
        for event in events where !event.isRollover {
            for channel in 0..<4 where event.pattern >> UInt64(channel) & 1 == 1 {
                times.append((event.time - offset) / unit)
                channels.append(UInt8(channel))
            }
        }
        #expect(decoded.times == times)
        #expect(decoded.channels == channels)
        #expect(decoded.counts.orderViolations == 0)
    }

    @Test(arguments: SFifteenLayout.allCases, seeds(4))
    func layoutsAreFoundAndDecoded(layout: SFifteenLayout, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "s15")
        var events = Self.events(count: 3_000, &generator)
        // The coarse layouts come from cards that write no marks.
        if layout == .bits49 || layout == .bits49Swapped {
            events.removeAll { $0.isRollover }
        }
        // The fast counter starts at whatever lap; its first lap is 0 for the reader.
        let offset = layout == .fast32 ? events[0].time - events[0].time % (1 << 26) : 0
        let bytes = events.flatMap { Self.word($0, layout: layout) }
        let reader = try RecordingReader(MemoryByteSource(bytes))
        #expect(reader.description.format == .sFifteen(.a1, layout))
        #expect(reader.findings.isEmpty)
        let whole = try Decoded(bytes)
        Self.check(whole, events, layout: layout, offset: offset)
        #expect(whole.counts.overflowRecords == UInt64(events.count { $0.isRollover }))
        #expect(whole.counts.events == UInt64(events.count { !$0.isRollover }))
        for piece in [1, 5, 64] {
            let size = 1 + Int(generator.next() % 500)
            #expect(try Decoded(bytes, pieceSize: piece, maximumRecords: size) == whole)
        }
    }

    @Test(arguments: ["\n", "\r\n"]) func textIsFoundAndDecoded(end: String) throws {
        var generator = SeededGenerator(seed: 5, label: "text")
        let events = Self.events(count: 400, &generator)
        let binary = events.flatMap { Self.word($0, layout: .bits54) }
        let whole = try Decoded(binary)
        for (digits, encoding) in [(16, SFifteenEncoding.a2), (8, .a0)] {
            let text = Self.lines(binary, digits: digits, end: end)
            let reader = try RecordingReader(MemoryByteSource(text))
            #expect(reader.description.format == .sFifteen(encoding, .bits54))
            #expect(try Decoded(text, pieceSize: 11, maximumRecords: 7) == whole)
            // A letter that is no digit is an error with its place.
            var damaged = text
            let place = text.count / 2 + (text[text.count / 2] < 0x20 ? 3 : 0)
            damaged[place] = 0x67
            #expect(throws: RecordingError.self) { _ = try Decoded(damaged) }
        }
    }

    /// Words from the device's host program: void words are skipped, multiple bits are several
    /// clicks of one time.
    @Test func singleWordsDecode() throws {
        func word(_ value: UInt64) -> [UInt8] { PTUFile.little(value, 8) }
        let decoded = try Decoded(
            word(1_000 << 10 | 0x305) + word(0) + word(2_000 << 10 | 0x318)
                + word(3_000 << 10 | 0x300) + word(2_999 << 10 | 0x301),
            format: .sFifteen(.a1, .bits54))
        #expect(decoded.times == [1_000, 1_000, 2_999] && decoded.channels == [0, 2, 0])
        #expect(decoded.counts.records == 5 && decoded.counts.events == 2)
        #expect(decoded.counts.clicks == 3 && decoded.counts.voids == 1)
        #expect(decoded.counts.overflowRecords == 1 && decoded.counts.empty == 1)
        #expect(decoded.counts.orderViolations == 1)
    }

    /// The 54-bit counter wraps after 19.5 hours; a small step back over the wrap is not a lap.
    @Test func countersContinuePastTheirWrap() throws {
        let top: UInt64 = 1 << 54
        func word(_ time: UInt64) -> [UInt8] { PTUFile.little(time << 10 | 0x301, 8) }
        let decoded = try Decoded(
            [top - 10, top - 2, 3, top - 1, 7, 1 << 52, 1 << 53, top - 1, 0].flatMap { word($0) },
            format: .sFifteen(.a1, .bits54))
        #expect(
            decoded.times == [
                top - 10, top - 2, top + 3, top - 1, top + 7, top + 1 << 52, top + 1 << 53,
                2 * top - 1, 2 * top,
            ])
        #expect(decoded.counts.orderViolations == 1)
        // Before the counter's first lap there is no time: a corrupt record, not a wrong time.
        let early = try Decoded([5, top - 5].flatMap { word($0) }, format: .sFifteen(.a1, .bits54))
        #expect(early.times == [5] && early.counts.corrupt == 1)
    }

    /// The fast counter wraps every 2²⁶ units, which only its highest bit falling shows.
    @Test func fastWordsUnwrapAtFallingHighBits() throws {
        let words: [UInt64] = [
            0x0000_0041, 0x7FFF_FFC2, 0x8000_0018, 0x8000_0044, 0x0000_0088, 0x0000_0041,
        ]
        let decoded = try Decoded(
            words.flatMap { PTUFile.little($0, 4) }, format: .sFifteen(.a1, .fast32))
        let lap: UInt64 = 1 << 26
        #expect(decoded.times == [1, lap / 2 - 1, lap / 2 + 1, lap + 2, lap + 1])
        #expect(decoded.channels == [0, 1, 2, 3, 0])
        #expect(decoded.counts.orderViolations == 1 && decoded.counts.overflowRecords == 1)
    }

    @Test func truncatedRecordsAreReported() throws {
        let bytes = Self.word(Event(time: 9, pattern: 1), layout: .bits54) + [1, 2, 3]
        var reader = try RecordingReader(
            MemoryByteSource(bytes), format: .sFifteen(.a1, .bits54))
        let summary = try RecordingSummary(reading: &reader)
        #expect(summary.counts.records == 1 && summary.findings.map(\.offset) == [8])
    }

    @Test(arguments: seeds(20)) func noiseIsNotARecording(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "noise")
        let bytes = (0..<8_192).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        #expect(throws: RecordingError.self) { _ = try RecordingReader(MemoryByteSource(bytes)) }
    }

    @Test func otherContentIsRefused() {
        for content in [
            "", String(repeating: "\u{1}\u{3}\0\0", count: 16), "PQHISTO\0", "time,channel\n1,2\n",
            "{\"a\": 1}", "0123\n4567\n",
        ] {
            #expect(throws: RecordingError.self, "\(content)") {
                _ = try RecordingReader(MemoryByteSource(Array(content.utf8)))
            }
        }
    }

    @Test func formatsHaveNames() {
        for format in RecordingFormat.all { #expect(RecordingFormat(name: format.name) == format) }
        #expect(RecordingFormat.all.count == 16)
        #expect(RecordingFormat(name: "a1") == nil)
    }
}
