import EventPipeline
import Glibc
import LinkTypes
import Quantities
import TestSupport
import Testing

/// Conversions, checked by reading the result and by hand.
struct ConversionTests {
    private static func convert(
        _ bytes: [UInt8], format: RecordingFormat? = nil, to target: ConversionFormat,
        channels: [UInt8] = [0, 1, 2, 3]
    ) throws -> (bytes: [UInt8], report: ConversionReport) {
        var reader = try RecordingReader(MemoryByteSource(bytes), format: format)
        var sink = MemoryByteSink()
        let report = try convertRecording(
            &reader, to: target, sink: &sink, detectorChannels: channels)
        return (sink.bytes, report)
    }

    /// Between the layouts of one resolution nothing is lost and the bytes come back.
    @Test func sFifteenLayoutsRoundTrip() throws {
        var generator = SeededGenerator(seed: 3, label: "round trip")
        var time: UInt64 = 1 << 50
        var bytes: [UInt8] = []
        for _ in 0..<2_000 {
            time += 1 + generator.next() % 1_000_000
            bytes += PTUFile.little(time << 10 | (1 + generator.next() % 15), 8)
        }
        for encoding in SFifteenEncoding.allCases {
            for layout in [SFifteenLayout.bits54, .bits54Swapped] {
                let there = try Self.convert(bytes, to: .sFifteen(encoding, layout))
                #expect(there.report.isLossless && there.report.recordsWritten == 2_000)
                let back = try Self.convert(
                    there.bytes, format: .sFifteen(encoding, layout),
                    to: .sFifteen(.a1, .bits54))
                #expect(back.bytes == bytes)
            }
        }
    }

    /// 49 bits hold 125 ps: times move by at most half of that, and the report says so.
    @Test func coarserTicksAreReported() throws {
        let times: [UInt64] = [32, 47, 48, 79, 80, 1_000]
        let bytes = times.flatMap { PTUFile.little($0 << 10 | 0x301, 8) }
        let (output, report) = try Self.convert(
            bytes, format: .sFifteen(.a1, .bits54), to: .sFifteen(.a1, .bits49Swapped))
        // 32 → 1; 47 → 1.47 → 1, the same tick and channel; 48 → 1.5 → 2; 79 → 2; 80 → 3; 31.25.
        let decoded = try Decoded(output, format: .sFifteen(.a1, .bits49Swapped))
        #expect(decoded.times == [1, 2, 3, 31])
        #expect(report.clicksWritten == 4 && report.clicksCollapsed == 2)
        #expect(report.timesRounded == 5 && report.largestRounding == 62.5)
        #expect(!report.isLossless)
    }

    @Test func picoQuantToSFifteen() throws {
        let events: [PTUFile.Event] = [
            .sync(time: 0), .photon(channel: 4, time: 125, micro: 0),
            .photon(channel: 7, time: 125, micro: 0), .photon(channel: 9, time: 130, micro: 0),
            .marker(mask: 2, time: 140), .photon(channel: 4, time: 5_000_000_000, micro: 0),
        ]
        let bytes = PTUFile(recordType: 0x0101_0204).bytes(events)
        let (output, report) = try Self.convert(
            bytes, to: .sFifteen(.a2, .bits54), channels: [4, 5, 6, 7])
        // 125 ps are 32 ticks of 1/256 ns: 32 << 10 | 0b1001; 5 ms are 1,280,000 of them.
        let expected = [UInt64(32 << 10 | 9), 1_280_000_000 << 10 | 1].map { value in
            let text = String(value, radix: 16)
            return String(repeating: "0", count: 16 - text.count) + text + "\n"
        }
        #expect(String(decoding: output, as: UTF8.self) == expected.joined())
        #expect(report.clicksOfOtherChannels == 2 && report.markersDropped == 1)
        #expect(report.timesRounded == 0 && report.clicksWritten == 3)
    }

    @Test func csvIsExact() throws {
        let s15 = [UInt64(1), 256, 257].flatMap { PTUFile.little($0 << 10 | 0x302, 8) }
        let first = try Self.convert(s15, format: .sFifteen(.a1, .bits54), to: .csv)
        #expect(
            String(decoding: first.bytes, as: UTF8.self)
                == "time_ps,kind,channel\n3.90625,click,1\n1000,click,1\n1003.90625,click,1\n")
        #expect(first.report.isLossless)

        let events: [PTUFile.Event] = [
            .photon(channel: 0, time: 3, micro: 10), .marker(mask: 5, time: 4),
            .photon(channel: 1, time: 2_000, micro: 1),
        ]
        let file = PTUFile(recordType: 0x0001_0307, globalResolution: 1 / 80e6)
        let second = try Self.convert(file.bytes(events), to: .csv)
        let lines = String(decoding: second.bytes, as: UTF8.self).split(separator: "\n")
        #expect(
            lines == [
                "time_ps,kind,channel,sync_count,microtime", "37580,click,0,3,10",
                "50000,marker,5,4,0", "25000008,click,1,2000,1",
            ])
    }

    /// A gap of more than half the counter's range can not be told from a step back.
    @Test func ambiguousGapsAreReported() throws {
        let file = PTUFile(recordType: 0x0001_0207, globalResolution: 1e-9)
        let hours: (UInt64) -> UInt64 = { $0 * 3_600 * 1_000_000_000 }
        let bytes = file.bytes([
            .photon(channel: 0, time: 0, micro: 0), .photon(channel: 0, time: hours(9), micro: 0),
            .photon(channel: 0, time: hours(20), micro: 0),
        ])
        let (_, report) = try Self.convert(bytes, to: .sFifteen(.a1, .bits54))
        #expect(report.ambiguousSteps == 1 && report.recordsWritten == 3)
    }

    @Test func filesAreReadAndWritten() throws {
        let path = "/tmp/berek-conversion-\(getpid()).dat"
        defer { unlink(path) }
        let sink = try FileByteSink(path: path)
        let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        try sink.write(bytes)
        try sink.close()
        let source = try FileByteSource(path: path)
        var read: [UInt8] = []
        while try source.read(upTo: 70_001, into: &read) > 0 {}
        #expect(read == bytes)
        #expect(throws: RecordingError.self) { _ = try FileByteSource(path: path + ".none") }
    }

    @Test func jsonIsEscaped() {
        let document = JSONText.object([
            ("a \"b\"\\", .string("line\n\u{1}é")), ("n", .number(.nan)), ("list", .array([])),
            ("values", .array([.bool(true), .integer(-1), .count(.max), .number(0.5), .null])),
        ])
        #expect(
            document.text == """
                {
                  "a \\"b\\"\\\\": "line\\n\\u0001é",
                  "n": null,
                  "list": [],
                  "values": [
                    true,
                    -1,
                    18446744073709551615,
                    0.5,
                    null
                  ]
                }
                """)
    }
}
