import CKernels
import LinkTypes
import Quantities

/// Products over GF(2)[z] of bit strings read as polynomials, bit i being the coefficient of z^i.
enum BinaryPolynomial {
    /// Adds to `result` the coefficients from `at` on, as many as `result` has bits, of the
    /// product of `seed` and the bits of `secret` from `from` on.
    ///
    /// With W = ⌈secret bits/64⌉ + `result` words, memory beyond the operands is below
    /// 8·(2W + 5N + N/1024) octets + 140 KiB, N being the power of two at or above W: for a
    /// modified Toeplitz hash of n bits to n/2, n a power of two, 7/8 octet per input bit, and
    /// never more than 12/8 octets for each of the 64·W bits.
    static func window(
        of seed: BitBuffer, times secret: BitBuffer, from: Int, at: Int,
        into result: inout WorkWords
    ) {
        let secretWords = (secret.count - from + 63) / 64
        result.withWords { window in
            guard let target = window.baseAddress, seed.count > 0, secretWords > 0 else { return }
            // The words of the seed that reach the window, and the secret from a word boundary on.
            let seedWords = secretWords + window.count
            var operands = WorkWords(uninitialized: seedWords + secretWords)
            operands.withWords { operands in
                guard let left = operands.baseAddress else { return }
                let right = left + seedWords
                seed.words.withUnsafeBufferPointer {
                    berek_copy_bits(
                        left, seedWords, $0.baseAddress, $0.count, Int64(at - 64 * secretWords))
                }
                secret.words.withUnsafeBufferPointer {
                    berek_copy_bits(right, secretWords, $0.baseAddress, $0.count, Int64(from))
                }
                MiddleProduct.add(
                    left, right, rightWords: secretWords, to: target, windowWords: window.count)
            }
        }
    }
}

/// The words of a product over GF(2)[z] from the number of words of the right operand on, by the
/// engine that is fastest for the sizes: Karatsuba's rule on short operands, the additive Fourier
/// transform on long ones.
///
/// A transform has a power of two of points, so an operand that just passes one is cut in two when
/// the rest costs less than a transform of twice the length. All decisions depend on sizes alone.
enum MiddleProduct {
    private enum Engine { case karatsuba, transform, splitRight, splitWindow }

    /// window[i] ^= word `rightWords` + i of `left` · `right`; `left` has `rightWords` +
    /// `windowWords` words.
    static func add(
        _ left: UnsafePointer<UInt64>, _ right: UnsafePointer<UInt64>, rightWords: Int,
        to window: UnsafeMutablePointer<UInt64>, windowWords: Int
    ) {
        let excess = self.excess(rightWords, windowWords)
        switch plan(rightWords, windowWords).engine {
        case .karatsuba:
            addByPieces(left, right, rightWords, to: window, windowWords)
        case .transform:
            var work = WorkWords(
                uninitialized: berek_middle_product_work(rightWords, windowWords))
            work.withWords { work in
                berek_middle_product(
                    window, windowWords, left, right, rightWords, work.baseAddress,
                    BEREK_KERNEL_BEST)
            }
        case .splitRight:
            // The words of `left` that meet a piece of `right` end at its distance from the start.
            let main = rightWords - excess
            add(left + excess, right, rightWords: main, to: window, windowWords: windowWords)
            add(left, right + main, rightWords: excess, to: window, windowWords: windowWords)
        case .splitWindow:
            let main = windowWords - excess
            add(left, right, rightWords: rightWords, to: window, windowWords: main)
            add(
                left + main, right, rightWords: rightWords, to: window + main,
                windowWords: excess)
        }
    }

    /// The words by which the operands pass the next smaller transform.
    private static func excess(_ rightWords: Int, _ windowWords: Int) -> Int {
        let points = rightWords + windowWords - 1
        return points - points.largestPowerOfTwoBelow
    }

    /// The cheapest engine and its cost, about nanoseconds on the processor it was measured on.
    private static func plan(_ rightWords: Int, _ windowWords: Int) -> (engine: Engine, cost: Int) {
        var best = (engine: Engine.karatsuba, cost: piecesCost(rightWords, windowWords))
        let points = rightWords + windowWords - 1
        guard min(rightWords, windowWords) > 8 else { return best }
        let half = points.largestPowerOfTwoBelow
        let transform = 700 + 3 * 2 * half * (half.trailingZeroBitCount + 1)
        if transform < best.cost { best = (.transform, transform) }
        let excess = points - half
        // A rest that needs a transform of its own seldom pays.
        if excess < half / 8, excess < max(rightWords, windowWords) {
            let main = 700 + 3 * half * half.trailingZeroBitCount
            let (engine, rest): (Engine, Int) =
                rightWords >= windowWords
                ? (.splitRight, piecesCost(excess, windowWords))
                : (.splitWindow, piecesCost(rightWords, excess))
            if main + rest < best.cost { best = (engine, main + rest) }
        }
        return best
    }

    private static func piecesCost(_ rightWords: Int, _ windowWords: Int) -> Int {
        let piece = min(rightWords, windowWords)
        let pieces = (rightWords + piece - 1) / piece * ((windowWords + piece - 1) / piece)
        let product = karatsubaCost(piece)
        let (cost, overflow) = (2 * pieces).multipliedReportingOverflow(by: product)
        return overflow ? .max : cost
    }

    private static func karatsubaCost(_ words: Int) -> Int {
        guard words > 8 else { return 10 + words * words }
        // Above this size a transform is cheaper whatever the shape.
        guard words <= 1 << 16 else { return 1 << 40 }
        return 3 * karatsubaCost((words + 1) / 2) + 3 * words
    }

    /// Both operands are cut into pieces as long as the shorter side of the Toeplitz matrix, and
    /// only the pieces whose product reaches the window are multiplied.
    private static func addByPieces(
        _ left: UnsafePointer<UInt64>, _ right: UnsafePointer<UInt64>, _ rightWords: Int,
        to window: UnsafeMutablePointer<UInt64>, _ windowWords: Int
    ) {
        let piece = min(rightWords, windowWords)
        let leftWords = rightWords + windowWords
        var work = WorkWords(count: 4 * piece + berek_polynomial_scratch(piece))
        work.withWords { work in
            guard let base = work.baseAddress else { return }
            let (first, second, product) = (base, base + piece, base + 2 * piece)
            let scratch = base + 4 * piece
            for rightStart in stride(from: 0, to: rightWords, by: piece) {
                for index in 0..<piece {
                    let at = rightStart + index
                    second[index] = at < rightWords ? right[at] : 0
                }
                for leftStart in stride(from: 0, to: leftWords, by: piece) {
                    // The product covers these words relative to the window.
                    let start = rightStart + leftStart - rightWords
                    guard start < windowWords, start + 2 * piece > 0 else { continue }
                    for index in 0..<piece {
                        let at = leftStart + index
                        first[index] = at < leftWords ? left[at] : 0
                    }
                    berek_polynomial_multiply(
                        product, first, second, piece, scratch, BEREK_KERNEL_BEST)
                    for index in max(0, -start)..<min(2 * piece, windowWords - start) {
                        window[start + index] ^= product[index]
                    }
                }
            }
        }
    }
}

extension Int {
    /// The largest power of two below the value, which is at least 2; else 1.
    fileprivate var largestPowerOfTwoBelow: Int {
        self < 3 ? 1 : 1 << (Int.bitWidth - 1 - (self - 1).leadingZeroBitCount)
    }
}
