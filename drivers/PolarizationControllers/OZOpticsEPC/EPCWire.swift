import DeviceProfiles
import Instruments

/// Texts of the OZ Optics EPC family. Pure encoding and decoding.
///
/// Sources: PyPI pylablib 1.4.5, `OZOptics/base.py`, and PyPI qmi 0.54.2, `epc_driver.py`, with the
/// replies quoted in `test_epc_driver.py` of github.com/QuTech-Delft/QMI at 847abfb.
package struct EPCWire: Sendable {
    /// What a line of a reply is.
    package enum Line: Hashable, Sendable {
        /// The command, sent back; some units do.
        case echo
        /// Part of the answer.
        case content(String)
        /// The end of the answer.
        case completion
        /// The command was refused.
        case refusal
    }

    /// Whether the outputs are constant.
    package enum Mode: Hashable, Sendable {
        /// Constant voltages.
        case constant
        /// Scrambling.
        case scrambling
    }

    private let dialect: Dialect
    private let completion: String
    package let terminator: String

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        dialect = try profile.requireDialect()
        guard let completion = dialect.completionReply else {
            throw MissingProfileField(profile: profile.id, path: "dialect.completion_reply")
        }
        self.completion = completion
        terminator = dialect.commandTerminator ?? "\r\n"
    }

    /// What `line`, received after `command`, is. Only the first line can be an echo.
    package func line(_ line: String, after command: String, isFirst: Bool) -> Line {
        let text = Self.trimmed(line)
        if isFirst, text == command { return .echo }
        if text == completion { return .completion }
        if dialect.errorReplies.contains(where: { $0.matches(text) }) { return .refusal }
        return .content(text)
    }

    /// The numbers of `CH1 +2200 CH2 +5000 …` after the heading, one per channel, in the order of
    /// the channels; nil unless there are `count` of them, numbered from 1.
    package static func channelValues(_ line: String, count: Int) -> [Int]? {
        guard let colon = line.firstIndex(of: ":") else { return nil }
        let words = line[line.index(after: colon)...].split(separator: " ")
        guard words.count == 2 * count else { return nil }
        var values: [Int] = []
        for channel in 0..<count {
            guard words[2 * channel] == "CH\(channel + 1)",
                let value = integer(words[2 * channel + 1])
            else { return nil }
            values.append(value)
        }
        return values
    }

    /// Channel and number of `Set CH3 DC Voltage at: 2500mV`; nil for anything else.
    package static func confirmation(_ line: String) -> (channel: Int, value: Int)? {
        let words = line.split(separator: " ")
        guard words.count >= 3, words[0] == "Set", words[1].hasPrefix("CH"),
            let channel = integer(words[1].dropFirst(2)), let last = words.last
        else { return nil }
        let digits = last.prefix { "+-0123456789".contains($0) }
        let unit = last.dropFirst(digits.count)
        guard unit.allSatisfy(\.isLetter), let value = integer(digits) else { return nil }
        return (channel, value)
    }

    /// The mode that `Work Mode: DC` or `Work Mode: AC(Sine)` names.
    package static func mode(_ line: String) -> Mode? {
        guard let word = line.split(separator: " ").last, line.hasPrefix("Work Mode:") else {
            return nil
        }
        if word == "DC" { return .constant }
        return word == "AC" || word.hasPrefix("AC(") ? .scrambling : nil
    }

    /// A whole number with an optional sign, with or without leading zeros, of up to six digits.
    private static func integer(_ text: Substring) -> Int? {
        let digits = text.first == "+" || text.first == "-" ? text.dropFirst() : text
        guard (1...6).contains(digits.utf8.count), digits.utf8.allSatisfy({ 48...57 ~= $0 }) else {
            return nil
        }
        return Int(text)
    }

    private static func trimmed(_ line: String) -> String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        var text = Substring(line).drop(while: isSpace)
        while let last = text.last, isSpace(last) { text.removeLast() }
        return String(text)
    }
}
