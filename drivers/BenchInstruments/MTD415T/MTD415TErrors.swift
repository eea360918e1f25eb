import DeviceProfiles
import Instruments

/// What can go wrong with an MTD415T beyond a failed stream.
package enum MTD415TError: Error, Hashable, Sendable {
    /// The instrument is something else.
    case wrongIdentity(found: String)
    /// Another unit than the one that was open before.
    case otherUnit(expected: String, found: String)
    /// A reply that does not fit the command.
    case unexpected(expected: String, found: String)
    /// Readings that do not agree.
    case unsteady(String)
    /// The unit did not understand a good command, however often it was sent.
    case misunderstood(command: String)
    /// The unit reports that it can not regulate.
    case fault(meaning: String, recovery: String)
    /// A setting outside the limits of the profile.
    case outOfRange(quantity: String, value: String, range: String)
    /// The unit did not take a setting.
    case notTaken(command: String, found: String)
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
                .wrongDevice, "an identification that begins with MTD415T", "\"\(found)\"",
                "choose the port of the temperature controller")
        case .otherUnit(let expected, let found):
            make(
                .wrongDevice, "the unit \(expected)", "the unit \(found)",
                "put the first unit back, or restart the program to accept the other one")
        case .unexpected(let expected, let found):
            make(.malformedReply, expected, "\"\(found)\"", line)
        case .unsteady(let readings):
            make(.malformedReply, "two readings that agree", readings, line)
        case .misunderstood(let command):
            make(
                .malformedReply, "an answer to \"\(command)\"", "\"unknown command\" every time",
                "compare the unit's firmware with the profile; then check cable and grounding")
        case .fault(let meaning, let recovery):
            make(.deviceFault, "a controller that regulates", meaning, recovery)
        case .outOfRange(let quantity, let value, let range):
            make(
                .outOfRange, "\(quantity) in \(range)", value,
                "choose a value inside the limits of the profile")
        case .notTaken(let command, let found):
            make(
                .deviceFault, "\(command) to be taken", "\"\(found)\"",
                "read the setting back, then set it again")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}

/// The error register of the unit, with what the profile knows of its bits.
package struct MTD415TErrorRegister: Hashable, Sendable {
    /// The bits.
    package let value: Int

    package init(_ value: Int) { self.value = value }

    /// The reported faults of `profile` whose bits are set, lowest bit first.
    package func faults(_ profile: DeviceProfile) -> [DeviceFault] {
        profile.faults.reported.entries.map(\.value)
            .filter { fault in
                guard fault.source == .statusBit, let bit = fault.code else { return false }
                return value & 1 << bit != 0
            }
            .sorted { ($0.code ?? 0) < ($1.code ?? 0) }
    }
}
