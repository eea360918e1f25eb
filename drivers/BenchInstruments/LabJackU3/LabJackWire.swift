import DeviceProfiles
import Instruments

/// Packets of a LabJack U3. Pure encoding and decoding; numbers of commands and the places of their
/// arguments come from the profile.
///
/// An extended packet is a check sum of bytes 1 to 5, 0xF8, the number of 16-bit words of data, the
/// number of the command, a check sum of the data in two bytes, and the data. Both sums are one's
/// complement sums. Source: github.com/labjack/exodriver at 63f089a, `examples/U3/u3.c`; LabJack U3
/// user's guide, section 5.1.
package struct LabJackWire: Sendable {
    private static let extended: UInt8 = 0xF8
    private static let damaged: UInt8 = 0xB8
    private static let headerBytes = 6
    /// The longest packet, in bytes.
    package static let maxPacket = 64

    package init() {}

    /// The packet of a command with data of fixed length.
    package func packet(
        _ command: Command, _ values: [Double] = []
    ) throws(CommandEncodingError) -> [UInt8] {
        Self.packet(number: command, data: try command.argumentBytes(values))
    }

    /// An IOType and its arguments, for a feedback packet.
    package func part(
        _ command: Command, _ values: [Double] = []
    ) throws(CommandEncodingError) -> [UInt8] {
        [UInt8(truncatingIfNeeded: command.opcode ?? 0)] + (try command.argumentBytes(values))
    }

    /// The packet of several IOTypes, which the unit runs in this order; `echo` comes back with the
    /// reply. Together they must fit a packet.
    package func feedback(_ command: Command, echo: UInt8, parts: [[UInt8]]) -> [UInt8] {
        let packet = Self.packet(number: command, data: [echo] + parts.joined())
        precondition(packet.count <= Self.maxPacket, "the parts fit one packet")
        return packet
    }

    private static func packet(number command: Command, data: [UInt8]) -> [UInt8] {
        // The data are whole words.
        let data = data.count.isMultiple(of: 2) ? data : data + [0]
        let sum = data.reduce(UInt16(0)) { $0 &+ UInt16($1) }
        let header = [
            extended, UInt8(data.count / 2), UInt8(truncatingIfNeeded: command.opcode ?? 0),
            UInt8(truncatingIfNeeded: sum), UInt8(sum >> 8),
        ]
        return [foldedSum(header[...])] + header + data
    }

    /// The one's complement sum of `bytes` in eight bits.
    private static func foldedSum(_ bytes: ArraySlice<UInt8>) -> UInt8 {
        var sum = bytes.reduce(0) { $0 + Int($1) }
        while sum > 0xFF { sum = sum >> 8 + sum & 0xFF }
        return UInt8(sum)
    }

    /// The data of the reply to `command`.
    ///
    /// - Throws: `LabJackError` for a reply that is damaged, that belongs to another command, or by
    ///   which the unit refuses this one.
    package func reply(_ bytes: [UInt8], to command: Command) throws(LabJackError) -> [UInt8] {
        if bytes.count >= 2, bytes[0] == Self.damaged, bytes[1] == Self.damaged {
            throw .commandDamaged
        }
        guard bytes.count > Self.headerBytes, bytes[1] == Self.extended,
            Int(bytes[2]) * 2 + Self.headerBytes == bytes.count
        else { throw .malformed(Self.hexadecimal(bytes)) }
        let data = Array(bytes[Self.headerBytes...])
        let sum = data.reduce(0) { $0 + Int($1) }
        guard bytes[0] == Self.foldedSum(bytes[1..<Self.headerBytes]),
            Int(bytes[4]) | Int(bytes[5]) << 8 == sum
        else { throw .replyDamaged(Self.hexadecimal(bytes)) }
        guard UInt16(bytes[3]) == command.opcode else {
            throw .otherReply(expected: Int(command.opcode ?? 0), found: Int(bytes[3]))
        }
        guard data[0] == 0 else { throw .refused(code: Int(data[0]), part: nil) }
        return data
    }

    /// What the IOTypes of a feedback packet returned, one after the other.
    ///
    /// - Parameter count: the number of bytes they return.
    package func feedbackReply(
        _ bytes: [UInt8], to command: Command, echo: UInt8, count: Int
    ) throws(LabJackError) -> [UInt8] {
        let data: [UInt8]
        do throws(LabJackError) { data = try reply(bytes, to: command) } catch {
            // The unit counts the parts from 1.
            if case .refused(let code, _) = error, bytes.count > Self.headerBytes + 2 {
                guard bytes[Self.headerBytes + 2] == echo else { throw .staleEcho }
                throw .refused(code: code, part: Int(bytes[Self.headerBytes + 1]))
            }
            throw error
        }
        guard data.count > 2, data[2] == echo else { throw .staleEcho }
        let padding = (3 + count) % 2
        guard data.count == 3 + count + padding else { throw .malformed(Self.hexadecimal(bytes)) }
        return Array(data[3..<3 + count])
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        if bytes.isEmpty { return "nothing" }
        let digits = bytes.prefix(12).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return "\(bytes.count) bytes, " + digits.joined(separator: " ")
    }
}
