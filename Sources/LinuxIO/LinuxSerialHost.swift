import Glibc
import HostIO

/// The serial ports that Linux presents as `/dev/ttyACM*` and `/dev/ttyUSB*`.
public final class LinuxSerialHost: SerialHost {
    private let reactor: EpollReactor

    /// The serial ports of this machine, read and written on `reactor`.
    public init(reactor: EpollReactor) { self.reactor = reactor }

    /// The USB serial ports present, with what sysfs knows of the USB device behind each.
    public func ports() async -> [SerialPortSummary] {
        Sysfs.entries("/sys/class/tty")
            .filter { $0.hasPrefix("ttyACM") || $0.hasPrefix("ttyUSB") }
            .sorted()
            .map(Self.summary(of:))
    }

    private static func summary(of name: String) -> SerialPortSummary {
        let device = Sysfs.usbDevice(above: "/sys/class/tty/\(name)/device")
        func attribute(_ file: String) -> String? {
            device.flatMap { Sysfs.read("\($0)/\(file)") }
        }
        let path = "/dev/\(name)"
        return SerialPortSummary(
            path: path, vendorID: attribute("idVendor").flatMap { UInt16($0, radix: 16) },
            productID: attribute("idProduct").flatMap { UInt16($0, radix: 16) },
            manufacturer: attribute("manufacturer"), product: attribute("product"),
            serial: attribute("serial"), isAccessible: access(path, R_OK | W_OK) == 0)
    }

    /// Opens a port in raw mode with exclusive access.
    public func open(
        path: String, settings: SerialSettings
    ) async throws(ByteStreamError) -> any SerialPort {
        let descriptor = Glibc.open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw SerialLine.failure(path) }
        do throws(ByteStreamError) {
            guard ioctl(descriptor, UInt(TIOCEXCL)) == 0 else { throw SerialLine.failure(path) }
            try SerialLine.configure(descriptor, name: path, settings)
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        return try DescriptorStream(
            descriptor: descriptor, name: path, isTerminal: true, reactor: reactor)
    }
}

/// Reading of small text files under /sys.
enum Sysfs {
    /// The names in a directory, in the order the system gives them; empty when there is none.
    static func entries(_ path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var result: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { result.append(name) }
        }
        return result
    }

    /// The first line of a file without its newline; `nil` when it can not be read.
    static func read(_ path: String) -> String? {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { Glibc.close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return nil }
        let line = buffer[..<count].prefix { $0 != UInt8(ascii: "\n") }
        return String(decoding: line, as: UTF8.self)
    }

    /// The path with every symbolic link followed; `nil` when there is no such file.
    static func resolved(_ path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    /// The nearest folder above `path` that describes a USB device.
    static func usbDevice(above path: String) -> String? {
        guard var folder = resolved(path) else { return nil }
        while folder.count > 1 {
            if access("\(folder)/idVendor", R_OK) == 0 { return folder }
            guard let slash = folder.lastIndex(of: "/") else { return nil }
            folder = String(folder[..<slash])
        }
        return nil
    }
}
