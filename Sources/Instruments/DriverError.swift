import HostIO

/// What went wrong in a driver, with a stable code listed in `docs/errors.md`.
public enum DriverErrorCode: String, Hashable, Sendable, CaseIterable {
    /// The transport below failed.
    case transport = "BRK-DRV-001"
    /// The instrument did not answer in time.
    case timedOut = "BRK-DRV-002"
    /// The answer does not follow the instrument's protocol.
    case malformedReply = "BRK-DRV-003"
    /// The instrument refused the command or reported a fault of its own.
    case deviceFault = "BRK-DRV-004"
    /// A setting is outside the range the profile allows.
    case outOfRange = "BRK-DRV-005"
    /// The instrument can not do this.
    case notSupported = "BRK-DRV-006"
    /// The device is not the one that was expected: other descriptors, model, serial or firmware.
    case wrongDevice = "BRK-DRV-007"
    /// An interlock or over-light line forbids the operation.
    case interlock = "BRK-DRV-008"
    /// The instrument is gone.
    case disconnected = "BRK-DRV-009"
    /// The instrument is not open, or not in the state the operation needs.
    case wrongState = "BRK-DRV-010"
    /// The operation was cancelled.
    case cancelled = "BRK-DRV-011"
    /// A fact about the model is a guess, and guesses are refused.
    case uncertified = "BRK-DRV-012"
    /// The clock of a time tagger stood still or jumped, or a bit of its counter is stuck.
    case clockFault = "BRK-DRV-013"
}

/// A failed operation on an instrument: what was expected, what was found, what to do next.
public struct DriverError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The stable code.
    public var code: DriverErrorCode
    /// Model and serial number of the instrument.
    public var instrument: String
    /// What was being done.
    public var operation: String
    /// What should have happened.
    public var expected: String
    /// What happened instead.
    public var found: String
    /// What a technician can do about it.
    public var advice: String

    /// An error with its four parts.
    public init(
        code: DriverErrorCode, instrument: String, operation: String, expected: String,
        found: String, advice: String
    ) {
        self.code = code
        self.instrument = instrument
        self.operation = operation
        self.expected = expected
        self.found = found
        self.advice = advice
    }

    /// The error of a failed USB transfer.
    public init(_ error: USBTransferError, instrument: String, operation: String) {
        let code: DriverErrorCode =
            switch error {
            case .disconnected: .disconnected
            case .cancelled: .cancelled
            case .timedOut: .timedOut
            default: .transport
            }
        let advice =
            switch error {
            case .disconnected: "check cable and power, then open the instrument again"
            case .accessDenied: "install the udev rules or add the user to the device's group"
            case .busy: "close the other program, or unbind the kernel driver"
            default: "open the instrument again; replace the cable if it happens often"
            }
        self.init(
            code: code, instrument: instrument, operation: operation,
            expected: "a completed USB transfer", found: "\(error.code): \(error)", advice: advice)
    }

    /// The error of a failed stream operation.
    public init(_ error: ByteStreamError, instrument: String, operation: String) {
        if case .usb(let error) = error {
            self.init(error, instrument: instrument, operation: operation)
            return
        }
        let code: DriverErrorCode =
            switch error {
            case .closed: .disconnected
            case .timedOut: .timedOut
            default: .transport
            }
        self.init(
            code: code, instrument: instrument, operation: operation, expected: "a reply",
            found: "\(error.code): \(error)",
            advice: "check cable, power and serial settings, then open the instrument again")
    }

    /// The error of a failed exchange of messages.
    public init(_ error: MessageError, instrument: String, operation: String) {
        if case .usb(let error) = error {
            self.init(error, instrument: instrument, operation: operation)
            return
        }
        let (code, advice): (DriverErrorCode, String) =
            switch error {
            case .timedOut: (.timedOut, "check that it is not busy, then repeat; open it again")
            case .closed: (.disconnected, "open the instrument again")
            case .malformed, .tooLong:
                (
                    .malformedReply,
                    "check model and firmware against the profile, then open it again"
                )
            case .refused: (.deviceFault, "switch the instrument off and on, then open it again")
            case .notSupported: (.wrongDevice, "check which unit is plugged in")
            case .usb: (.transport, "open the instrument again")
            }
        self.init(
            code: code, instrument: instrument, operation: operation,
            expected: "an exchange of messages", found: "\(error.code): \(error)", advice: advice)
    }

    /// The error of a failed GPIO operation.
    public init(_ error: GPIOError, instrument: String, operation: String) {
        self.init(
            code: .transport, instrument: instrument, operation: operation,
            expected: "a GPIO line under our control", found: "\(error.code): \(error)",
            advice: "check the wiring file and who else uses the line (gpioinfo)")
    }

    /// One line for people.
    public var description: String {
        "\(code.rawValue) \(instrument): \(operation): expected \(expected), found \(found); \(advice)"
    }
}
