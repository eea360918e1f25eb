import DeviceProfiles
import Instruments

/// What can go wrong with a Picosecond Delayer beyond a failed stream.
package enum PSDError: Error, Hashable, Sendable {
    /// The unit refused a command, with the meaning and the remedy of the profile.
    case refused(number: Int, meaning: String, recovery: String)
    /// A reply that is neither a value nor a refusal.
    case unexpected(String)
    /// A value without the echo of the command that asked for it.
    case noEcho(String)
    /// Readings that do not agree.
    case unsteady(String)
    /// A setting outside the range of the unit.
    case outOfRange(quantity: String, value: String, range: String)
    /// The unit did not take a setting.
    case notTaken(quantity: String, wanted: String, found: String)
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
        case .refused(let number, let meaning, let recovery):
            make(.deviceFault, "an accepted command", "ERR\(number): \(meaning)", recovery)
        case .unexpected(let text):
            make(.malformedReply, "a number between #", "\"\(text)\"", line)
        case .noEcho(let command):
            make(.malformedReply, "the echo of \(command)", "a value without it", line)
        case .unsteady(let readings):
            make(.malformedReply, "two equal readings", readings, line)
        case .outOfRange(let quantity, let value, let range):
            make(
                .outOfRange, "\(quantity) in \(range)", value,
                "choose a value inside the range of the unit")
        case .notTaken(let quantity, let wanted, let found):
            make(
                .deviceFault, "\(quantity) at \(wanted)", found,
                "look at the unit's display, then set it again")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }

    /// The refusal `number` with what `profile` knows of it.
    package static func refused(_ number: Int, _ profile: DeviceProfile) -> PSDError {
        let known = profile.faults.reported.entries.first {
            $0.value.source == .errorCode && $0.value.code == number
        }?.value
        return .refused(
            number: number, meaning: known?.meaning ?? "a number without known meaning",
            recovery: known?.recovery ?? "look it up in the manual of the unit")
    }
}
