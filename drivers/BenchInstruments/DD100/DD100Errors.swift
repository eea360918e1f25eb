import DeviceProfiles
import Instruments

/// What can go wrong with a DD-100-MC beyond a failed stream.
package enum DD100Error: Error, Hashable, Sendable {
    /// The instrument is something else.
    case wrongIdentity(found: String)
    /// A reply that does not fit the command.
    case unexpected(expected: String, found: String)
    /// Readings that do not agree.
    case unsteady(String)
    /// The unit refused a command, with the meaning and the remedy of the profile.
    case refused(text: String, meaning: String, recovery: String)
    /// The unit does not know where its motor is.
    case notHomed
    /// The motor did not get where it was sent.
    case notReached(wanted: String, found: String)
    /// A setting outside the range of the unit.
    case outOfRange(value: String, range: String)
    /// The instrument is not open.
    case closed

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        func make(
            _ code: DriverErrorCode, _ expected: String, _ found: String, _ advice: String
        ) -> DriverError {
            DriverError(
                code: code, instrument: instrument, operation: operation, expected: expected,
                found: found, advice: advice)
        }
        let line = "check cable and grounding, and that no other program uses the port"
        return switch self {
        case .wrongIdentity(let found):
            make(
                .wrongDevice, "a configuration with insertion loss and greatest attenuation",
                "\"\(found)\"", "choose the port of the attenuator")
        case .unexpected(let expected, let found):
            make(.malformedReply, expected, "\"\(found)\"", line)
        case .unsteady(let readings):
            make(.malformedReply, "two readings that agree", readings, line)
        case .refused(let text, let meaning, let recovery):
            make(.deviceFault, "an accepted command", "\(text): \(meaning)", recovery)
        case .notHomed:
            make(
                .deviceFault, "a known attenuation", "a unit that was not homed since it started",
                "close it and open it again, which homes it; the light changes meanwhile")
        case .notReached(let wanted, let found):
            make(
                .deviceFault, "an attenuation of \(wanted)", found,
                "block the light, then look whether the motor moves; home the unit again")
        case .outOfRange(let value, let range):
            make(
                .outOfRange, "an attenuation in \(range)", value,
                "choose a value inside the range of the unit")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }

    /// The refusal `text` with what `profile` knows of it.
    package static func refused(_ text: String, _ profile: DeviceProfile) -> DD100Error {
        let number = DD100Wire.number(ofRefusal: text)
        let known = profile.faults.reported.entries.first {
            $0.value.source == .errorCode && $0.value.code == number
        }?.value
        return .refused(
            text: text, meaning: known?.meaning ?? "a refusal without known meaning",
            recovery: known?.recovery ?? "look it up in the manual of the unit")
    }
}
