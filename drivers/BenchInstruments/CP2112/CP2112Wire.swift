import DeviceProfiles
import HostIO
import Instruments

/// Feature reports of a CP2112. Pure encoding and decoding; numbers and lengths of the reports come
/// from the profile.
///
/// Sources: USB Device Class Definition for Human Interface Devices 1.11, section 7.2 (GET_REPORT,
/// SET_REPORT); Linux `drivers/hid/hid-cp2112.c` (reports).
package struct CP2112Wire: Sendable {
    private let getReport: UInt8
    private let setReport: UInt8
    private let featureReport: UInt16
    private let interface: UInt16

    /// Reads what is needed from `profile`.
    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        getReport = UInt8(truncatingIfNeeded: try profile.constant("get_report"))
        setReport = UInt8(truncatingIfNeeded: try profile.constant("set_report"))
        featureReport = UInt16(truncatingIfNeeded: try profile.constant("feature_report"))
        interface = UInt16(try profile.requireUSB().interface)
    }

    private func value(_ command: Command) -> UInt16 {
        featureReport << 8 | (command.opcode ?? 0)
    }

    /// The request that asks for a report, and the bytes it returns.
    package func query(_ command: Command) -> (request: USBControlRequest, length: Int) {
        let request = USBControlRequest(
            requestType: 0xA1, request: getReport, value: value(command), index: interface)
        return (request, command.reply.bytes ?? 0)
    }

    /// The request that sends a report, and the report.
    package func report(
        _ command: Command, _ values: [Double]
    ) throws(CommandEncodingError) -> (request: USBControlRequest, data: [UInt8]) {
        let request = USBControlRequest(
            requestType: 0x21, request: setReport, value: value(command), index: interface)
        let number = UInt8(truncatingIfNeeded: command.opcode ?? 0)
        return (request, [number] + (try command.argumentBytes(values)))
    }

    /// The report without its number.
    package func decode(_ bytes: [UInt8], of command: Command) throws(CP2112Error) -> [UInt8] {
        let length = command.reply.bytes ?? 0
        guard bytes.count == length, UInt16(bytes.first ?? 0) == command.opcode else {
            throw .malformed(
                report: Int(command.opcode ?? 0), expected: length,
                found: bytes.prefix(8).map(Int.init))
        }
        return Array(bytes.dropFirst())
    }
}
