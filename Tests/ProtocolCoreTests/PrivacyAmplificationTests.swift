import CKernels
import LinkTypes
import ProtocolCore
import Quantities
import Testing

func bits(_ secret: borrowing SecretBytes, _ count: Int) throws -> BitBuffer {
    let bytes = secret.withBytes { Array($0) }
    return try #require(BitBuffer(bytes: bytes, count: count), "spare bits must be zero")
}

func randomBits(_ count: Int, _ generator: inout SeededGenerator) -> BitBuffer {
    BitBuffer(words: (0..<(count + 63) / 64).map { _ in generator.next() }, count: count)
}

/// y_i = x_i ⊕ Σ_j s_(i + n − m − 1 − j) x_(m + j), bit by bit from the definition.
func modifiedToeplitzByDefinition(_ seed: BitBuffer, _ key: BitBuffer, output: Int) -> BitBuffer {
    let rest = key.count - output
    return BitBuffer(
        (0..<output).map { i in
            (0..<rest).reduce(key[i]) { sum, j in
                seed[i + rest - 1 - j] && key[output + j] ? !sum : sum
            }
        })
}

@Suite struct PrivacyAmplificationTests {
    static func hash(_ seed: BitBuffer, _ key: BitBuffer, output: Int) throws -> BitBuffer {
        let hash = try ModifiedToeplitz(inputBits: key.count, outputBits: output, seed: seed)
        return try bits(hash.hash(key), output)
    }

    /// Every seed and key of up to 8 bits, against the definition; and universality exactly: no
    /// nonzero key goes to 0 under more than 2^−m of the seeds, which by linearity bounds the
    /// collisions of every pair.
    @Test(arguments: 2...8) func exhaustiveForSmallKeys(_ length: Int) throws {
        for output in 1..<length {
            let rest = length - output
            let seedCount = 1 << (length - 1)
            var zeros = [Int](repeating: 0, count: 1 << length)
            for seedValue in 0..<seedCount {
                let seed = BitBuffer(words: [UInt64(seedValue)], count: length - 1)
                let hash = try ModifiedToeplitz(
                    inputBits: length, outputBits: output, seed: seed)
                // Row i of T as a mask over x₂, from the definition.
                let rows = (0..<output).map { i in
                    (0..<rest).reduce(0) { $0 | (seedValue >> (i + rest - 1 - $1) & 1) << $1 }
                }
                for keyValue in 0..<1 << length {
                    let key = BitBuffer(words: [UInt64(keyValue)], count: length)
                    let found = try hash.hash(key).withBytes { Int($0[0]) }
                    let expected = (0..<output).reduce(0) { sum, i in
                        let parity = (rows[i] & keyValue >> output).nonzeroBitCount & 1
                        return sum | (keyValue >> i & 1 ^ parity) << i
                    }
                    if found != expected {
                        Issue.record("n \(length) m \(output) seed \(seedValue) key \(keyValue)")
                        return
                    }
                    if found == 0 { zeros[keyValue] += 1 }
                }
            }
            #expect(zeros[0] == seedCount)
            #expect(zeros.dropFirst().allSatisfy { $0 <= seedCount >> output })
        }
    }

