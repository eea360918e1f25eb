import CLibUSB
import HostIO
import Quantities

/// A ring of IN transfers on one endpoint. Runs on the reactor.
package actor LibUSBInQueue: USBInQueue {
    private let reactor: any Reactor
    private let calls: LibUSBCalls
    private nonisolated(unsafe) let device: OpaquePointer  // outlives the queue: see close()
    private let endpoint: UInt8
    private let isInterrupt: Bool

    private var idle: [IdleTransferBox] = []
    private var pending: [UInt64: TransferCanceller] = [:]
    private var nextPending: UInt64 = 0
    private var finished: [CompletionBox] = []
    private var reader: CheckedContinuation<Void, Never>?
    private var drainWaiters: [CheckedContinuation<Void, Never>] = []
    private var endReason: USBTransferError?

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    init(
        device: OpaquePointer, endpoint: UInt8, isInterrupt: Bool, calls: LibUSBCalls,
        reactor: any Reactor
    ) {
        self.device = device
        self.endpoint = endpoint
        self.isInterrupt = isInterrupt
        self.calls = calls
        self.reactor = reactor
    }

    /// Submits the first transfers.
    func begin(transferCount: Int, size: Int) {
        for _ in 0..<transferCount { enqueue(USBBuffer(capacity: size)) }
    }

    /// Completes as many transfers with `error` as would have been started.
    func refuse(_ count: Int, error: USBTransferError) {
        endReason = error
        for _ in 0..<count { deliverError(error, buffer: USBBuffer(capacity: 1)) }
    }

    package nonisolated func submit(_ buffer: consuming USBBuffer) {
        let box = CompletionBox()
        box.fill(USBCompletion(buffer: buffer, byteCount: 0, error: nil))
        reactor.schedule(at: reactor.now) {
            self.assumeIsolated { $0.enqueue(box.take().takeBuffer()) }
        }
    }

    private func enqueue(_ buffer: consuming USBBuffer) {
        if let endReason {
            deliverError(endReason, buffer: buffer)
            return
        }
        guard let transfer = idle.popLast()?.take() ?? IdleTransfer(calls: calls) else {
            deliverError(.system(code: -11, message: "libusb is out of memory"), buffer: buffer)
            return
        }
        let key = nextPending
        nextPending += 1
        let count = buffer.capacity
        let refused = CompletionFlag()
        let submission = transfer.submit(
            .data(endpoint: endpoint, isInterrupt: isInterrupt, count: count), buffer: buffer,
            device: device, timeout: nil
        ) { [weak self] outcome in
            refused.isSet = true
            let box = outcome.transfer
            let completion = CompletionBox()
            completion.fill(outcome.takeCompletion())
            self?.assumeIsolated { $0.arrived(key, transfer: box, completion: completion) }
        }
        if !refused.isSet { pending[key] = submission.canceller }
    }

    private func arrived(_ key: UInt64, transfer: IdleTransferBox, completion: CompletionBox) {
        pending[key] = nil
        idle.append(transfer)
        deliver(completion)
        if pending.isEmpty {
            let waiters = drainWaiters
            drainWaiters = []
            for waiter in waiters { waiter.resume() }
        }
    }

    private func deliverError(_ error: USBTransferError, buffer: consuming USBBuffer) {
        let completion = CompletionBox()
        completion.fill(USBCompletion(buffer: buffer, byteCount: 0, error: error))
        deliver(completion)
    }

    private func deliver(_ completion: CompletionBox) {
        finished.append(completion)
        reader?.resume()
        reader = nil
    }

    package func next() async -> USBCompletion {
        while finished.isEmpty {
            // With nothing pending and nothing to come, waiting would last for ever.
            if let endReason, pending.isEmpty {
                return USBCompletion(
                    buffer: USBBuffer(capacity: 1), byteCount: 0, error: endReason)
            }
            precondition(reader == nil, "one reader at a time")
            await withCheckedContinuation { reader = $0 }
        }
        return finished.removeFirst().take()
    }

    package func cancelAll() async {
        endReason = endReason ?? .cancelled
        for key in pending.keys.sorted() { pending[key]?.cancel() }
        if !pending.isEmpty { await withCheckedContinuation { drainWaiters.append($0) } }
        idle = []
        reader?.resume()
        reader = nil
    }
}

/// A flag shared with a callback on the same thread.
private final class CompletionFlag: @unchecked Sendable {
    // @unchecked: used on the reactor's thread only.
    var isSet = false
}
