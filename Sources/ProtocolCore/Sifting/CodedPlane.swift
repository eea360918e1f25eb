import Quantities

/// How a plane of bits travels: as it is, or as the positions of its rarer value.
///
/// A plane of n independent bits with probability p of one costs n h(p) bits in the second form,
/// as a sequence of n slots with clicks does. The form follows from the content, so a plane has
/// one encoding.
enum PlaneForm: UInt8 {
    /// The bits themselves.
    case bits = 0
    /// The positions of the ones.
    case ones = 1
    /// The positions of the zeros.
    case zeros = 2

    /// Planes shorter than this are sent as they are: a code's fixed part would outweigh it.
    static let shortestCoded = 256

    /// The form of `count` bits of which `ones` are one. From 45 % on, the bits themselves are
    /// less than 1 % above their entropy.
    init(count: Int, ones: Int) {
        let rarer = min(ones, count - ones)
        if count < Self.shortestCoded || 20 * rarer >= 9 * count {
            self = .bits
        } else {
            self = 2 * ones <= count ? .ones : .zeros
        }
    }
}

extension BitBuffer {
    /// The positions of the bits that are `value`. The string has fewer than 2³² bits.
    func positions(of value: Bool, count: Int) -> [UInt32] {
        [UInt32](unsafeUninitializedCapacity: count) { memory, initialized in
            for (index, word) in words.enumerated() {
                var rest = value ? word : ~word
                if index == words.count - 1, self.count & 63 != 0 {
                    rest &= 1 << UInt64(self.count & 63) - 1
                }
                while rest != 0 {
                    memory.initializeElement(
                        at: initialized, to: UInt32(index * 64 + rest.trailingZeroBitCount))
                    initialized += 1
                    rest &= rest - 1
                }
            }
        }
    }

    /// A string of `count` bits, `value` at the given positions below `count` and the opposite
    /// elsewhere.
    init(count: Int, _ value: Bool, at positions: [UInt32]) {
        var words = [UInt64](repeating: value ? 0 : ~0, count: (count + 63) / 64)
        for position in positions { words[Int(position >> 6)] ^= 1 << UInt64(position & 63) }
        self.init(words: words, count: count)
    }
}

extension ByteWriter {
    mutating func put(_ positions: CodedPositions) {
        put(UInt32(positions.count))
        put(UInt32(positions.code.count))
        put(bytes: positions.code)
    }

    /// A plane whose number of bits the reader knows.
    mutating func put(plane: BitBuffer) {
        let ones = plane.populationCount
        let form = PlaneForm(count: plane.count, ones: ones)
        put(form.rawValue)
        switch form {
        case .bits: put(bits: plane)
        case .ones, .zeros:
            let isOnes = form == .ones
            let positions = plane.positions(of: isOnes, count: isOnes ? ones : plane.count - ones)
            put(CodedPositions(encoding: positions, below: UInt64(plane.count)))
        }
    }

    /// The number of bits as 32-bit integer, then the plane.
    mutating func put(countedPlane plane: BitBuffer) {
        put(UInt32(plane.count))
        put(plane: plane)
    }
}

extension ByteReader {
    /// Positions of which the context will know the limit; at most `limit`, in at most
    /// `octetLimit` octets.
    mutating func positions(
        limit: Int, octetLimit: Int, _ field: String
    ) throws(MessageError) -> CodedPositions {
        let count = try integer(field + " count", in: 0...UInt32(limit))
        let length = try integer(
            field + " length", in: 0...UInt32(count == 0 ? 0 : octetLimit))
        return CodedPositions(count: Int(count), code: try take(Int(length), field))
    }

    /// A plane of `count` bits.
    mutating func plane(_ count: Int, _ field: String) throws(MessageError) -> BitBuffer {
        let number = try integer(field + " form", in: 0...2 as ClosedRange<UInt8>)
        let plane: BitBuffer
        let size: Int
        switch PlaneForm(rawValue: number) {
        case .ones, .zeros:
            let start = remaining
            let positions = try positions(limit: count, octetLimit: remaining, field)
            size = start - remaining
            do throws(PositionCodeError) {
                plane = BitBuffer(
                    count: count, number == PlaneForm.ones.rawValue,
                    at: try positions.decode(below: UInt64(count)))
            } catch {
                throw refusal(
                    field, size: positions.code.count - error.offset, expected: error.expected,
                    found: error.found)
            }
        case .bits, .none:
            plane = try bits(count, field)
            size = (count + 7) / 8
        }
        let form = PlaneForm(count: count, ones: plane.populationCount)
        guard form.rawValue == number else {
            throw refusal(
                field + " form", size: size + 1, expected: "\(form.rawValue)", found: number)
        }
        return plane
    }

    /// A 32-bit number of bits, at most `limit`, then a plane.
    mutating func countedPlane(limit: Int, _ field: String) throws(MessageError) -> BitBuffer {
        let count = try integer(field + " count", in: 0...UInt32(limit))
        return try plane(Int(count), field)
    }
}
