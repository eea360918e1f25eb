import CLibUSB
import HostIO
import Quantities

/// An open device on libusb. Runs on the reactor, where libusb's callbacks arrive.
package actor LibUSBDevice: USBDevice {
    private enum State {
        case open
        case closing
        case closed
    }

    package nonisolated let summary: USBDeviceSummary
    private let reactor: any Reactor
    private let calls: LibUSBCalls
    private nonisolated(unsafe) let handle: OpaquePointer  // freed in `close`, used on the reactor
    private var state = State.open
    private var claimed: [UInt8] = []
    private var pending: [UInt64: TransferCanceller] = [:]
    private var nextPending: UInt64 = 0
    private var queues: [LibUSBInQueue] = []
    private var drainWaiters: [CheckedContinuation<Void, Never>] = []
    private var closeWaiters: [CheckedContinuation<Void, Never>] = []

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// Takes ownership of an open libusb handle.
    package init(
        handle: OpaquePointer, summary: USBDeviceSummary, calls: LibUSBCalls, reactor: any Reactor
    ) {
        self.handle = handle
        self.summary = summary
        self.calls = calls
        self.reactor = reactor
    }

    package func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError) {
        guard case .open = state else { throw .disconnected }
        let subject = "interface \(interface)"
        let code = calls.claimInterface(handle, Int32(interface))
        guard code == 0 else { throw USBTransferError(libusb: code, subject: subject) }
        claimed.append(interface)
        let altCode = calls.setAlternate(handle, Int32(interface), Int32(alternate))
        guard altCode == 0 else {
            releaseNow(interface)
            throw USBTransferError(
                libusb: altCode, subject: "\(subject) alternate setting \(alternate)")
        }
    }

    package func release(interface: UInt8) async {
        guard case .open = state else { return }
        releaseNow(interface)
    }

    private func releaseNow(_ interface: UInt8) {
        guard let index = claimed.firstIndex(of: interface) else { return }
        claimed.remove(at: index)
        _ = calls.releaseInterface(handle, Int32(interface))
    }

    package func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError) {
        let buffer = Self.controlBuffer(request, length: data.count)
        buffer.withMutableBytes { memory in
            for (offset, byte) in data.enumerated() { memory[8 + offset] = byte }
        }
        let completion = try await perform(
            .control(count: 8 + data.count), buffer: buffer, timeout: timeout)
        if let error = completion.error { throw error }
    }

    package func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        let buffer = Self.controlBuffer(request, length: length)
        let completion = try await perform(
            .control(count: 8 + length), buffer: buffer, timeout: timeout)
        if let error = completion.error { throw error }
        let count = min(length, completion.byteCount)
        return completion.buffer.withBytes { Array($0[8..<(8 + count)]) }
    }

    private static func controlBuffer(_ request: USBControlRequest, length: Int) -> USBBuffer {
        let buffer = USBBuffer(capacity: 8 + length)
        buffer.withMutableBytes { memory in
            memory[0] = request.requestType
            memory[1] = request.request
            memory.storeBytes(of: request.value.littleEndian, toByteOffset: 2, as: UInt16.self)
            memory.storeBytes(of: request.index.littleEndian, toByteOffset: 4, as: UInt16.self)
            memory.storeBytes(of: UInt16(length).littleEndian, toByteOffset: 6, as: UInt16.self)
        }
        return buffer
    }

    package func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError) {
        guard !bytes.isEmpty else { return }
        let buffer = USBBuffer(capacity: bytes.count)
        buffer.withMutableBytes { $0.copyBytes(from: bytes) }
        let completion = try await perform(
            .data(
                endpoint: endpoint, isInterrupt: isInterrupt(endpoint), count: bytes.count),
            buffer: buffer, timeout: timeout)
        if let error = completion.error { throw error }
        guard completion.byteCount == bytes.count else {
            throw .timedOut(transferred: completion.byteCount)
        }
    }

    package func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        let completion = try await perform(
            .data(endpoint: endpoint, isInterrupt: isInterrupt(endpoint), count: length),
            buffer: USBBuffer(capacity: length), timeout: timeout)
        if let error = completion.error { throw error }
        return completion.bytes()
    }

    /// Blocks for one control transfer, as claiming does: libusb has no asynchronous form, and a
    /// CLEAR_FEATURE of our own would leave the host controller's data toggle as it was.
    package func clearHalt(endpoint: UInt8) async throws(USBTransferError) {
        guard case .open = state else { throw .disconnected }
        let code = calls.clearHalt(handle, endpoint)
        guard code == 0 else {
            throw USBTransferError(libusb: code, subject: "endpoint \(endpoint)")
        }
    }

    private nonisolated func isInterrupt(_ endpoint: UInt8) -> Bool {
        summary.interfaces.contains { interface in
            interface.endpoints.contains { $0.address == endpoint && $0.kind == .interrupt }
        }
    }

    /// Runs one transfer to its end. Cancelling the task cancels the transfer, and still waits for
    /// its completion: the memory is libusb's until then.
    private func perform(
        _ request: TransferRequest, buffer: consuming USBBuffer, timeout: Duration
    ) async throws(USBTransferError) -> USBCompletion {
        guard case .open = state else { throw .disconnected }
        if Task.isCancelled { throw .cancelled }
        guard let transfer = IdleTransfer(calls: calls) else {
            throw .system(code: -11, message: "libusb is out of memory")
        }
        let key = nextPending
        nextPending += 1
        let result = CompletionBox()
        let submission = transfer.submit(
            request, buffer: buffer, device: handle, timeout: timeout
        ) { [weak self] outcome in
            result.fill(outcome.takeCompletion())
            self?.assumeIsolated { $0.finished(key) }
        }
        if !result.isFilled { pending[key] = submission.canceller }
        await withTaskCancellationHandler {
            await result.wait()
        } onCancel: {
            reactor.schedule(at: reactor.now) { [weak self] in
                self?.assumeIsolated { $0.pending[key]?.cancel() }
            }
        }
        return result.take()
    }

    private func finished(_ key: UInt64) {
        pending[key] = nil
        guard pending.isEmpty else { return }
        let waiters = drainWaiters
        drainWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    package nonisolated func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue {
        let packet = summary.interfaces.lazy.flatMap(\.endpoints)
            .first { $0.address == endpoint }?.maxPacketSize
        guard let packet, endpoint & 0x80 != 0 else {
            throw .notFound("IN endpoint \(endpoint)")
        }
        precondition(transferCount > 0 && transferSize > 0)
        // A transfer that is no multiple of the packet size overflows on a full last packet.
        let size = (transferSize + packet - 1) / packet * packet
        let queue = LibUSBInQueue(
            device: handle, endpoint: endpoint, isInterrupt: isInterrupt(endpoint), calls: calls,
            reactor: reactor)
        reactor.schedule(at: reactor.now) {
            self.assumeIsolated { device in
                guard case .open = device.state else {
                    queue.assumeIsolated { $0.refuse(transferCount, error: .disconnected) }
                    return
                }
                device.queues.append(queue)
                queue.assumeIsolated { $0.begin(transferCount: transferCount, size: size) }
            }
        }
        return queue
    }

    package func close() async {
        switch state {
        case .closed: return
        case .closing:
            await withCheckedContinuation { closeWaiters.append($0) }
            return
        case .open: state = .closing
        }
        for queue in queues { await queue.cancelAll() }
        queues = []
        for key in pending.keys.sorted() { pending[key]?.cancel() }
        if !pending.isEmpty { await withCheckedContinuation { drainWaiters.append($0) } }
        for interface in claimed { releaseNow(interface) }
        calls.closeDevice(handle)
        state = .closed
        for waiter in closeWaiters { waiter.resume() }
        closeWaiters = []
    }
}

/// Holds one completion until it is taken, and wakes the one who waits for it.
final class CompletionBox: @unchecked Sendable {
    // @unchecked: used on the reactor's thread only.
    private var completion: USBCompletion?
    private var waiter: CheckedContinuation<Void, Never>?
    private(set) var isFilled = false

    func fill(_ completion: consuming USBCompletion) {
        self.completion = consume completion
        isFilled = true
        waiter?.resume()
        waiter = nil
    }

    func wait() async {
        if isFilled { return }
        await withCheckedContinuation { waiter = $0 }
    }

    func take() -> USBCompletion {
        guard let taken = completion.take() else {
            preconditionFailure("a completion is taken once, after it arrived")
        }
        return taken
    }
}
