import Quantities

/// Appends little-endian fields to a growing string of bytes.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func put(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func put(_ value: Double) { put(value.bitPattern) }

    mutating func put(bytes value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }

    /// The bits without their number, which another field or the reader's context states.
    mutating func put(bits value: BitBuffer) { bytes.append(contentsOf: value.bytes) }

    /// The number of bits as 32-bit integer, then the bits.
    mutating func put(countedBits value: BitBuffer) {
        put(UInt32(value.count))
        put(bits: value)
    }
}

/// Takes little-endian fields off one payload; every refusal knows its place in the stream.
struct ByteReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int
    private let streamOffset: UInt64

    /// Reads `bytes`, the first of which has `streamOffset` bytes before it in the stream.
    init(_ bytes: ArraySlice<UInt8>, streamOffset: UInt64) {
        self.bytes = bytes
        self.position = bytes.startIndex
        self.streamOffset = streamOffset
    }

    /// The number of bytes not yet taken.
    var remaining: Int { bytes.endIndex - position }

    /// The refusal of a field that was just taken and occupied `size` bytes.
    func refusal(_ field: String, size: Int, expected: String, found: some Any) -> MessageError {
        let place = streamOffset + UInt64(position - size - bytes.startIndex)
        return MessageError(
            offset: place, field: field, expected: expected, found: "\(found)")
    }

    private func require(_ count: Int, _ field: String) throws(MessageError) {
        guard count >= 0, count <= remaining else {
            throw refusal(
                field, size: 0, expected: "\(count) bytes", found: "\(remaining) left in payload")
        }
    }

    mutating func integer<T: FixedWidthInteger & UnsignedInteger>(
        _ type: T.Type, _ field: String
    ) throws(MessageError) -> T {
        let size = T.bitWidth / 8
        try require(size, field)
        var value: T = 0
        for index in 0..<size { value |= T(bytes[position + index]) << T(8 * index) }
        position += size
        return value
    }

    /// An integer that must lie in `range`.
    mutating func integer<T: FixedWidthInteger & UnsignedInteger>(
        _ field: String, in range: ClosedRange<T>
    ) throws(MessageError) -> T {
        let value = try integer(T.self, field)
        guard range.contains(value) else {
            throw refusal(
                field, size: T.bitWidth / 8,
                expected: "\(range.lowerBound)…\(range.upperBound)", found: value)
        }
        return value
    }

    /// A probability as binary64.
    mutating func probability(_ field: String) throws(MessageError) -> Double {
        let value = Double(bitPattern: try integer(UInt64.self, field))
        guard value >= 0, value <= 1 else {
            throw refusal(field, size: 8, expected: "0…1", found: value)
        }
        return value
    }

    /// A boolean in one byte, 0 or 1.
    mutating func flag(_ field: String) throws(MessageError) -> Bool {
        try integer(field, in: 0...1 as ClosedRange<UInt8>) == 1
    }

    mutating func take(_ count: Int, _ field: String) throws(MessageError) -> [UInt8] {
        try require(count, field)
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    /// `count` bits in whole bytes, the spare bits of the last byte zero.
    mutating func bits(_ count: Int, _ field: String) throws(MessageError) -> BitBuffer {
        let size = (count + 7) / 8
        let packed = try take(size, field)
        guard let result = BitBuffer(bytes: packed, count: count) else {
            throw refusal(
                field, size: size, expected: "zero bits after bit \(count)", found: "a one")
        }
        return result
    }

    /// A 32-bit number of bits, at most `limit`, then the bits.
    mutating func countedBits(limit: Int, _ field: String) throws(MessageError) -> BitBuffer {
        let count = try integer(field + " count", in: 0...UInt32(limit))
        return try bits(Int(count), field)
    }

    /// Ends the payload: nothing may follow the last field.
    func finish() throws(MessageError) {
        guard remaining == 0 else {
            throw refusal("payload", size: 0, expected: "its end", found: "\(remaining) more bytes")
        }
    }
}
