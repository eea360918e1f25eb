import Instruments

/// What can go wrong with a TICC beyond a failed stream.
package enum TICCError: Error, Hashable, Sendable {
    /// Something else answers, or nothing.
    case noBanner(found: String)
    /// The banner began and is not what this firmware prints.
    case damagedBanner(expected: String, found: String)
    /// No profile covers the firmware.
    case unknownFirmware(found: String, covered: String)
    /// A setting in the board's memory makes its output useless here.
    case wrongSetting(expected: String, found: String, advice: String)
    /// The 10 MHz reference is not there, or went away.
    case noReference(found: String)
    /// The board waits for another one to start it.
    case waitingForSync
    /// The board has started anew, so that times before and after have nothing in common.
    case restarted(found: String)
    /// Lines arrive, and none of them makes sense.
    case unreadable(lines: Int)
    /// The acquisition has lasted longer than ticks can be counted.
    case countFull
    /// What the plan asks for does not exist.
    case notSupported(expected: String, found: String, advice: String)
    /// The operation needs the instrument idle, or open.
    case wrongState(expected: String, found: String)

    /// The error as the port reports it.
    package func driverError(instrument: String, operation: String) -> DriverError {
        let (code, expected, found, advice) = parts
        return DriverError(
            code: code, instrument: instrument, operation: operation, expected: expected,
            found: found, advice: advice)
    }

    private var parts: (DriverErrorCode, expected: String, found: String, advice: String) {
        switch self {
        case .noBanner(let found):
            (
                .wrongDevice, "the banner of a TICC after the reset by DTR", found,
                "choose the port of the TICC; on a board whose reset by DTR is disabled, press its "
                    + "reset key while it is being opened"
            )
        case .damagedBanner(let expected, let found):
            (
                .malformedReply, expected, found,
                "close other programs that use the port, then open the instrument again"
            )
        case .unknownFirmware(let found, let covered):
            (
                .wrongDevice, "firmware \(covered)", found,
                "load a firmware that is covered, or add a profile of this one"
            )
        case .wrongSetting(let expected, let found, let advice):
            (.wrongState, expected, found, advice)
        case .noReference(let found):
            (
                .deviceFault, "10 MHz at the reference input", "\"\(found)\"",
                "connect or restore the reference, then open the instrument again"
            )
        case .waitingForSync:
            (
                .timedOut, "the synchronizing pulse of the master board", "none",
                "start the master board, or set the sync mode to M in the board's menu"
            )
        case .restarted(let found):
            (
                .deviceFault, "times that continue", found,
                "check the board's power and that nobody else opens its port, then open it again"
            )
        case .unreadable(let lines):
            (
                .malformedReply, "lines of time and channel", "\(lines) lines that are not",
                "open the instrument again; replace the cable if it happens often"
            )
        case .countFull:
            (
                .outOfRange, "an acquisition whose ticks fit 55 bits", "one that lasts longer",
                "start the acquisition again"
            )
        case .notSupported(let expected, let found, let advice):
            (.notSupported, expected, found, advice)
        case .wrongState(let expected, let found):
            (.wrongState, expected, found, "open it, or stop the acquisition")
        }
    }
}
