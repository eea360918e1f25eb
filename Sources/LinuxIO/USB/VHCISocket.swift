import Glibc
import HostIO

/// A stream socket that is to be handed to the kernel; closed when it goes out of use.
public struct VHCISocket: ~Copyable {
    /// The descriptor.
    public let descriptor: Int32

    /// Takes ownership of a connected stream socket.
    init(owning descriptor: Int32) {
        self.descriptor = descriptor
        // The kernel reads and writes by its own rules; a program given the descriptor would expect
        // it to block.
        let flags = fcntl(descriptor, F_GETFL)
        if flags >= 0 { _ = fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) }
    }

    deinit { close(descriptor) }

    /// Two connected sockets: one for the kernel, the other, as a stream, for a server in this
    /// process. Needs no network and no port.
    ///
    /// - Throws: `system` when the kernel has no descriptors left.
    public static func pair(
        reactor: EpollReactor
    ) throws(VHCIError) -> VHCISocketPair {
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else {
            throw .system(code: errno, message: "socketpair: \(String(cString: strerror(errno)))")
        }
        for end in ends { enlargeBuffers(of: end) }
        let kernel = VHCISocket(owning: ends[0])
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
        do throws(ByteStreamError) {
            let server = try DescriptorStream(
                descriptor: ends[1], name: "USB/IP socket pair", isTerminal: false,
                reactor: reactor)
            return VHCISocketPair(kernel: kernel, server: server)
        } catch { throw .stream(error) }
    }

    /// Room for a whole transfer, so that one call of the kernel moves it.
    private static func enlargeBuffers(of descriptor: Int32) {
        var size: Int32 = 1 << 20
        for option in [SO_SNDBUF, SO_RCVBUF] {
            setsockopt(
                descriptor, SOL_SOCKET, option, &size, socklen_t(MemoryLayout<Int32>.size))
        }
    }
}

/// Two connected sockets, one of them for the kernel.
public struct VHCISocketPair: ~Copyable {
    /// The end to hand to the kernel.
    public let kernel: VHCISocket
    /// The end for a USB/IP server in this process.
    public let server: any ByteStream
}
