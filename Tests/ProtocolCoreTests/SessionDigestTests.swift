import ProtocolCore
import Quantities
import Testing

@Suite struct SessionDigestTests {
    /// FIPS 180-4 example computations, as published by NIST ("SHA256.pdf"), and the NESSIE vector
    /// of a million letters.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                + "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
    ]) func publishedVectors(text: String, digest: String) {
        #expect(SHA256.digest(of: text.utf8).hexadecimal == digest)
    }

    @Test func aMillionLetters() {
        let digest = SHA256.digest(of: repeatElement(UInt8(ascii: "a"), count: 1_000_000))
        #expect(
            digest.hexadecimal
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test func piecesDoNotMatter() {
        let seed: UInt64 = 0xD16E
        var generator = SeededGenerator(seed: seed, label: "pieces")
        for length in 0..<200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
            var hash = SHA256()
            var rest = bytes[...]
            while !rest.isEmpty {
                let size = Int.random(in: 1...70, using: &generator)
                hash.update(rest.prefix(size))
                rest = rest.dropFirst(size)
            }
            #expect(hash.finalize() == SHA256.digest(of: bytes), "seed \(seed), length \(length)")
        }
    }

    @Test func everyParameterChangesTheDigest() throws {
        func parameters(
            rate: Double = 1e8, signal: Double = 0.5, z: Double = 0.7, block: Int = 4096,
            secrecy: Double = 1e-9, limit: Double = 0.11, fraction: Double = 0.1
        ) throws -> SessionParameters {
            try SessionParameters(
                slotRate: Hertz(rate),
                intensities: DecoyIntensities(signal: signal, decoy: 0.1, signalProbability: 0.7),
                probabilityZ: z, disclosedFractionZ: fraction, blockBits: block,
                security: SecurityParameters(epsilonSecrecy: secrecy, epsilonCorrectness: 1e-12),
                maximumErrorRate: limit)
        }
        let all = [
            try parameters(), try parameters(rate: 2e8), try parameters(signal: 0.6),
            try parameters(z: 0.8), try parameters(block: 8192), try parameters(secrecy: 1e-10),
            try parameters(limit: 0.1), try parameters(fraction: 0.2),
        ]
        #expect(Set(all.map(\.digest)).count == all.count)
        #expect(throws: SessionParametersError.self) { try parameters(block: 100) }
        #expect(throws: SessionParametersError.self) { try parameters(z: 1) }
    }
}
