import DeviceProfiles
import Quantities
import Testing

/// The section `curves`.
struct CurveTests {
    private static let section =
        "curves:\n  retardance:\n    input: volts\n    output: radians\n"
        + "    points: [[1, 4.5], [2, 3.25],\n      [2.5, 1]]\ntiming:\n"
    private static let example = ExampleProfile.replacing("timing:\n", section)

    @Test func aCurveIsRead() throws {
        let profile = try DeviceProfile(text: Self.example, file: "x.yaml")
        let response = try profile.curve("retardance")
        #expect(response.input == .volts && response.output == .radians)
        #expect(response.curve.output(at: 2.25) == 2.125)
        #expect(profile.confidence.statedFields.contains("curves.retardance.points.2.1"))
        #expect(throws: MissingProfileField.self) { try profile.curve("loss") }
    }

    @Test(arguments: [
        (
            "[2, 3.25]", "[2.5, 3.25]",
            "curves.retardance.points.2.0: expected more than the input before it, found 2.5"
        ),
        (
            "[2.5, 1]", "[2.5, 3.5]",
            "curves.retardance.points: expected outputs that rise throughout or fall throughout"
        ),
        (
            "[2, 3.25]", "[2, 3.25, 1]",
            "curves.retardance.points.1: expected a sequence of 2 to 2 items, "
                + "found a sequence of 3 items"
        ),
        (
            "[2, 3.25]", "[2, x]",
            "curves.retardance.points.1.1: expected a number from"
        ),
        (
            "[[1, 4.5], [2, 3.25],\n      [2.5, 1]]", "[[1, 4.5]]",
            "curves.retardance.points: expected a sequence of 2 to 256 items"
        ),
        ("output: radians", "output: turns", "curves.retardance.output: expected one of"),
        ("output: radians", "output: radians\n    colour: red", "the unknown key `colour`"),
    ])
    func mistakesAreExplained(old: String, new: String, error: String) {
        let parts = Self.example.split(separator: old, omittingEmptySubsequences: false)
        #expect(parts.count == 2)
        let errors = ExampleProfile.errors(parts.joined(separator: new))
        #expect(errors.contains { "\($0)".contains(error) }, "\(errors)")
    }

    @Test func theReplyThatEndsACommandIsRead() throws {
        let text = ExampleProfile.replacing(
            "  reply_timeout_ms: 100\n", "  reply_timeout_ms: 100\n  completion_reply: Done\n")
        let profile = try DeviceProfile(text: text, file: "x.yaml")
        #expect(profile.dialect?.completionReply == "Done")
    }
}
