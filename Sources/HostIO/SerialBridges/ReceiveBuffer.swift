import Quantities
import Synchronization

/// Bytes a serial bridge has received and nobody has read yet.
///
/// Bounded: when it is full the pump stops taking completions, so no transfer is handed back and the
/// device waits. Line errors keep their place in the stream, so that a reader gets everything that
/// came before the damage, then the error, then what came after.
final class ReceiveBuffer: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var head = 0
        var errors: [(position: Int, what: String)] = []
        var failure: ByteStreamError?
        var count: Int { bytes.count - head }
    }

    /// The number of waiting bytes above which the pump pauses.
    static let limit = 1 << 18
    private static let maxErrors = 16

    private let state = Mutex(State())
    private let arrived: WakeUp
    private let drained: WakeUp
    private let reactor: any Reactor

    init(on reactor: any Reactor) {
        self.reactor = reactor
        arrived = WakeUp(on: reactor)
        drained = WakeUp(on: reactor)
    }

    func append(_ chunk: [UInt8], lineError: String? = nil) {
        state.withLock { state in
            if let lineError, state.errors.count < Self.maxErrors {
                state.errors.append((state.bytes.count, lineError))
            }
            state.bytes += chunk
        }
        if !chunk.isEmpty || lineError != nil { arrived.wake() }
    }

    /// Ends the stream: what is here can still be read, then `error` is thrown for ever.
    func fail(_ error: ByteStreamError) {
        state.withLock { if $0.failure == nil { $0.failure = error } }
        arrived.wake()
        drained.wake()
    }

    /// Forgets everything received, including line errors.
    func discard() {
        state.withLock { state in
            state.bytes.removeAll(keepingCapacity: true)
            state.head = 0
            state.errors.removeAll()
        }
        drained.wake()
    }

    /// Returns once less than the limit is waiting, or the stream has ended.
    func waitForRoom() async {
        while state.withLock({ $0.count >= Self.limit && $0.failure == nil }) {
            if await drained.wait() == .cancelled { return }
        }
    }

    func read(upTo count: Int, timeout: Duration) async throws(ByteStreamError) -> [UInt8] {
        precondition(count > 0, "a read asks for at least one byte")
        let deadline = reactor.now + timeout
        while true {
            switch state.withLock({ Self.take(count, from: &$0) }) {
            case .success(let bytes?):
                drained.wake()
                return bytes
            case .failure(let error): throw error
            case .success(nil): break
            }
            switch await arrived.wait(until: deadline) {
            case .woken: continue
            case .timedOut: throw .timedOut
            case .cancelled: throw .usb(.cancelled)
            }
        }
    }

    private static func take(
        _ count: Int, from state: inout State
    ) -> Result<[UInt8]?, ByteStreamError> {
        if let error = state.errors.first, error.position <= state.head {
            state.errors.removeFirst()
            return .failure(.lineError(error.what))
        }
        guard state.count > 0 else {
            if let failure = state.failure { return .failure(failure) }
            return .success(nil)
        }
        let end = min(state.head + count, state.errors.first?.position ?? .max, state.bytes.count)
        let bytes = Array(state.bytes[state.head..<end])
        state.head = end
        if state.head == state.bytes.count || state.head > limit {
            state.bytes.removeFirst(state.head)
            for index in state.errors.indices { state.errors[index].position -= state.head }
            state.head = 0
        }
        return .success(bytes)
    }
}

/// Moves completed IN transfers of one endpoint into a receive buffer until the endpoint ends.
struct BulkReceiver: Sendable {
    let queue: any USBInQueue
    let buffer: ReceiveBuffer
    let transferCount: Int

    /// Runs until a transfer fails or is cancelled, and then until all have come back.
    ///
    /// - Parameter decode: turns the bytes of one transfer into payload and, perhaps, a line error.
    func run(
        decode: @Sendable (UnsafeRawBufferPointer) -> (payload: [UInt8], lineError: String?)
    ) async {
        var outstanding = transferCount
        var hasFailed = false
        while outstanding > 0 {
            await buffer.waitForRoom()
            let completion = await queue.next()
            let count = completion.byteCount
            let decoded = completion.buffer.withBytes { bytes in
                decode(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            }
            buffer.append(decoded.payload, lineError: decoded.lineError)
            if let error = completion.error {
                buffer.fail(error == .cancelled ? .closed : .usb(error))
                hasFailed = true
            }
            if hasFailed {
                outstanding -= 1
            } else {
                queue.submit(completion.takeBuffer())
            }
        }
    }
}

extension ByteStreamError {
    /// The stream's view of a failed USB transfer.
    init(bridge error: USBTransferError) {
        if case .timedOut = error { self = .timedOut } else { self = .usb(error) }
    }
}
