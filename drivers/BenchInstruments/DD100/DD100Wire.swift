import DeviceProfiles
import Instruments

/// Texts of the OZ Optics DD-100-MC attenuator. Pure encoding and decoding.
///
/// A command ends with CR. The reply is lines that end with CR LF; the last is `Done`, followed by
/// an empty one, or a refusal such as `Error-2`. The clients show units that differ in letter case,
/// in whether a unit follows a number, and in whether the command is echoed; all are understood.
///
/// Sources: qmi 0.54.2, `instruments/ozoptics/dd100mc.py` and its tests; pylablib 1.4.5,
/// `devices/OZOptics/base.py`; github.com/COO-Utilities/ozoptics, `dd100mc.py` (commands, errors).
package enum DD100Wire {
    /// What came back.
    package enum Reply: Hashable, Sendable {
        /// The lines before `Done`, without empty ones and without the echo.
        case done([String])
        /// The text of a refusal.
        case refused(String)
        /// Not text.
        case garbled
    }

    /// A quantity that the unit may not know.
    package enum Quantity: Hashable, Sendable {
        case known(Double)
        /// The unit has not been homed since it was switched on.
        case unknown
    }

    /// The reply to `command`, or nil while it is not whole.
    ///
    /// - Parameters:
    ///   - label: what the reply contains. One without it is the late reply of a motion that was
    ///     under way, and is passed over unless nothing follows.
    ///   - isLast: no more will come.
    package static func reply(
        _ bytes: [UInt8], to command: String, with label: String = "", isLast: Bool = false
    ) -> Reply? {
        var lines: [String] = []
        var passedOver: [String]?
        var line: [UInt8] = []
        for byte in bytes {
            guard byte == 0x0D || byte == 0x0A else {
                line.append(byte)
                continue
            }
            defer { line = [] }
            if line.isEmpty { continue }
            guard line.allSatisfy({ 0x20..<0x7F ~= $0 }) else { return .garbled }
            let text = String(decoding: line, as: UTF8.self)
            if text == "Done" {
                if label.isEmpty || lines.contains(where: { $0.uppercased().contains(label) }) {
                    return .done(lines)
                }
                passedOver = lines
                lines = []
                continue
            }
            if text.hasPrefix("Error") { return .refused(text) }
            if lines.isEmpty, text == command { continue }
            lines.append(text)
        }
        return isLast ? passedOver.map { Reply.done($0) } : nil
    }

    /// The number of a refusal such as `Error-5`; nil when there is none.
    package static func number(ofRefusal text: String) -> Int? {
        PlainNumber.integer(text.dropFirst("Error".count)).map { abs($0) }
    }

    /// The position in steps from home; nil when no line has one.
    package static func position(_ lines: [String]) -> Int? {
        for line in lines {
            let upper = line.uppercased()
            // "Pos:" and, in the reply to D, "DPos:".
            guard let range = upper.firstRange(of: "POS:") else { continue }
            return PlainNumber.integer(trimmed(upper[range.upperBound...]))
        }
        return nil
    }

    /// The quantity, in decibels, of the line that begins with `label`; nil when there is no such
    /// line or something else stands there.
    package static func decibels(_ label: String, _ lines: [String]) -> Quantity? {
        for line in lines {
            let upper = line.uppercased()
            guard upper.hasPrefix(label.uppercased()) else { continue }
            var value = trimmed(upper.dropFirst(label.count))
            if value.hasPrefix("UNKNOWN") { return .unknown }
            for unit in ["(DB)", "DB"] where value.hasSuffix(unit) {
                value = trimmed(value.dropLast(unit.count))
            }
            return PlainNumber.decimal(value).map { .known($0) }
        }
        return nil
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return text
    }
}
