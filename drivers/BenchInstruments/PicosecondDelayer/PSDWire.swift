import DeviceProfiles
import Instruments

/// Texts of the Micro Photon Devices Picosecond Delayer. Pure encoding and decoding.
///
/// A command ends with `#`. In echo mode, as after power-up, the unit answers with the command,
/// `#`, the value and `#`; otherwise with value and `#`. A refusal stands in the place of the
/// value: `ERR` and a number. No line end follows.
///
/// Source: github.com/python-microscopy/python-microscopy, pull request 1232,
/// `PYME/Acquire/Hardware/mpd_picosecond_delayer.py`.
package struct PSDWire: Sendable {
    /// What came back.
    package enum Reply: Hashable, Sendable {
        /// A value, and whether the command was echoed before it.
        case value(Double, isEchoed: Bool)
        /// A refusal with its number.
        case refusal(Int)
        /// Neither.
        case unexpected(String)
    }

    private let terminator: String

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        terminator = try profile.requireDialect().commandTerminator ?? "#"
    }

    /// The bytes of a command whose text is `text`.
    package func command(_ text: String) -> String { text + terminator }

    /// The reply to the command with the text `command`, or nil while it is not whole.
    ///
    /// - Parameter isLast: no more will come; a refusal without its `#` is then taken as it is,
    ///   because no source shows whether refusals have one.
    package static func reply(_ bytes: [UInt8], to command: String, isLast: Bool) -> Reply? {
        // Line ends between replies carry nothing.
        let text = bytes.filter { $0 != 0x0A && $0 != 0x0D }
        guard text.allSatisfy({ 0x20..<0x7F ~= $0 }) else {
            return .unexpected("bytes outside of ASCII text")
        }
        var parts = text.split(separator: 0x23, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        let rest = parts.removeLast()
        if isLast, rest.hasPrefix("ERR") { parts.append(rest) }
        guard let first = parts.first else { return nil }
        let isEchoed = first == command
        guard isEchoed else { return value(first, isEchoed: false) }
        return parts.count > 1 ? value(parts[1], isEchoed: true) : nil
    }

    private static func value(_ text: String, isEchoed: Bool) -> Reply {
        if text.hasPrefix("ERR"), let number = PlainNumber.integer(text.dropFirst(3)) {
            return .refusal(number)
        }
        guard let number = PlainNumber.decimal(text) else { return .unexpected(text) }
        return .value(number, isEchoed: isEchoed)
    }
}
