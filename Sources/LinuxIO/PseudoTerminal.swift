import CSystemShims
import Glibc
import HostIO

/// A pseudo-terminal that other programs open like a serial port; this program has the other end.
///
/// A pseudo-terminal has no modem lines and no rate; clients that set RTS on it get an error from
/// the kernel.
public final class PseudoTerminal: Sendable {
    /// The device node that a client opens.
    public let path: String
    /// What clients write and read. It stays open when a client leaves.
    public let stream: any ByteStream
    private let slave: Int32
    private let link: String?

    /// Opens a pseudo-terminal in raw mode.
    ///
    /// - Parameter link: a symbolic link to create for the node, replacing an earlier link.
    /// - Throws: `system` with the error of the call that failed.
    public init(link: String? = nil, reactor: EpollReactor) throws(ByteStreamError) {
        var name = [CChar](repeating: 0, count: 128)
        let master = berek_pty_open(&name, name.count)
        guard master >= 0 else { throw SerialLine.failure("posix_openpt") }
        let node = String(
            decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        // An open slave keeps the master usable between clients, and holds the raw settings.
        let slave = Glibc.open(node, O_RDWR | O_NOCTTY | O_CLOEXEC)
        var settings = termios()
        guard slave >= 0, tcgetattr(slave, &settings) == 0 else {
            let error = SerialLine.failure(node)
            Glibc.close(master)
            throw error
        }
        cfmakeraw(&settings)
        _ = tcsetattr(slave, TCSANOW, &settings)
        do throws(ByteStreamError) {
            if let link {
                Self.removeLink(link)
                guard symlink(node, link) == 0 else { throw SerialLine.failure(link) }
            }
        } catch {
            Glibc.close(slave)
            Glibc.close(master)
            throw error
        }
        do throws(ByteStreamError) {
            stream = try DescriptorStream(
                descriptor: master, name: node, isTerminal: true, reactor: reactor)
        } catch {
            if let link { Self.removeLink(link) }
            Glibc.close(slave)
            throw error
        }
        path = node
        self.slave = slave
        self.link = link
    }

    deinit {
        if let link { Self.removeLink(link) }
        Glibc.close(slave)
    }

    /// Removes a symbolic link and nothing else.
    private static func removeLink(_ path: String) {
        var target = [CChar](repeating: 0, count: 1)
        if readlink(path, &target, 1) >= 0 { unlink(path) }
    }
}
