import Quantities
import TestSupport
import Testing
import TimeTaggers

/// Intel HEX: records worked out by hand after Intel's specification.
struct FirmwareImageTests {
    /// The example of the specification's check sum: 03 bytes at 0030h, and others around it.
    private static let good = """
        # a comment, as fxload allows
        :0300300002337A1E
        :10010000214601360121470136007EFE09D2190140
        :020000021200EA
        :00000001FF
        """

    @Test func joinsAndSortsSegments() throws {
        let text = """
            :020002000304F5\r
            :0200000001 02FB
            :01E00000AA75
            :00000001FF
            """.replacing(" ", with: "")
        let image = try FirmwareImage(intelHex: text, name: "a.ihx")
        #expect(image.segments.map(\.address) == [0, 0xE000])
        #expect(image.segments.map(\.bytes) == [[1, 2, 3, 4], [0xAA]])
        #expect(image.byteCount == 5 && image.name == "a.ihx")
    }

    @Test(arguments: [
        (":0300300002337A1F\n:00000001FF", 1, "BRK-FWI-001", "the check sum 30"),
        ("hello\n:00000001FF", 1, "BRK-FWI-001", "a record that begins with a colon"),
        ("\n:0300300002337A\n:00000001FF", 2, "BRK-FWI-001", "16 digits as the length says"),
        ("\n\n:03003000X2337A1E\n:00000001FF", 3, "BRK-FWI-001", "hexadecimal digits"),
        (":0300300002337A1E", 1, "BRK-FWI-003", "an end record"),
        (":00000001FF", 1, "BRK-FWI-003", "data records"),
        ("", 1, "BRK-FWI-003", "an end record"),
        (
            ":0300300002337A1E\n:0300300002337A1E\n:00000001FF", 2, "BRK-FWI-003",
            "each address once"
        ),
        (":00000001FF\n:0300300002337A1E", 2, "BRK-FWI-003", "nothing after the end record"),
        (good, 4, "BRK-FWI-002", "addresses of 16 bits"),
        (":02FFFF000102FD\n:00000001FF", 1, "BRK-FWI-002", "data below address 65536"),
        (":00000006FA\n:00000001FF", 1, "BRK-FWI-002", "a record type from 0 to 5"),
    ])
    func saysWhatIsWrongAndWhere(text: String, line: Int, code: String, expected: String) {
        let error = #expect(throws: FirmwareImageError.self) {
            try FirmwareImage(intelHex: text, name: "bad.ihx")
        }
        #expect(error?.line == line && error?.kind.rawValue == code, "\(String(describing: error))")
        #expect(error?.expected == expected)
        #expect(error?.description.hasPrefix("\(code) bad.ihx:\(line): expected ") == true)
    }

    /// Damage is refused or changes nothing but bytes; nothing traps.
    @Test(arguments: seeds(200)) func damagedFiles(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let text = Self.good.replacing(":020000021200EA\n", with: "")
        let damaged = String(decoding: mutated(Array(text.utf8), using: &generator), as: UTF8.self)
        guard let image = try? FirmwareImage(intelHex: damaged, name: "x") else { return }
        #expect(image.byteCount <= 19, "seed \(seed)")
    }
}
