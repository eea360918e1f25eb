import Glibc

/// Which server each port of the virtual host controller got its device from.
///
/// The kernel does not say. The usbip tool writes a file `port<N>` with address, TCP port and bus
/// identifier to `/var/run/vhci_hcd`; the same files are kept here, so that either program shows and
/// detaches what the other attached (Linux, tools/usb/usbip/src/usbip_attach.c).
public struct VHCIRecords: Sendable {
    /// Where a device came from.
    public struct Origin: Hashable, Sendable {
        /// The address of the server.
        public var address: String
        /// The TCP port of the server.
        public var tcpPort: String
        /// The name of the device at the server.
        public var busID: String
        /// A device of a server.
        public init(address: String, tcpPort: UInt16, busID: String) {
            self.address = address
            self.tcpPort = String(tcpPort)
            self.busID = busID
        }
    }

    private let folder: String

    /// The records of this machine.
    ///
    /// - Parameter folder: another folder in tests.
    public init(folder: String = "/var/run/vhci_hcd") { self.folder = folder }

    /// Notes where the device at `port` came from. Returns false when the folder can not be written,
    /// which costs only the name.
    @discardableResult
    public func note(_ origin: Origin, port: Int) -> Bool {
        mkdir(folder, 0o700)
        let descriptor = open(
            path(port), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let line = Array("\(origin.address) \(origin.tcpPort) \(origin.busID)\n".utf8)
        return write(descriptor, line, line.count) == line.count
    }

    /// Where the device at `port` came from, if somebody noted it.
    public func origin(port: Int) -> Origin? {
        let descriptor = open(path(port), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return nil }
        let words = String(decoding: bytes[..<count], as: UTF8.self)
            .split(whereSeparator: \.isWhitespace)
        guard words.count == 3, let tcpPort = UInt16(words[1]) else { return nil }
        return Origin(address: String(words[0]), tcpPort: tcpPort, busID: String(words[2]))
    }

    /// Forgets the device at `port`.
    public func forget(port: Int) { unlink(path(port)) }

    private func path(_ port: Int) -> String { "\(folder)/port\(port)" }
}
