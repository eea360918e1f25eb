import HostIO
import Quantities
import Synchronization

/// An open device on the emulated bus.
final class EmulatedUSBDevice: USBDevice, @unchecked Sendable {
    // @unchecked: the mutable state is touched only under the lock of the context.
    private let context: EmulationContext
    private let slot: USBSlot
    private var isClosed = false
    private var owner: ObjectIdentifier { ObjectIdentifier(self) }

    init(context: EmulationContext, slot: USBSlot) {
        self.context = context
        self.slot = slot
    }

    var summary: USBDeviceSummary { slot.summary }

    func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError) {
        try context.exclusively { () throws(USBTransferError) in
            if isClosed { throw .cancelled }
            try slot.claim(interface, by: owner)
        }
        let settings = slot.controller.interfaces.filter { $0.number == interface }
        guard settings.contains(where: { $0.alternate == alternate }) else {
            throw .notFound("alternate setting \(alternate) of interface \(interface)")
        }
        guard settings.count > 1 else { return }
        let request = USBControlRequest(
            requestType: 0x01, request: 11, value: UInt16(alternate), index: UInt16(interface))
        try await controlOut(request, data: [], timeout: .seconds(1))
    }

    func release(interface: UInt8) async {
        context.exclusively { slot.release(interface, by: owner) }
    }

    // MARK: - Control

    func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError) {
        _ = try await control(request, data: data, length: data.count, timeout: timeout)
    }

    func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await control(request, data: [], length: length, timeout: timeout)
    }

    private func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<[UInt8], USBTransferError>, Never>) in
            context.exclusively {
                if slot.isGone || isClosed {
                    continuation.resume(returning: .failure(.disconnected))
                    return
                }
                if slot.isExported {
                    continuation.resume(returning: .failure(.busy(holder: USBSlot.importer)))
                    return
                }
                slot.control(request, data: data, length: length, timeout: timeout) {
                    continuation.resume(returning: $0)
                }
            }
        }
        return try result.get()
    }

    // MARK: - Data

    func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError) {
        _ = try await transfer(
            endpoint, buffer: nil, length: bytes.count, outgoing: bytes, timeout: timeout)
    }

    func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await transfer(
            endpoint, buffer: USBBuffer(capacity: max(1, length)), length: length, outgoing: [],
            timeout: timeout)
    }

    func clearHalt(endpoint: UInt8) async throws(USBTransferError) {
        try context.exclusively { () throws(USBTransferError) in
            if isClosed { throw .cancelled }
            _ = try slot.pipe(endpoint, for: owner)
        }
        let request = USBControlRequest(
            requestType: 0x02, request: 1, value: 0, index: UInt16(endpoint))
        try await controlOut(request, data: [], timeout: .seconds(1))
    }

    private struct Outcome: Sendable {
        var bytes: [UInt8]
        var error: USBTransferError?
    }

    private func transfer(
        _ endpoint: UInt8, buffer: consuming USBBuffer?, length: Int, outgoing: [UInt8],
        timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        let isIn = endpoint & 0x80 != 0
        let transfer = PendingTransfer()
        transfer.buffer = buffer
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (continuation: CheckedContinuation<Outcome, Never>) in
                context.exclusively {
                    let finished = USBTransfer(
                        buffer: transfer.buffer.take(), length: length, outgoing: outgoing
                    ) { transfer in
                        let bytes = isIn ? transfer.receivedBytes() : []
                        continuation.resume(
                            returning: Outcome(bytes: bytes, error: transfer.error))
                    }
                    submit(finished, to: endpoint, isIn: isIn, timeout: timeout, as: transfer)
                }
            }
        } onCancel: {
            context.exclusively {
                transfer.isCancelled = true
                if let reference = transfer.reference {
                    slot.withdraw(reference, error: .cancelled)
                }
            }
        }
        if let error = outcome.error { throw error }
        return outcome.bytes
    }

    private func submit(
        _ finished: USBTransfer, to endpoint: UInt8, isIn: Bool, timeout: Duration,
        as transfer: PendingTransfer
    ) {
        do throws(USBTransferError) {
            if isClosed || transfer.isCancelled { throw .cancelled }
            let pipe = try slot.pipe(endpoint, for: owner)
            guard pipe.isIn == isIn else { throw .notFound("endpoint \(endpoint)") }
            transfer.reference = TransferReference(transfer: finished, pipe: pipe)
            slot.submit(finished, to: pipe, timeout: timeout)
        } catch {
            finished.error = error
            finished.complete()
        }
    }

    func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue {
        let pipe = try context.exclusively { () throws(USBTransferError) -> PipeReference in
            if isClosed { throw .cancelled }
            let pipe = try slot.pipe(endpoint, for: owner)
            guard pipe.isIn, transferSize % pipe.endpoint.maxPacketSize == 0 else {
                throw .notFound(
                    "an IN endpoint \(endpoint) with packets that divide \(transferSize) bytes")
            }
            return PipeReference(pipe: pipe)
        }
        let queue = EmulatedUSBInQueue(
            context: context, slot: slot, pipe: pipe.pipe, transferSize: transferSize)
        for _ in 0..<transferCount { queue.submit(USBBuffer(capacity: transferSize)) }
        return queue
    }

    func close() async {
        context.exclusively {
            guard !isClosed else { return }
            isClosed = true
            slot.releaseAll(of: owner)
        }
    }
}

