import Instruments

/// What can go wrong with a power meter of the PM100 family beyond a failed exchange.
package enum ThorlabsPM100Error: Error, Hashable, Sendable {
    /// The instrument is something else.
    case wrongIdentity(found: String, expected: String)
    /// A reply without the fields of the manual.
    case malformed(expected: String, found: String)
    /// No sensor, or none for optical power at a wavelength that can be set.
    case unfitSensor(found: String)
    /// The instrument put an error into its queue.
    case queued(code: Int, message: String)
    /// A wavelength the sensor is not calibrated for.
    case wavelengthOutOfRange(wanted: Double, low: Double, high: Double)
    /// The instrument did not take the wavelength.
    case wavelengthNotTaken(wanted: Double, found: Double)
    /// The instrument says that it has no reading.
    case noReading
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
        case .wrongIdentity(let found, let expected):
            make(
                .wrongDevice, "an identification like \(expected)", "\"\(found)\"",
                "check which unit is plugged in, or add a profile for it")
        case .malformed(let expected, let found):
            make(
                .malformedReply, expected, "\"\(found)\"",
                "check model and firmware against the profile, then open the instrument again")
        case .unfitSensor(let found):
            make(
                .wrongDevice, "a power sensor with a wavelength setting", "\"\(found)\"",
                "plug a photodiode or thermal sensor in, then open the instrument again")
        case .queued(let code, let message):
            make(
                .deviceFault, "an empty error queue", "\(code), \"\(message)\"",
                "compare the command with the manual of this firmware")
        case .wavelengthOutOfRange(let wanted, let low, let high):
            make(
                .outOfRange, "a wavelength from \(low) nm to \(high) nm", "\(wanted) nm",
                "choose a wavelength the sensor is calibrated for, or another sensor")
        case .wavelengthNotTaken(let wanted, let found):
            make(
                .deviceFault, "a wavelength of \(wanted) nm", "\(found) nm",
                "leave the menu on the instrument's display, then set it again")
        case .noReading:
            make(
                .deviceFault, "a reading", "not a number",
                "check the sensor's plug, then measure again")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}
