import DeviceProfiles
import Instruments

/// Texts of the S-Fifteen detector module. Pure encoding and decoding.
///
/// Source: github.com/s-fifteen-instruments/pyS15 at ba5faee,
/// `S15lib/instruments/single_photon_detector.py` (commands) and `serial_connection.py` (terminators).
package struct S15DetectorWire: Sendable {
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

    /// The number at the start of a reply; a unit may follow after a space.
    package static func number(_ line: String) -> Double? {
        guard let first = line.split(separator: " ").first, first.utf8.count <= 32 else {
            return nil
        }
        // Only plain decimal numbers: Double also reads "nan", "inf" and hexadecimal.
        guard first.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }),
            let value = Double(first), value.isFinite
        else { return nil }
        return value
    }
}
