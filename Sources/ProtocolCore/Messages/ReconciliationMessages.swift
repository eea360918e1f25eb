import Quantities

/// The syndrome of one frame of a block.
public struct SyndromeMessage: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The frame, counted from 0.
    public var frame: UInt16
    /// The number of frames of the block.
    public var frameCount: UInt16
    /// The code of the frame.
    public var shape: LDPCShape
    /// The key bits of the frame.
    public var frameBits: UInt32
    /// The syndrome of Alice's frame, `shape.syndromeBits` long.
    public var syndrome: BitBuffer

    func encode(to writer: inout ByteWriter) {
        writer.put(block)
        writer.put(frame)
        writer.put(frameCount)
        writer.put(UInt16(shape.rowBlocks))
        writer.put(UInt16(shape.columnBlocks))
        writer.put(UInt16(shape.lift))
        writer.put(frameBits)
        writer.put(bits: syndrome)
    }
}

extension SyndromeMessage {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        frame = try reader.integer(UInt16.self, "frame")
        frameCount = try reader.integer(UInt16.self, "frame count")
        guard frame < frameCount else {
            throw reader.refusal(
                "frame count", size: 2, expected: "more than frame \(frame)", found: frameCount)
        }
        let rowBlocks = try reader.integer(UInt16.self, "row blocks")
        let columnBlocks = try reader.integer(UInt16.self, "column blocks")
        let lift = try reader.integer(UInt16.self, "lift")
        guard
            let shape = LDPCShape(
                rowBlocks: Int(rowBlocks), columnBlocks: Int(columnBlocks), lift: Int(lift))
        else {
            throw reader.refusal(
                "code", size: 6, expected: "a code of the family",
                found: "\(rowBlocks)×\(columnBlocks)×\(lift)")
        }
        self.shape = shape
        frameBits = try reader.integer("frame bits", in: 1...UInt32(shape.bitCount))
        syndrome = try reader.bits(shape.syndromeBits, "syndrome")
    }
}

/// Bob asks for bits of a frame that does not decode.
public struct RevealRequest: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The frame.
    public var frame: UInt16
    /// The positions wanted, or `nil` for the whole frame, which then counts as known to everyone.
    public var positions: CodedPositions?

    func encode(to writer: inout ByteWriter) {
        writer.put(block)
        writer.put(frame)
        writer.put(UInt8(positions == nil ? 1 : 0))
        if let positions { writer.put(positions) }
    }
}

extension RevealRequest {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        frame = try reader.integer(UInt16.self, "frame")
        let isWhole = try reader.flag("whole frame")
        positions =
            isWhole
            ? nil
            : try reader.positions(
                limit: MessageLimits.positionsPerReveal,
                octetLimit: MessageType.revealRequest.payloadLimit, "positions")
    }

    /// The bits of the message, which tell an eavesdropper about Bob's errors.
    var payloadBits: Int { 8 * Message.revealRequest(self).payload.count }
}

/// The bits asked for, in the order of their positions.
public struct RevealReply: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The frame.
    public var frame: UInt16
    /// The bits.
    public var bits: BitBuffer

    func encode(to writer: inout ByteWriter) {
        writer.put(block)
        writer.put(frame)
        writer.put(countedBits: bits)
    }
}

extension RevealReply {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        frame = try reader.integer(UInt16.self, "frame")
        bits = try reader.countedBits(limit: MessageLimits.bitsPerMessage, "bits")
    }
}

extension ReconciledNotice {
    /// The bits of the two error counts, which depend on Bob's key.
    static let countBits = 64
}

/// The hash of Alice's string.
public struct VerificationMessage: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The random point at which the polynomial is evaluated.
    public var point: GF128
    /// The tag.
    public var tag: BitBuffer

    func encode(to writer: inout ByteWriter) {
        writer.put(block)
        writer.put(point.low)
        writer.put(point.high)
        writer.put(countedBits: tag)
    }
}

extension VerificationMessage {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        point = GF128(
            low: try reader.integer(UInt64.self, "point"),
            high: try reader.integer(UInt64.self, "point"))
        tag = try reader.countedBits(limit: 128, "tag")
    }
}
