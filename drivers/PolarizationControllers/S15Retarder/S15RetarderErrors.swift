import Instruments

/// What can go wrong with the quad LCD driver beyond a failed stream.
package enum S15RetarderError: Error, Hashable, Sendable {
    /// The instrument is something else.
    case wrongIdentity(expected: String, found: String)
    /// A reply that is not a voltage.
    case notANumber(String)
    /// The unit reads back another voltage than the one that was set.
    case notTaken(axis: Int, wanted: Double, found: Double)
    /// An axis that nobody set has another voltage than before.
    case changedByItself(axis: Int, known: Double, found: Double)
    /// There is no such axis.
    case noAxis(Int, count: Int)
    /// The setting is not a voltage.
    case notAVoltage
    /// A voltage outside the range of the axis.
    case outOfRange(volts: Double, allowed: ClosedRange<Double>)
    /// A retardance that no voltage gives, in radians.
    case noSuchRetardance(Double, allowed: ClosedRange<Double>)
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
        case .wrongIdentity(let expected, let found):
            make(
                .wrongDevice, "an identification that fits \(expected)", "\"\(found)\"",
                "choose the port of the LCD driver")
        case .notANumber(let text):
            make(
                .malformedReply, "a voltage", "\"\(text)\"",
                "close other programs that use the port, then open the instrument again")
        case .notTaken(let axis, let wanted, let found):
            make(
                .deviceFault, "axis \(axis) at \(wanted) V", "\(found) V",
                "set it again; if it happens often, check cable and supply")
        case .changedByItself(let axis, let known, let found):
            make(
                .deviceFault, "axis \(axis) still at \(known) V", "\(found) V",
                "the driver restarted or another program set it; align the link again")
        case .noAxis(let axis, let count):
            make(
                .outOfRange, "an axis from 0 to \(count - 1)", "axis \(axis)",
                "choose an existing retarder")
        case .notAVoltage:
            make(.notSupported, "a voltage", "an angle", "retarders are set by voltage")
        case .outOfRange(let volts, let allowed):
            make(
                .outOfRange, "\(allowed.lowerBound) V to \(allowed.upperBound) V", "\(volts) V",
                "choose a voltage inside the range of the profile")
        case .noSuchRetardance(let radians, let allowed):
            make(
                .outOfRange, "\(allowed.lowerBound) to \(allowed.upperBound) rad",
                "\(radians) rad", "add or subtract 2π, or use another retarder as well")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}
