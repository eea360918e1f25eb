import EventPipeline
import LinkTypes
import Quantities
import TestSupport
import Testing

/// PTU files of every record type, written by independent code.
struct PicoQuantTests {
    private static func randomEvents(
        _ file: PTUFile, count: Int, _ generator: inout SeededGenerator
    ) -> [PTUFile.Event] {
        var time: UInt64 = 0
        return (0..<count).map { _ in
            // Mostly close together, sometimes several wraps apart, sometimes simultaneous.
            switch generator.next() % 16 {
            case 0: time += generator.next() % (file.wrap * 5)
            case 1: time = (time / file.wrap + 1) * file.wrap
            case 2: time += 0
            default: time += generator.next() % (file.wrap / 50)
            }
            switch generator.next() % 10 {
            case 0:
                let mask = 1 + Int(generator.next() % 15)
                // On PicoHarp the mask takes the place of the low four bits of the time.
                if file.isPicoHarp, !file.isT3 {
                    let low = time % file.wrap
                    return .marker(mask: mask, time: time - low + low & ~15)
                }
                return .marker(mask: mask, time: time)
            case 1 where !file.isPicoHarp && !file.isT3: return .sync(time: time)
            default:
                let channels = file.isPicoHarp ? (file.isT3 ? 1...4 : 0...4) : 0...62
                let channel = channels.lowerBound + Int(generator.next() % UInt64(channels.count))
                let micro =
                    file.isT3 ? Int(generator.next() % (file.isPicoHarp ? 4_096 : 32_768)) : 0
                return .photon(channel: channel, time: time, micro: micro)
            }
        }
    }

    private static func check(_ decoded: Decoded, against events: [PTUFile.Event], isT3: Bool) {
        var times: [UInt64] = []
        var channels: [UInt8] = []
        var micros: [UInt16] = []
        var markers: [RecordedMarker] = []
        for event in events {
            switch event {
            case .photon(let channel, let time, let micro):
                times.append(time)
                channels.append(UInt8(channel))
                if isT3 { micros.append(UInt16(micro)) }
            case .sync(let time):
                times.append(time)
                channels.append(RecordedBlock.syncChannel)
            case .marker(let mask, let time):
                markers.append(RecordedMarker(ticks: DeviceTicks(time), mask: UInt16(mask)))
            }
        }
        #expect(decoded.times == times)
        #expect(decoded.channels == channels)
        #expect(decoded.microtimes == micros)
        #expect(decoded.markers == markers)
        #expect(decoded.counts.clicks == UInt64(times.count))
        #expect(decoded.counts.corrupt == 0 && decoded.counts.orderViolations == 0)
    }

