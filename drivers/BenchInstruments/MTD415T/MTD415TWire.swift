import DeviceProfiles
import Instruments

/// Texts of the Thorlabs MTD415T. Pure encoding and decoding.
///
/// Commands and replies are lines that end with a line feed; numbers are whole. A setting is
/// answered with the value that was set.
///
/// Sources: Thorlabs, MTD415T Data Sheet Rev. 1.0, section 6; github.com/nelsond/thorlabs-mtd415t
/// at c53ec5c; github.com/Artem-Gulyaev/thorlabs-mtd415t at 37be1de (answers to settings).
package struct MTD415TWire: Sendable {
    /// What came back.
    package enum Reply: Hashable, Sendable {
        /// A whole number.
        case value(Int)
        /// Any other text.
        case text(String)
        /// The unit did not understand the command, as happens now and then to good ones.
        case unknownCommand
    }

    private let terminator: String
    private static let misunderstood = "unknown command"

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        terminator = try profile.requireDialect().commandTerminator ?? "\n"
    }

    /// The text that sends `command`.
    package func text(
        _ command: Command, _ values: [Double] = []
    ) throws(CommandEncodingError) -> String { try command.text(values) + terminator }

    /// The first line of `bytes`, or nil while it is not whole.
    package static func reply(_ bytes: [UInt8]) -> Reply? {
        guard let end = bytes.firstIndex(of: 0x0A) else { return nil }
        let line = bytes[..<end].filter { $0 != 0x0D }
        guard line.allSatisfy({ 0x20..<0x7F ~= $0 }) else {
            return .text("bytes outside of ASCII text")
        }
        let text = String(decoding: line, as: UTF8.self)
        if text == misunderstood { return .unknownCommand }
        return PlainNumber.integer(text).map { .value($0) } ?? .text(text)
    }

    /// The firmware in an identification such as `MTD415T FW0.6.8`; empty when there is none.
    package static func firmware(_ identification: String) -> String {
        guard let word = identification.split(separator: " ").last, word.hasPrefix("FW") else {
            return ""
        }
        return String(word.dropFirst(2))
    }

    /// Whether `text` is a unique identifier: 32 hexadecimal digits.
    package static func isUniqueIdentifier(_ text: String) -> Bool {
        text.utf8.count == 32 && text.allSatisfy { $0.isASCII && $0.isHexDigit }
    }
}
