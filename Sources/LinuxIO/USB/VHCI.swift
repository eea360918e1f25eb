import Glibc
import HostIO

/// One port of the virtual host controller.
public struct VHCIPort: Hashable, Sendable {
    /// Which of the two hubs of a controller a port belongs to.
    public enum Hub: String, Hashable, Sendable {
        /// Low, full and high speed.
        case high = "hs"
        /// 5 Gbit/s and faster.
        case superSpeed = "ss"
    }

    /// What a port does (`enum usbip_device_status` of Linux).
    public enum State: Hashable, Sendable {
        /// Nothing is attached.
        case free
        /// A device is attached and has no address yet.
        case enumerating
        /// A device is attached and in use.
        case used
        /// The connection failed; the port is being cleared.
        case failed
    }

    /// Its number, counted over all controllers.
    public var number: Int
    /// The hub.
    public var hub: Hub
    /// What it does.
    public var state: State
    /// The speed code of the attached device, 0 without one.
    public var speedCode: Int
    /// Bus and device number of the attached device at its server, 0 without one.
    public var deviceID: UInt32
    /// The name the kernel gave the attached device, such as `3-1`; `0-0` without one.
    public var localBusID: String
}

/// The virtual USB host controller of Linux (module vhci-hcd), driven through sysfs.
///
/// Attaching hands the kernel a connected stream socket whose other end speaks USB/IP; from then on
/// the device is one of this machine, for every program. Attaching and detaching need root, listing
/// does not.
///
/// Source: Linux, drivers/usb/usbip/vhci_sysfs.c.
public struct VHCI: Sendable {
    /// The folder of the first controller, which has the files for all of them.
    private let folder: String

    /// The controller of this machine.
    ///
    /// - Parameter platform: the folder of platform devices; another one in tests.
    public init(platform: String = "/sys/devices/platform") {
        folder = "\(platform)/vhci_hcd.0"
    }

    // MARK: - Ports

    /// All ports, in order.
    ///
    /// - Throws: `notLoaded` without the module, `unexpectedStatus` when a line is not understood.
    public func ports() throws(VHCIError) -> [VHCIPort] {
        guard access(folder, F_OK) == 0 else { throw .notLoaded(folder: folder) }
        var ports: [VHCIPort] = []
        // The first controller's file has no number; each further one has its own.
        for controller in 0..<Self.controllers {
            let file = "\(folder)/status" + (controller == 0 ? "" : ".\(controller)")
            guard let text = Self.read(file) else { break }
            for line in text.split(separator: "\n").dropFirst() {
                ports.append(try Self.port(line, file: file))
            }
        }
        return ports
    }

    /// The ports that a device is attached to.
    public func attached() throws(VHCIError) -> [VHCIPort] {
        try ports().filter { $0.state == .used || $0.state == .enumerating }
    }

    /// The largest number of controllers Linux can be built with (CONFIG_USBIP_VHCI_NR_HCS).
    private static let controllers = 128

    /// A line such as `hs  0003 006 002 00010002 000005 3-4`.
    private static func port(_ line: Substring, file: String) throws(VHCIError) -> VHCIPort {
        let fields = line.split(separator: " ")
        guard fields.count == 7, let hub = VHCIPort.Hub(rawValue: String(fields[0])),
            let number = Int(fields[1]), let state = state(fields[2]), let speed = Int(fields[3]),
            let device = UInt32(fields[4], radix: 16)
        else { throw .unexpectedStatus(file: file, line: String(line)) }
        return VHCIPort(
            number: number, hub: hub, state: state, speedCode: speed, deviceID: device,
            localBusID: String(fields[6]))
    }

    private static func state(_ code: Substring) -> VHCIPort.State? {
        switch Int(code) {
        case 4: .free
        case 5: .enumerating
        case 6: .used
        case 7: .failed
        default: nil
        }
    }

    /// A whole file of sysfs; it has at most a page.
    private static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        var count = 0
        while count < buffer.count {
            let room = buffer.count - count
            let received = buffer.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress.map { $0 + count }, room)
            }
            guard received > 0 else { break }
            count += received
        }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    // MARK: - Attaching

    /// Hands a connected stream socket to the kernel, which takes its own reference: the caller
    /// closes `descriptor` afterwards.
    ///
    /// - Parameters:
    ///   - descriptor: a socket of type SOCK_STREAM; a Unix socket pair will do.
    ///   - deviceID: bus and device number of the device at its server.
    ///   - speed: its speed, which decides the hub.
    /// - Returns: the number of the port it is attached to.
    /// - Throws: `notLoaded`, `accessDenied`, `noFreePort`, or `system` when the kernel refuses the
    ///   socket.
    public func attach(
        descriptor: Int32, deviceID: UInt32, speed: USBSpeed
    ) throws(VHCIError) -> Int {
        let hub: VHCIPort.Hub = speed == .superSpeed ? .superSpeed : .high
        let free = try ports().filter { $0.hub == hub && $0.state == .free }
        for port in free {
            let line = "\(port.number) \(descriptor) \(deviceID) \(Self.code(of: speed))"
            do throws(VHCIError) {
                try write(line, to: "attach")
                return port.number
            } catch .system(EBUSY, _) {
                // Another program took the port since the list was read.
                continue
            }
        }
        throw .noFreePort(speed)
    }

    /// Takes the device off a port; the kernel closes its socket.
    ///
    /// - Throws: `notLoaded`, `accessDenied`, `notAttached`.
    public func detach(port: Int) throws(VHCIError) {
        guard try attached().contains(where: { $0.number == port }) else {
            throw .notAttached(port: port)
        }
        do throws(VHCIError) {
            try write("\(port)", to: "detach")
        } catch .system(EINVAL, _) {
            throw .notAttached(port: port)
        }
    }

    /// The codes of `enum usb_device_speed`.
    private static func code(of speed: USBSpeed) -> Int {
        switch speed {
        case .low: 1
        case .full: 2
        case .high: 3
        case .superSpeed: 5
        }
    }

    /// Writes one line in one call, as attributes of sysfs want it.
    private func write(_ line: String, to attribute: String) throws(VHCIError) {
        let file = "\(folder)/\(attribute)"
        let descriptor = open(file, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.failure(file) }
        defer { close(descriptor) }
        let bytes = Array(line.utf8)
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw Self.failure(file)
        }
    }

    private static func failure(_ file: String) -> VHCIError {
        let code = errno
        switch code {
        case EACCES, EPERM, EROFS: return .accessDenied(file: file)
        case ENOENT: return .notLoaded(folder: file)
        default: return .system(code: code, message: "\(file): \(String(cString: strerror(code)))")
        }
    }
}