/// The state shared between a waiting call and its cancellation handler.
private final class PendingTransfer: @unchecked Sendable {
    // @unchecked: touched only before the wait and under the lock of the context.
    var buffer: USBBuffer?
    var reference: TransferReference?
    var isCancelled = false
}

/// A pipe on its way out of the lock.
private struct PipeReference: @unchecked Sendable {
    // @unchecked: the pipe is used only under the lock of the context.
    let pipe: USBPipe
}

extension USBTransfer {
    /// The bytes received, copied.
    func receivedBytes() -> [UInt8] {
        let count = moved
        switch buffer {
        case .some(let buffer): return buffer.withBytes { Array($0[..<count]) }
        case .none: return []
        }
    }
}

/// An ordered queue of IN transfers on an endpoint of the emulated bus.
final class EmulatedUSBInQueue: USBInQueue, @unchecked Sendable {
    // @unchecked: the mutable state is touched only under the lock of the context.
    private let context: EmulationContext
    private let slot: USBSlot
    private let pipe: USBPipe
    private let transferSize: Int
    private var unfinished = 0
    private var isStopped = false
    private var completed: [FinishedTransfer] = []
    private var waiting: [CheckedContinuation<FinishedTransfer, Never>] = []
    private var drained: [CheckedContinuation<Void, Never>] = []

    init(context: EmulationContext, slot: USBSlot, pipe: USBPipe, transferSize: Int) {
        self.context = context
        self.slot = slot
        self.pipe = pipe
        self.transferSize = transferSize
    }

    func next() async -> USBCompletion {
        let finished = await withCheckedContinuation {
            (continuation: CheckedContinuation<FinishedTransfer, Never>) in
            context.exclusively {
                if !completed.isEmpty {
                    continuation.resume(returning: completed.removeFirst())
                } else if unfinished == 0, isStopped || slot.isGone {
                    continuation.resume(returning: nothing())
                } else {
                    waiting.append(continuation)
                }
            }
        }
        return finished.completion(transferSize: transferSize)
    }

    func submit(_ buffer: consuming USBBuffer) {
        let carrier = BufferCarrier(buffer)
        context.exclusively {
            unfinished += 1
            let transfer = USBTransfer(
                buffer: carrier.take(), length: transferSize
            ) { [self] in finish($0) }
            // Whoever took a completion just before the cancellation hands its buffer back after it.
            if isStopped {
                transfer.error = .cancelled
                transfer.complete()
            } else {
                slot.submit(transfer, to: pipe)
            }
        }
    }

    func cancelAll() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            context.exclusively {
                isStopped = true
                slot.abort(pipe, .cancelled)
                if unfinished == 0 {
                    continuation.resume()
                } else {
                    drained.append(continuation)
                }
            }
        }
    }

    private func finish(_ transfer: USBTransfer) {
        unfinished -= 1
        let finished = FinishedTransfer(transfer)
        if waiting.isEmpty {
            completed.append(finished)
        } else {
            waiting.removeFirst().resume(returning: finished)
        }
        if unfinished == 0 {
            for continuation in drained { continuation.resume() }
            drained = []
        }
        guard unfinished == 0, isStopped || slot.isGone else { return }
        for continuation in waiting { continuation.resume(returning: nothing()) }
        waiting = []
    }

    /// What a caller gets that waits although nothing is pending any more.
    private func nothing() -> FinishedTransfer {
        FinishedTransfer(error: slot.isGone ? .disconnected : .cancelled)
    }
}

/// A transfer that has ended, on its way to the caller of `next`.
private final class FinishedTransfer: @unchecked Sendable {
    // @unchecked: handed from the host to exactly one caller.
    private var buffer: USBBuffer?
    private let byteCount: Int
    private let error: USBTransferError?

    init(_ transfer: USBTransfer) {
        buffer = transfer.buffer.take()
        byteCount = transfer.moved
        error = transfer.error
    }

    init(error: USBTransferError) {
        buffer = nil
        byteCount = 0
        self.error = error
    }

    func completion(transferSize: Int) -> USBCompletion {
        let memory = buffer.take() ?? USBBuffer(capacity: transferSize)
        return USBCompletion(buffer: memory, byteCount: byteCount, error: error)
    }
}

/// Carries a buffer into the lock.
private final class BufferCarrier {
    private var buffer: USBBuffer?
    init(_ buffer: consuming USBBuffer) { self.buffer = consume buffer }
    func take() -> USBBuffer? { buffer.take() }
}
