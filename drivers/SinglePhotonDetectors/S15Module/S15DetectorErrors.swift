import Instruments

/// What can go wrong with an S-Fifteen detector module beyond a failed stream.
package enum S15DetectorError: Error, Hashable, Sendable {
    /// The instrument is something else.
    case wrongIdentity(found: String)
    /// A reply that is not a number.
    case notANumber(String)
    /// A setting outside the limits of the profile.
    case outOfRange(quantity: String, value: Double, low: Double, high: Double)
    /// The module did not take a setting.
    case notTaken(quantity: String, wanted: Double, found: Double)
    /// The sensor did not reach its temperature in time.
    case notCold(wanted: Double, found: Double)
    /// No bias voltage has been set, and the profile has no recommended one.
    case noBias
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
        case .wrongIdentity(let found):
            make(
                .wrongDevice, "an identification that contains SPD", "\"\(found)\"",
                "choose the port of the detector module")
        case .notANumber(let text):
            make(
                .malformedReply, "a number", "\"\(text)\"",
                "close other programs that use the port, then open the instrument again")
        case .outOfRange(let quantity, let value, let low, let high):
            make(
                .outOfRange, "\(quantity) from \(low) to \(high)", "\(value)",
                "choose a value inside the limits of the profile")
        case .notTaken(let quantity, let wanted, let found):
            make(
                .deviceFault, "\(quantity) at \(wanted)", "\(found)",
                "check the module's supply; disarm it before trying again")
        case .notCold(let wanted, let found):
            make(
                .deviceFault, "the sensor at \(wanted) °C", "\(found) °C",
                "check heat sink and cooler supply; the bias stays off until it is cold")
        case .noBias:
            make(
                .wrongState, "a bias voltage to arm with", "none",
                "set the bias voltage of this detector, or put a default into the profile")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}
