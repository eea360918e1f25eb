import DeviceProfiles
import Instruments

/// Texts of the S-Fifteen quad LCD driver. Pure encoding and decoding.
///
/// Source: PyPI S15lib 0.3.0, `S15lib/instruments/lcr_driver.py` (commands) and
/// `serial_connection.py` (terminators).
package struct S15RetarderWire: Sendable {
    private let dialect: Dialect

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        dialect = try profile.requireDialect()
    }

    /// The text that sends `command`; queries and settings end differently.
    package func text(
        _ command: Command, _ values: [Double] = []
    ) throws(CommandEncodingError) -> String {
        let isQuery = command.reply.shape != .none
        let query = dialect.queryTerminator ?? dialect.commandTerminator
        let terminator = isQuery ? query : dialect.commandTerminator
        return try command.text(values) + (terminator ?? "\r\n")
    }

    /// The volts of a reply, which is one plain decimal number; nil for anything else.
    package static func volts(_ line: String) -> Double? {
        // Double also reads "nan", "inf", exponents and hexadecimal.
        guard (1...16).contains(line.utf8.count),
            line.utf8.allSatisfy({ 48...57 ~= $0 || $0 == 0x2E }), let value = Double(line)
        else { return nil }
        return value
    }
}
