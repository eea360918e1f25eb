import Instruments

/// What can go wrong with an FPGA time tagger beyond a failed transfer.
package enum TimetagError: Error, Hashable, Sendable {
    /// The device does not have the endpoints of the tagger.
    case wrongEndpoints(found: String)
    /// The device release is not one the profile covers.
    case wrongRelease(found: String, supported: String)
    /// The FPGA has another version or clock than the profile describes.
    case wrongHardware(register: String, expected: String, found: UInt32)
    /// A reply does not have the length of one.
    case replyLength(Int)
    /// A register does not hold what was written to it.
    case notWritten(address: Int, value: UInt32, found: UInt32)
    /// Replies do not belong to their commands, even after all was cleared.
    case outOfStep(expected: UInt32, found: UInt32)
    /// The records no longer make sense.
    case lostAlignment(bytes: Int)
    /// Too many transfers failed one after the other.
    case transfersFailing(Int)
    /// The inputs of the tagger are digital and have no threshold to set.
    case thresholdsFixed
    /// The board has one clock.
    case oneReference

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        func error(
            _ code: DriverErrorCode, expected: String, found: String, advice: String
        ) -> DriverError {
            DriverError(
                code: code, instrument: instrument, operation: operation, expected: expected,
                found: found, advice: advice)
        }
        switch self {
        case .wrongEndpoints(let found):
            return error(
                .wrongDevice, expected: "bulk endpoints 0x02, 0x86 and 0x88", found: found,
                advice: "check that the published firmware (timetag-fx2) is loaded")
        case .wrongRelease(let found, let supported):
            return error(
                .wrongDevice, expected: "device release \(supported)", found: found,
                advice: "load firmware the profile covers, or add a profile for this release")
        case .wrongHardware(let register, let expected, let found):
            return error(
                .wrongDevice, expected: "\(register) \(expected)", found: "\(found)",
                advice: "program the FPGA with a version the profile covers, or add a profile")
        case .replyLength(let count):
            return error(
                .malformedReply, expected: "a register of four bytes", found: "\(count) bytes",
                advice: "close the tagger and open it again")
        case .notWritten(let address, let value, let found):
            return error(
                .malformedReply, expected: "register \(address) to hold \(value)",
                found: "\(found)", advice: "close the tagger and open it again")
        case .outOfStep(let expected, let found):
            return error(
                .malformedReply, expected: "the version \(expected)", found: "\(found)",
                advice: "pull the plug, load the firmware again and open the tagger")
        case .lostAlignment(let bytes):
            return error(
                .malformedReply, expected: "records in order of time",
                found: "\(bytes) bytes that are none",
                advice: "start the acquisition again; replace the cable if it happens often")
        case .transfersFailing(let count):
            return error(
                .transport, expected: "completed transfers", found: "\(count) failures in a row",
                advice: "connect the tagger to a port of its own, replace the cable, start again")
        case .thresholdsFixed:
            return error(
                .notSupported, expected: "no thresholds", found: "some",
                advice: "leave them out; the inputs take logic levels")
        case .oneReference:
            return error(
                .notSupported, expected: "the clock of the board", found: "an external reference",
                advice: "leave the reference to the profile")
        }
    }
}
