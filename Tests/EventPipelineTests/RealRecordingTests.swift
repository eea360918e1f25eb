import EventPipeline
import Glibc
import LinkTypes
import Quantities
import Testing

/// The folder of recordings of real devices, named by the environment.
private let recordings: String? = getenv("BEREK_RECORDINGS").map { String(cString: $0) }

/// Recordings of real devices, with figures found by other programs.
@Suite(.enabled(if: recordings != nil, "skipped: no recordings (set BEREK_RECORDINGS)"))
struct RealRecordingTests {
    private static func summary(_ name: String) throws -> RecordingSummary {
        let folder = try #require(recordings)
        var reader = try RecordingReader(FileByteSource(path: "\(folder)/\(name)"))
        return try RecordingSummary(reading: &reader)
    }

    private static func text(_ name: String) throws -> String {
        let source = try FileByteSource(path: "\(try #require(recordings))/\(name)")
        var bytes: [UInt8] = []
        while try source.read(upTo: 1 << 16, into: &bytes) > 0 {}
        return String(decoding: bytes, as: UTF8.self)
    }

    /// github.com/tsbischof/picoquant-sample-data; counts found alike by ptufile, phconvert and
    /// tttrlib, first records from github.com/tsbischof/libpicoquant.
    @Test func hydraHarpT2() throws {
        let name = "picoquant-sample-data_hydraharp_v20_t2.ptu"
        let summary = try Self.summary(name)
        #expect(summary.recording.recordType == "HydraHarp 400 V2 T2")
        #expect(summary.recording.device == "HydraHarp 400 2.0 1030757")
        #expect(summary.recording.tickPeriod == TickPeriod(picoseconds: 1))
        #expect(summary.counts.records == 435_319)
        #expect(summary.counts.events == 305_565)
        #expect(summary.counts.overflows == 149_011)
        #expect(summary.counts.corrupt == 0 && summary.counts.orderViolations == 0)
        #expect(summary.counts.markers == 0 && summary.missingRecords == 0)
        #expect(summary.channels.map(\.number) == [0])
        #expect(summary.duration == 5)
        let last = try #require(summary.clickTimes?.upperBound)
        #expect(abs(last - 5) < 1e-3)
        // The dead time of the instrument.
        #expect((77_000...82_000).contains(summary.channels[0].shortestInterval ?? 0))
        #expect(summary.intervals.reduce(0, +) == 305_564)
        #expect(summary.findings.isEmpty)

    }

    /// The first records as libpicoquant decoded them, (channel, ps).
    ///
    /// That program advanced by the 33,552,000 ticks of the first record format at each overflow,
    /// so it falls behind by 2,432 ps a lap; apart from that the records are equal. The file itself
    /// decides for 2²⁵: it holds time fields that the shorter lap does not have, and 149,011
    /// overflows of 2²⁵ ps end less than one lap before 5 s.
    @Test func hydraHarpT2FirstRecords() throws {
        let reference = try Self.text("libpicoquant_hydraharp_v30_t2.first_records.txt")
            .split(separator: "\n").map { $0.split(separator: ",").compactMap { UInt64($0) } }
        #expect(reference.count > 50)
        let (lap, shortLap): (UInt64, UInt64) = (33_554_432, 33_552_000)
        var reader = try RecordingReader(
            FileByteSource(
                path: "\(try #require(recordings))/picoquant-sample-data_hydraharp_v20_t2.ptu"))
        var tags: [TimeTag] = []
        while let block = try reader.next() { tags += block.tags }
        #expect(tags[0].ticks == 24_433_765 && reference[0] == [0, 24_433_765])
        for (tag, line) in zip(tags, reference) {
            let laps = tag.ticks / lap
            #expect([UInt64(tag.channel), tag.ticks - laps * (lap - shortLap)] == line)
        }
        #expect(tags.count { $0.ticks % lap >= shortLap } == 25)
        #expect(149_011 * lap < 5_000_000_000_000 && 149_012 * lap > 5_000_000_000_000)
    }

    @Test func hydraHarpT3() throws {
        let summary = try Self.summary("picoquant-sample-data_hydraharp_v20_t3.ptu")
        #expect(summary.recording.recordType == "HydraHarp 400 V2 T3")
        #expect(summary.counts.records == 106_349)
        #expect(summary.recording.announcedRecords == 106_349)
        // 1/4,999,960 Hz, and 64 ps up to the single precision of the writer.
        #expect(
            summary.recording.tickPeriod
                == TickPeriod(numerator: 25_000_000_000, denominator: 124_999))
        #expect(summary.recording.microtimePeriod == TickPeriod(picoseconds: 64))
        #expect(summary.counts.corrupt == 0 && summary.counts.orderViolations == 0)
        #expect(summary.findings.isEmpty)
        #expect(summary.duration == 10)
        let last = try #require(summary.clickTimes?.upperBound)
        #expect(last > 9.9 && last < 10.01)
    }

    /// github.com/s-fifteen-instruments/fpfind, tests/data.
    @Test func sFifteenFourDetectors() throws {
        let summary = try Self.summary("timestamp7_c1234.Aa1.ts")
        #expect(summary.recording.format == .sFifteen(.a1, .bits54))
        #expect(summary.counts.records == 2_000 && summary.counts.events == 2_000)
        #expect(summary.channels.map(\.number) == [0, 1, 2, 3])
        #expect(summary.counts.clicks == 2_012, "twelve events of two detectors")
        #expect(summary.counts.orderViolations == 0 && summary.findings.isEmpty)
        #expect(abs(try #require(summary.duration) - 0.935012566e-3) < 1e-9)
    }

    @Test func sFifteenFastModeWithRollovers() throws {
        let summary = try Self.summary("timestamp7_c14_rollover.Aa1fX.ts")
        #expect(summary.recording.format == .sFifteen(.a1, .bits54Swapped))
        #expect(summary.counts.records == 1_000)
        #expect(summary.counts.overflowRecords == 138 && summary.counts.events == 862)
        #expect(summary.channels.map(\.number) == [0, 3])
        #expect(summary.channels.map(\.clicks) == [431, 431])
        #expect(abs(try #require(summary.duration) - 0.0337) < 0.0002)
    }
}
