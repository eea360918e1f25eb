import CKernels

/// An element of GF(2^128) = GF(2)[x] / (x^128 + x^7 + x^2 + x + 1); bit i is the coefficient of
/// x^i.
///
/// This is the field of NIST SP 800-38D (GCM) in plain bit order: GCM calls the most significant
/// bit of the first octet x^0, so its vectors apply after reversing the bits of every octet.
public struct GF128: Hashable, Sendable {
    /// The coefficients of x^0 … x^63.
    public var low: UInt64
    /// The coefficients of x^64 … x^127.
    public var high: UInt64

    /// Wraps the coefficients.
    public init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// The element whose coefficients are the bits of 16 octets, least significant first.
    public init?(octets: some Collection<UInt8>) {
        guard octets.count == 16 else { return nil }
        var words: [UInt64] = [0, 0]
        for (index, octet) in octets.enumerated() {
            words[index >> 3] |= UInt64(octet) << UInt64((index & 7) * 8)
        }
        self.init(low: words[0], high: words[1])
    }

    /// The 16 octets of the element, least significant first.
    public var octets: [UInt8] {
        (0..<16).map { index in
            UInt8(truncatingIfNeeded: (index < 8 ? low : high) >> UInt64((index & 7) * 8))
        }
    }

    /// The sum, which is the exclusive or.
    public static func + (left: GF128, right: GF128) -> GF128 {
        GF128(low: left.low ^ right.low, high: left.high ^ right.high)
    }

    /// The product in the field; the time taken does not depend on the operands.
    public static func * (left: GF128, right: GF128) -> GF128 {
        left.multiplied(by: right, kernel: BEREK_KERNEL_BEST)
    }

    func multiplied(by other: GF128, kernel: berek_kernel) -> GF128 {
        var hash = PolynomialHash(point: other, kernel: kernel)
        hash.absorb(self)
        return hash.value
    }
}

/// Horner's rule over GF(2^128): after blocks b_1 … b_L the value is Σ b_i r^(L+1−i).
///
/// Two different strings of at most L blocks, made injective by the length or by a fixed size,
/// have one value for at most L points r, the roots of their difference.
struct PolynomialHash {
    private var accumulator: (UInt64, UInt64) = (0, 0)
    private let point: (UInt64, UInt64)
    private let kernel: berek_kernel

    init(point: GF128, kernel: berek_kernel = BEREK_KERNEL_BEST) {
        self.point = (point.low, point.high)
        self.kernel = kernel
    }

    var value: GF128 { GF128(low: accumulator.0, high: accumulator.1) }

    mutating func absorb(_ block: GF128) {
        var octets = (block.low.littleEndian, block.high.littleEndian)
        withUnsafeBytes(of: &octets) { absorbWholeBlocks($0) }
    }

    /// Absorbs octets, the last block filled up with zeros.
    mutating func absorb(_ octets: UnsafeRawBufferPointer) {
        let whole = octets.count & ~15
        absorbWholeBlocks(UnsafeRawBufferPointer(rebasing: octets[..<whole]))
        guard whole < octets.count else { return }
        var last: (UInt64, UInt64) = (0, 0)
        withUnsafeMutableBytes(of: &last) { block in
            block.copyBytes(from: octets[whole...])
            absorbWholeBlocks(UnsafeRawBufferPointer(block))
            if let base = block.baseAddress { berek_zeroize(base, block.count) }
        }
    }

    private mutating func absorbWholeBlocks(_ octets: UnsafeRawBufferPointer) {
        guard let base = octets.baseAddress, octets.count >= 16 else { return }
        let kernel = self.kernel
        withUnsafePointer(to: point) { point in
            withUnsafeMutablePointer(to: &accumulator) { accumulator in
                accumulator.withMemoryRebound(to: UInt64.self, capacity: 2) { accumulator in
                    point.withMemoryRebound(to: UInt64.self, capacity: 2) { point in
                        berek_gf128_horner(
                            accumulator, point, base.assumingMemoryBound(to: UInt8.self),
                            octets.count / 16, kernel)
                    }
                }
            }
        }
    }
}
