import HostIO

/// Why a device could not be attached to this machine, or detached from it.
public enum VHCIError: Error, Hashable, Sendable {
    /// The module of the virtual host controller is not loaded: there is no such folder.
    case notLoaded(folder: String)
    /// The user may not write this file.
    case accessDenied(file: String)
    /// Every port of the hub that carries devices of this speed is in use.
    case noFreePort(USBSpeed)
    /// Nothing is attached to this port.
    case notAttached(port: Int)
    /// The kernel's list of ports has a line that is not understood.
    case unexpectedStatus(file: String, line: String)
    /// The server does not give the device away, with its status code.
    case importRefused(busID: String, status: UInt32)
    /// The server's answer is not one of USB/IP 1.1.1.
    case unexpectedAnswer(expected: String, found: String)
    /// The connection to the server failed.
    case stream(ByteStreamError)
    /// The kernel refused a write or a socket.
    case system(code: Int32, message: String)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .notLoaded: "BRK-VHC-001"
        case .accessDenied: "BRK-VHC-002"
        case .noFreePort: "BRK-VHC-003"
        case .notAttached: "BRK-VHC-004"
        case .unexpectedStatus: "BRK-VHC-005"
        case .importRefused: "BRK-VHC-006"
        case .unexpectedAnswer: "BRK-VHC-007"
        case .stream(let error): error.code
        case .system: "BRK-VHC-008"
        }
    }
}

extension VHCIError: CustomStringConvertible {
    /// What happened, and what to do next.
    public var description: String {
        switch self {
        case .notLoaded(let folder):
            "there is no \(folder): load the module as root with 'modprobe vhci-hcd'; a kernel "
                + "without it needs the package with the extra modules"
        case .accessDenied(let file):
            "no permission to write \(file): run the command as root, for example with sudo"
        case .noFreePort(let speed):
            "no free port for a device of \(speed.rawValue) speed: detach one first"
        case .notAttached(let port):
            "nothing is attached to port \(port): list the ports that are in use"
        case .unexpectedStatus(let file, let line):
            "expected hub, port, status, speed, device, socket and bus identifier in \(file), "
                + "found '\(line)'"
        case .importRefused(let busID, let status):
            "the server refused device \(busID): \(Self.meaning(of: status)) (status \(status))"
        case .unexpectedAnswer(let expected, let found):
            "expected \(expected) from a USB/IP server, found \(found): check address and port"
        case .stream(let error): "connection to the USB/IP server: \(error)"
        case .system(let code, let message): "\(message) (code \(code))"
        }
    }

    /// The status codes of the usbip tools.
    private static func meaning(of status: UInt32) -> String {
        switch status {
        case 2: "it is in use; detach it there first"
        case 3: "it is in an error state"
        case 4: "there is none; list the devices of the server"
        default: "it is not available"
        }
    }
}
