import HostIO

/// Why the server ended a USB/IP connection that the client had not finished.
public enum USBIPError: Error, Hashable, Sendable {
    /// The client speaks another version of the protocol.
    case version(found: UInt16)
    /// The client began with an operation other than the device list and import.
    case operation(UInt16)
    /// A message breaks the protocol; what was expected, and what was found.
    case malformed(String)
    /// The stream ended inside a message.
    case truncated
    /// The client began a message and did not finish it, or does not take its replies.
    case stalled(String)
    /// The device asked for is not there, or is not to be had.
    case refused(busID: String, reason: USBTransferError)
    /// There are as many clients as the server takes.
    case tooManyClients(Int)
    /// The device left the bus.
    case unplugged
    /// The server was stopped.
    case stopped
    /// The stream below failed.
    case stream(ByteStreamError)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .version: "BRK-UIP-001"
        case .operation: "BRK-UIP-002"
        case .malformed: "BRK-UIP-003"
        case .truncated: "BRK-UIP-004"
        case .stalled: "BRK-UIP-005"
        case .refused: "BRK-UIP-006"
        case .tooManyClients: "BRK-UIP-007"
        case .unplugged: "BRK-UIP-008"
        case .stopped: "BRK-UIP-009"
        case .stream(let error): error.code
        }
    }
}

extension USBIPError: CustomStringConvertible {
    /// What happened, as a phrase.
    public var description: String {
        switch self {
        case .version(let found):
            "expected USB/IP version 0111, found \(String(found, radix: 16))"
        case .operation(let code):
            "expected a request for the device list or for an import, found operation "
                + String(code, radix: 16)
        case .malformed(let what): "expected \(what)"
        case .truncated: "the stream ended inside a message"
        case .stalled(let what): "the client stopped \(what)"
        case .refused(let busID, let reason): "device \(busID) refused: \(reason)"
        case .tooManyClients(let limit): "there are \(limit) clients already"
        case .unplugged: "the device left the bus"
        case .stopped: "the server was stopped"
        case .stream(let error): error.description
        }
    }
}

/// What one client, or all of them, may ask of a USB/IP server.
public struct USBIPLimits: Hashable, Sendable {
    /// Connections at the same time.
    public var clients = 64
    /// Bytes of one transfer; Linux gives user programs no more in one URB.
    public var transferLength = 16 << 20
    /// Transfers of one client that have not ended; further ones end with ENOMEM.
    public var pendingRequests = 4096
    /// Bytes of such transfers; further ones end with ENOMEM.
    public var pendingBytes = 64 << 20
    /// Bytes of replies that wait for the client to read; until they are fewer, no further command
    /// is taken.
    public var queuedBytes = 4 << 20
    /// From the connection to the end of the client's first request.
    public var handshakeTimeout = Duration.seconds(10)
    /// Without progress inside a message in either direction.
    public var stallTimeout = Duration.seconds(30)

    /// The limits a server has unless told otherwise.
    public init() {}
}
