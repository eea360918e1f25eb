/// How commands are framed.
public enum DialectStyle: String, CaseIterable, Hashable, Sendable {
    /// Length, opcode, arguments, check sum.
    case lengthOpcodePacket = "length_opcode_packet"
    /// Thorlabs APT: a six-byte header, optionally followed by data.
    case aptFrames = "apt_frames"
    /// Lines of ASCII text.
    case textLines = "text_lines"
    /// A register number and a value, read or written, in a packet of fixed length.
    case registerPacket = "register_packet"
    /// LabJack's packets with two check sums.
    case labJackPacket = "labjack_packet"
    /// Thorlabs Elliptec: address digit, two letters, hexadecimal data.
    case elliptecText = "elliptec_text"
    /// Numbered reports of the USB human interface class.
    case hidReport = "hid_report"
}

/// Whether the case of letters matters in commands.
public enum LetterCase: String, CaseIterable, Hashable, Sendable {
    /// It does.
    case sensitive
    /// It does not.
    case insensitive
}

/// The check sum at the end of a packet.
public enum PacketChecksum: String, CaseIterable, Hashable, Sendable {
    /// None.
    case none
    /// The sum of all bytes before it, modulo 256.
    case sum8
}

/// The command language of a device.
public struct Dialect: Sendable {
    /// How commands are framed.
    public let style: DialectStyle
    /// What the host puts after a command that sets something.
    public let commandTerminator: String?
    /// What the host puts after a query; nil when it is the same as for commands.
    public let queryTerminator: String?
    /// Every text the device accepts as the end of a command.
    public let acceptedTerminators: [String]
    /// What the device puts at the end of each line of a reply.
    public let replyTerminator: String?
    /// What stands between several commands in one line.
    public let separator: String?
    /// Whether the case of letters matters.
    public let letterCase: LetterCase
    /// The check sum of a packet.
    public let checksum: PacketChecksum
    /// Whether a second command may be sent before the first was answered.
    public let pipelining: Bool
    /// How long to wait for a reply unless the command states otherwise.
    public let replyTimeoutMilliseconds: Double
    /// The shortest time between two commands.
    public let minGapMilliseconds: Double?
    /// How often the host must show that it is alive.
    public let keepaliveMilliseconds: Double?
    /// The command to do so with.
    public let keepaliveCommand: String?
    /// The line that ends every reply of a command that succeeded; nil when nothing marks the end.
    public let completionReply: String?
    /// Replies that mean that a command failed.
    public let errorReplies: [TextPattern]
    /// The commands by name.
    public let commands: NamedTable<Command>
    /// Messages the device sends on its own or as a later answer: name to message number.
    public let messages: NamedTable<Message>
    /// Lines of text that the device prints unasked, by name.
    public let lines: NamedTable<PrintedLine>
    /// Numbers of the protocol by name, such as addresses and selectors.
    public let constants: NamedTable<Int>
    /// Bits of the status word by name.
    public let statusBits: NamedTable<Int>
}

/// A line of text that a device prints by itself, with at most one value in it.
public struct PrintedLine: Hashable, Sendable {
    /// What stands before the value, or the whole line.
    public let before: String
    /// What stands after the value; nil when the line carries none.
    public let after: String?

    /// The value `line` carries, empty for a line without; nil when it is another line.
    public func value(in line: some StringProtocol) -> String? {
        guard let after else { return line == before ? "" : nil }
        guard line.utf8.count >= before.utf8.count + after.utf8.count, line.hasPrefix(before),
            line.hasSuffix(after)
        else { return nil }
        return String(line.dropFirst(before.count).dropLast(after.count))
    }

    /// The line with `value` in its place.
    public func text(_ value: String = "") -> String {
        after.map { before + value + $0 } ?? before
    }
}

/// A message from the device.
public struct Message: Hashable, Sendable {
    /// The message number; of an Elliptec message its two characters, the first in the high byte.
    public let opcode: UInt16
    /// Bytes of data after the header; zero for a header alone.
    public let dataBytes: Int
    /// What the data hold.
    public let fields: NamedFields
}

/// The fields of a message; a hashable face of `NamedTable`.
public struct NamedFields: Hashable, Sendable {
    /// Names in file order.
    public let names: [String]
    /// Fields in file order.
    public let fields: [DataField]
    /// The field `name`, or nil when there is none.
    public subscript(name: String) -> DataField? {
        names.firstIndex(of: name).map { fields[$0] }
    }
}

