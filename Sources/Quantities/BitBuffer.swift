/// A growable string of bits in 64-bit words, least significant bit first.
///
/// Bits past `count` in the last word are always zero. Holds public data; secret strings live in
/// `SecretBytes`.
public struct BitBuffer: Hashable, Sendable {
    /// The words; bit `i` of the string is bit `i % 64` of word `i / 64`.
    public private(set) var words: [UInt64]
    /// The number of bits.
    public private(set) var count: Int

    /// An empty string.
    public init() {
        words = []
        count = 0
    }

    /// A string of `count` zero bits.
    public init(zeros count: Int) {
        precondition(count >= 0)
        words = [UInt64](repeating: 0, count: (count + 63) / 64)
        self.count = count
    }

    /// The first `count` bits of `words`; spare bits are cleared.
    public init(words: [UInt64], count: Int) {
        precondition(count >= 0 && words.count == (count + 63) / 64)
        self.words = words
        self.count = count
        clearSpareBits()
    }

    /// The bits of `values` in order.
    public init(_ values: some Sequence<Bool>) {
        self.init()
        for value in values { append(value) }
    }

    /// The bit at `index`, which must be below `count`.
    @inlinable public subscript(index: Int) -> Bool {
        get {
            precondition(index >= 0 && index < count)
            return words[index >> 6] >> UInt64(index & 63) & 1 == 1
        }
        set { setBit(index, newValue) }
    }

    @usableFromInline mutating func setBit(_ index: Int, _ value: Bool) {
        precondition(index >= 0 && index < count)
        let mask: UInt64 = 1 << UInt64(index & 63)
        if value { words[index >> 6] |= mask } else { words[index >> 6] &= ~mask }
    }

    /// Appends one bit.
    public mutating func append(_ value: Bool) {
        if count & 63 == 0 { words.append(0) }
        if value { words[count >> 6] |= 1 << UInt64(count & 63) }
        count += 1
    }

    /// Appends the low `bitCount` bits of `value`, least significant first.
    public mutating func append(_ value: UInt64, bitCount: Int) {
        precondition(bitCount >= 0 && bitCount <= 64)
        guard bitCount > 0 else { return }
        let value = bitCount == 64 ? value : value & (1 << UInt64(bitCount) - 1)
        let offset = count & 63
        if offset == 0 {
            words.append(value)
        } else {
            words[words.count - 1] |= value << UInt64(offset)
            if offset + bitCount > 64 { words.append(value >> UInt64(64 - offset)) }
        }
        count += bitCount
    }

    /// Appends another string.
    public mutating func append(contentsOf other: BitBuffer) {
        var remaining = other.count
        for word in other.words {
            append(word, bitCount: min(64, remaining))
            remaining -= 64
        }
    }

    /// The 64 or fewer bits from `offset` on, least significant first; bits past the end read as 0.
    public func word(at offset: Int) -> UInt64 {
        precondition(offset >= 0)
        let index = offset >> 6
        let shift = UInt64(offset & 63)
        guard index < words.count else { return 0 }
        let low = words[index] >> shift
        guard shift > 0, index + 1 < words.count else { return low }
        return low | words[index + 1] << (64 - shift)
    }

    /// The bits in `range` as a new string.
    public func slice(_ range: Range<Int>) -> BitBuffer {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        var result = BitBuffer()
        var offset = range.lowerBound
        while offset < range.upperBound {
            let take = min(64, range.upperBound - offset)
            result.append(word(at: offset), bitCount: take)
            offset += take
        }
        return result
    }

    /// Lends the words for writing; spare bits are cleared afterwards.
    public mutating func withMutableWords<R>(
        _ body: (UnsafeMutableBufferPointer<UInt64>) -> R
    ) -> R {
        defer { clearSpareBits() }
        return words.withUnsafeMutableBufferPointer { body($0) }
    }

    /// The number of one bits.
    public var populationCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    /// The parity of all bits: `true` when the number of ones is odd.
    public var parity: Bool { words.reduce(0, ^).nonzeroBitCount & 1 == 1 }

    /// The bitwise exclusive or of two strings of one length.
    public static func ^ (left: BitBuffer, right: BitBuffer) -> BitBuffer {
        precondition(left.count == right.count, "exclusive or needs strings of one length")
        var result = left
        for index in result.words.indices { result.words[index] ^= right.words[index] }
        return result
    }

    /// The string as bytes, least significant bit first; spare bits of the last byte are zero.
    public var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity((count + 7) / 8)
        for index in 0..<((count + 7) / 8) {
            result.append(UInt8(truncatingIfNeeded: words[index >> 3] >> UInt64((index & 7) * 8)))
        }
        return result
    }

    /// The first `count` bits of `bytes`, least significant bit of each byte first.
    ///
    /// Returns `nil` unless `bytes` has exactly the bytes needed and its spare bits are zero.
    public init?(bytes: some Collection<UInt8>, count: Int) {
        guard count >= 0, bytes.count == (count + 7) / 8 else { return nil }
        var words = [UInt64](repeating: 0, count: (count + 63) / 64)
        for (index, byte) in bytes.enumerated() {
            words[index >> 3] |= UInt64(byte) << UInt64((index & 7) * 8)
        }
        self.words = words
        self.count = count
        let before = words.last
        clearSpareBits()
        if self.words.last != before { return nil }
    }

    /// Overwrites the bits with zeros where they lie, then forgets them.
    ///
    /// For buffers that held secrets on the way to `SecretBytes`. Only this owner's storage is
    /// overwritten: copies made before keep their content.
    @inline(never)
    public mutating func erase() {
        for index in words.indices { words[index] = 0 }
        count = 0
        words.removeAll(keepingCapacity: true)
    }

    private mutating func clearSpareBits() {
        let used = count & 63
        if used > 0 { words[words.count - 1] &= 1 << UInt64(used) - 1 }
    }
}
