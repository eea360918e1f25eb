import CKernels
import LinkTypes
import ProtocolCore
import Quantities
import TestSupport

/// The modified Toeplitz hash: input bits per second of one hash to half as many bits, seed and key
/// given. The peer is the same hash by double-precision FFT (Benchmarks/Peers/fftw_toeplitz.c).
enum PrivacyAmplificationBenchmark {
    /// Sizes as powers of two, with the rate asked for in Gbit/s.
    static let goals: [(exponent: Int, rate: Double)] = [(20, 1), (24, 0.6), (27, 0.4)]
    /// The advantage over the peer that counts as well.
    static let ratioWanted = 60.0

    @Sendable static func run(_ report: inout Report) {
        let exponents = report.isQuick ? [16, 20, 24, 27] : Array(14...27)
        for exponent in exponents { size(exponent, &report) }
        oddSizes(&report)
        kernels(&report)
        if !report.isQuick { exactTransform(&report) }
    }

    /// Key and seed of the peer too.
    private static func operands(_ bits: Int) -> (seed: BitBuffer, key: BitBuffer) {
        var (seed, key) = (SplitMix64(seed: 1), SplitMix64(seed: 2))
        let words = (bits + 63) / 64
        let seedBits = BitBuffer(
            words: (0..<words).map { _ in seed.next() }, count: bits
        ).slice(0..<bits - 1)
        return (seedBits, BitBuffer(words: (0..<words).map { _ in key.next() }, count: bits))
    }

    private static func measured(
        _ bits: Int, _ output: Int, runs: Int, span: Double
    ) -> (seconds: Double, digest: UInt64)? {
        let (seed, key) = operands(bits)
        guard
            let hash = try? ModifiedToeplitz(inputBits: bits, outputBits: output, seed: seed)
        else { return nil }
        var digest = Digest()
        var isFirst = true
        let seconds = medianSeconds(runs: runs, span: span) {
            guard let result = try? hash.hash(key) else { return }
            if isFirst { result.withBytes { digest.add(wordsOf: $0) } }
            isFirst = false
        }
        return (seconds, digest.value)
    }

    private static func size(_ exponent: Int, _ report: inout Report) {
        let bits = 1 << exponent
        let name = "2^\(exponent) bits to 2^\(exponent - 1)"
        guard let ours = measured(bits, bits / 2, runs: 5, span: report.isQuick ? 0.2 : 0.5)
        else { return }
        let rate = Double(bits) / ours.seconds / 1e9
        let time = "\(decimal(ours.seconds * 1e3, 3)) ms"
        guard let goal = goals.first(where: { $0.exponent == exponent }) else {
            report.line(name, "\(decimal(rate, 3)) Gbit/s, \(time)", digest: ours.digest)
            return
        }
        // The peer's longest size takes gigabytes: full runs only.
        let isPeerDue = !report.isQuick || exponent < 27
        let peer = isPeerDue ? peerSeconds(bits, report, ours.digest) : nil
        let ratio = peer.map { $0 / ours.seconds } ?? 0
        let comparison = peer == nil ? "peer not run" : "\(decimal(ratio, 1)) x FFTW"
        report.line(name, "\(time), \(comparison)", digest: ours.digest)
        report.goal(
            name, "\(decimal(rate, 3)) Gbit/s",
            wanted: "\(decimal(goal.rate, 1)) Gbit/s or \(decimal(ratioWanted, 0)) x FFTW",
            isMet: rate >= goal.rate || ratio >= ratioWanted)
    }

    private static func peerSeconds(
        _ bits: Int, _ report: Report, _ digest: UInt64
    ) -> Double? {
        let runs = report.isQuick || bits > 1 << 24 ? 1 : 5
        let planning = report.isQuick || bits > 1 << 24 ? 0 : 60
        let arguments = ["\(bits)", "\(bits / 2)", "\(runs)", "\(planning)"]
        guard let output = Peer.run("fftw_toeplitz", arguments) else { return nil }
        let fields = output.split { $0 == " " || $0 == "\n" }
        guard fields.count == 2, let seconds = Double(fields[0]),
            let theirs = UInt64(fields[1], radix: 16)
        else { return nil }
        if theirs != digest {
            report.line("", "the peer's output is another one: \(String(theirs, radix: 16))")
        }
        return seconds
    }

    /// Sizes that are no powers of two, and uneven splits.
    private static func oddSizes(_ report: inout Report) {
        for (bits, output) in [(1_000_000, 400_000), (1_100_000, 550_000), (10_000_000, 2_500_000)]
        {
            guard let ours = measured(bits, output, runs: 5, span: 0.1) else { continue }
            let rate = decimal(Double(bits) / ours.seconds / 1e9, 3)
            report.line("\(bits) bits to \(output)", "\(rate) Gbit/s", digest: ours.digest)
        }
    }

    /// One transform of 2^18 bits by each instruction set; the digests must be one.
    private static func kernels(_ report: inout Report) {
        let (seed, key) = operands(1 << 18)
        let count = key.words.count / 2
        var work = [UInt64](repeating: 0, count: berek_middle_product_work(count, count) + 8)
        work.withUnsafeMutableBufferPointer { work in
            guard let base = work.baseAddress else { return }
            let aligned = UnsafeMutableRawPointer(base).alignedUp(toMultipleOf: 64)
                .assumingMemoryBound(to: UInt64.self)
            for (name, kernel) in [
                ("portable", BEREK_KERNEL_PORTABLE),
                ("PCLMULQDQ or PMULL", BEREK_KERNEL_CARRYLESS),
                ("VPCLMULQDQ", BEREK_KERNEL_CARRYLESS_256),
            ] where berek_kernel_available(kernel) != 0 {
                var window = [UInt64](repeating: 0, count: count)
                let seconds = medianSeconds(runs: 3, span: 0) {
                    for index in window.indices { window[index] = 0 }
                    berek_middle_product(
                        &window, count, seed.words, key.words, count, aligned, kernel)
                }
                var digest = Digest()
                digest.add(window)
                let rate = decimal(Double(1 << 18) / seconds / 1e9, 3)
                report.line("transform kernel \(name)", "\(rate) Gbit/s", digest: digest.value)
            }
        }
    }

    /// 2^24 bits against the exact transform modulo 2^64 − 2^32 + 1, every output bit.
    private static func exactTransform(_ report: inout Report) {
        let bits = 1 << 24
        let (seed, key) = operands(bits)
        let secret = key.slice(bits / 2..<bits)
        let start = bits / 2 - 1
        let product = GoldilocksTransform.productBits(
            seed.words, secret.words, in: start..<start + bits / 2)
        let expected = BitBuffer(product) ^ key.slice(0..<bits / 2)
        var digest = Digest()
        digest.add(expected.words)
        let ours = measured(bits, bits / 2, runs: 1, span: 0)
        report.goal(
            "2^24 bits by exact integer transform", "digest \(String(digest.value, radix: 16))",
            wanted: "every bit equal", isMet: ours?.digest == digest.value)
    }
}

extension Digest {
    /// The words of octets, least significant first, the last one filled up with zeros.
    mutating func add(wordsOf octets: UnsafeBufferPointer<UInt8>) {
        for start in stride(from: 0, to: octets.count, by: 8) {
            var word: UInt64 = 0
            for index in start..<min(start + 8, octets.count) {
                word |= UInt64(octets[index]) << UInt64(8 * (index - start))
            }
            add(word)
        }
    }
}
