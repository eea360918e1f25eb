import LinkTypes
import Quantities

/// Why a key can not be hashed.
public enum PrivacyAmplificationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The output must have 0 to n bits.
    case outputOutOfRange(inputBits: Int, outputBits: Int)
    /// The seed does not have the length the hash needs.
    case seedLength(expected: Int, found: Int)
    /// The key does not have the length announced.
    case keyLength(expected: Int, found: Int)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .outputOutOfRange: "BRK-AMP-001"
        case .seedLength: "BRK-AMP-002"
        case .keyLength: "BRK-AMP-003"
        }
    }

    /// What was expected and what was found.
    public var description: String {
        switch self {
        case .outputOutOfRange(let input, let output):
            "a key of \(input) bits can be shortened to 0...\(input) bits, not to \(output)"
        case .seedLength(let expected, let found):
            "the seed must have \(expected) bits, found \(found)"
        case .keyLength(let expected, let found):
            "the key must have \(expected) bits, found \(found)"
        }
    }
}

/// The modified Toeplitz hash y = x₁ ⊕ T x₂ of an n-bit key x = (x₁, x₂) to m bits.
///
/// x₁ is the first m bits and x₂ the remaining n − m. T is the m × (n − m) Toeplitz matrix with
/// T_ij = s_(i + n − m − 1 − j), s being the seed of n − 1 bits. The family is universal₂ and dual
/// universal₂, so the leftover hash lemma holds with a seed shorter than that of a full Toeplitz
/// matrix (Hayashi and Tsurumaru, IEEE Trans. Inf. Theory 62, 2213, 2016, arXiv:1311.5322).
///
/// T x₂ is a stretch of coefficients of the product s(z)·x₂(z) over GF(2), computed exactly by
/// carry-less multiplication; time and memory accesses do not depend on the key's bits.
///
/// The seed is public and uniformly random. It must be announced only after the detections of the
/// block were made; a seed expanded from a shorter one gives computational security only.
public struct ModifiedToeplitz: Sendable {
    /// n, the number of bits hashed.
    public let inputBits: Int
    /// m, the number of bits kept.
    public let outputBits: Int
    private let seed: BitBuffer

    /// The number of public random bits the hash needs, n − 1, and 0 when nothing is hashed.
    public static func seedBits(inputBits: Int, outputBits: Int) -> Int {
        outputBits > 0 && outputBits < inputBits ? inputBits - 1 : 0
    }

    /// A hash; `seed` has `seedBits(inputBits:outputBits:)` bits.
    public init(
        inputBits: Int, outputBits: Int, seed: BitBuffer
    ) throws(PrivacyAmplificationError) {
        guard inputBits >= 0, (0...inputBits).contains(outputBits) else {
            throw .outputOutOfRange(inputBits: inputBits, outputBits: outputBits)
        }
        let expected = Self.seedBits(inputBits: inputBits, outputBits: outputBits)
        guard seed.count == expected else {
            throw .seedLength(expected: expected, found: seed.count)
        }
        self.inputBits = inputBits
        self.outputBits = outputBits
        self.seed = seed
    }

    /// The hash of `key`: ⌈m/8⌉ octets, least significant bit first, spare bits zero.
    public func hash(_ key: BitBuffer) throws(PrivacyAmplificationError) -> SecretBytes {
        guard key.count == inputBits else {
            throw .keyLength(expected: inputBits, found: key.count)
        }
        var result = WorkWords(count: (outputBits + 63) / 64)
        if !seed.words.isEmpty {
            BinaryPolynomial.window(
                of: seed, times: key, from: outputBits, at: inputBits - outputBits - 1,
                into: &result)
        }
        result.withWords { words in
            key.words.withUnsafeBufferPointer { key in
                for index in words.indices { words[index] ^= key[index] }
            }
        }
        return result.secretBytes(bitCount: outputBits)
    }
}

/// The plain Toeplitz hash y = T x of an n-bit key to m bits, T_ij = s_(i + n − 1 − j), with a
/// seed s of n + m − 1 bits (Krawczyk, CRYPTO 1994).
///
/// Kept for interoperation and as a check of `ModifiedToeplitz`, which needs the shorter seed.
public struct Toeplitz: Sendable {
    /// n, the number of bits hashed.
    public let inputBits: Int
    /// m, the number of bits kept.
    public let outputBits: Int
    private let seed: BitBuffer

    /// The number of public random bits the hash needs, n + m − 1, and 0 when nothing is hashed.
    public static func seedBits(inputBits: Int, outputBits: Int) -> Int {
        outputBits > 0 ? inputBits + outputBits - 1 : 0
    }

    /// A hash; `seed` has `seedBits(inputBits:outputBits:)` bits.
    public init(
        inputBits: Int, outputBits: Int, seed: BitBuffer
    ) throws(PrivacyAmplificationError) {
        guard inputBits >= 0, (0...inputBits).contains(outputBits) else {
            throw .outputOutOfRange(inputBits: inputBits, outputBits: outputBits)
        }
        let expected = Self.seedBits(inputBits: inputBits, outputBits: outputBits)
        guard seed.count == expected else {
            throw .seedLength(expected: expected, found: seed.count)
        }
        self.inputBits = inputBits
        self.outputBits = outputBits
        self.seed = seed
    }

    /// The hash of `key`: ⌈m/8⌉ octets, least significant bit first, spare bits zero.
    public func hash(_ key: BitBuffer) throws(PrivacyAmplificationError) -> SecretBytes {
        guard key.count == inputBits else {
            throw .keyLength(expected: inputBits, found: key.count)
        }
        var result = WorkWords(count: (outputBits + 63) / 64)
        if outputBits > 0 {
            BinaryPolynomial.window(
                of: seed, times: key, from: 0, at: inputBits - 1, into: &result)
        }
        return result.secretBytes(bitCount: outputBits)
    }
}
