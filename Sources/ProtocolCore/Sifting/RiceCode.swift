import Quantities

/// Golomb–Rice coding of increasing positions: each gap is written as quotient in unary and
/// remainder in `parameter` bits.
///
/// Gaps between clicks of a dim pulse train are geometrically distributed, for which this code
/// with the best parameter is within a few hundredths of a bit of the entropy (Golomb 1966; Rice
/// 1979). The encoder tries every parameter near the optimum and keeps the shortest, so the length
/// never depends on a rounding.
public struct RiceCodedPositions: Hashable, Sendable {
    /// The number of positions.
    public var count: Int
    /// The number of remainder bits of each gap, 0…32.
    public var parameter: UInt8
    /// The code: for each gap the quotient as that many zeros and a one, then the remainder, least
    /// significant bit first.
    public var bits: BitBuffer

    /// The largest parameter.
    public static let maximumParameter: UInt8 = 32

    /// Wraps received fields; `decode` checks them.
    public init(count: Int, parameter: UInt8, bits: BitBuffer) {
        self.count = count
        self.parameter = parameter
        self.bits = bits
    }

    /// The code of `positions`, which must be strictly increasing.
    public init(encoding positions: [UInt64]) {
        count = positions.count
        parameter = Self.bestParameter(of: positions)
        bits = BitBuffer()
        var next: UInt64 = 0
        for position in positions {
            precondition(position >= next, "positions increase strictly")
            let gap = position - next
            var quotient = gap >> UInt64(parameter)
            while quotient >= 32 {
                bits.append(0, bitCount: 32)
                quotient -= 32
            }
            bits.append(1 << quotient, bitCount: Int(quotient) + 1)
            bits.append(gap, bitCount: Int(parameter))
            next = position + 1
        }
    }

    private static func bestParameter(of positions: [UInt64]) -> UInt8 {
        guard let last = positions.last else { return 0 }
        let mean = (last + 1 - UInt64(positions.count)) / UInt64(positions.count)
        let centre = mean == 0 ? 0 : 63 - mean.leadingZeroBitCount
        var best: (length: UInt64, parameter: UInt8) = (.max, 0)
        for parameter in max(0, centre - 2)...min(Int(maximumParameter), centre + 2) {
            var length = UInt64(positions.count) * UInt64(parameter + 1)
            var next: UInt64 = 0
            for position in positions {
                length += (position - next) >> UInt64(parameter)
                next = position + 1
            }
            if length < best.length { best = (length, UInt8(parameter)) }
        }
        return best.parameter
    }

    /// The positions, or `nil` unless the code is complete, has no bits left over and every
    /// position is below `limit`. Takes time and memory proportional to the code's length.
    public func decode(below limit: UInt64) -> [UInt64]? {
        guard parameter <= Self.maximumParameter, count <= bits.count else { return nil }
        var positions: [UInt64] = []
        positions.reserveCapacity(count)
        var offset = 0
        var next: UInt64 = 0
        for _ in 0..<count {
            var quotient: UInt64 = 0
            while true {
                let word = bits.word(at: offset)
                if word != 0 {
                    quotient += UInt64(word.trailingZeroBitCount)
                    offset += word.trailingZeroBitCount + 1
                    break
                }
                guard offset + 64 < bits.count else { return nil }
                quotient += 64
                offset += 64
            }
            guard offset + Int(parameter) <= bits.count else { return nil }
            let mask: UInt64 = 1 << UInt64(parameter) - 1
            let gap = quotient << UInt64(parameter) | bits.word(at: offset) & mask
            offset += Int(parameter)
            guard next < limit, gap < limit - next else { return nil }
            positions.append(next + gap)
            next += gap + 1
        }
        return offset == bits.count ? positions : nil
    }
}