    /// Random sizes against the bit matrix, odd ones among them. Seed 61.
    @Test func randomSizesFollowTheDefinition() throws {
        var generator = SeededGenerator(seed: 61)
        for round in 0..<64 {
            let length = Int.random(in: 2...(round < 50 ? 700 : 4096), using: &generator)
            let output = Int.random(in: 1..<length, using: &generator)
            let key = randomBits(length, &generator)
            let seed = randomBits(length - 1, &generator)
            let found = try Self.hash(seed, key, output: output)
            #expect(
                found == modifiedToeplitzByDefinition(seed, key, output: output),
                "n \(length) m \(output)")
        }
    }

    /// Large sizes at random output bits, word by word from the definition. Seed 62.
    @Test(arguments: [(1 << 20, 300_000), (1 << 20, 1_000_000), (500_001, 77), (262_143, 262_142)])
    func largeSizesFollowTheDefinition(_ length: Int, _ output: Int) throws {
        var generator = SeededGenerator(seed: 62, label: "\(length) \(output)")
        let key = randomBits(length, &generator)
        let seed = randomBits(length - 1, &generator)
        let rest = length - output
        let found = try Self.hash(seed, key, output: output)
        // T x₂ at row i is the parity of x₂ against the seed read backwards.
        let reversed = BitBuffer((0..<seed.count).map { seed[seed.count - 1 - $0] })
        for row in [0, output - 1]
            + (0..<30).map({ _ in Int.random(in: 0..<output, using: &generator) })
        {
            let start = seed.count - 1 - (row + rest - 1)
            var sum: UInt64 = 0
            for word in stride(from: 0, to: rest, by: 64) {
                var mask = key.word(at: output + word) & reversed.word(at: start + word)
                if rest - word < 64 { mask &= 1 << UInt64(rest - word) - 1 }
                sum ^= mask
            }
            #expect(found[row] == (key[row] != (sum.nonzeroBitCount & 1 == 1)), "row \(row)")
        }
    }

    /// Linearity, the identity part, and seeds and keys of all zeros and ones. Seed 63.
    @Test func structureOfTheFamily() throws {
        var generator = SeededGenerator(seed: 63)
        for (length, output) in [(4097, 1000), (10_000, 9999), (10_000, 1), (64, 32), (129, 64)] {
            let seed = randomBits(length - 1, &generator)
            let (left, right) = (randomBits(length, &generator), randomBits(length, &generator))
            let sum = try Self.hash(seed, left ^ right, output: output)
            let parts = try (
                Self.hash(seed, left, output: output), Self.hash(seed, right, output: output)
            )
            #expect(sum == parts.0 ^ parts.1)
            let zeroSeed = BitBuffer(zeros: length - 1)
            #expect(try Self.hash(zeroSeed, left, output: output) == left.slice(0..<output))
            let oneSeed = BitBuffer(repeatElement(true, count: length - 1))
            let ones = BitBuffer(repeatElement(true, count: length))
            // Every output bit is 1 plus the parity of n − m ones.
            let expected = (length - output) % 2 == 0
            let found = try Self.hash(oneSeed, ones, output: output)
            #expect(found.populationCount == (expected ? output : 0))
        }
    }

    @Test func edgesOfTheSizes() throws {
        let key = BitBuffer([true, false, true])
        let none = BitBuffer()
        #expect(try Self.hash(none, key, output: 3) == key)
        #expect(try Self.hash(none, key, output: 0).count == 0)
        #expect(throws: PrivacyAmplificationError.outputOutOfRange(inputBits: 3, outputBits: 4)) {
            try ModifiedToeplitz(inputBits: 3, outputBits: 4, seed: none)
        }
        #expect(throws: PrivacyAmplificationError.seedLength(expected: 2, found: 0)) {
            try ModifiedToeplitz(inputBits: 3, outputBits: 2, seed: none)
        }
        let hash = try ModifiedToeplitz(inputBits: 4, outputBits: 2, seed: key)
        #expect(throws: PrivacyAmplificationError.keyLength(expected: 4, found: 3)) {
            _ = try hash.hash(key).count
        }
    }

    /// The plain Toeplitz hash against its definition, and as an independent route to the
    /// modified one: y = x₁ ⊕ Toeplitz(x₂). Seed 64.
    @Test func plainToeplitzAgrees() throws {
        var generator = SeededGenerator(seed: 64)
        for _ in 0..<30 {
            let length = Int.random(in: 2...900, using: &generator)
            let output = Int.random(in: 1...length, using: &generator)
            let key = randomBits(length, &generator)
            let seed = randomBits(length + output - 1, &generator)
            let plain = try Toeplitz(inputBits: length, outputBits: output, seed: seed)
            let expected = BitBuffer(
                (0..<output).map { i in
                    (0..<length).reduce(false) { sum, j in
                        seed[i + length - 1 - j] && key[j] ? !sum : sum
                    }
                })
            #expect(try bits(plain.hash(key), output) == expected)
            let rest = length - output
            guard rest >= output else { continue }
            let short = seed.slice(0..<length - 1)
            let part = try Toeplitz(inputBits: rest, outputBits: output, seed: short)
            let joined = try bits(part.hash(key.slice(output..<length)), output)
            let modified = try Self.hash(short, key, output: output)
            #expect(modified == key.slice(0..<output) ^ joined)
        }
    }
}

@Suite struct BinaryProductKernelTests {
    /// Both multipliers against a product made of shifts, at every size around the places where
    /// the algorithm splits. Seed 65.
    @Test func productsEqualShiftAndAdd() {
        var generator = SeededGenerator(seed: 65)
        for words in Array(1...40) + [63, 64, 65, 130, 200] {
            let left = (0..<words).map { _ in generator.next() }
            let right = (0..<words).map { _ in generator.next() }
            var expected = [UInt64](repeating: 0, count: 2 * words + 1)
            for bit in 0..<64 * words where left[bit >> 6] >> UInt64(bit & 63) & 1 == 1 {
                let (word, shift) = (bit >> 6, UInt64(bit & 63))
                for index in 0..<words {
                    expected[word + index] ^= right[index] << shift
                    if shift > 0 { expected[word + index + 1] ^= right[index] >> (64 - shift) }
                }
            }
            for kernel in MiddleProductTests.kernels {
                var product = [UInt64](repeating: .max, count: 2 * words)
                var scratch = [UInt64](
                    repeating: 0, count: max(1, berek_polynomial_scratch(words)))
                berek_polynomial_multiply(&product, left, right, words, &scratch, kernel)
                #expect(product == Array(expected.dropLast()), "\(words) words, \(kernel)")
            }
        }
    }

    @Test func zeroizeAndComparison() {
        var memory: [UInt8] = [1, 2, 3, 4, 5]
        berek_zeroize(&memory, 4)
        #expect(memory == [0, 0, 0, 0, 5])
        let left: [UInt8] = [1, 2, 3]
        for index in 0..<3 {
            var right = left
            right[index] ^= 0x80
            #expect(berek_constant_time_difference(left, right, 3) != 0)
        }
        #expect(berek_constant_time_difference(left, left, 3) == 0)
    }
}
