import CKernels
import Quantities

/// The polynomial hash by which two ends learn that they hold one corrected key.
///
/// The key of L = ⌈n/128⌉ blocks k_i gives H = Σ k_i r^(L+1−i) in GF(2^128) at a random point r,
/// and the tag is its low t bits. Two different keys of n bits agree for at most L·2^(128−t) of
/// the 2^128 points: each of the 2^(128−t) values that vanish in the low t bits has at most L
/// roots. Source: Carter and Wegman, J. Comput. Syst. Sci. 22, 265 (1981); den Boer, J. Comput.
/// Secur. 2, 65 (1993).
///
/// The point is public, but must be drawn and announced only after both ends hold their corrected
/// keys. The t tag bits are disclosed: they enter the `LeakageLedger` once, as
/// `.verificationTag`, and the collision bound is what ε_cor pays for.
public struct VerificationHash: Hashable, Sendable {
    /// t, the number of tag bits, 1...128.
    public let tagBits: Int

    /// The hash with the shortest tag, in whole octets, whose collision bound for keys of
    /// `keyBits` bits is at most `epsilon`; `nil` when even 128 bits do not suffice.
    public init?(keyBits: Int, epsilon: Double) {
        precondition(keyBits >= 0 && epsilon > 0)
        for octets in 1...16 {
            let hash = VerificationHash(tagBits: 8 * octets)
            if hash.collisionBound(keyBits: keyBits) <= epsilon {
                self = hash
                return
            }
        }
        return nil
    }

    /// A hash with the given number of tag bits, 1...128.
    public init(tagBits: Int) {
        precondition((1...128).contains(tagBits))
        self.tagBits = tagBits
    }

    /// The tag of `key` at the public random `point`, `tagBits` bits.
    public func tag(of key: BitBuffer, point: GF128) -> BitBuffer {
        var hash = PolynomialHash(point: point)
        #if _endian(little)
            key.words.withUnsafeBytes { hash.absorb($0) }
        #else
            var octets = key.bytes
            octets.withUnsafeMutableBytes { octets in
                hash.absorb(UnsafeRawBufferPointer(octets))
                if let base = octets.baseAddress { berek_zeroize(base, octets.count) }
            }
        #endif
        let value = hash.value
        return BitBuffer(words: [value.low, value.high], count: 128).slice(0..<tagBits)
    }

    /// An upper bound of the probability that two different keys of `keyBits` bits get one tag:
    /// min(1, ⌈n/128⌉ · 2^−t). Both factors are exact in binary64.
    public func collisionBound(keyBits: Int) -> Double {
        precondition(keyBits >= 0 && keyBits <= 1 << 52)
        let blocks = Double((keyBits + 127) / 128)
        return min(1, blocks * Double(sign: .plus, exponent: -tagBits, significand: 1))
    }
}