    @Test(arguments: PicoQuantRecordType.allCases, seeds(3))
    func everyRecordTypeDecodes(type: PicoQuantRecordType, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "ptu")
        let file = PTUFile(recordType: type.rawValue)
        let events = Self.randomEvents(file, count: 2_000, &generator)
        let bytes = file.bytes(events)
        let whole = try Decoded(bytes)
        Self.check(whole, against: events, isT3: file.isT3)
        let laps = (events.last?.time ?? 0) / file.wrap
        #expect(whole.counts.overflows == laps)
        // Markers do not move the end; overflows do.
        #expect(whole.end == max(whole.times.max() ?? 0, laps * file.wrap))
        // However the bytes arrive and the blocks are cut.
        for piece in [1, 3, 17, 4_096] {
            let size = 1 + Int(generator.next() % 700)
            #expect(try Decoded(bytes, pieceSize: piece, maximumRecords: size) == whole)
        }
    }

    /// The record types by number, as in the vendor's list, and what they are read as.
    @Test func recordTypesHaveTheirNames() throws {
        let names: [UInt32: String] = [
            0x0001_0203: "PicoHarp 300 T2", 0x0001_0303: "PicoHarp 300 T3",
            0x0001_0204: "HydraHarp 400 V1 T2", 0x0001_0304: "HydraHarp 400 V1 T3",
            0x0101_0204: "HydraHarp 400 V2 T2", 0x0101_0304: "HydraHarp 400 V2 T3",
            0x0001_0205: "TimeHarp 260 N T2", 0x0001_0305: "TimeHarp 260 N T3",
            0x0001_0206: "TimeHarp 260 P T2", 0x0001_0306: "TimeHarp 260 P T3",
            0x0001_0207: "MultiHarp T2", 0x0001_0307: "MultiHarp T3",
        ]
        for (code, name) in names {
            let reader = try RecordingReader(
                MemoryByteSource(PTUFile(recordType: code).bytes([])))
            #expect(reader.description.recordType == name)
            #expect(reader.description.device == "Test \"device\" 1234")
            #expect(reader.description.announcedDuration == 1)
            #expect(
                reader.description.header.contains {
                    $0.name == "UsrWide" && $0.value == .text("Bé")
                })
        }
        #expect(names.count == PicoQuantRecordType.allCases.count)
    }

    /// Records written out by hand from the vendor's field tables.
    @Test func singleRecordsDecode() throws {
        func decode(_ type: UInt32, _ words: [UInt32]) throws -> Decoded {
            let body = words.flatMap { PTUFile.little(UInt64($0), 4) }
            return try Decoded(
                PTUFile(recordType: type).header(records: words.count) + body)
        }
        // Overflow of 3, then channel 5 at 100: 0xFE000003, 5 << 25 | 100.
        let hydra = try decode(0x0101_0204, [0xFE00_0003, 0x0A00_0064])
        #expect(hydra.times == [3 * 33_554_432 + 100] && hydra.channels == [5])
        #expect(hydra.counts.overflowRecords == 1 && hydra.counts.overflows == 3)
        // The same words in the first format: one overflow, shorter wrap.
        let first = try decode(0x0001_0204, [0xFE00_0003, 0x0A00_0064])
        #expect(first.times == [33_552_000 + 100])
        // T3: two overflows of 1,024, then channel 1, microtime 2,049, sync 7.
        let t3 = try decode(0x0101_0304, [0xFE00_0002, 1 << 25 | 2_049 << 10 | 7])
        #expect(t3.times == [2_055] && t3.microtimes == [2_049] && t3.channels == [1])
        // The first T3 format counts one whatever the field says.
        #expect(try decode(0x0001_0304, [0xFE00_0002, 7]).times == [1_031])
        // Special channels 16 to 62 are not defined; in T3 neither is 0.
        let corrupt = try decode(0x0101_0204, [0xA000_0000, 0x8000_0005, 0xFC00_0000])
        #expect(corrupt.counts.corrupt == 2 && corrupt.channels == [RecordedBlock.syncChannel])
        #expect(try decode(0x0101_0304, [0x8000_0005]).counts.corrupt == 1)
        // PicoHarp has four router channels; T3 has no channel 0.
        #expect(try decode(0x0001_0203, [0x5000_0001, 0x4000_0001]).channels == [4])
        #expect(try decode(0x0001_0303, [0x0000_0001, 0x1000_0001]).channels == [1])
    }

    @Test func countsThatDoNotMatchAreReported() throws {
        let events = (0..<100).map { PTUFile.Event.photon(channel: 1, time: $0 * 10, micro: 0) }
        func findings(_ count: Int64?, cut: Int = 0, extra: Int = 0) throws
            -> (RecordCounts, [RecordingFinding], UInt64)
        {
            let file = PTUFile(recordType: 0x0001_0207, recordCount: count)
            var bytes = file.bytes(events)
            bytes.removeLast(cut)
            bytes += [UInt8](repeating: 0, count: extra)
            var reader = try RecordingReader(MemoryByteSource(bytes))
            let summary = try RecordingSummary(reading: &reader)
            return (summary.counts, summary.findings, summary.missingRecords)
        }
        let exact = try findings(nil)
        #expect(exact.0.records == 100 && exact.1.isEmpty && exact.2 == 0)

        let missing = try findings(150)
        let size = UInt64(PTUFile(recordType: 0x0001_0207).bytes(events).count)
        #expect(missing.0.records == 100 && missing.2 == 50)
        #expect(missing.1.map(\.offset) == [size])
        #expect(missing.1.allSatisfy { $0.severity == .warning })

        let more = try findings(90)
        #expect(more.0.records == 90 && more.1.map(\.offset) == [size - 40])
        #expect(more.1[0].message.contains("40 bytes"))

        let cut = try findings(nil, cut: 3)
        #expect(cut.0.records == 99 && cut.2 == 1 && cut.1.count == 2)
        #expect(cut.1[0].offset == size - 4)
        #expect(cut.1[0].message.contains("cut off after 1 of 4"))

        for unknown: Int64 in [0, -1] {
            let all = try findings(unknown, extra: 2)
            #expect(all.0.records == 100)
            #expect(all.1.map(\.severity) == [.note, .warning])
        }
    }

    @Test func damagedHeadersAreRefusedWithTheirPlace() throws {
        let good = PTUFile(recordType: 0x0101_0204).bytes([])
        func failure(_ bytes: [UInt8]) -> RecordingError? {
            do throws(RecordingError) {
                _ = try RecordingReader(MemoryByteSource(bytes), format: .picoQuant)
                return nil
            } catch {
                return error
            }
        }
        #expect(failure(good) == nil)
        // Every cut is an error, at or before the end.
        for length in stride(from: 0, to: good.count, by: 7) {
            guard case .malformed(let offset, _, _)? = failure(Array(good[..<length])) else {
                Issue.record("a header cut to \(length) bytes was accepted")
                continue
            }
            #expect(offset <= UInt64(length))
        }
        var type = good
        type[16 + 36] ^= 0x40
        guard case .malformed(52, _, let found)? = failure(type) else {
            Issue.record("an unknown tag type was accepted")
            return
        }
        #expect(found.contains("File_GUID"))
        var size = good
        size[16 + 45] = 0x7F
        guard case .malformed(56, _, _)? = failure(size) else {
            Issue.record("a tag of petabytes was accepted")
            return
        }
        #expect(failure(PTUFile(recordType: 0x0001_0299).bytes([]))?.code == "BRK-REC-005")
        for resolution in [0, -1e-12, .nan, .infinity, 1e-20, 2.0] {
            let file = PTUFile(recordType: 0x0101_0204, globalResolution: resolution)
            #expect(failure(file.bytes([]))?.code == "BRK-REC-006", "\(resolution)")
        }
        let mode = PTUFile(recordType: 0x0101_0204, mode: 3)
        let reader = try RecordingReader(MemoryByteSource(mode.bytes([])))
        #expect(reader.findings.map(\.severity) == [.warning, .note])
    }

    /// Resolutions as they are found in files of several programs, and their exact meaning.
    @Test func resolutionsBecomeExactTicks() throws {
        let cases: [(Double, TickPeriod)] = [
            (1e-12, TickPeriod(picoseconds: 1)),
            (9.999999960041972e-13, TickPeriod(picoseconds: 1)),
            (4.000000000000001e-12, TickPeriod(picoseconds: 4)),
            (2.5e-10, TickPeriod(picoseconds: 250)),
            (5e-12, TickPeriod(picoseconds: 5)),
            // The period of 4,999,960 Hz.
            (2.000016000128001e-07, TickPeriod(numerator: 25_000_000_000, denominator: 124_999)),
            (1.0 / 80_000_000, TickPeriod(picoseconds: 12_500)),
        ]
        for (seconds, expected) in cases {
            let file = PTUFile(recordType: 0x0101_0204, globalResolution: seconds)
            let reader = try RecordingReader(MemoryByteSource(file.bytes([])))
            #expect(reader.description.tickPeriod == expected, "\(seconds)")
        }
    }

    /// An overflow count can claim any time; beyond 56 bits it is an error, never a wrong time.
    @Test func timesBeyondATagAreAnError() throws {
        let words = [UInt32](repeating: 0xFFFF_FFFF, count: 70)
        let bytes =
            PTUFile(recordType: 0x0101_0204).header(records: 70)
            + words.flatMap { PTUFile.little(UInt64($0), 4) }
        #expect(throws: RecordingError.self) { _ = try Decoded(bytes) }
    }
}
