import Instruments

/// What can go wrong with a TDC1 beyond a failed stream.
package enum TDC1Error: Error, Hashable, Sendable {
    /// The instrument is something else.
    case wrongIdentity(found: String)
    /// A reply that is not what the command asks for.
    case unexpectedReply(expected: String, found: String)
    /// The instrument has one threshold for all inputs.
    case thresholdsDiffer
    /// The operation needs the instrument idle, or running.
    case wrongState(expected: String, found: String)
    /// No alignment of the stream makes sense, so times can not be continued.
    case lostAlignment(bytes: Int)
    /// Nothing arrived, not even the dummy words of an idle instrument.
    case silent
    /// The stream of events goes on although it was told to end.
    case doesNotStop

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        switch self {
        case .wrongIdentity(let found):
            DriverError(
                code: .wrongDevice, instrument: instrument, operation: operation,
                expected: "an identification that contains TDC1", found: "\"\(found)\"",
                advice: "choose the port of the time tagger")
        case .unexpectedReply(let expected, let found):
            DriverError(
                code: .malformedReply, instrument: instrument, operation: operation,
                expected: expected, found: found,
                advice: "close other programs that use the port, then open the instrument again")
        case .thresholdsDiffer:
            DriverError(
                code: .notSupported, instrument: instrument, operation: operation,
                expected: "one threshold for all inputs", found: "different ones",
                advice: "give every channel the same threshold")
        case .wrongState(let expected, let found):
            DriverError(
                code: .wrongState, instrument: instrument, operation: operation,
                expected: expected, found: found, advice: "open it, or stop the acquisition")
        case .lostAlignment(let bytes):
            DriverError(
                code: .malformedReply, instrument: instrument, operation: operation,
                expected: "event words in order of time", found: "\(bytes) bytes that are not",
                advice: "start the acquisition again; replace the cable if it happens often")
        case .doesNotStop:
            DriverError(
                code: .deviceFault, instrument: instrument, operation: operation,
                expected: "the end of the stream after ABORT", found: "events all the same",
                advice: "open the instrument again; unplug it for a moment if that does not help")
        case .silent:
            DriverError(
                code: .timedOut, instrument: instrument, operation: operation,
                expected: "event or dummy words", found: "nothing for a second",
                advice: "check cable and power, then start the acquisition again")
        }
    }
}
