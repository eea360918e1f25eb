import CKernels
import Glibc
import ProtocolCore
import Quantities
import TestSupport
import Testing

/// The multiplications below the Toeplitz hashes.
@Suite struct MiddleProductTests {
    static let kernels = [
        BEREK_KERNEL_PORTABLE, BEREK_KERNEL_CARRYLESS, BEREK_KERNEL_CARRYLESS_256,
        BEREK_KERNEL_BEST,
    ]

    static func words(_ count: Int, _ generator: inout SeededGenerator) -> [UInt64] {
        (0..<count).map { _ in generator.next() }
    }

    /// The middle product by the transform.
    static func transform(
        _ left: [UInt64], _ right: [UInt64], _ window: Int, _ kernel: berek_kernel
    ) -> [UInt64] {
        var result = [UInt64](repeating: 0, count: window)
        // What is left in work memory must not matter.
        var work = [UInt64](
            repeating: 0x5A5A_5A5A_5A5A_5A5A,
            count: berek_middle_product_work(right.count, window) + 8)
        work.withUnsafeMutableBufferPointer { work in
            guard let base = work.baseAddress else { return }
            let aligned = UnsafeMutableRawPointer(base).alignedUp(toMultipleOf: 64)
            berek_middle_product(
                &result, window, left, right, right.count,
                aligned.assumingMemoryBound(to: UInt64.self), kernel)
        }
        return result
    }

    /// The middle product out of the whole product by Karatsuba's rule.
    static func expected(_ left: [UInt64], _ right: [UInt64], _ window: Int) -> [UInt64] {
        let padded = right + [UInt64](repeating: 0, count: left.count - right.count)
        var product = [UInt64](repeating: 0, count: 2 * left.count)
        var scratch = [UInt64](repeating: 0, count: berek_polynomial_scratch(left.count) + 1)
        berek_polynomial_multiply(
            &product, left, padded, left.count, &scratch, BEREK_KERNEL_BEST)
        return Array(product[right.count..<right.count + window])
    }

    /// Every small shape, and those around the places where the transform changes its form: blocks
    /// of 2^9 and rows of 2^13 elements, strips, sides that differ much. Seed 66.
    @Test func transformEqualsKaratsuba() {
        var generator = SeededGenerator(seed: 66)
        var shapes = (1...12).flatMap { right in (1...12).map { (right, $0) } }
        shapes += [
            (16, 17), (17, 16), (100, 28), (28, 101), (255, 2), (256, 257), (257, 256), (400, 600),
            (2047, 1), (1, 2048), (3000, 1000), (4096, 4096), (4097, 4096), (5000, 11_000),
            (30_000, 20_000), (2, 40_000), (40_000, 3), (300, 33_000),
        ]
        for (right, window) in shapes {
            let (first, second) = (
                Self.words(right + window, &generator), Self.words(right, &generator)
            )
            let expected = Self.expected(first, second, window)
            for kernel in Self.kernels where kernel != BEREK_KERNEL_PORTABLE || window < 3000 {
                let found = Self.transform(first, second, window, kernel)
                #expect(found == expected, "right \(right) window \(window) \(kernel)")
            }
        }
    }

    /// The hash, at sizes at which it takes either engine and cuts operands. Seed 67.
    @Test func everyPlanGivesTheSameWords() throws {
        var generator = SeededGenerator(seed: 67)
        var shapes = (0..<40).map { _ in
            (Int.random(in: 1...600, using: &generator), Int.random(in: 1...600, using: &generator))
        }
        // Just past a power of two: a transform and a rest.
        shapes += [
            (129, 129), (513, 512), (512, 515), (1040, 1040), (8200, 8192), (8192, 8200), (9, 900),
            (20_000, 5),
        ]
        for (right, window) in shapes {
            let key = randomBits(64 * (right + window), &generator)
            let seed = randomBits(key.count - 1, &generator)
            var left = [UInt64](repeating: 0, count: right + window)
            berek_copy_bits(&left, left.count, seed.words, seed.words.count, -1)
            let product = Self.expected(left, Array(key.words[window...]), window)
            let found = try PrivacyAmplificationTests.hash(seed, key, output: 64 * window)
            #expect(
                found.words == zip(product, key.words).map { $0 ^ $1 },
                "right \(right) window \(window)")
        }
    }

    /// The constants of the transform: element i squared plus itself is element i − 1, which is all
    /// that makes a Cantor basis.
    @Test func cantorBasis() {
        let basis = (0..<32).map { index in
            var words: [UInt64] = [0, 0]
            berek_cantor_element(index, &words)
            return GF128(low: words[0], high: words[1])
        }
        #expect(basis[0] == GF128(low: 1, high: 0))
        for index in 1..<32 {
            #expect(basis[index] * basis[index] + basis[index] == basis[index - 1])
        }
    }

    /// Bits outside of the string read as zero on both sides. Seed 68.
    @Test func bitsAreCopiedFromAnyOffset() {
        var generator = SeededGenerator(seed: 68)
        let source = Self.words(5, &generator)
        for offset in -200...400 {
            var found = [UInt64](repeating: .max, count: 4)
            berek_copy_bits(&found, 4, source, 5, Int64(offset))
            let expected = (0..<4).map { word in
                (0..<64).reduce(UInt64(0)) { sum, bit in
                    let at = offset + 64 * word + bit
                    guard (0..<320).contains(at) else { return sum }
                    return sum | (source[at >> 6] >> UInt64(at & 63) & 1) << UInt64(bit)
                }
            }
            #expect(found == expected, "offset \(offset)")
        }
    }
}

