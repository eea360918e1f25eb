import Instruments

/// What can go wrong with a TTL-gated detector beyond a failed GPIO operation.
package enum TTLGatedError: Error, Hashable, Sendable {
    /// A line the profile requires is not in the wiring.
    case missingLine(Instruments.LineRole)
    /// A line is not wired.
    case notWired(Instruments.LineRole)
    /// A safety line forbids the operation.
    case forbidden(by: [String])
    /// A safety line reported while the detector was being armed.
    case trippedWhileArming(String)
    /// The gate is to open, but the detector is not armed.
    case notArmed
    /// Both ends of the shutter report, or the wanted one does not.
    case shutter(String)
    /// The line belongs to the safety watch, or is an output.
    case reserved(Instruments.LineRole)
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
        return switch self {
        case .missingLine(let role):
            make(
                .wrongDevice, "a line for \(role.rawValue)", "none in the wiring",
                "add the line to the wiring file")
        case .notWired(let role):
            make(
                .notSupported, "a line for \(role.rawValue)", "none in the wiring",
                "wire the line, or do without")
        case .forbidden(let names):
            make(
                .interlock, "no safety line to forbid it", names.joined(separator: ", "),
                "remove the cause, then arm again")
        case .trippedWhileArming(let name):
            make(
                .interlock, "quiet safety lines while arming", name,
                "remove the cause, then arm again")
        case .notArmed:
            make(.wrongState, "an armed detector", "a disarmed one", "arm it first")
        case .shutter(let found):
            make(
                .deviceFault, "the shutter to open", found,
                "check the shutter, its supply and its end switches")
        case .reserved(let role):
            make(
                .notSupported, "a line that is free to use", "\(role.rawValue)",
                "use nextSafetyEvent for safety lines, arm and setGateEnabled for outputs")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}
