import CSystemShims
import Glibc
import HostIO
import Quantities

/// A byte stream on a non-blocking file descriptor: a terminal line, a pseudo-terminal or a socket.
///
/// One reader and one writer may wait at a time. Runs on the reactor, so that readiness is handled
/// where it is reported.
package actor DescriptorStream: SerialPort {
    private enum Direction { case reading, writing }

    private let reactor: EpollReactor
    private let name: String
    private var descriptor: Int32
    private var isTerminal: Bool
    private var reader: CheckedContinuation<Void, Never>?
    private var writer: CheckedContinuation<Void, Never>?

    package nonisolated let isEmulated = false
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// Takes ownership of `descriptor`, which must be non-blocking.
    package init(
        descriptor: Int32, name: String, isTerminal: Bool, reactor: EpollReactor
    ) throws(ByteStreamError) {
        self.descriptor = descriptor
        self.name = name
        self.isTerminal = isTerminal
        self.reactor = reactor
        do throws(ByteStreamError) {
            try reactor.watch(descriptor, events: EPOLLONESHOT.rawValue) { [weak self] _ in
                self?.assumeIsolated { $0.becomeReady() }
            }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
    }

    deinit {
        if descriptor >= 0 {
            reactor.unwatch(descriptor)
            Glibc.close(descriptor)
        }
    }

    package func read(
        upTo count: Int, timeout: Duration
    ) async throws(ByteStreamError) -> [UInt8] {
        precondition(count > 0, "a read asks for at least one byte")
        let deadline = reactor.now + timeout
        var buffer = [UInt8](repeating: 0, count: count)
        while descriptor >= 0 {
            let received = Glibc.read(descriptor, &buffer, count)
            if received > 0 { return Array(buffer[..<received]) }
            if received == 0 { throw .closed }
            try Self.checkTransient(errno)
            guard await wait(.reading, until: deadline) else { throw .timedOut }
        }
        throw .closed
    }

    package func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        let deadline = reactor.now + timeout
        var sent = 0
        while sent < bytes.count {
            guard descriptor >= 0 else { throw .closed }
            let count = bytes[sent...].withUnsafeBytes { send($0) }
            if count >= 0 {
                sent += count
                continue
            }
            try Self.checkTransient(errno)
            guard await wait(.writing, until: deadline) else { throw .timedOut }
        }
    }

    private func send(_ bytes: UnsafeRawBufferPointer) -> Int {
        // A socket whose peer is gone must report an error, not end the process.
        isTerminal
            ? Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            : Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
    }

    package func close() async {
        guard descriptor >= 0 else { return }
        reactor.unwatch(descriptor)
        Glibc.close(descriptor)
        descriptor = -1
        becomeReady()
    }

    /// Gives the descriptor away, open; the stream is closed. Nil when it was closed before.
    func takeDescriptor() -> Int32? {
        guard descriptor >= 0 else { return nil }
        reactor.unwatch(descriptor)
        defer {
            descriptor = -1
            becomeReady()
        }
        return descriptor
    }

    package func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        guard isTerminal else { throw .notSupported("line settings on \(name)") }
        guard descriptor >= 0 else { throw .closed }
        try SerialLine.configure(descriptor, name: name, settings)
    }

    package func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        guard isTerminal else { throw .notSupported("modem lines on \(name)") }
        guard descriptor >= 0 else { throw .closed }
        try SerialLine.setModemLines(descriptor, name: name, dtr: dtr, rts: rts)
    }

    package func discardBuffers() async throws(ByteStreamError) {
        guard isTerminal else { throw .notSupported("discarding buffers of \(name)") }
        guard descriptor >= 0 else { throw .closed }
        tcflush(descriptor, TCIOFLUSH)
    }

    /// Returns for an error after which the operation may be tried again; throws for the others.
    private static func checkTransient(_ code: Int32) throws(ByteStreamError) {
        switch code {
        case EAGAIN, EINTR: return
        // A terminal whose device or other end is gone answers EIO; a socket EPIPE or ECONNRESET.
        case EIO, EPIPE, ECONNRESET, ENODEV, ENXIO: throw .closed
        default: throw .system(code: code, message: String(cString: strerror(code)))
        }
    }

    /// Waits until the descriptor is ready or closed; `false` when `deadline` passed first.
    private func wait(_ direction: Direction, until deadline: HostInstant) async -> Bool {
        guard reactor.now < deadline else { return false }
        let timer = reactor.schedule(at: deadline) { [weak self] in
            self?.assumeIsolated { $0.becomeReady() }
        }
        await withCheckedContinuation { continuation in
            switch direction {
            case .reading:
                precondition(reader == nil, "one reader at a time on \(name)")
                reader = continuation
            case .writing:
                precondition(writer == nil, "one writer at a time on \(name)")
                writer = continuation
            }
            updateInterest()
        }
        reactor.cancel(timer)
        return true
    }

    private func becomeReady() {
        let waiting = [reader, writer]
        reader = nil
        writer = nil
        for continuation in waiting { continuation?.resume() }
    }

    private func updateInterest() {
        guard descriptor >= 0 else { return }
        // A hang-up is reported whatever is asked for: an idle stream whose peer is gone would keep
        // the reactor spinning. One shot, armed by whoever waits, reports it once.
        let events =
            EPOLLONESHOT.rawValue | (reader == nil ? 0 : EPOLLIN.rawValue)
            | (writer == nil ? 0 : EPOLLOUT.rawValue)
        reactor.rewatch(descriptor, events: events)
    }
}
