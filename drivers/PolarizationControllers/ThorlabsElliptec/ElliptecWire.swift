import DeviceProfiles
import Instruments

/// One message of an Elliptec module.
package struct ElliptecFrame: Hashable, Sendable {
    /// Who sent it, 0 to 15.
    package var address: UInt8
    /// The two characters after the address, the first in the high byte.
    package var message: UInt16
    /// The characters of the data.
    package var data: [UInt8]

    package init(address: UInt8, message: UInt16, data: [UInt8]) {
        self.address = address
        self.message = message
        self.data = data
    }
}

/// What the line brought: a message, or something that is none.
package enum ElliptecArrival: Hashable, Sendable {
    /// A message of the profile, of the right length.
    case frame(ElliptecFrame)
    /// A line that is no message; damaged, as a rule.
    case garbled(String)
}

/// Who a module says it is.
package struct ElliptecInformation: Hashable, Sendable {
    /// The type, which is the number in the name of the model.
    package var type: Int
    /// The serial number.
    package var serial: String
    /// Major and minor firmware release.
    package var firmware: String
    /// The travel in degrees.
    package var travel: Int
    /// The counts of a revolution, or of the range of a potentiometer.
    package var pulses: Int
}

/// Packets of the Thorlabs Elliptec line. Pure encoding and decoding; numbers come from the profile.
///
/// Source: Thorlabs, "ELLx modules protocol manual", Issue 10, October 2025, sections 3 to 5: address
/// digit, two characters, hexadecimal data whose length follows from the characters.
package struct ElliptecWire: Sendable {
    private let dialect: Dialect
    private let identification: NamedTable<DataField>

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        dialect = try profile.requireDialect()
        guard let fields = profile.identification?.fields else {
            throw MissingProfileField(profile: profile.id, path: "identification.fields")
        }
        identification = fields
    }

    /// The bytes of a command of the profile to the module at `address`, 0 to 15.
    package func packet(
        _ command: Command, _ values: [Double] = [], to address: UInt8
    ) throws(CommandEncodingError) -> [UInt8] {
        let digit = String(address & 15, radix: 16, uppercase: true)
        let text = try command.text(values)
        return Array((digit + text + (dialect.commandTerminator ?? "")).utf8)
    }

    /// What finds the messages of the profile in a stream of bytes.
    package func unpacker() -> ElliptecUnpacker {
        ElliptecUnpacker(dialect.messages.entries.map(\.value))
    }

    /// The name the profile gives a message.
    package func name(of frame: ElliptecFrame) -> String? {
        dialect.messages.entries.first { $0.value.opcode == frame.message }?.name
    }

    /// The number in the field `field` of a message, or nil when it has no such field.
    package func number(_ field: String, in frame: ElliptecFrame) -> Int64? {
        let message = dialect.messages.entries.first { $0.value.opcode == frame.message }
        return message?.value.fields[field]?.number(in: frame.data)
    }

    /// The identity in the data of the reply to `identify`, or nil when a field is not readable.
    package func information(in data: [UInt8]) -> ElliptecInformation? {
        func number(_ name: String) -> Int? { identification[name]?.number(in: data).map(Int.init) }
        guard let type = number("type"), let serial = identification["serial"]?.string(in: data),
            let major = number("firmware_major"), let minor = number("firmware_minor"),
            let travel = number("travel"), let pulses = number("pulses")
        else { return nil }
        return ElliptecInformation(
            type: type, serial: serial, firmware: "\(major).\(minor)", travel: travel,
            pulses: pulses)
    }
}

/// Cuts a stream of bytes into messages.
///
/// A return or a line feed ends a line, so that a lost one costs nothing; a line must then be a known
/// message of exactly its length, or it is reported as garbled. A lost or added character is noticed
/// because lengths are fixed.
package struct ElliptecUnpacker: Sendable {
    private let messages: [UInt16: Message]
    private var line: [UInt8] = []
    private var isTooLong = false

    /// Longer than any message of the protocol but the current curves, which are not asked for.
    private static let longestLine = 64

    init(_ messages: [Message]) {
        self.messages = Dictionary(messages.map { ($0.opcode, $0) }) { first, _ in first }
    }

    /// Adds received bytes and takes out what is complete.
    package mutating func take(_ bytes: [UInt8]) -> [ElliptecArrival] {
        var arrivals: [ElliptecArrival] = []
        for byte in bytes {
            if byte == 0x0D || byte == 0x0A {
                if !line.isEmpty { arrivals.append(parse()) }
                line.removeAll(keepingCapacity: true)
                isTooLong = false
            } else if line.count < Self.longestLine {
                line.append(byte)
            } else {
                isTooLong = true
            }
        }
        return arrivals
    }

    private func parse() -> ElliptecArrival {
        let garbled = ElliptecArrival.garbled(
            String(decoding: line.map { (0x20..<0x7F).contains($0) ? $0 : 0x3F }, as: UTF8.self))
        guard !isTooLong, line.count >= 3, line[0] < 0x80,
            let address = Character(Unicode.Scalar(line[0])).hexDigitValue
        else { return garbled }
        let code = UInt16(line[1]) << 8 | UInt16(line[2])
        let data = Array(line[3...])
        guard let message = messages[code], data.count == message.dataBytes,
            message.fields.fields.allSatisfy({ $0.number(in: data) != nil })
        else { return garbled }
        return .frame(ElliptecFrame(address: UInt8(address), message: code, data: data))
    }
}
