import CKernels
import ProtocolCore
import Quantities
import Testing

/// Octets of a hexadecimal string.
func octets(_ hexadecimal: String) -> [UInt8] {
    var result: [UInt8] = []
    var rest = Substring(hexadecimal)
    while rest.count >= 2 {
        result.append(UInt8(rest.prefix(2), radix: 16) ?? 0)
        rest = rest.dropFirst(2)
    }
    return result
}

@Suite struct GF128Tests {
    static func reflected(_ octets: [UInt8]) -> [UInt8] {
        octets.map { octet in
            (0..<8).reduce(0) { $0 | (octet >> $1 & 1) << (7 - $1) }
        }
    }

    static func random(_ generator: inout SeededGenerator) -> GF128 {
        GF128(low: generator.next(), high: generator.next())
    }

    /// GHASH of the test cases 2, 3 and 4 of McGrew and Viega, "The Galois/Counter Mode of
    /// Operation", 2005, which NIST SP 800-38D refers to. GCM writes x^0 first, so octets are
    /// reflected on the way in and out.
    @Test(arguments: [
        (
            "66e94bd4ef8a2c3b884cfa59ca342b2e", "", "0388dace60b6a392f328c2b971b2fe78",
            "f38cbb1ad69223dcc3457ae5b6b0f885"
        ),
        (
            "b83b533708bf535d0aa6e52980d53b78", "",
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
                + "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
            "7f1b32b81b820d02614f8895ac1d4eac"
        ),
        (
            "b83b533708bf535d0aa6e52980d53b78", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
                + "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "698e57f70e6ecc7fd9463b7260a9ae5f"
        ),
    ])
    func galoisHashVectors(_ key: String, _ extra: String, _ cipher: String, _ tag: String) throws {
        func padded(_ octets: [UInt8]) -> [UInt8] {
            octets + [UInt8](repeating: 0, count: (16 - octets.count % 16) % 16)
        }
        func length(_ count: Int) -> [UInt8] {
            (0..<8).map { UInt8(truncatingIfNeeded: UInt64(8 * count) >> UInt64(56 - 8 * $0)) }
        }
        let (a, c) = (octets(extra), octets(cipher))
        let message = padded(a) + padded(c) + length(a.count) + length(c.count)
        let point = try #require(GF128(octets: Self.reflected(octets(key))))
        var value = GF128(low: 0, high: 0)
        for start in stride(from: 0, to: message.count, by: 16) {
            let block = Self.reflected(Array(message[start..<start + 16]))
            value = (value + (try #require(GF128(octets: block)))) * point
        }
        #expect(Self.reflected(value.octets) == octets(tag))
        // The verification hash is the same polynomial.
        let key = try #require(
            BitBuffer(bytes: Self.reflected(message), count: 8 * message.count))
        let whole = VerificationHash(tagBits: 128).tag(of: key, point: point)
        #expect(Self.reflected(whole.bytes) == octets(tag))
    }

    /// The axioms of a field, with the defining polynomial. Seed 71.
    @Test func fieldAxioms() {
        var generator = SeededGenerator(seed: 71)
        let one = GF128(low: 1, high: 0)
        #expect(
            GF128(low: 0, high: 1 << 63) * GF128(low: 2, high: 0) == GF128(low: 0x87, high: 0))
        for _ in 0..<200 {
            let (a, b, c) = (
                Self.random(&generator), Self.random(&generator), Self.random(&generator)
            )
            #expect(a * b == b * a)
            #expect((a * b) * c == a * (b * c))
            #expect(a * (b + c) == a * b + a * c)
            #expect(a * one == a)
        }
        // a^(2^128) = a for every element, and not earlier for a generic one.
        let a = Self.random(&generator)
        var square = a
        for step in 1...128 {
            square = square * square
            #expect((square == a) == (step == 128))
        }
    }

