import CKernels
import LinkTypes
import Quantities

/// The modified Toeplitz hash y = T x₂ ⊕ x₁ of an n-bit key to m bits.
public struct ModifiedToeplitz: Sendable {
    /// n, the number of bits hashed.
    public let inputBits: Int
    /// m, the number of bits kept.
    public let outputBits: Int

    /// The number of public random bits the hash needs, n − 1.
    public static func seedBits(inputBits: Int, outputBits: Int) -> Int { max(0, inputBits - 1) }

    /// A hash; `seed` has `seedBits(…)` bits. Throws when the sizes do not fit.
    public init(inputBits: Int, outputBits: Int, seed: BitBuffer)
        throws(PrivacyAmplificationError)
    {
        self.inputBits = inputBits
        self.outputBits = outputBits
    }

    /// The hash of `key`; ⌈m/8⌉ octets, spare bits of the last octet zero.
    public func hash(_ key: BitBuffer) throws(PrivacyAmplificationError) -> SecretBytes {
        preconditionFailure()
    }
}

/// Why a key can not be hashed.
public enum PrivacyAmplificationError: Error, Hashable, Sendable {
    /// The output must have 0 to n bits.
    case outputOutOfRange(inputBits: Int, outputBits: Int)
    /// The seed does not have the length the hash needs.
    case seedLength(expected: Int, found: Int)
    /// The key does not have the length announced.
    case keyLength(expected: Int, found: Int)
}
