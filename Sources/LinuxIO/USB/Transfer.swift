import CLibUSB
import HostIO
import Quantities

// A transfer is either ours (idle) or libusb's (pending), and the two are different types. Only an
// idle transfer can be freed or submitted; a pending one can only be asked to end. The memory of a
// pending transfer belongs to its slot, which keeps itself alive until libusb's terminal callback,
// whatever the rest of the program has forgotten meanwhile.

/// What a transfer is to do.
package enum TransferRequest: Sendable {
    /// Fill the buffer from an IN endpoint, or send `count` bytes of it to an OUT endpoint.
    case data(endpoint: UInt8, isInterrupt: Bool, count: Int)
    /// A control transfer; the buffer starts with the 8-byte setup packet.
    case control(count: Int)
}

/// A transfer that is ours, with no memory attached.
package struct IdleTransfer: ~Copyable {
    fileprivate let slot: TransferSlot
    private let ownership: UInt64

    /// Allocates a transfer; `nil` when libusb is out of memory.
    package init?(calls: LibUSBCalls) {
        guard let pointer = calls.allocTransfer() else { return nil }
        self.init(slot: TransferSlot(pointer: pointer, calls: calls))
    }

    fileprivate init(slot: TransferSlot) {
        self.slot = slot
        ownership = slot.ownership
    }

    /// Hands the transfer and `buffer` to libusb.
    ///
    /// `onCompletion` is called exactly once, on the thread that handles libusb's events; a
    /// submission that libusb refuses completes at once with its error, so that the buffer always
    /// comes back the same way.
    package consuming func submit(
        _ request: TransferRequest, buffer: consuming USBBuffer, device: OpaquePointer,
        timeout: Duration?, onCompletion: @escaping @Sendable (consuming TransferOutcome) -> Void
    ) -> PendingTransfer {
        let slot = slot
        slot.submit(
            request, buffer: buffer, device: device, timeout: timeout, onCompletion: onCompletion)
        return PendingTransfer(slot: slot)
    }

    /// Submitting ends this value, too, but the transfer is not its own any more.
    deinit { slot.free(ownership) }
}

/// A transfer that is libusb's. Dropping it does not end it: its completion still arrives.
package struct PendingTransfer: ~Copyable, Sendable {
    fileprivate let slot: TransferSlot

    fileprivate init(slot: TransferSlot) { self.slot = slot }

    /// A handle for cancelling that may outlive this value.
    package var canceller: TransferCanceller { TransferCanceller(slot: slot) }
}

/// Asks a pending transfer to end; its completion arrives all the same, once.
package struct TransferCanceller: Sendable {
    fileprivate let slot: TransferSlot

    /// Does nothing when the transfer has completed. Call it on the event thread.
    package func cancel() { slot.cancel() }
}

/// A transfer that is ours again, with its memory and its result.
package struct TransferOutcome: ~Copyable, Sendable {
    package let transfer: IdleTransferBox
    package let completion: USBCompletion

    package consuming func takeCompletion() -> USBCompletion { completion }
}

/// Carries an idle transfer through code that can not hold noncopyable values.
package final class IdleTransferBox: @unchecked Sendable {
    // @unchecked: used on the event thread only.
    private var slot: TransferSlot?

    fileprivate init(slot: TransferSlot) { self.slot = slot }

    /// The transfer, the first time; `nil` afterwards.
    package func take() -> IdleTransfer? {
        guard let taken = slot else { return nil }
        slot = nil
        return IdleTransfer(slot: taken)
    }

    deinit { if let slot { slot.free(slot.ownership) } }
}

/// The one place that touches a `libusb_transfer`. Everything happens on the event thread.
private final class TransferSlot: @unchecked Sendable {
    // @unchecked: confined to the event thread by the contract of its users.
    private enum State {
        case idle
        case pending(onCompletion: @Sendable (consuming TransferOutcome) -> Void)
        case freed
    }

