import HostIO
import Instruments
import Quantities

/// What passed between a driver and its instrument, from opening to closing.
///
/// `SessionRecorder` makes one, `SessionPlayer` plays the instrument's part of it to the same driver.
/// The text of a session is described in `drivers/README.md`.
package struct Session: Hashable, Sendable {
    /// What the driver reached its instrument through.
    package enum Route: Hashable, Sendable {
        /// A serial port, and the addresses of the units that share it.
        case port(addresses: [UInt8])
        /// A USB device.
        case usb(USBDeviceSummary)
        /// GPIO lines, by the part each plays.
        case lines(LineAssignment)
    }

    /// The identifier of the profile it was driven with.
    package var profile: String
    /// What it was recorded from, in words.
    package var source: String
    /// Whether that was a model of a device.
    package var isEmulated: Bool
    /// The serial number, or the name where there is none.
    package var serial: String
    /// The firmware that the instrument told; empty when it tells none.
    package var firmware: String
    /// The bias that a detector was armed with.
    package var bias: Volts?
    /// The way to the instrument.
    package var route: Route
    /// What happened, in the order in which it was asked for.
    package var events: [Event]

    /// One request of the host with what came of it, or something that arrived.
    package struct Event: Hashable, Sendable {
        /// When the request ended, or the bytes were taken, in nanoseconds since the first request.
        package var time: Int64
        /// Where: `port`, `device` or `control`, an endpoint in hexadecimal, or a GPIO line.
        package var channel: String
        /// The request; empty for what arrives.
        package var operation: String
        /// What the host sent.
        package var sent: [UInt8]?
        /// What the host received.
        package var received: [UInt8]?
        /// Why it failed.
        package var failure: String?

        /// Whether nobody asked for it by name: received bytes of a stream or of a queue, an edge.
        package var isArrival: Bool { operation.isEmpty }
    }
}

/// The first place where a replayed driver did something else than when it was recorded.
package struct SessionDifference: Error, Hashable, Sendable, CustomStringConvertible {
    /// The line of the session's text, counted from 1; the last one when the session ended there.
    package var line: Int
    /// What the driver did when it was recorded.
    package var expected: String
    /// What it did now.
    package var found: String
    /// A sentence for people.
    package var description: String { "line \(line): expected \(expected), found \(found)" }
}

// MARK: - Failures as text

extension USBTransferError {
    /// The failure as it stands in a session.
    var sessionText: String {
        switch self {
        case .cancelled: "cancelled"
        case .stall: "stall"
        case .disconnected: "disconnected"
        case .overflow: "overflow"
        case .timedOut(let transferred): "timed out after \(transferred)"
        case .accessDenied(let node): "access denied \(node)"
        case .busy(let holder): "busy \(holder)"
        case .notFound(let what): "not found \(what)"
        case .io: "io"
        case .system(let code, let message): "system \(code) \(message)"
        }
    }

    /// The failure that `sessionText` describes.
    init?(sessionText text: String) {
        switch text {
        case "cancelled": self = .cancelled
        case "stall": self = .stall
        case "disconnected": self = .disconnected
        case "overflow": self = .overflow
        case "io": self = .io
        default:
            if let rest = text.dropping("timed out after "), let count = Int(rest) {
                self = .timedOut(transferred: count)
            } else if let node = text.dropping("access denied ") {
                self = .accessDenied(node: node)
            } else if let holder = text.dropping("busy ") {
                self = .busy(holder: holder)
            } else if let what = text.dropping("not found ") {
                self = .notFound(what)
            } else if let (code, message) = text.systemError {
                self = .system(code: code, message: message)
            } else {
                return nil
            }
        }
    }
}

extension ByteStreamError {
    /// The failure as it stands in a session.
    var sessionText: String {
        switch self {
        case .closed: "closed"
        case .timedOut: "timed out"
        case .accessDenied(let name): "access denied \(name)"
        case .notFound(let name): "not found \(name)"
        case .busy(let name): "busy \(name)"
        case .lineError(let what): "line error \(what)"
        case .notSupported(let what): "not supported \(what)"
        case .usb(let error): "usb \(error.sessionText)"
        case .system(let code, let message): "system \(code) \(message)"
        }
    }

    /// The failure that `sessionText` describes.
    init?(sessionText text: String) {
        switch text {
        case "closed": self = .closed
        case "timed out": self = .timedOut
        default:
            if let name = text.dropping("access denied ") {
                self = .accessDenied(name)
            } else if let name = text.dropping("not found ") {
                self = .notFound(name)
            } else if let name = text.dropping("busy ") {
                self = .busy(name)
            } else if let what = text.dropping("line error ") {
                self = .lineError(what)
            } else if let what = text.dropping("not supported ") {
                self = .notSupported(what)
            } else if let rest = text.dropping("usb "),
                let error = USBTransferError(sessionText: rest)
            {
                self = .usb(error)
            } else if let (code, message) = text.systemError {
                self = .system(code: code, message: message)
            } else {
                return nil
            }
        }
    }
}

extension String {
    /// What follows `prefix`, or nil when the text does not begin with it.
    fileprivate func dropping(_ prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }

    fileprivate var systemError: (Int32, String)? {
        guard let rest = dropping("system ") else { return nil }
        let parts = rest.split(separator: " ", maxSplits: 1)
        guard let code = parts.first.flatMap({ Int32($0) }) else { return nil }
        return (code, parts.count > 1 ? String(parts[1]) : "")
    }
}
