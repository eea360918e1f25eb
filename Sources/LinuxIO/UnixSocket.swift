import CSystemShims
import Glibc
import HostIO

/// Unix stream sockets by path.
public enum UnixSocket {
    /// Connects to the socket at `path`.
    ///
    /// - Throws: `notFound` when there is none or nobody listens on it, `accessDenied`, `busy` when
    ///   too many clients wait.
    public static func connect(
        to path: String, reactor: EpollReactor
    ) throws(ByteStreamError) -> any ByteStream {
        let descriptor = try make()
        let status = try withAddress(path) { Glibc.connect(descriptor, $0, $1) }
        guard status == 0 else {
            let code = errno
            close(descriptor)
            switch code {
            case ECONNREFUSED: throw .notFound("a program that listens on \(path)")
            case EAGAIN: throw .busy(path)
            default:
                errno = code
                throw SerialLine.failure(path)
            }
        }
        return try DescriptorStream(
            descriptor: descriptor, name: path, isTerminal: false, reactor: reactor)
    }

    fileprivate static func make() throws(ByteStreamError) -> Int32 {
        let descriptor = socket(
            AF_UNIX,
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
                | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SerialLine.failure("a Unix socket") }
        return descriptor
    }

    /// Calls `body` with the address of `path`.
    fileprivate static func withAddress(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(ByteStreamError) -> Int32 {
        var address = sockaddr_un()
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path),
            !bytes.contains(0)
        else {
            throw .notSupported("a socket path of \(bytes.count) bytes (1 to 107 are possible)")
        }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}

/// A listening Unix socket, which only this user may connect to; removed when it goes out of use.
public final class UnixListener: Sendable {
    private let descriptor: Int32
    private let reactor: EpollReactor
    /// The path listened on.
    public let path: String

    /// Listens at `path`. A socket that a program left there which no longer runs is replaced.
    ///
    /// - Throws: `busy` when a program listens there or there is something else than a socket.
    public init(path: String, reactor: EpollReactor) throws(ByteStreamError) {
        let descriptor = try UnixSocket.make()
        do throws(ByteStreamError) {
            if try !Self.bind(descriptor, path) {
                guard errno == EADDRINUSE else { throw SerialLine.failure(path) }
                guard try Self.isAbandoned(path), unlink(path) == 0,
                    try Self.bind(descriptor, path)
                else { throw .busy(path) }
            }
            guard listen(descriptor, 16) == 0 else { throw SerialLine.failure(path) }
        } catch {
            close(descriptor)
            throw error
        }
        self.descriptor = descriptor
        self.reactor = reactor
        self.path = path
    }

    deinit {
        unlink(path)
        close(descriptor)
    }

    private static func bind(_ descriptor: Int32, _ path: String) throws(ByteStreamError) -> Bool {
        // Nobody else may connect, not even for a moment.
        let mask = umask(0o177)
        defer { umask(mask) }
        return try UnixSocket.withAddress(path) { Glibc.bind(descriptor, $0, $1) } == 0
    }

    /// Whether `path` is a socket that nobody listens on.
    private static func isAbandoned(_ path: String) throws(ByteStreamError) -> Bool {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return false }
        let probe = try UnixSocket.make()
        defer { close(probe) }
        return try UnixSocket.withAddress(path) { Glibc.connect(probe, $0, $1) } != 0
            && errno == ECONNREFUSED
    }

    /// The next connection.
    ///
    /// - Throws: `timedOut` when nobody connects in time.
    public func accept(timeout: Duration) async throws(ByteStreamError) -> any ByteStream {
        guard
            await TCP.isReady(
                descriptor, for: EPOLLIN.rawValue, within: timeout, reactor: reactor)
        else { throw .timedOut }
        let connection = Glibc.accept(descriptor, nil, nil)
        guard connection >= 0 else { throw SerialLine.failure(path) }
        _ = fcntl(connection, F_SETFL, O_NONBLOCK)
        _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
        return try DescriptorStream(
            descriptor: connection, name: path, isTerminal: false, reactor: reactor)
    }
}