    /// One block at a time and sixteen at a time, from any octet. Seed 72.
    @Test func kernelsAgree() {
        var generator = SeededGenerator(seed: 72)
        for blocks in Array(0...20) + Array(46...66) + [100, 257, 1000] {
            let offset = Int.random(in: 0...15, using: &generator)
            let data = (0..<16 * blocks + offset).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            let point = [generator.next(), generator.next()]
            let start = [generator.next(), generator.next()]
            let values = MiddleProductTests.kernels.map { kernel in
                var value = start
                data.withUnsafeBufferPointer { data in
                    guard let base = data.baseAddress else { return }
                    berek_gf128_horner(&value, point, base + offset, blocks, kernel)
                }
                return value
            }
            #expect(values.allSatisfy { $0 == values[0] }, "\(blocks) blocks")
            var product = [UInt64](repeating: 0, count: 2)
            berek_gf128_multiply(&product, start, point, BEREK_KERNEL_PORTABLE)
            let expected =
                GF128(low: start[0], high: start[1]) * GF128(low: point[0], high: point[1])
            #expect(product == [expected.low, expected.high])
        }
    }
}

@Suite struct VerificationTests {
    /// The tag is Horner's rule over the key's blocks. Seed 73.
    @Test func tagIsThePolynomialOfTheKey() {
        var generator = SeededGenerator(seed: 73)
        for count in [0, 1, 64, 127, 128, 129, 1000, 4096] {
            let key = randomBits(count, &generator)
            let point = GF128Tests.random(&generator)
            var value = GF128(low: 0, high: 0)
            for start in stride(from: 0, to: count, by: 128) {
                let block = GF128(low: key.word(at: start), high: key.word(at: start + 64))
                value = (value + block) * point
            }
            let whole = BitBuffer(words: [value.low, value.high], count: 128)
            for tagBits in [1, 64, 65, 128] {
                let tag = VerificationHash(tagBits: tagBits).tag(of: key, point: point)
                #expect(tag == whole.slice(0..<tagBits))
            }
        }
    }

    /// A single differing bit is seen at every position, and the collision rate of short tags is
    /// that of the bound. Seed 74.
    @Test func differencesAreSeen() {
        var generator = SeededGenerator(seed: 74)
        let hash = VerificationHash(tagBits: 64)
        let key = randomBits(1000, &generator)
        let point = GF128Tests.random(&generator)
        for index in 0..<key.count {
            var other = key
            other[index] = !other[index]
            #expect(hash.tag(of: other, point: point) != hash.tag(of: key, point: point))
        }
        let short = VerificationHash(tagBits: 4)
        let other = randomBits(1000, &generator)
        let trials = 4000
        var collisions = 0
        for _ in 0..<trials {
            let point = GF128Tests.random(&generator)
            if short.tag(of: key, point: point) == short.tag(of: other, point: point) {
                collisions += 1
            }
        }
        // 1/16 on average; 6 standard deviations are 92.
        #expect(abs(collisions - trials / 16) < 92)
        #expect(Double(collisions) / Double(trials) <= short.collisionBound(keyBits: 1000))
    }

    @Test func tagLengthFollowsTheBound() throws {
        let hash = VerificationHash(tagBits: 64)
        #expect(hash.collisionBound(keyBits: 1_000_000) == 7813 * 0x1p-64)
        #expect(VerificationHash(tagBits: 1).collisionBound(keyBits: 1 << 20) == 1)
        for (keyBits, epsilon) in [(1000, 1e-15), (1_000_000, 1e-15), (1 << 27, 1e-12)] {
            let chosen = try #require(VerificationHash(keyBits: keyBits, epsilon: epsilon))
            #expect(chosen.tagBits % 8 == 0)
            #expect(chosen.collisionBound(keyBits: keyBits) <= epsilon)
            let shorter = VerificationHash(tagBits: chosen.tagBits - 8)
            #expect(shorter.collisionBound(keyBits: keyBits) > epsilon)
        }
        #expect(VerificationHash(keyBits: 1 << 40, epsilon: 1e-38) == nil)
    }
}
