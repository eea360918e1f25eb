import HostIO
import Quantities

/// One transfer as a host controller sees it: the USB request block of an operating system.
public struct USBRequestBlock: Hashable, Sendable {
    /// The endpoint address; bit 7 set means towards the host. Endpoint 0 is a control transfer.
    public var endpoint: UInt8
    /// The setup stage of a control transfer; nil for every other endpoint.
    public var setup: USBControlRequest?
    /// The bytes to send; empty for a transfer towards the host.
    public var data: [UInt8]
    /// How many bytes to send or to receive at most; wLength of a control transfer.
    public var length: Int
    /// Whether a transfer towards the host that ends short is an error.
    public var shortIsError: Bool
    /// Whether a bulk transfer to the device that fills its last packet ends with an empty one.
    public var endsWithEmptyPacket: Bool

    /// A request block.
    public init(
        endpoint: UInt8, setup: USBControlRequest? = nil, data: [UInt8] = [], length: Int,
        shortIsError: Bool = false, endsWithEmptyPacket: Bool = false
    ) {
        self.endpoint = endpoint
        self.setup = setup
        self.data = data
        self.length = length
        self.shortIsError = shortIsError
        self.endsWithEmptyPacket = endsWithEmptyPacket
    }
}

/// How a request block ended.
public enum USBRequestStatus: Hashable, Sendable {
    /// All of it was moved, or a short packet ended it.
    case done
    /// A short packet ended it although that was declared an error.
    case short
    /// The endpoint is halted or the request was refused.
    case stall
    /// The device sent more than was asked for.
    case overflow
    /// It was withdrawn while it was pending.
    case withdrawn
    /// The endpoint was closed by a change of configuration or interface, or the device is gone.
    case shutDown
    /// No device answers at that endpoint.
    case noAnswer
    /// There is no memory for it.
    case exhausted
    /// The kind of transfer is not supported, or block and setup stage contradict each other.
    case refused
}

/// The end of a request block.
public struct USBRequestResult: Hashable, Sendable {
    /// How it ended.
    public var status: USBRequestStatus
    /// How many bytes were moved; never more than were asked for.
    public var moved: Int
    /// The bytes received; `moved` of them for a transfer towards the host, else none.
    public var data: [UInt8]

    /// An end.
    public init(_ status: USBRequestStatus, moved: Int = 0, data: [UInt8] = []) {
        self.status = status
        self.moved = moved
        self.data = data
    }
}

/// A control transfer that waits at endpoint 0 of an exported device.
final class USBControlTransfer {
    let request: USBControlRequest
    let data: [UInt8]
    let length: Int
    private var onCompletion: ((Result<[UInt8], USBTransferError>) -> Void)?

    init(
        _ request: USBControlRequest, data: [UInt8], length: Int,
        onCompletion: @escaping (Result<[UInt8], USBTransferError>) -> Void
    ) {
        self.request = request
        self.data = data
        self.length = length
        self.onCompletion = onCompletion
    }

    /// Hands the result to whoever submitted the transfer, once.
    func complete(_ result: Result<[UInt8], USBTransferError>) {
        let handler = onCompletion
        onCompletion = nil
        handler?(result)
    }
}

/// Endpoint 0 of an exported device: control transfers one after the other, in order.
///
/// The in-process host answers NAK with a time-out; a request block has none and stays pending
/// until the device gets round to it or the host withdraws it.
struct USBControlPipe {
    /// The transfers that the device has not carried out.
    private(set) var pending: [USBControlTransfer] = []
    /// Endpoint 0 is occupied with an earlier transfer until then.
    private var busyUntil = HostInstant.zero

    mutating func submit(_ transfer: USBControlTransfer) { pending.append(transfer) }

    /// Takes a pending transfer out; false when the device has carried it out already.
    mutating func withdraw(_ transfer: USBControlTransfer) -> Bool {
        guard let index = pending.firstIndex(where: { $0 === transfer }) else { return false }
        pending.remove(at: index)
        return true
    }

    mutating func withdrawAll() -> [USBControlTransfer] {
        defer { pending = [] }
        return pending
    }

    /// Carries out the next transfer if endpoint 0 is free and the device does not answer NAK.
    ///
    /// Returns the transfer, its outcome, and the instant at which its status stage has ended.
    mutating func run(
        _ controller: USBDeviceController, timing: USBBusTiming, at now: HostInstant
    ) -> (USBControlTransfer, Result<[UInt8], USBTransferError>, HostInstant)? {
        guard busyUntil <= now, let transfer = pending.first else { return nil }
        let outcome = controller.control(
            transfer.request, data: transfer.data, length: transfer.length, at: now)
        let result: Result<[UInt8], USBTransferError>
        switch outcome {
        case .nak: return nil
        case .stall: result = .failure(.stall)
        case .data(let bytes): result = .success(bytes)
        }
        pending.removeFirst()
        busyUntil = timing.controlCompletion(from: now)
        return (transfer, result, busyUntil)
    }
}
