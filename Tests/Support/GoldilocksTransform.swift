/// Products of bit strings by an exact number-theoretic transform: an oracle for the
/// multiplications over GF(2)[x] that shares nothing with them.
///
/// The strings are multiplied as polynomials over the integers, modulo p = 2^64 − 2^32 + 1; every
/// coefficient counts pairs of ones, so it is far below p and exact, and its parity is the
/// coefficient over GF(2). 7 generates the units modulo p, of which there are a multiple of 2^32.
public enum GoldilocksTransform {
    static let modulus: UInt64 = 0xFFFF_FFFF_0000_0001

    /// Bit i of the product of two polynomials over GF(2), for i in `range`. Strings are words,
    /// least significant bit first.
    public static func productBits(
        _ left: [UInt64], _ right: [UInt64], in range: Range<Int>
    ) -> [Bool] {
        let count = 64 * (left.count + right.count)
        let bits = Int.bitWidth - (count - 1).leadingZeroBitCount
        let roots = powersOfRoot(bits: bits)
        var first = spread(left, 1 << bits)
        forward(&first, roots)
        var second = spread(right, 1 << bits)
        forward(&second, roots)
        for index in first.indices { first[index] = multiply(first[index], second[index]) }
        inverse(&first, roots)
        let scale = power(UInt64(1 << bits), modulus - 2)
        return range.map { multiply(first[$0], scale) & 1 == 1 }
    }

    private static func spread(_ words: [UInt64], _ count: Int) -> [UInt64] {
        (0..<count).map { index in
            index >> 6 < words.count ? words[index >> 6] >> UInt64(index & 63) & 1 : 0
        }
    }

    /// The product modulo p: 2^64 = 2^32 − 1 and 2^96 = −1.
    @inline(__always) static func multiply(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (high, low) = left.multipliedFullWidth(by: right)
        var (sum, borrowed) = low.subtractingReportingOverflow(high >> 32)
        if borrowed { sum &-= 0xFFFF_FFFF }
        let (result, carried) = sum.addingReportingOverflow((high & 0xFFFF_FFFF) * 0xFFFF_FFFF)
        let value = carried ? result &+ 0xFFFF_FFFF : result
        return value >= modulus ? value - modulus : value
    }

    @inline(__always) private static func add(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (sum, carried) = left.addingReportingOverflow(right)
        return carried || sum >= modulus ? sum &- modulus : sum
    }

    @inline(__always) private static func subtract(_ left: UInt64, _ right: UInt64) -> UInt64 {
        left >= right ? left - right : left &+ modulus &- right
    }

    static func power(_ base: UInt64, _ exponent: UInt64) -> UInt64 {
        var (result, square, rest): (UInt64, UInt64, UInt64) = (1, base, exponent)
        while rest > 0 {
            if rest & 1 == 1 { result = multiply(result, square) }
            square = multiply(square, square)
            rest >>= 1
        }
        return result
    }

    /// The first half of the powers of a root of unity of order 2^bits.
    private static func powersOfRoot(bits: Int) -> [UInt64] {
        let root = power(7, (modulus - 1) >> UInt64(bits))
        var powers: [UInt64] = [1]
        powers.reserveCapacity(1 << (bits - 1))
        while powers.count < 1 << (bits - 1) {
            powers.append(multiply(powers[powers.count - 1], root))
        }
        return powers
    }

    /// Decimation in frequency: natural order in, bit-reversed order out.
    private static func forward(_ values: inout [UInt64], _ roots: [UInt64]) {
        var half = values.count / 2
        values.withUnsafeMutableBufferPointer { values in
            while half > 0 {
                let step = roots.count / half
                for block in stride(from: 0, to: values.count, by: 2 * half) {
                    for index in 0..<half {
                        let (u, v) = (values[block + index], values[block + half + index])
                        values[block + index] = add(u, v)
                        values[block + half + index] = multiply(
                            subtract(u, v), roots[index * step])
                    }
                }
                half /= 2
            }
        }
    }

    /// The inverse of `forward` but for the factor of the length.
    private static func inverse(_ values: inout [UInt64], _ roots: [UInt64]) {
        var half = 1
        values.withUnsafeMutableBufferPointer { values in
            while half < values.count {
                let step = roots.count / half
                for block in stride(from: 0, to: values.count, by: 2 * half) {
                    for index in 0..<half {
                        // The inverse of w^i is −w^(n/2 − i).
                        let at = index == 0 ? 0 : roots.count - index * step
                        let v = multiply(values[block + half + index], roots[at])
                        let u = values[block + index]
                        let w = index == 0 ? v : subtract(0, v)
                        values[block + index] = add(u, w)
                        values[block + half + index] = subtract(u, w)
                    }
                }
                half *= 2
            }
        }
    }
}
