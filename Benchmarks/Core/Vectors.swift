import LinkTypes
import ProtocolCore
import Quantities

/// Inputs and outputs in hexadecimal, for other people's programs to check
/// (`benchmark-core vectors toeplitz`).
enum Vectors {
    static func print(_ subject: String) -> Bool {
        guard subject == "toeplitz" else { return false }
        var generator = SplitMix64(seed: 5)
        func bits(_ count: Int) -> BitBuffer {
            BitBuffer(words: (0..<(count + 63) / 64).map { _ in generator.next() }, count: count)
        }
        for (input, output) in [
            (2, 1), (8, 3), (8, 8), (65, 64), (127, 65), (1000, 333), (4097, 4096), (10_000, 1),
            (65_536, 32_768), (100_003, 20_011), (262_144, 131_072), (1_000_000, 300_000),
        ] {
            let key = bits(input)
            let seed = bits(ModifiedToeplitz.seedBits(inputBits: input, outputBits: output))
            let plainSeed = bits(Toeplitz.seedBits(inputBits: input, outputBits: output))
            guard
                let modified = try? ModifiedToeplitz(
                    inputBits: input, outputBits: output, seed: seed),
                let plain = try? Toeplitz(inputBits: input, outputBits: output, seed: plainSeed),
                let modifiedHash = try? modified.hash(key), let plainHash = try? plain.hash(key)
            else { return false }
            line("modified", input, output, seed, key, modifiedHash)
            line("plain", input, output, plainSeed, key, plainHash)
        }
        return true
    }

    /// Family, n, m, and seed, key and output as octets, least significant bit first.
    private static func line(
        _ family: String, _ input: Int, _ output: Int, _ seed: BitBuffer, _ key: BitBuffer,
        _ hash: borrowing SecretBytes
    ) {
        let result = hash.withBytes { hexadecimal($0) }
        Swift.print(
            "\(family)\t\(input)\t\(output)\t\(hexadecimal(seed.bytes))\t"
                + "\(hexadecimal(key.bytes))\t\(result)")
    }

    private static func hexadecimal(_ octets: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for octet in octets {
            text.append(digits[Int(octet >> 4)])
            text.append(digits[Int(octet & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}
