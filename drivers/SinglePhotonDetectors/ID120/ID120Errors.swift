import Instruments

/// What can go wrong with an ID120 beyond a failed exchange.
package enum ID120Error: Error, Hashable, Sendable {
    /// The instrument is something else.
    case wrongIdentity(found: String, expected: String)
    /// A reply that is no count.
    case notACount(String)
    /// A setting outside the limits of the profile.
    case outOfRange(quantity: String, value: Double, low: Double, high: Double, unit: String)
    /// A counting time that the counter does not have.
    case unevenTime(milliseconds: Double, step: Double)
    /// The module did not take a setting.
    case notTaken(quantity: String, wanted: Double, found: Double)
    /// The bias supply reports an error.
    case biasError
    /// The sensor did not reach its temperature in time.
    case notCold(wanted: Double, found: Double)
    /// No bias voltage has been set, and the profile has no recommended one.
    case noBias
    /// Somebody disarmed the detector while it was being armed.
    case disarmed
    /// The instrument is not open.
    case closed

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        let (code, expected, found, advice) = parts
        return DriverError(
            code: code, instrument: instrument, operation: operation, expected: expected,
            found: found, advice: advice)
    }

    private var parts: (DriverErrorCode, expected: String, found: String, advice: String) {
        switch self {
        case .wrongIdentity(let found, let expected):
            (
                .wrongDevice, "an identification like \(expected)", "\"\(found)\"",
                "check which unit is plugged in, or add a profile for it"
            )
        case .notACount(let text):
            (
                .malformedReply, "a number of counts", "\"\(text)\"",
                "check the firmware against the profile, then open the instrument again"
            )
        case .outOfRange(let quantity, let value, let low, let high, let unit):
            (
                .outOfRange, "\(quantity) from \(low) to \(high) \(unit)", "\(value) \(unit)",
                "choose a value inside the limits of the profile"
            )
        case .unevenTime(let milliseconds, let step):
            (
                .outOfRange, "a multiple of \(step) ms", "\(milliseconds) ms",
                "count for a multiple of the counter's step"
            )
        case .notTaken(let quantity, let wanted, let found):
            (
                .deviceFault, "\(quantity) at \(wanted)", "\(found)",
                "disarm the detector, then set it again; switch it off and on if it repeats"
            )
        case .biasError:
            (
                .deviceFault, "a bias supply without error", "BIAS:ERROR_STATUS TRUE",
                "look for too much light; the bias is off until it is armed again"
            )
        case .notCold(let wanted, let found):
            (
                .deviceFault, "the sensor at \(wanted) °C", "\(found) °C",
                "check heat sink and fan; the bias stays off until it is cold"
            )
        case .noBias:
            (
                .wrongState, "a bias voltage to arm with", "none",
                "set the bias voltage of this detector, as its test report recommends"
            )
        case .disarmed:
            (.cancelled, "nobody to disarm meanwhile", "a disarm", "arm again")
        case .closed:
            (.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}
