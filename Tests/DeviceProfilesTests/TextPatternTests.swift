import DeviceProfiles
import Quantities
import TestSupport
import Testing

/// The pattern language of serial numbers and replies, and version numbers.
struct TextPatternTests {
    @Test(arguments: [
        ("38######", "38418404", true), ("38######", "3841840", false),
        ("38######", "384184045", false), ("38######", "38A18404", false),
        ("TDC1-####", "TDC1-0019", true), ("TDC1-####", "TDC1-٠٠١٩", false),
        ("*SPD*", "SPD", true), ("*SPD*", "S-Fifteen SPD v2", true), ("*SPD*", "SP D", false),
        ("a*b*c", "a-b-b-c", true), ("a*b*c", "acb", false), ("*", "", true), ("?", "", false),
        ("a?c", "abc", true), ("\\*IDN\\?", "*IDN?", true), ("\\*IDN\\?", "xIDNy", false),
        ("(3.3V)", "(3x3V)", false),
    ])
    func matching(pattern: String, text: String, fits: Bool) throws {
        #expect(try #require(TextPattern(pattern)).matches(text) == fits)
    }

    @Test func wrongPatternsAreRefused() {
        #expect(TextPattern("") == nil)
        #expect(TextPattern("abc\\") == nil)
        #expect(TextPattern("abc\\\\")?.literal == "abc\\")
        #expect(TextPattern("38######")?.literal == nil)
    }

    /// Against the definition, spelt out as a recursion over all splits.
    @Test(arguments: seeds(20))
    func agreesWithTheDefinition(seed: UInt64) {
        func fits(_ pattern: ArraySlice<Character>, _ text: ArraySlice<Character>) -> Bool {
            guard let first = pattern.first else { return text.isEmpty }
            if first == "*" {
                return fits(pattern.dropFirst(), text)
                    || (!text.isEmpty && fits(pattern, text.dropFirst()))
            }
            guard let character = text.first else { return false }
            let here =
                first == "?" || (first == "#" ? "01".contains(character) : first == character)
            return here && fits(pattern.dropFirst(), text.dropFirst())
        }
        var generator = SeededGenerator(seed: seed, label: "patterns")
        var positive = 0
        for _ in 0..<500 {
            let pattern = (0..<Int.random(in: 1...6, using: &generator)).map { _ in
                Array("ab01#?**")[Int.random(in: 0..<8, using: &generator)]
            }
            let text = (0..<Int.random(in: 0...7, using: &generator)).map { _ in
                Array("ab01")[Int.random(in: 0..<4, using: &generator)]
            }
            let expected = fits(pattern[...], text[...])
            positive += expected ? 1 : 0
            #expect(
                TextPattern(String(pattern))?.matches(String(text)) == expected,
                "\(pattern) \(text)")
        }
        #expect(positive > 50, "the property was tried on matches as well: \(positive)")
    }

    @Test func versionsAreComparedNumberByNumber() throws {
        let order = ["0.9", "1", "1.2", "1.10", "2.001", "2.010", "2.010.0.1"]
            .compactMap(FirmwareVersion.init)
        #expect(order.count == 7)
        #expect(order == order.shuffled().sorted())
        #expect(FirmwareVersion("1.0") == FirmwareVersion("1"))
        for text in ["", "1.", ".1", "1..2", "v1", "1.2.3.4.5", "1234567890", "-1", "1.٢"] {
            #expect(FirmwareVersion(text) == nil, "\(text)")
        }
    }
}
