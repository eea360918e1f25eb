import CKernels
import LinkTypes
import Quantities

/// Words that hold parts of a key while it is hashed: one owner, zeroed on release.
struct WorkWords: ~Copyable {
    private let storage: UnsafeMutableBufferPointer<UInt64>

    init(count: Int) {
        storage = .allocate(capacity: count)
        storage.initialize(repeating: 0)
    }

    mutating func withWords<R>(_ body: (UnsafeMutableBufferPointer<UInt64>) -> R) -> R {
        body(storage)
    }

    /// The first `bitCount` bits as octets, least significant first, spare bits zero.
    borrowing func secretBytes(bitCount: Int) -> SecretBytes {
        let words = storage
        return SecretBytes(count: (bitCount + 7) / 8) { octets in
            for index in octets.indices {
                octets[index] = UInt8(
                    truncatingIfNeeded: words[index >> 3] >> UInt64((index & 7) * 8))
            }
            if bitCount & 7 != 0 { octets[octets.count - 1] &= 1 << UInt8(bitCount & 7) - 1 }
        }
    }

    deinit {
        if let base = storage.baseAddress {
            berek_zeroize(base, storage.count * MemoryLayout<UInt64>.stride)
        }
        storage.deallocate()
    }
}

/// Products over GF(2)[z] of bit strings read as polynomials, bit i being the coefficient of z^i.
enum BinaryPolynomial {
    /// Adds to `result` the coefficients from `at` on, as many as `result` has bits, of the
    /// product of `seed` and the bits of `secret` from `from` on.
    ///
    /// Both operands are cut into pieces of one size, so that only the pieces whose product
    /// reaches the window are multiplied; memory beyond the operands is a few pieces.
    static func window(
        of seed: BitBuffer, times secret: BitBuffer, from: Int, at: Int,
        into result: inout WorkWords, kernel: berek_kernel
    ) {
        // The window is moved to a word boundary by multiplying the seed by a power of z.
        let shift = (64 - at & 63) & 63
        let seedWords = (seed.count + shift + 63) / 64
        let secretWords = (secret.count - from + 63) / 64
        let windowWord = (at + shift) / 64
        result.withWords { window in
            guard !window.isEmpty, seedWords > 0, secretWords > 0 else { return }
            let piece = min(max(seedWords, secretWords), pieceWords(secretWords, window.count))
            let scratchWords = berek_polynomial_scratch(piece)
            var work = WorkWords(count: 4 * piece + scratchWords)
            work.withWords { work in
                guard let base = work.baseAddress else { return }
                let (left, right, product) = (base, base + piece, base + 2 * piece)
                let scratch = base + 4 * piece
                for secretStart in stride(from: 0, to: secretWords, by: piece) {
                    for index in 0..<piece {
                        right[index] = secret.word(at: from + 64 * (secretStart + index))
                    }
                    for seedStart in stride(from: 0, to: seedWords, by: piece) {
                        // The product covers these words relative to the window.
                        let start = secretStart + seedStart - windowWord
                        guard start < window.count, start + 2 * piece > 0 else { continue }
                        for index in 0..<piece {
                            left[index] = seed.word(at: 64 * (seedStart + index), after: shift)
                        }
                        berek_polynomial_multiply(product, left, right, piece, scratch, kernel)
                        for index in max(0, -start)..<min(2 * piece, window.count - start) {
                            window[start + index] ^= product[index]
                        }
                    }
                }
            }
        }
    }

    /// The piece size: the smaller side of the Toeplitz matrix, since longer pieces would mostly
    /// compute coefficients outside the window, but not below a size worth splitting.
    private static func pieceWords(_ secretWords: Int, _ windowWords: Int) -> Int {
        max(64, min(secretWords, windowWords))
    }
}

extension BitBuffer {
    /// The 64 bits from `offset` on of the string moved up by `shift` < 64 bits.
    fileprivate func word(at offset: Int, after shift: Int) -> UInt64 {
        if offset >= shift { return word(at: offset - shift) }
        return word(at: 0) << UInt64(shift - offset)
    }
}
