import CSystemShims
import Glibc
import HostIO
import Quantities

/// TCP over IPv4 as byte streams.
public enum TCP {
    /// Connects to a numeric IPv4 address.
    ///
    /// - Throws: `ByteStreamError` when the address is malformed or nobody listens there in time.
    public static func connect(
        to address: String, port: UInt16, timeout: Duration, reactor: EpollReactor
    ) async throws(ByteStreamError) -> any ByteStream {
        try await connectSocket(to: address, port: port, timeout: timeout, reactor: reactor)
    }

    /// Connects, and keeps the type from which the descriptor can be taken.
    static func connectSocket(
        to address: String, port: UInt16, timeout: Duration, reactor: EpollReactor
    ) async throws(ByteStreamError) -> DescriptorStream {
        let name = "\(address):\(port)"
        var socketAddress = try parse(address, port: port)
        let descriptor = socket(
            AF_INET,
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
                | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SerialLine.failure(name) }
        let status = withUnsafePointer(to: &socketAddress) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if status != 0, errno != EINPROGRESS {
            let error = SerialLine.failure(name)
            Glibc.close(descriptor)
            throw error
        }
        if await !isReady(descriptor, for: EPOLLOUT.rawValue, within: timeout, reactor: reactor) {
            Glibc.close(descriptor)
            throw .timedOut
        }
        var code: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
        guard code == 0 else {
            Glibc.close(descriptor)
            throw .system(code: code, message: "\(name): \(String(cString: strerror(code)))")
        }
        return try stream(descriptor, name: name, reactor: reactor)
    }

    static func parse(_ address: String, port: UInt16) throws(ByteStreamError) -> sockaddr_in {
        var result = sockaddr_in()
        result.sin_family = sa_family_t(AF_INET)
        result.sin_port = port.bigEndian
        guard inet_pton(AF_INET, address, &result.sin_addr) == 1 else {
            throw .notFound("the IPv4 address '\(address)'")
        }
        return result
    }

    static func stream(
        _ descriptor: Int32, name: String, reactor: EpollReactor
    ) throws(ByteStreamError) -> DescriptorStream {
        var on: Int32 = 1
        // Messages of the protocol are small and answered at once.
        setsockopt(
            descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        return try DescriptorStream(
            descriptor: descriptor, name: name, isTerminal: false, reactor: reactor)
    }

    /// Waits once for an event on a descriptor that nothing else watches.
    static func isReady(
        _ descriptor: Int32, for events: UInt32, within timeout: Duration, reactor: EpollReactor
    ) async -> Bool {
        let outcome = AsyncStream<Bool>.makeStream(bufferingPolicy: .bufferingOldest(1))
        do throws(ByteStreamError) {
            // One shot: who waits may run on another thread, and until it does the descriptor stays
            // ready. The reactor would turn in circles, and on one processor keep that thread off
            // it.
            try reactor.watch(descriptor, events: events | EPOLLONESHOT.rawValue) { _ in
                outcome.continuation.yield(true)
            }
        } catch {
            return false
        }
        let timer = reactor.schedule(at: reactor.now + timeout) {
            outcome.continuation.yield(false)
        }
        var isReady = false
        for await result in outcome.stream {
            isReady = result
            break
        }
        reactor.cancel(timer)
        reactor.unwatch(descriptor)
        return isReady
    }
}

/// A listening TCP socket.
public final class TCPListener: Sendable {
    private let descriptor: Int32
    private let reactor: EpollReactor
    /// The address listened on.
    public let address: String
    /// The port listened on; chosen by the system when 0 was asked for.
    public let port: UInt16

    /// Listens on a numeric IPv4 address; loopback unless the operator says otherwise.
    ///
    /// - Throws: `ByteStreamError` when the address is malformed or taken.
    public init(
        address: String = "127.0.0.1", port: UInt16, reactor: EpollReactor
    ) throws(ByteStreamError) {
        self.reactor = reactor
        self.address = address
        var socketAddress = try TCP.parse(address, port: port)
        descriptor = socket(
            AF_INET,
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
                | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SerialLine.failure("\(address):\(port)") }
        var on: Int32 = 1
        setsockopt(
            descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let isListening = withUnsafeMutablePointer(to: &socketAddress) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                bind(descriptor, generic, size) == 0 && listen(descriptor, 4) == 0
                    && getsockname(descriptor, generic, &size) == 0
            }
        }
        guard isListening else {
            let error = SerialLine.failure("\(address):\(port)")
            Glibc.close(descriptor)
            throw error
        }
        self.port = UInt16(bigEndian: socketAddress.sin_port)
    }

    deinit { Glibc.close(descriptor) }

    /// The next connection.
    ///
    /// - Throws: `timedOut` when nobody connects in time.
    public func accept(timeout: Duration) async throws(ByteStreamError) -> any ByteStream {
        let end = reactor.now + timeout
        while true {
            guard
                await TCP.isReady(
                    descriptor, for: EPOLLIN.rawValue, within: max(.zero, end - reactor.now),
                    reactor: reactor)
            else { throw .timedOut }
            let connection = Glibc.accept(descriptor, nil, nil)
            if connection >= 0 {
                _ = fcntl(connection, F_SETFL, O_NONBLOCK)
                _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
                return try TCP.stream(
                    connection, name: "\(address):\(port)", reactor: reactor)
            }
            // A wake-up may be for a connection that was accepted already, or that is gone again.
            guard [EAGAIN, EINTR, ECONNABORTED].contains(errno) else {
                throw SerialLine.failure("\(address):\(port)")
            }
        }
    }
}
