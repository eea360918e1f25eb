import DeviceProfiles
import HostIO
import Quantities

/// The receiving side of an Elliptec line: finds out where a command ends and which one it is.
///
/// A command has no end of its own; its two characters tell how many digits follow. A return or line
/// feed clears what was cut off, as does a pause longer than the profile states (protocol manual,
/// section 3).
struct ElliptecReceiver {
    /// What the modules take from the line.
    enum Event: Hashable {
        /// A complete command; `name` is nil when the profile has none with these characters, and
        /// `argument` when the digits are none.
        case command(address: UInt8, name: String?, argument: UInt32?)
        /// A command stopped in the middle.
        case pause(address: UInt8)
    }

    private struct Shape {
        var name: String
        var digits: Int
    }

    private let shapes: [String: Shape]
    private let longestPause: Duration
    private var buffer: [UInt8] = []
    private var lastByte = HostInstant.zero

    init(profile: DeviceProfile) throws(MissingProfileField) {
        longestPause = try profile.duration("character_timeout_ms")
        var shapes: [String: Shape] = [:]
        for (name, command) in try profile.requireDialect().commands.entries {
            let letters = String((command.template ?? "").prefix(2))
            let digits = command.arguments.entries.reduce(0) {
                $0 + ($1.value.encoding.hexDigits ?? 0)
            }
            shapes[letters] = Shape(name: name, digits: digits)
        }
        self.shapes = shapes
    }

    /// What `bytes` complete, in order.
    mutating func receive(_ bytes: [UInt8], at now: HostInstant) -> [Event] {
        var events: [Event] = []
        for byte in bytes {
            if let first = buffer.first, now > lastByte + longestPause {
                events.append(.pause(address: Self.digit(first) ?? 0))
                buffer = []
            }
            lastByte = now
            if byte == 0x0D || byte == 0x0A {
                buffer = []
            } else if buffer.isEmpty {
                // Addresses are written with capitals.
                if Self.digit(byte) != nil, byte < 0x61 { buffer.append(byte) }
            } else {
                buffer.append(byte)
                if let event = complete() {
                    events.append(event)
                    buffer = []
                }
            }
        }
        return events
    }

    private func complete() -> Event? {
        guard buffer.count >= 3, let address = Self.digit(buffer[0]) else { return nil }
        let letters = String(decoding: buffer[1...2], as: UTF8.self)
        guard let shape = shapes[letters] else {
            return .command(address: address, name: nil, argument: nil)
        }
        let data = buffer[3...]
        guard data.allSatisfy({ Self.digit($0) != nil }) else {
            return .command(address: address, name: shape.name, argument: nil)
        }
        guard data.count == shape.digits else { return nil }
        let value = data.reduce(UInt32(0)) { $0 << 4 | UInt32(Self.digit($1) ?? 0) }
        return .command(address: address, name: shape.name, argument: value)
    }

    /// The value of a hexadecimal digit of either case.
    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }
}
