import Quantities

/// Why a message could not be exchanged with an instrument.
public enum MessageError: Error, Hashable, Sendable {
    /// The instrument did not take the message, or did not answer, in time.
    case timedOut
    /// The port was closed.
    case closed
    /// What arrived does not follow the protocol that frames messages.
    case malformed(expected: String, found: String)
    /// The instrument refused a request of that protocol.
    case refused(request: String, status: UInt8)
    /// The answer is longer than the caller takes.
    case tooLong(limit: Int)
    /// The device has no such interface.
    case notSupported(String)
    /// The USB transfer underneath failed.
    case usb(USBTransferError)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .timedOut: "BRK-MSG-001"
        case .closed: "BRK-MSG-002"
        case .malformed: "BRK-MSG-003"
        case .refused: "BRK-MSG-004"
        case .tooLong: "BRK-MSG-005"
        case .notSupported: "BRK-MSG-006"
        case .usb(let error): error.code
        }
    }

    /// The message's view of a failed USB transfer.
    init(_ error: USBTransferError) {
        if case .timedOut = error { self = .timedOut } else { self = .usb(error) }
    }
}

extension MessageError: CustomStringConvertible {
    /// What happened, as a phrase.
    public var description: String {
        switch self {
        case .timedOut: "no answer in time"
        case .closed: "port closed"
        case .malformed(let expected, let found): "expected \(expected), found \(found)"
        case .refused(let request, let status):
            "\(request) refused with status 0x\(String(status, radix: 16))"
        case .tooLong(let limit): "an answer of more than \(limit) bytes"
        case .notSupported(let what): "\(what) is not supported here"
        case .usb(let error): error.description
        }
    }
}

/// An instrument that takes messages and answers some of them, each with a definite end.
///
/// Unlike a byte stream it needs no terminator to tell where an answer ends, and an answer arrives
/// only when it is asked for. One conversation at a time: a caller that shares the port sees to it
/// that nobody comes between a message and its answer.
public protocol MessagePort: AnyObject, Sendable {
    /// Whether a model of an instrument is at the other end.
    var isEmulated: Bool { get }

    /// Sends one whole message, which is not empty.
    ///
    /// - Throws: `timedOut` when the instrument does not take it; it then has been told to forget
    ///   what it took.
    func send(_ message: [UInt8], timeout: Duration) async throws(MessageError)

    /// Asks for the answer and waits for all of it.
    ///
    /// - Parameter limit: the most bytes that are taken.
    /// - Throws: `timedOut` when it is not complete in time; the instrument then has been told to
    ///   drop it, so that it is never taken for the answer to a later message.
    func receive(limit: Int, timeout: Duration) async throws(MessageError) -> [UInt8]

    /// Makes the instrument forget messages it has not carried out and answers nobody has fetched.
    func clear() async throws(MessageError)

    /// Gives the instrument back to its front panel and closes the port. May be called twice.
    func close() async
}
