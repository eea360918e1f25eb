import DeviceProfiles
import Testing

/// Text that is not the plain part of YAML is refused with its position, before it is parsed.
struct YAMLScreenTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var text: String
        var error: String
        var testDescription: String { text }
    }

    @Test(arguments: [
        Case(
            text: "a: &x 1",
            error: "1:4: expected a value, found an anchor (`&`), which profiles do not use"),
        Case(
            text: "a: 1\nb: *x",
            error: "2:4: expected a value, found an alias (`*`), which profiles do not use"),
        Case(
            text: "a: {b: [1, *x]}",
            error: "1:12: expected a value, found an alias (`*`), which profiles do not use"),
        Case(
            text: "a: {\"b\":*x}",
            error: "1:9: expected a value, found an alias (`*`), which profiles do not use"),
        Case(
            text: "a: ['it''s', &x b]",
            error: "1:14: expected a value, found an anchor (`&`), which profiles do not use"),
        Case(
            text: "a: !!int 1",
            error: "1:4: expected a value, found a tag (`!`), which profiles do not use"),
        Case(
            text: "a: |\n  text",
            error: "1:4: expected a value in one line, found a block scalar (`|`)"),
        Case(
            text: "a: >-\n  text",
            error: "1:4: expected a value in one line, found a block scalar (`>`)"),
        Case(text: "? a\n: b", error: "1:1: expected a plain key, found a complex key (`?`)"),
        Case(text: "{?a : b}", error: "1:2: expected a plain key, found a complex key (`?`)"),
        Case(text: "%YAML 1.1\n---\na: 1", error: "1:1: expected a key, found a directive (`%`)"),
        Case(
            text: "--- &x\na: 1",
            error: "1:1: expected one document without marks, found the mark `---`"),
        Case(
            text: "a: 1\n...\nb: 2",
            error: "2:1: expected one document without marks, found the mark `...`"),
        Case(text: "a:\n\tb: 1", error: "2:1: expected spaces, found a tab"),
        Case(
            text: "a: \u{7}", error: "1:4: expected printable text, found the control character U+7"
        ),
        Case(
            text: "a: \u{2028}",
            error: "1:4: expected printable text, found the control character U+2028"),
        Case(
            text: "a: \"x",
            error:
                "1:6: expected YAML, found a mistake in its grammar: found unexpected end of stream"
        ),
        Case(
            text: "a: [1, 2",
            error:
                "1:9: expected YAML, found a mistake in its grammar: did not find expected ',' or ']'"
        ),
        Case(text: "", error: "1:1: expected a mapping, found an empty file"),
        Case(text: "# only a comment\n", error: "1:1: expected a mapping, found an empty file"),
        Case(text: "- a", error: "1:1: expected a mapping, found a sequence of 1 items"),
        Case(text: "text", error: "1:1: expected a mapping, found the text \"text\""),
    ])
    func refused(_ test: Case) {
        #expect(
            ExampleProfile.errors(test.text).map(\.description) == ["x.yaml:" + test.error])
    }

    @Test(arguments: [
        ("a: 1\nb: 2\na: 3", "3:1", "a", 1),
        ("a:\n  b: 1\n  c: 2\n  \"b\": 3\nd: 4", "4:3", "b", 2),
        ("a:\n- b: 1\n- b: 1\n- b: 1\n  c: {b: 1}\n  b: 2", "6:3", "b", 4),
        ("a: {b: 1, c: {b: 2}, b: 3}", "1:22", "b", 1),
        ("a: [{b: 1}, {b: 2, 'b': 3}]", "1:20", "b", 1),
    ])
    func duplicateKeyIsFoundAtItsSecondPlace(text: String, place: String, key: String, first: Int) {
        #expect(
            ExampleProfile.errors(text).map(\.description) == [
                "x.yaml:\(place): expected each key once, "
                    + "found the key `\(key)` again (first in line \(first))"
            ])
    }

    @Test func valuesMayLookLikeIndicators() {
        // None of these is an anchor, an alias or a tag: they stand inside a scalar.
        let text = ExampleProfile.replacing("model: TT2", "model: \"*TT2 &! # | >\"")
            .replacing("vendor: Acme", with: "vendor: R&D *fine* a#b [x] {y}")
        #expect(ExampleProfile.errors(text).isEmpty)
    }

    @Test func windowsLineEndsAreAccepted() {
        let text = ExampleProfile.text.replacing("\n", with: "\r\n")
        #expect(ExampleProfile.errors(text).isEmpty)
        let wrong = text.replacing("kind: time_tagger", with: "kind: clock")
        #expect(ExampleProfile.errors(wrong).map { [$0.line, $0.column] } == [[6, 9]])
    }

    @Test func largeFilesAreRefused() {
        let text = ExampleProfile.text + "\n#" + String(repeating: "x", count: 256 * 1024)
        let errors = ExampleProfile.errors(text)
        #expect(errors.map(\.expected) == ["at most 262144 bytes"])
    }

    @Test func deepNestingIsRefused() {
        let brackets = "a: " + String(repeating: "[", count: 100_000)
        #expect(ExampleProfile.errors(brackets).map { [$0.line, $0.column] } == [[1, 20]])
        let dashes = String(repeating: "- ", count: 50_000) + "x"
        #expect(ExampleProfile.errors(dashes).map(\.column) == [65])
        let steps = (0..<80).map { String(repeating: " ", count: $0) + "a:\n" }.joined()
        #expect(ExampleProfile.errors(steps).map { [$0.line, $0.column] } == [[65, 65]])
    }

    @Test func bytesMustBeUTF8() throws {
        var bytes = Array(ExampleProfile.replacing("vendor: Acme", "vendor: Ä").utf8)
        #expect(try DeviceProfile(bytes: bytes, file: "x.yaml").identity.vendor == "Ä")
        let broken = try #require(bytes.firstIndex(of: 0xc3))
        bytes[broken + 1] = 0x20
        do throws(ProfileErrors) {
            _ = try DeviceProfile(bytes: bytes, file: "x.yaml")
            Issue.record("broken text was read")
        } catch {
            #expect(
                error.description
                    == "x.yaml:4:11: expected UTF-8 text, found bytes that are not UTF-8")
        }
    }
}