/// One command.
public struct Command: Sendable {
    /// The number of the command, for binary languages.
    public let opcode: UInt16?
    /// The text of the command with `{argument}` placeholders, for text languages.
    public let template: String?
    /// The arguments in the order they are sent.
    public let arguments: NamedTable<Argument>
    /// Bytes of data after the header of an APT frame or a LabJack packet; zero for APT frames that
    /// are a header alone, and for LabJack's IOTypes, which are part of the data of a packet.
    public let dataBytes: Int
    /// What comes back.
    public let reply: Reply
    /// How long to wait for the reply; nil for the value of the dialect.
    public let timeoutMilliseconds: Double?
    /// How long the device needs before the effect can be relied upon.
    public let settleMilliseconds: Double?
}

/// How a value is put into bytes or text.
public enum ValueEncoding: String, CaseIterable, Hashable, Sendable {
    /// One byte.
    case u8
    /// Two bytes without sign, low byte first.
    case u16le
    /// Four bytes without sign, low byte first.
    case u32le
    /// Two bytes in two's complement, low byte first.
    case i16le
    /// Four bytes in two's complement, low byte first.
    case i32le
    /// Text of fixed length, padded with spaces or zeros.
    case ascii
    /// Decimal digits without fraction.
    case integer
    /// Decimal digits with optional fraction.
    case decimal
    /// One hexadecimal digit.
    case hex1
    /// Two hexadecimal digits.
    case hex2
    /// Four hexadecimal digits.
    case hex4
    /// Eight hexadecimal digits.
    case hex8
    /// Four hexadecimal digits in two's complement.
    case signedHex4 = "signed_hex4"
    /// Eight hexadecimal digits in two's complement.
    case signedHex8 = "signed_hex8"

    /// The number of bytes of a binary encoding; nil for text.
    public var fixedBytes: Int? {
        switch self {
        case .u8: 1
        case .u16le, .i16le: 2
        case .u32le, .i32le: 4
        case .ascii, .integer, .decimal, .hex1, .hex2, .hex4, .hex8, .signedHex4, .signedHex8: nil
        }
    }

    /// The number of characters of a hexadecimal encoding; nil for every other.
    public var hexDigits: Int? {
        switch self {
        case .hex1: 1
        case .hex2: 2
        case .hex4, .signedHex4: 4
        case .hex8, .signedHex8: 8
        case .u8, .u16le, .i16le, .u32le, .i32le, .ascii, .integer, .decimal: nil
        }
    }

    /// Whether the encoding is two's complement.
    public var isSigned: Bool {
        switch self {
        case .i16le, .i32le, .signedHex4, .signedHex8: true
        case .u8, .u16le, .u32le, .ascii, .integer, .decimal, .hex1, .hex2, .hex4, .hex8: false
        }
    }
}

/// One argument of a command.
public struct Argument: Hashable, Sendable {
    /// How the value is written.
    public let encoding: ValueEncoding
    /// The smallest value the device takes.
    public let min: Double
    /// The largest value the device takes.
    public let max: Double
    /// The distance of settings; nil for any value the encoding can hold.
    public let step: Double?
    /// The unit of the value.
    public let unit: Unit
    /// Offset in the data of a binary command; nil when arguments follow one another.
    public let offset: Int?
    /// The lowest bit within a word shared with the other arguments that state bits.
    public let lowBit: Int?
    /// The highest bit within that word, included.
    public let highBit: Int?
}

/// The shape of a reply.
public enum ReplyShape: String, CaseIterable, Hashable, Sendable {
    /// Nothing comes back.
    case none
    /// A number of bytes.
    case bytes
    /// One line of text.
    case line
    /// Lines of text until the completion reply of the dialect, or until the device falls silent.
    case lines
    /// A stream of event records.
    case stream
    /// A message of the dialect's list.
    case message
}

/// What comes back after a command.
public struct Reply: Hashable, Sendable {
    /// The shape.
    public let shape: ReplyShape
    /// The number of bytes; nil unless the shape has a fixed length.
    public let bytes: Int?
    /// The name of the message; nil unless the shape is a message.
    public let message: String?
    /// How numbers in a line are written.
    public let encoding: ValueEncoding?
    /// How many numbers a line holds.
    public let values: Int?
    /// The unit of those numbers.
    public let unit: Unit?

    /// No reply.
    static let none = Reply(
        shape: .none, bytes: nil, message: nil, encoding: nil, values: nil, unit: nil)
}

/// One step of a sequence.
public enum SequenceStep: Hashable, Sendable {
    /// Send a command; values are in the order of the command's arguments.
    case command(String, values: [Double])
    /// Wait, in milliseconds.
    case wait(milliseconds: Double)
    /// Submit the reads of the event stream.
    case startReading
    /// Cancel the reads of the event stream.
    case stopReading
    /// Drive a GPIO line by role to its active (true) or inactive (false) state.
    case line(String, active: Bool)
}
