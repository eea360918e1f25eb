import HostIO
import Instruments

/// What can go wrong with a CP2112 beyond a failed transfer.
package enum CP2112Error: Error, Hashable, Sendable {
    /// A report has another length or number than it must have.
    case malformed(report: Int, expected: Int, found: [Int])
    /// The part number, or the version, is not that of a CP2112 the profile covers.
    case wrongPart(expected: String, found: String)
    /// The lines are not set as they were: the adapter has restarted, or somebody else uses it.
    case changed(expected: [UInt8], found: [UInt8])

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        switch self {
        case .malformed(let report, let expected, let found):
            DriverError(
                code: .malformedReply, instrument: instrument, operation: operation,
                expected: "report \(report) of \(expected) bytes", found: "\(found)",
                advice: "open the adapter again; replace the cable if it happens often")
        case .wrongPart(let expected, let found):
            DriverError(
                code: .wrongDevice, instrument: instrument, operation: operation,
                expected: expected, found: found,
                advice: "check what carries the identifiers of a CP2112")
        case .changed(let expected, let found):
            DriverError(
                code: .deviceFault, instrument: instrument, operation: operation,
                expected: "lines set to \(expected)", found: "\(found)",
                advice: "close other programs that use the adapter, then open it again")
        }
    }
}

extension GPIOError {
    /// What a driver's error means to the user of a line.
    init(_ error: DriverError, line: GPIOLineID) {
        switch error.code {
        case .disconnected, .cancelled, .wrongState: self = .closed(line)
        default: self = .system(code: 0, message: error.description)
        }
    }
}
