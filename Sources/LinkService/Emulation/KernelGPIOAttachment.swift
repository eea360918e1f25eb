import Emulated
import Glibc
import HostIO
import LinuxIO

/// Emulated GPIO lines behind the chip of the kernel module `gpio_emu`, as long as this lives.
public final class KernelGPIOAttachment: @unchecked Sendable {
    // @unchecked: immutable; the descriptor is read on the reactor and written under the lock of
    // the bench.
    private let descriptor: Int32
    private let front: KernelGPIOFront
    private let reactor: EpollReactor

    /// The node that the module makes.
    public static let defaultPath = "/dev/gpio_emu"

    /// Puts the lines of `chip` behind the chip whose far side is at `path`.
    ///
    /// - Throws: `ByteStreamError` when the node can not be opened, or the bench has no such chip.
    public init(
        host: EmulatedGPIOHost, chip: String, path: String = KernelGPIOAttachment.defaultPath,
        reactor: EpollReactor
    ) throws(ByteStreamError) {
        let descriptor = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            switch errno {
            case ENOENT: throw .notFound("\(path); the module gpio_emu is not loaded")
            case EACCES, EPERM: throw .accessDenied(path)
            default:
                throw .system(code: errno, message: "\(path): \(String(cString: strerror(errno)))")
            }
        }
        let front = KernelGPIOFront(host: host, chip: chip) { bytes in
            // The module takes every whole record at once; it refuses only lines it has not got.
            _ = write(descriptor, bytes, bytes.count)
        }
        guard let front else {
            close(descriptor)
            throw .notFound("chip \(chip) on the emulated bench")
        }
        self.descriptor = descriptor
        self.front = front
        self.reactor = reactor
        try reactor.watchInput(descriptor) {
            var bytes = [UInt8](repeating: 0, count: 64 * KernelGPIOFront.recordSize)
            while true {
                let count = read(descriptor, &bytes, bytes.count)
                guard count > 0 else { return }
                front.receive(Array(bytes[..<count]))
            }
        }
    }

    /// How often the kernel had no room for what a consumer did.
    public var missingRecords: Int { front.missingRecords }

    deinit {
        reactor.unwatch(descriptor)
        close(descriptor)
    }
}
