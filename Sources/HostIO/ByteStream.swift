import Quantities

/// Why a byte stream operation did not succeed.
public enum ByteStreamError: Error, Hashable, Sendable {
    /// The other end closed, or the device is gone.
    case closed
    /// Nothing arrived, or nothing could be sent, in time.
    case timedOut
    /// The user may not open it.
    case accessDenied(String)
    /// There is nothing by that name.
    case notFound(String)
    /// Someone else has it open.
    case busy(String)
    /// The line reported framing, parity or overrun errors.
    case lineError(String)
    /// The setting is not supported by this stream.
    case notSupported(String)
    /// The USB transfer underneath failed.
    case usb(USBTransferError)
    /// Anything else the system reported.
    case system(code: Int32, message: String)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .closed: "BRK-STR-001"
        case .timedOut: "BRK-STR-002"
        case .accessDenied: "BRK-STR-003"
        case .notFound: "BRK-STR-004"
        case .busy: "BRK-STR-005"
        case .lineError: "BRK-STR-006"
        case .notSupported: "BRK-STR-007"
        case .usb(let error): error.code
        case .system: "BRK-STR-008"
        }
    }
}

extension ByteStreamError: CustomStringConvertible {
    /// What happened, as a phrase.
    public var description: String {
        switch self {
        case .closed: "stream closed"
        case .timedOut: "no data in time"
        case .accessDenied(let name): "no permission to open \(name)"
        case .notFound(let name): "\(name) not found"
        case .busy(let name): "\(name) is in use"
        case .lineError(let what): "serial line error: \(what)"
        case .notSupported(let what): "\(what) is not supported here"
        case .usb(let error): error.description
        case .system(let code, let message): "\(message) (code \(code))"
        }
    }
}

/// An ordered two-way stream of bytes: a serial line, a pseudo-terminal, a TCP connection.
public protocol ByteStream: AnyObject, Sendable {
    /// Whether a model of a device is at the other end, as far as this end knows.
    var isEmulated: Bool { get }

    /// Between 1 and `count` bytes, as soon as any are there.
    ///
    /// - Throws: `timedOut` after `timeout` without a byte, `closed` at the end of the stream.
    func read(upTo count: Int, timeout: Duration) async throws(ByteStreamError) -> [UInt8]

    /// Sends all of `bytes`.
    func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError)

    /// Closes the stream; pending reads end with `closed`. May be called twice.
    func close() async
}

/// Hardware or software flow control of a serial line.
public enum SerialFlowControl: String, Hashable, Sendable {
    /// None.
    case none
    /// Request to send, clear to send.
    case rtsCTS
}

/// The settings of a serial line; always 8 data bits, no parity, one stop bit.
public struct SerialSettings: Hashable, Sendable {
    /// Bits per second.
    public var baud: Int
    /// The flow control.
    public var flowControl: SerialFlowControl
    /// Settings of a serial line.
    public init(baud: Int, flowControl: SerialFlowControl = .none) {
        self.baud = baud
        self.flowControl = flowControl
    }
}

/// A byte stream with the controls of a serial line.
public protocol SerialPort: ByteStream {
    /// Applies line settings.
    func configure(_ settings: SerialSettings) async throws(ByteStreamError)

    /// Drives the DTR and RTS lines.
    func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError)

    /// Discards bytes received but not read, and bytes written but not sent.
    func discardBuffers() async throws(ByteStreamError)
}

/// What can be known of a serial port without opening it.
public struct SerialPortSummary: Hashable, Sendable {
    /// The device node, such as `/dev/ttyACM0`.
    public var path: String
    /// The USB device behind it, when there is one.
    public var vendorID: UInt16?
    /// The product identifier of the USB device behind it.
    public var productID: UInt16?
    /// Its manufacturer string.
    public var manufacturer: String?
    /// Its product string.
    public var product: String?
    /// Its serial number.
    public var serial: String?
    /// Whether the user may open it.
    public var isAccessible: Bool
    /// A summary.
    public init(
        path: String, vendorID: UInt16?, productID: UInt16?, manufacturer: String?,
        product: String?, serial: String?, isAccessible: Bool
    ) {
        self.path = path
        self.vendorID = vendorID
        self.productID = productID
        self.manufacturer = manufacturer
        self.product = product
        self.serial = serial
        self.isAccessible = isAccessible
    }
}

/// The serial ports of this machine.
public protocol SerialHost: AnyObject, Sendable {
    /// The ports present now, ordered by path.
    func ports() async -> [SerialPortSummary]

    /// Opens a port in raw mode with exclusive access.
    func open(
        path: String, settings: SerialSettings
    ) async throws(ByteStreamError) -> any SerialPort
}
