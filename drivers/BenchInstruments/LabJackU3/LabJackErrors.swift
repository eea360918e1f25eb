import DeviceProfiles
import Instruments
import Quantities

/// What can go wrong with a LabJack U3 beyond a failed transfer.
package enum LabJackError: Error, Hashable, Sendable {
    /// The unit found a wrong check sum in our packet.
    case commandDamaged
    /// A check sum of the reply is wrong.
    case replyDamaged(String)
    /// The reply is no packet, or not as long as it says.
    case malformed(String)
    /// The reply belongs to another command.
    case otherReply(expected: Int, found: Int)
    /// The reply belongs to an earlier feedback packet.
    case staleEcho
    /// The unit refused the command, or its part with this number, from 1.
    case refused(code: Int, part: Int?)
    /// The unit is no U3, or its hardware or firmware is not one the profile covers.
    case wrongUnit(expected: String, found: String)
    /// A calibration constant can not be.
    case calibration(name: String, value: Double)
    /// The unit has restarted: its outputs are at their power-up levels.
    case restarted
    /// A setting was not taken.
    case notTaken(setting: String, found: String)
    /// An input is at the end of its range.
    case overloaded(input: Int, range: ClosedRange<Double>)

    /// Whether the reply may be a late one, behind which the right one follows.
    package var isStale: Bool {
        switch self {
        case .otherReply, .staleEcho: true
        default: false
        }
    }

    /// The error as the port reports it; `profile` names the unit's own error codes.
    package func driverError(
        _ profile: DeviceProfile, instrument: String, operation: String
    ) -> DriverError {
        func error(
            _ code: DriverErrorCode, _ expected: String, _ found: String, _ advice: String
        ) -> DriverError {
            DriverError(
                code: code, instrument: instrument, operation: operation, expected: expected,
                found: found, advice: advice)
        }
        let cable = "open the instrument again; replace the cable if it happens often"
        switch self {
        case .commandDamaged:
            return error(
                .malformedReply, "a reply", "b8 b8: the unit received a damaged packet", cable)
        case .replyDamaged(let bytes):
            return error(.malformedReply, "right check sums", bytes, cable)
        case .malformed(let bytes):
            return error(.malformedReply, "a packet as long as it says", bytes, cable)
        case .otherReply(let expected, let found):
            return error(
                .malformedReply, "the reply to command \(expected)", "one to command \(found)",
                "close other programs that use the unit, then open the instrument again")
        case .staleEcho:
            return error(
                .malformedReply, "the echo of this packet", "that of another",
                "close other programs that use the unit, then open the instrument again")
        case .refused(let code, let part):
            let known = profile.faults.reported.entries.first {
                $0.value.source == .errorCode && $0.value.code == code
            }
            let place = part.map { " at part \($0)" } ?? ""
            return error(
                .deviceFault, "acceptance",
                "error \(code)\(place): \(known?.value.meaning ?? "not in the profile")",
                known?.value.recovery ?? "look the number up in the unit's user's guide")
        case .wrongUnit(let expected, let found):
            return error(.wrongDevice, expected, found, "use a unit or firmware the profile covers")
        case .calibration(let name, let value):
            return error(
                .deviceFault, "\(name) near its nominal value", "\(value)",
                "have the unit calibrated by its maker; its memory may be erased")
        case .restarted:
            return error(
                .deviceFault, "the settings made at open",
                "others: the unit has restarted and its outputs are at their power-up levels",
                "check the power supply and timing.watchdog_ms, then open the instrument again")
        case .notTaken(let setting, let found):
            return error(
                .deviceFault, setting, found, "the flash may be worn out; replace the unit")
        case .overloaded(let input, let range):
            return error(
                .deviceFault,
                "input \(input) between \(range.lowerBound) V and "
                    + "\(range.upperBound) V", "a reading at the end of the range",
                "check the wiring, or divide the voltage")
        }
    }
}