/// The hashes against multiplications that are not ours or not over GF(2).
@Suite struct ToeplitzOracleTests {
    /// An exact transform over the integers modulo 2^64 − 2^32 + 1, all output bits; even sizes,
    /// odd ones, and short and long outputs. Seed 69.
    @Test(arguments: [
        (1 << 16, 1 << 15), (1 << 18, 1 << 17), (1 << 20, 1 << 19), (1 << 20, 100_003),
        (777_777, 700_001), ((1 << 19) + 65, (1 << 18) + 1),
    ])
    func exactIntegerTransform(_ length: Int, _ output: Int) throws {
        var generator = SeededGenerator(seed: 69, label: "\(length) \(output)")
        let key = randomBits(length, &generator)
        let seed = randomBits(length - 1, &generator)
        let start = length - output - 1
        let product = GoldilocksTransform.productBits(
            seed.words, key.slice(output..<length).words, in: start..<start + output)
        let found = try PrivacyAmplificationTests.hash(seed, key, output: output)
        #expect(found == BitBuffer(product) ^ key.slice(0..<output))
    }

    /// All ones, where every column of the integer product is as full as it can be.
    @Test func exactIntegerTransformOfOnes() throws {
        let length = 1 << 18
        let ones = BitBuffer(words: [UInt64](repeating: .max, count: length / 64), count: length)
        let seed = ones.slice(0..<length - 1)
        for output in [length / 2, length / 2 + 1] {
            let start = length - output - 1
            let product = GoldilocksTransform.productBits(
                seed.words, ones.slice(output..<length).words, in: start..<start + output)
            let found = try PrivacyAmplificationTests.hash(seed, ones, output: output)
            #expect(found == BitBuffer(product) ^ ones.slice(0..<output))
            // Each row of T holds n − m ones.
            #expect(found.populationCount == ((length - output) % 2 == 0 ? output : 0))
        }
    }

    typealias Multiply =
        @convention(c) (
            UnsafeMutablePointer<UInt>, UnsafePointer<UInt>, UInt, UnsafePointer<UInt>, UInt
        ) -> CInt

    /// gf2x (Brent, Gaudry, Thomé, Zimmermann), Debian's libgf2x3, which `scripts/setup --tests`
    /// installs. Opened here and nowhere else: nothing of Berek links it.
    static func gf2x() throws -> Multiply {
        let library = try #require(
            dlopen("libgf2x.so.3", RTLD_NOW), "libgf2x3 is missing: run scripts/setup --tests")
        let symbol = try #require(dlsym(library, "gf2x_mul"))
        return unsafeBitCast(symbol, to: Multiply.self)
    }

    /// Whole products, and hashes out of whole products. Seed 70.
    @Test func independentMultiplier() throws {
        let multiply = try Self.gf2x()
        func product(_ left: [UInt64], _ right: [UInt64]) throws -> [UInt64] {
            var result = [UInt](repeating: 0, count: left.count + right.count)
            let status = multiply(
                &result, left.map { UInt($0) }, UInt(left.count), right.map { UInt($0) },
                UInt(right.count))
            try #require(status == 0)
            return result.map { UInt64($0) }
        }
        var generator = SeededGenerator(seed: 70)
        for words in Array(1...20) + [63, 100, 257] {
            let left = MiddleProductTests.words(words, &generator)
            let right = MiddleProductTests.words(words, &generator)
            var ours = [UInt64](repeating: 0, count: 2 * words)
            var scratch = [UInt64](repeating: 0, count: berek_polynomial_scratch(words) + 1)
            berek_polynomial_multiply(&ours, left, right, words, &scratch, BEREK_KERNEL_BEST)
            #expect(try ours == product(left, right), "\(words) words")
        }
        for (length, output) in [
            (4096, 2048), (100_001, 50_000), (1 << 20, 1 << 19), (1 << 21, 1 << 19),
            (3_000_001, 2_000_003),
        ] {
            let key = randomBits(length, &generator)
            let seed = randomBits(length - 1, &generator)
            let whole = try product(seed.words, key.slice(output..<length).words)
            let start = length - output - 1
            let part = BitBuffer(words: whole, count: 64 * whole.count)
                .slice(start..<start + output)
            let found = try PrivacyAmplificationTests.hash(seed, key, output: output)
            #expect(found == part ^ key.slice(0..<output), "n \(length) m \(output)")
            let plainSeed = randomBits(length + output - 1, &generator)
            let plain = try Toeplitz(inputBits: length, outputBits: output, seed: plainSeed)
            let all = try product(plainSeed.words, key.words)
            let expected = BitBuffer(words: all, count: 64 * all.count)
                .slice(length - 1..<length - 1 + output)
            #expect(try bits(plain.hash(key), output) == expected, "n \(length) m \(output)")
        }
    }
}
