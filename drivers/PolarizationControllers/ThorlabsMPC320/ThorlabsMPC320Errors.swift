import DeviceProfiles
import Instruments

/// What can go wrong with an MPC320 beyond a failed stream.
package enum ThorlabsMPC320Error: Error, Hashable, Sendable {
    /// The controller answered with the identity of another model.
    case wrongModel(expected: String, found: String)
    /// A message arrived with too few data.
    case shortMessage(name: String, bytes: Int)
    /// No answer came in time.
    case noReply(message: String)
    /// The controller sent a fault message.
    case faultMessage(code: Int, text: String)
    /// The status word has fault bits set.
    case faultBits(names: [String], recovery: String)
    /// There is no such axis.
    case noAxis(Int, count: Int)
    /// The setting is not an angle.
    case notAnAngle
    /// The angle is outside the range of the profile, in degrees.
    case outOfRange(degrees: Double, allowed: ClosedRange<Double>)
    /// The motion was ended by `halt`.
    case halted(axis: Int)
    /// The paddle stands somewhere else than where it was sent, in counts.
    case missedTarget(axis: Int, wanted: Int, reached: Int)
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
        case .wrongModel(let expected, let found):
            make(
                .wrongDevice, "model \(expected)", "\"\(found)\"",
                "declare the unit, by the serial number of its port, with the profile of its model")
        case .shortMessage(let name, let bytes):
            make(
                .malformedReply, "a complete \(name) message", "\(bytes) bytes of data",
                "open the instrument again; replace the cable if it happens often")
        case .noReply(let message):
            make(
                .timedOut, "the message \(message)", "nothing in time",
                "check cable and power, then open the instrument again")
        case .faultMessage(let code, let text):
            make(
                .deviceFault, "no fault message", "code \(code): \(text)",
                "switch the controller off and on")
        case .faultBits(let names, let recovery):
            make(.deviceFault, "a status without faults", names.joined(separator: ", "), recovery)
        case .noAxis(let axis, let count):
            make(
                .outOfRange, "an axis from 0 to \(count - 1)", "axis \(axis)",
                "choose an existing paddle")
        case .notAnAngle:
            make(.notSupported, "an angle", "a voltage", "paddles are set by angle")
        case .outOfRange(let degrees, let allowed):
            make(
                .outOfRange, "\(allowed.lowerBound)° to \(allowed.upperBound)°", "\(degrees)°",
                "choose an angle inside the range of the profile")
        case .halted(let axis):
            make(
                .cancelled, "the motion of axis \(axis) to end by itself", "a stop",
                "move again when it is safe")
        case .missedTarget(let axis, let wanted, let reached):
            make(
                .deviceFault, "axis \(axis) at \(wanted) counts", "\(reached) counts",
                "home the paddle and move again; then check the fibre for tension")
        case .closed:
            make(.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }
}
