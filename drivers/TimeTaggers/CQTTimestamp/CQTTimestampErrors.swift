import Instruments
import Quantities

/// What can go wrong with a CQT time stamp card beyond a failed transfer.
package enum CQTTimestampError: Error, Hashable, Sendable {
    /// The alternate setting does not have exactly the three bulk endpoints of the card.
    case wrongEndpoints(found: String)
    /// The device release is not one the profile covers.
    case wrongRelease(found: String, supported: String)
    /// A status query was answered with something else than one byte.
    case statusLength(Int)
    /// The records no longer make sense; a stream that lost bytes can not be realigned.
    case lostAlignment(records: Int)
    /// Too many transfers failed one after the other.
    case transfersFailing(Int)
    /// The card has one threshold for all inputs.
    case thresholdsDiffer
    /// Nobody has measured which voltage a converter code gives on this unit.
    case thresholdNotCalibrated(Volts)

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        switch self {
        case .wrongEndpoints(let found):
            DriverError(
                code: .wrongDevice, instrument: instrument, operation: operation,
                expected: "exactly the bulk endpoints 0x01, 0x81 and 0x82", found: found,
                advice: "check that the card carries the published firmware (tp8)")
        case .wrongRelease(let found, let supported):
            DriverError(
                code: .wrongDevice, instrument: instrument, operation: operation,
                expected: "device release \(supported)", found: found,
                advice: "load firmware the profile covers, or add a profile for this release")
        case .statusLength(let count):
            DriverError(
                code: .malformedReply, instrument: instrument, operation: operation,
                expected: "one byte of status", found: "\(count) bytes",
                advice: "stop the acquisition and open the card again")
        case .lostAlignment(let records):
            DriverError(
                code: .malformedReply, instrument: instrument, operation: operation,
                expected: "records in order of time", found: "\(records) that are not",
                advice: "start the acquisition again; replace the cable if it happens often")
        case .transfersFailing(let count):
            DriverError(
                code: .transport, instrument: instrument, operation: operation,
                expected: "completed transfers", found: "\(count) failures in a row",
                advice: "connect the card to a port of its own, replace the cable, start again")
        case .thresholdsDiffer:
            DriverError(
                code: .notSupported, instrument: instrument, operation: operation,
                expected: "one threshold for all inputs", found: "different ones",
                advice: "give every channel the same threshold")
        case .thresholdNotCalibrated(let threshold):
            DriverError(
                code: .notSupported, instrument: instrument, operation: operation,
                expected: "the profile's default threshold", found: "\(threshold)",
                advice: "measure the converter code of this unit and set it as thresholdCode")
        }
    }
}
