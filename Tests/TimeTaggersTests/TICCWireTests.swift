import DeviceProfiles
import FirmwareProfiles
import HostIO
import Quantities
import TestSupport
import Testing
import TimeTaggers

/// The dialects of all shipped profiles.
func ticcDialects() throws -> [TICCDialect] {
    let catalog = try FirmwareProfiles.catalog()
    return try ["tapr-ticc-2017", "tapr-ticc-2020", "tapr-ticc-2025"].map {
        try TICCDialect(try #require(catalog[$0]))
    }
}

/// The driver against what the released programs print under an independent simulator.
struct TICCGoldenTests {
    @Test(arguments: [
        (TICCCapture.of20170309, "tapr-ticc-2017", "20170309.1"),
        (TICCCapture.of20191202, "tapr-ticc-2017", "20191202.1"),
        (TICCCapture.of20200412, "tapr-ticc-2020", "20200412.1"),
    ])
    func readsTheStart(capture: String, profile: String, version: String) throws {
        var splitter = TICCLineSplitter()
        var reader = TICCBannerReader(candidates: try ticcDialects())
        var begun: TICCConfiguration?
        var times: [TICCTime] = []
        for line in splitter.lines(Array(capture.utf8)) {
            if let begun {
                times.append(try #require(TICCWire.decode(line, begun.format)).time)
            } else if case .begun(let configuration) = try reader.take(line) {
                begun = configuration
            }
        }
        let configuration = try #require(begun)
        #expect(reader.dialect?.profile.id == profile)
        #expect(configuration.version == version && configuration.serial == "1234ABCD")
        #expect(configuration.edges.hasPrefix("R ("))
        #expect(times.count >= 4)
        let expected: [TICCTime] =
            switch version {
            case "20170309.1":
                Array(repeating: TICCTime(seconds: -1, picoseconds: 999_878_959_900), count: 4)
            case "20191202.1":
                (0..<4).map {
                    TICCTime(seconds: 0, picoseconds: 115_778_959_900 + 50_000_000_000 * Int64($0))
                }
            default:
                (0..<4).map {
                    TICCTime(seconds: 0, picoseconds: 113_278_959_900 + 50_000_000_000 * Int64($0))
                }
            }
        #expect(Array(times.prefix(4)) == expected)
    }

    /// The minus sign of the released 20200412.1 stands after the point.
    @Test func readsTimesBeforeZero() throws {
        var splitter = TICCLineSplitter()
        let format = TICCFormat(decimals: 11, negative: .afterPoint)
        for line in splitter.lines(Array(TICCCapture.beforeZeroOf20200412.utf8)) {
            #expect(
                TICCWire.decode(line, format)?.time
                    == TICCTime(seconds: -1, picoseconds: 999_878_959_900))
        }
    }
}

/// Lines worked out from the print functions of the source.
struct TICCWireTests {
    private func time(_ text: String, _ format: TICCFormat) -> TICCTime? {
        TICCWire.decode(Array(text.utf8), format)?.time
    }

    @Test func readsEveryDialect() {
        let old = TICCFormat(decimals: 12, negative: .leading)
        #expect(
            time("12.345678901234 chB", old)
                == TICCTime(seconds: 12, picoseconds: 345_678_901_234))
        #expect(TICCWire.decode(Array("12.345678901234 chB".utf8), old)?.channel == 1)
        #expect(time("-3.000000000000 chA", old) == TICCTime(seconds: -3, picoseconds: 0))
        #expect(time("3.-00000000000 chA", old) == nil)
        let new = TICCFormat(decimals: 11, negative: .floor)
        #expect(
            time("-1.70000000000 chA", new) == TICCTime(seconds: -1, picoseconds: 700_000_000_000))
        let none = TICCFormat(decimals: 0, negative: .floor, names: "XY")
        #expect(time("7. chX", none) == TICCTime(seconds: 7, picoseconds: 0))
        let wrapped = TICCFormat(decimals: 11, wrapDigits: 3, negative: .afterPoint)
        #expect(time("007.00000000001 chA", wrapped) == TICCTime(seconds: 7, picoseconds: 10))
        #expect(time("7.00000000001 chA", wrapped) == nil)
    }

    /// One lost byte leaves a line that is refused, unless it was a digit of the seconds, which the
    /// clock has to judge, or left the line as it was.
    @Test func oneLostByteIsNoticed() {
        let format = TICCFormat(decimals: 11, negative: .floor)
        let line = Array("1204.56789012345 chB".utf8)
        for index in line.indices {
            var damaged = line
            damaged.remove(at: index)
            let decoded = TICCWire.decode(damaged, format)
            #expect((decoded == nil) == (index >= 4), "\(index)")
        }
        #expect(time("01.00000000000 chA", format) == nil)
        #expect(time("2147483648.00000000000 chA", format) == nil)
    }

    /// Whatever is accepted prints as it was read. Seed 11.
    @Test func acceptsOnlyWhatPrintsTheSame() {
        var generator = SeededGenerator(seed: 11, label: "ticc lines")
        let format = TICCFormat(decimals: 11, negative: .leading)
        var accepted = 0
        for _ in 0..<4000 {
            let seconds = generator.next() % 100_000
            let text = "\(seconds).\(String(generator.next()).prefix(11)) chA"
            let damaged = mutated(Array(text.utf8), using: &generator)
            guard let (time, channel) = TICCWire.decode(damaged, format), time.seconds >= 0
            else { continue }
            accepted += 1
            let digits = String(time.picoseconds / 10)
            let again =
                "\(time.seconds)." + String(repeating: "0", count: 11 - digits.utf8.count) + digits
                + " ch" + (channel == 0 ? "A" : "B")
            #expect(String(decoding: damaged, as: UTF8.self) == again)
        }
        #expect(accepted > 50)
    }

    /// A damaged banner never leads to a version that no profile covers, nor to a crash. Seed 12.
    @Test func damagedBannersAreRefusedOrRight() throws {
        var generator = SeededGenerator(seed: 12, label: "ticc banners")
        let dialects = try ticcDialects()
        for _ in 0..<400 {
            var splitter = TICCLineSplitter()
            var reader = TICCBannerReader(candidates: dialects)
            let damaged = mutated(Array(TICCCapture.of20200412.utf8), using: &generator)
            for line in splitter.lines(damaged) {
                guard let progress = try? reader.take(line) else { break }
                guard case .begun(let configuration) = progress else { continue }
                #expect(configuration.version == "20200412.1")
                #expect(configuration.format.decimals == 11)
                break
            }
        }
    }

    @Test func clockUndoesTheWrapAndRefusesTheImpossible() {
        let began = HostInstant(nanoseconds: 50_000_000_000)
        var clock = TICCClock(
            format: TICCFormat(decimals: 11, wrapDigits: 1, negative: .afterPoint), group: 1,
            began: began)
        // 37 s of silence are four wraps of ten seconds less three.
        let late = clock.judge(
            TICCTime(seconds: 7, picoseconds: 0), arrival: began + .milliseconds(37_004))
        #expect(late == .good(TICCTime(seconds: 37, picoseconds: 0), isLate: false))
        var plain = TICCClock(
            format: TICCFormat(decimals: 11, negative: .afterPoint), group: 1, began: began)
        #expect(
            plain.judge(TICCTime(seconds: 5, picoseconds: 0), arrival: began + .seconds(4))
                == .implausible)
        #expect(
            plain.judge(TICCTime(seconds: 5, picoseconds: 0), arrival: began + .seconds(5))
                == .good(TICCTime(seconds: 5, picoseconds: 0), isLate: false))
        #expect(
            plain.judge(TICCTime(seconds: 4, picoseconds: 0), arrival: began + .seconds(6))
                == .implausible)
        // The counter stood still for two seconds.
        #expect(
            plain.judge(TICCTime(seconds: 6, picoseconds: 0), arrival: began + .seconds(8))
                == .good(TICCTime(seconds: 6, picoseconds: 0), isLate: true))
        #expect(
            plain.judge(TICCTime(seconds: 7, picoseconds: 0), arrival: began + .seconds(9))
                == .good(TICCTime(seconds: 7, picoseconds: 0), isLate: false))
    }
}
