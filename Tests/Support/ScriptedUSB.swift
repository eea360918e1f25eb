import HostIO
import Quantities
import Synchronization

/// A USB device that does what a test says and remembers what it was asked.
package final class ScriptedUSBDevice: USBDevice {
    /// Something the code under test did to the device.
    package enum Operation: Hashable, Sendable {
        case claim(interface: UInt8, alternate: UInt8)
        case release(interface: UInt8)
        case controlOut(USBControlRequest, [UInt8])
        case controlIn(USBControlRequest, length: Int)
        case write(UInt8, [UInt8])
        case openQueue(UInt8, count: Int, size: Int)
        case cancelQueue(UInt8)
        case clearHalt(UInt8)
        case close
    }

    private struct State {
        var operations: [Operation] = []
        var replies: [UInt8: [[UInt8]]] = [:]
        var queues: [UInt8: ScriptedInQueue] = [:]
        var writeError: USBTransferError?
        var controlError: USBTransferError?
        var onWrite: (@Sendable (UInt8, [UInt8]) -> [UInt8]?)?
        var replyEndpoint: UInt8 = 0x81
        var onControlIn: (@Sendable (USBControlRequest) -> ControlReply)?
        var readErrors: [UInt8: [USBTransferError]] = [:]
    }

    /// What the device does with a control transfer towards the host.
    package typealias ControlReply = Result<[UInt8], USBTransferError>

    package let summary: USBDeviceSummary
    private let reactor: any Reactor
    private let state = Mutex(State())

    package init(_ summary: USBDeviceSummary, reactor: any Reactor) {
        self.summary = summary
        self.reactor = reactor
    }

    package var operations: [Operation] { state.withLock { $0.operations } }
    /// The payloads written to one endpoint, in order.
    package func writes(to endpoint: UInt8) -> [[UInt8]] {
        operations.compactMap {
            if case .write(endpoint, let bytes) = $0 { bytes } else { nil }
        }
    }
    package func queue(_ endpoint: UInt8) -> ScriptedInQueue? {
        state.withLock { $0.queues[endpoint] }
    }
    /// Computes the reply that a later `read` of `endpoint` returns.
    package func answer(
        from endpoint: UInt8 = 0x81,
        _ reply: @escaping @Sendable (UInt8, [UInt8]) -> [UInt8]?
    ) {
        state.withLock {
            $0.onWrite = reply
            $0.replyEndpoint = endpoint
        }
    }
    /// Computes the answer to control transfers towards the host; without it they return nothing.
    package func answerControl(
        _ reply: @escaping @Sendable (USBControlRequest) -> ControlReply
    ) {
        state.withLock { $0.onControlIn = reply }
    }
    /// One transfer that a later `read` of `endpoint` returns.
    package func supply(_ bytes: [UInt8], at endpoint: UInt8) {
        state.withLock { $0.replies[endpoint, default: []].append(bytes) }
    }
    /// What the next `read` of `endpoint` throws, before anything is taken from the supply.
    package func failRead(of endpoint: UInt8, _ error: USBTransferError) {
        state.withLock { $0.readErrors[endpoint, default: []].append(error) }
    }
    package func failWrites(_ error: USBTransferError?) { state.withLock { $0.writeError = error } }
    package func failControl(_ error: USBTransferError?) {
        state.withLock { $0.controlError = error }
    }

    package func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError) {
        state.withLock {
            $0.operations.append(.claim(interface: interface, alternate: alternate))
        }
    }
    package func release(interface: UInt8) async {
        state.withLock { $0.operations.append(.release(interface: interface)) }
    }
    package func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError) {
        let error = state.withLock { state in
            state.operations.append(.controlOut(request, data))
            return state.controlError
        }
        if let error { throw error }
    }
    package func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        let (error, onControlIn) = state.withLock { state in
            state.operations.append(.controlIn(request, length: length))
            return (state.controlError, state.onControlIn)
        }
        if let error { throw error }
        return Array(try onControlIn?(request).get().prefix(length) ?? [])
    }
    package func clearHalt(endpoint: UInt8) async throws(USBTransferError) {
        state.withLock { $0.operations.append(.clearHalt(endpoint)) }
    }

    package func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError) {
        let (error, onWrite) = state.withLock { state in
            state.operations.append(.write(endpoint, bytes))
            return (state.writeError, state.onWrite)
        }
        if let error { throw error }
        if let reply = onWrite?(endpoint, bytes) {
            state.withLock { $0.replies[$0.replyEndpoint, default: []].append(reply) }
        }
    }
    package func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        let error = state.withLock { state -> USBTransferError? in
            guard state.readErrors[endpoint]?.isEmpty == false else { return nil }
            return state.readErrors[endpoint]?.removeFirst()
        }
        if let error { throw error }
        let reply = state.withLock { state -> [UInt8]? in
            guard let first = state.replies[endpoint]?.first else { return nil }
            state.replies[endpoint]?.removeFirst()
            return first
        }
        if let reply { return reply }
        do { try await reactor.sleep(for: timeout) } catch { throw .cancelled }
        throw .timedOut(transferred: 0)
    }
    package func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue {
        let queue = ScriptedInQueue(count: transferCount, size: transferSize, reactor: reactor) {
            [weak self] in
            self?.state.withLock { $0.operations.append(.cancelQueue(endpoint)) }
        }
        state.withLock { state in
            state.operations.append(
                .openQueue(endpoint, count: transferCount, size: transferSize))
            state.queues[endpoint] = queue
        }
        return queue
    }
    package func close() async { state.withLock { $0.operations.append(.close) } }
}

