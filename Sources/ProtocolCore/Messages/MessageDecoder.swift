/// The header of every message.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | magic, the letters `BERK` |
/// | 4 | 1 | version of the format, 2 |
/// | 5 | 1 | message type |
/// | 6 | 2 | zero |
/// | 8 | 8 | session, zero in `hello` |
/// | 16 | 8 | sequence number of the direction, from 0 |
/// | 24 | 4 | payload length |
public struct FrameHeader: Hashable, Sendable {
    /// The first four bytes of every message.
    public static let magic: [UInt8] = Array("BERK".utf8)
    /// The version of the format.
    public static let version: UInt8 = 2
    /// The length of the header in bytes.
    public static let size = 28

    /// The kind of the message.
    public var type: MessageType
    /// The session that the message belongs to.
    public var session: UInt64
    /// The number of the message in its direction.
    public var sequence: UInt64
    /// The length of the payload in bytes.
    public var payloadLength: Int

    /// Reads a header from `FrameHeader.size` bytes.
    init(from reader: inout ByteReader) throws(MessageError) {
        let magic = try reader.take(4, "magic")
        guard magic == Self.magic else {
            throw reader.refusal("magic", size: 4, expected: "\(Self.magic)", found: magic)
        }
        _ = try reader.integer("version", in: Self.version...Self.version)
        let number = try reader.integer(UInt8.self, "type")
        guard let type = MessageType(rawValue: number) else {
            let known = MessageType.allCases.map(\.rawValue).max() ?? 0
            throw reader.refusal("type", size: 1, expected: "1…\(known)", found: number)
        }
        self.type = type
        _ = try reader.integer("reserved", in: 0...0 as ClosedRange<UInt16>)
        session = try reader.integer(UInt64.self, "session")
        sequence = try reader.integer(UInt64.self, "sequence")
        payloadLength = Int(
            try reader.integer("payload length", in: 0...UInt32(type.payloadLimit)))
    }
}

/// One message with its header and its bytes as they travelled.
public struct Frame: Hashable, Sendable {
    /// The header.
    public var header: FrameHeader
    /// The message.
    public var message: Message
    /// Header and payload as received; what the authentication tag covers.
    public var bytes: [UInt8]
}

extension Message {
    /// The message as one frame of `session` with number `sequence`.
    public func frame(session: UInt64, sequence: UInt64) -> [UInt8] {
        let payload = payload
        precondition(payload.count <= type.payloadLimit, "\(type) is longer than its limit")
        var writer = ByteWriter()
        writer.put(bytes: FrameHeader.magic)
        writer.put(FrameHeader.version)
        writer.put(type.rawValue)
        writer.put(UInt16(0))
        writer.put(session)
        writer.put(sequence)
        writer.put(UInt32(payload.count))
        writer.put(bytes: payload)
        return writer.bytes
    }
}

/// Cuts a byte stream into messages, whatever pieces it arrives in.
///
/// The decoder keeps at most one incomplete message, whose length was checked against the limit of
/// its type before any of it is stored. After an error it stays failed: a stream with one bad field
/// has no trustworthy next message.
public struct MessageDecoder: Sendable {
    private var pending: [UInt8] = []
    private var consumed: UInt64 = 0
    private var failure: MessageError?

    /// A decoder at the start of a stream.
    public init() {}

    /// The bytes held for an incomplete message; never more than the header and the largest
    /// payload limit.
    public var bufferedBytes: Int { pending.count }

    /// Takes the next piece of the stream and appends the messages it completes to `frames`.
    ///
    /// Throws the first refusal, and the same one at every later call; messages before the refused
    /// bytes are appended all the same.
    public mutating func feed(
        _ chunk: [UInt8], into frames: inout [Frame]
    ) throws(MessageError) {
        if let failure { throw failure }
        do throws(MessageError) {
            var rest = chunk[...]
            while let header = try fill(from: &rest) { frames.append(try finish(header)) }
        } catch {
            failure = error
            pending = []
            throw error
        }
    }

    /// Moves bytes into the pending message until it is complete, and returns its header then.
    private mutating func fill(
        from rest: inout ArraySlice<UInt8>
    ) throws(MessageError) -> FrameHeader? {
        func take(until size: Int) {
            let count = min(size - pending.count, rest.count)
            guard count > 0 else { return }
            pending.append(contentsOf: rest.prefix(count))
            rest = rest.dropFirst(count)
        }
        take(until: FrameHeader.size)
        guard pending.count >= FrameHeader.size else { return nil }
        var reader = ByteReader(pending[..<FrameHeader.size], streamOffset: consumed)
        let header = try FrameHeader(from: &reader)
        take(until: FrameHeader.size + header.payloadLength)
        return pending.count == FrameHeader.size + header.payloadLength ? header : nil
    }

    private mutating func finish(_ header: FrameHeader) throws(MessageError) -> Frame {
        var reader = ByteReader(
            pending[FrameHeader.size...], streamOffset: consumed + UInt64(FrameHeader.size))
        let message = try Message(type: header.type, payload: &reader)
        let frame = Frame(header: header, message: message, bytes: pending)
        consumed += UInt64(pending.count)
        pending = []
        return frame
    }
}
