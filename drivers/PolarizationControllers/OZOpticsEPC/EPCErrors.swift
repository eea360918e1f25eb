import Instruments

/// What can go wrong with a fibre squeezer beyond a failed stream.
package enum EPCError: Error, Hashable, Sendable {
    /// The controller refused a command.
    case refused(command: String)
    /// A reply that is not the one to the command.
    case unexpectedReply(command: String, found: String)
    /// The controller confirmed or reads back another voltage, in millivolts.
    case notTaken(axis: Int, wanted: Int, found: Int)
    /// An axis that nobody set has another voltage than before, in millivolts.
    case changedByItself(axis: Int, known: Int, found: Int)
    /// The controller scrambles although it was not told to.
    case scrambles
    /// The operation needs constant voltages, and the operator has scrambling on.
    case scrambling
    /// There is no such axis.
    case noAxis(Int, count: Int)
    /// The setting is not a voltage.
    case notAVoltage
    /// A number outside the range of the profile.
    case outOfRange(quantity: String, value: Double, low: Double, high: Double)
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
        case .refused(let command):
            make(
                .deviceFault, "\(command) to be carried out", "an error reply",
                "compare the profile with the model; commands may differ between models")
        case .unexpectedReply(let command, let found):
            make(
                .malformedReply, "the reply to \(command)", "\"\(found)\"",
                "check that the port leads to this model and that no other program uses it")
        case .notTaken(let axis, let wanted, let found):
            make(
                .deviceFault, "axis \(axis) at \(wanted) mV", "\(found) mV",
                "set it again; if it happens often, check the serial line")
        case .changedByItself(let axis, let known, let found):
            make(
                .deviceFault, "axis \(axis) still at \(known) mV", "\(found) mV",
                "the controller restarted or was operated by hand; align the link again")
        case .scrambles:
            make(
                .deviceFault, "constant voltages", "AC mode",
                "the controller restarted or was operated by hand; open it again")
        case .scrambling:
            make(
                .wrongState, "constant voltages", "scrambling, as it was told",
                "stop scrambling first")
        case .noAxis(let axis, let count):
            make(
                .outOfRange, "an axis from 0 to \(count - 1)", "axis \(axis)",
                "choose an existing squeezer")
        case .notAVoltage:
            make(.notSupported, "a voltage", "an angle", "squeezers are set by voltage")
        case .outOfRange(let quantity, let value, let low, let high):
            make(
                .outOfRange, "\(quantity) from \(low) to \(high)", "\(value)",
                "choose a value inside the range of the profile")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}