/// The IN transfers of a scripted device. A completion needs a pending transfer, as on a real bus.
package final class ScriptedInQueue: USBInQueue {
    private struct State {
        var pending: Int
        var supply: [([UInt8], USBTransferError?)] = []
        var completed: [([UInt8], USBTransferError?)] = []
        var isGone = false
        var submissions = 0
    }
    private let state: Mutex<State>
    private let size: Int
    private let arrived: WakeUp
    private let onCancel: @Sendable () -> Void

    init(
        count: Int, size: Int, reactor: any Reactor, onCancel: @escaping @Sendable () -> Void
    ) {
        state = Mutex(State(pending: count))
        self.size = size
        arrived = WakeUp(on: reactor)
        self.onCancel = onCancel
    }

    /// Transfers handed to the host and not completed.
    package var pending: Int { state.withLock { $0.pending } }
    /// Packets the device holds because no transfer is pending.
    package var heldBack: Int { state.withLock { $0.supply.count } }

    /// The device sends one transfer's worth of bytes, now or when a transfer is pending.
    package func send(_ bytes: [UInt8], error: USBTransferError? = nil) {
        precondition(bytes.count <= size, "a transfer holds \(size) bytes")
        state.withLock { state in
            state.supply.append((bytes, error))
            Self.match(&state)
        }
        arrived.wake()
    }

    /// The device is pulled out.
    package func disconnect() { end(.disconnected) }

    private func end(_ error: USBTransferError) {
        state.withLock { state in
            while state.pending > 0 {
                state.pending -= 1
                state.completed.append(([], error))
            }
            state.isGone = true
        }
        arrived.wake()
    }

    private static func match(_ state: inout State) {
        while state.pending > 0, !state.supply.isEmpty {
            state.pending -= 1
            state.completed.append(state.supply.removeFirst())
        }
    }

    package func next() async -> USBCompletion {
        while true {
            let first = state.withLock { state -> ([UInt8], USBTransferError?)? in
                state.completed.isEmpty ? nil : state.completed.removeFirst()
            }
            if let (bytes, error) = first {
                let buffer = USBBuffer(capacity: size)
                buffer.withMutableBytes { $0.copyBytes(from: bytes) }
                return USBCompletion(buffer: buffer, byteCount: bytes.count, error: error)
            }
            if await arrived.wait() == .cancelled {
                return USBCompletion(
                    buffer: USBBuffer(capacity: size), byteCount: 0, error: .cancelled)
            }
        }
    }

    package func submit(_ buffer: consuming USBBuffer) {
        state.withLock { state in
            state.submissions += 1
            if state.isGone {
                state.completed.append(([], .disconnected))
            } else {
                state.pending += 1
                Self.match(&state)
            }
        }
        arrived.wake()
    }

    package func cancelAll() async {
        onCancel()
        end(.cancelled)
    }
}

/// A USB host with scripted devices.
package final class ScriptedUSBHost: USBHost {
    private let list: [ScriptedUSBDevice]
    package init(_ devices: [ScriptedUSBDevice]) { list = devices }
    package func devices() async throws(USBTransferError) -> [USBDeviceSummary] {
        list.map(\.summary)
    }
    package func events() -> AsyncStream<USBHostEvent> { AsyncStream { $0.finish() } }
    package func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice {
        guard let device = list.first(where: { $0.summary.id == id }) else {
            throw .notFound(id.description)
        }
        if case .permissionDenied(let node) = device.summary.access {
            throw .accessDenied(node: node)
        }
        return device
    }
}
