import DeviceProfiles
import Instruments

/// What can go wrong on an Elliptec line beyond a failed stream. Every error names the address.
package enum ElliptecError: Error, Hashable, Sendable {
    /// The declared addresses can not be: more than 15, or one twice.
    case badAddresses([UInt8])
    /// Nobody answered.
    case noReply(address: UInt8, command: String)
    /// Somebody else answered.
    case wrongAddress(expected: UInt8, found: UInt8)
    /// What came is not a message.
    case garbled(address: UInt8, command: String, text: String)
    /// The module is of another type.
    case wrongModel(address: UInt8, expected: String, type: Int)
    /// The scale of the module is none the profile knows.
    case wrongScale(address: UInt8, expected: String, found: String)
    /// The firmware is outside the range of the profile.
    case wrongFirmware(address: UInt8, found: String)
    /// Another unit than at `open` is at the address.
    case wrongUnit(address: UInt8, expected: String, found: String)
    /// The module reports a fault.
    case fault(address: UInt8, code: Int, name: String, recovery: String)
    /// The module goes on moving.
    case stillMoving(address: UInt8)
    /// There is no such axis.
    case noAxis(Int, count: Int)
    /// The setting is not an angle.
    case notAnAngle
    /// The angle is outside the range, in degrees.
    case outOfRange(degrees: Double, allowed: ClosedRange<Double>)
    /// The motion was ended by `halt`.
    case halted(axis: Int)
    /// The axis stands somewhere else than where it was sent, in counts.
    case missedTarget(address: UInt8, axis: Int, wanted: Int, reached: Int)
    /// The instrument is not open.
    case closed

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        let (code, expected, found, advice) = parts
        return DriverError(
            code: code, instrument: instrument, operation: operation, expected: expected,
            found: found, advice: advice)
    }

    private static func unit(_ address: UInt8) -> String {
        "the unit at address \(String(address, radix: 16, uppercase: true))"
    }

    private var parts: (DriverErrorCode, String, String, String) {
        switch self {
        case .badAddresses, .noReply, .wrongAddress, .garbled: lineParts
        case .wrongModel, .wrongScale, .wrongFirmware, .wrongUnit: identityParts
        case .fault, .stillMoving, .halted, .missedTarget: motionParts
        case .noAxis(let axis, let count):
            (
                .outOfRange, "an axis from 0 to \(count - 1)", "axis \(axis)",
                "choose an existing axis; axes follow the order of the declared addresses"
            )
        case .notAnAngle: (.notSupported, "an angle", "a voltage", "these axes are set by angle")
        case .outOfRange(let degrees, let allowed):
            (
                .outOfRange, "\(allowed.lowerBound)° to \(allowed.upperBound)°", "\(degrees)°",
                "choose an angle inside the range"
            )
        case .closed: (.wrongState, "an open instrument", "a closed one", "open it first")
        }
    }

    private var lineParts: (DriverErrorCode, String, String, String) {
        switch self {
        case .badAddresses(let addresses):
            (
                .outOfRange, "different addresses from 0 to 15",
                addresses.map { String($0) }.joined(separator: ", "),
                "correct the wiring; the command `ca` gives a unit another address"
            )
        case .noReply(let address, let command):
            (
                .timedOut, "a reply to `\(command)` from \(Self.unit(address))", "nothing in time",
                "check its supply and cable, and that it was given this address"
            )
        case .wrongAddress(let expected, let found):
            (
                .wrongDevice, "a reply from \(Self.unit(expected))", Self.unit(found),
                "declare every unit of the line, each with an address of its own"
            )
        case .garbled(let address, let command, let text):
            (
                .malformedReply, "a reply to `\(command)` from \(Self.unit(address))",
                "\"\(text)\"", "check the cable, and that no two units have one address"
            )
        default: preconditionFailure("not about the line")
        }
    }

    private var identityParts: (DriverErrorCode, String, String, String) {
        switch self {
        case .wrongModel(let address, let expected, let type):
            (
                .wrongDevice, "\(expected) as \(Self.unit(address))", "an ELL\(type)",
                "choose the profile of this model, or another address"
            )
        case .wrongScale(let address, let expected, let found):
            (
                .wrongDevice, "\(expected) of \(Self.unit(address))", found,
                "add a profile for this version of the model"
            )
        case .wrongFirmware(let address, let found):
            (
                .wrongDevice, "firmware the profile covers in \(Self.unit(address))", found,
                "add a profile for this firmware"
            )
        case .wrongUnit(let address, let expected, let found):
            (
                .wrongDevice, "serial number \(expected) of \(Self.unit(address))", found,
                "close the instrument and open it again"
            )
        default: preconditionFailure("not about an identity")
        }
    }

    private var motionParts: (DriverErrorCode, String, String, String) {
        switch self {
        case .fault(let address, let code, let name, let recovery):
            (
                .deviceFault, "a status without fault of \(Self.unit(address))",
                "\(code): \(name)", recovery
            )
        case .stillMoving(let address):
            (
                .deviceFault, "\(Self.unit(address)) to stand", "busy",
                "let go of the handset; free the mechanics"
            )
        case .halted(let axis):
            (
                .cancelled, "the motion of axis \(axis) to end by itself", "a stop",
                "move again when it is safe"
            )
        case .missedTarget(let address, let axis, let wanted, let reached):
            (
                .deviceFault, "axis \(axis), \(Self.unit(address)), at \(wanted) counts",
                "\(reached) counts", "free the mechanics, open the instrument again"
            )
        default: preconditionFailure("not about a motion")
        }
    }
}