    private let pointer: LibUSBCalls.Transfer
    private let calls: LibUSBCalls
    private var state = State.idle
    private var buffer: USBBuffer?

    /// Counts submissions. Who had the transfer before one has nothing to free, even when it is
    /// idle again because libusb refused it: it then belongs to whom the completion gave it.
    private(set) var ownership: UInt64 = 0

    init(pointer: LibUSBCalls.Transfer, calls: LibUSBCalls) {
        self.pointer = pointer
        self.calls = calls
    }

    func submit(
        _ request: TransferRequest, buffer: consuming USBBuffer, device: OpaquePointer,
        timeout: Duration?, onCompletion: @escaping @Sendable (consuming TransferOutcome) -> Void
    ) {
        guard case .idle = state else { preconditionFailure("a transfer is submitted once") }
        // libusb counts whole milliseconds, and 0 means for ever.
        let milliseconds = timeout.map {
            UInt32(clamping: max(1, ($0.wholeNanoseconds + 999_999) / 1_000_000))
        }
        buffer.withMutableBytes { fill(request, memory: $0, device: device) }
        pointer.pointee.timeout = milliseconds ?? 0
        pointer.pointee.user_data = Unmanaged.passRetained(self).toOpaque()
        pointer.pointee.callback = { transfer in
            guard let transfer, let context = transfer.pointee.user_data else { return }
            Unmanaged<TransferSlot>.fromOpaque(context).takeUnretainedValue().complete()
        }
        self.buffer = consume buffer
        ownership += 1
        state = .pending(onCompletion: onCompletion)
        let code = calls.submitTransfer(pointer)
        if code != 0 {
            finish(byteCount: 0, error: USBTransferError(libusb: code, subject: "endpoint"))
        }
    }

    private func fill(
        _ request: TransferRequest, memory: UnsafeMutableRawBufferPointer, device: OpaquePointer
    ) {
        let base = memory.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let count: Int
        switch request {
        case .data(let endpoint, let isInterrupt, let length):
            pointer.pointee.endpoint = endpoint
            pointer.pointee.type = UInt8(
                isInterrupt
                    ? LIBUSB_TRANSFER_TYPE_INTERRUPT.rawValue : LIBUSB_TRANSFER_TYPE_BULK.rawValue)
            count = length
        case .control(let length):
            pointer.pointee.endpoint = 0
            pointer.pointee.type = UInt8(LIBUSB_TRANSFER_TYPE_CONTROL.rawValue)
            count = length
        }
        precondition(count <= memory.count, "a transfer fits its buffer")
        pointer.pointee.dev_handle = device
        pointer.pointee.flags = 0
        pointer.pointee.buffer = base
        pointer.pointee.length = Int32(count)
    }

    func cancel() {
        guard case .pending = state else { return }
        // A refusal means that the completion is already on its way.
        _ = calls.cancelTransfer(pointer)
    }

    /// libusb's terminal callback.
    private func complete() {
        guard case .pending = state else { return }
        let transferred = Int(pointer.pointee.actual_length)
        finish(
            byteCount: transferred,
            error: .ofTransfer(pointer.pointee.status, transferred: transferred))
    }

    private func finish(byteCount: Int, error: USBTransferError?) {
        guard case .pending(let onCompletion) = state, let buffer = buffer.take() else { return }
        state = .idle
        // A duplicate callback finds no context and does nothing.
        pointer.pointee.user_data = nil
        // Balances the retain of the submission, after the last use of `self` below.
        let context = Unmanaged.passUnretained(self)
        onCompletion(
            TransferOutcome(
                transfer: IdleTransferBox(slot: self),
                completion: USBCompletion(buffer: buffer, byteCount: byteCount, error: error)))
        context.release()
    }

    func free(_ ownership: UInt64) {
        guard case .idle = state, ownership == self.ownership else { return }
        state = .freed
        calls.freeTransfer(pointer)
    }
}
