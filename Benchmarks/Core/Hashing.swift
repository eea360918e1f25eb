import CKernels
import LinkTypes
import ProtocolCore
import Quantities

/// The hash over GF(2^128) that verifies keys and authenticates messages, in octets per second.
enum HashingBenchmark {
    static let rateWanted = 5.0

    private struct Nothing: KeyPoolStore {
        func persist(consumedThrough offset: UInt64) {}
    }

    @Sendable static func run(_ report: inout Report) {
        var generator = SplitMix64(seed: 3)
        let point = GF128(low: generator.next(), high: generator.next())
        for exponent in [10, 14, 20, 24] {
            let words = (0..<(1 << exponent) / 8).map { _ in generator.next() }
            let key = BitBuffer(words: words, count: 64 * words.count)
            verification(key, point, exponent, &report)
            authentication(key.bytes, exponent, &report)
        }
        kernels(&report)
    }

    private static func verification(
        _ key: BitBuffer, _ point: GF128, _ exponent: Int, _ report: inout Report
    ) {
        let hash = VerificationHash(tagBits: 128)
        var digest = Digest()
        digest.add(hash.tag(of: key, point: point).words)
        let calls = max(1, (1 << 20) >> exponent)
        let seconds = medianSeconds(span: 0.1) {
            for _ in 0..<calls { _ = hash.tag(of: key, point: point) }
        }
        add("verification tag of 2^\(exponent) octets", exponent, seconds, calls, digest, &report)
    }

    private static func authentication(
        _ message: [UInt8], _ exponent: Int, _ report: inout Report
    ) {
        let calls = max(1, (1 << 20) >> exponent)
        func pool(_ count: Int) -> KeyPool {
            KeyPool(
                key: SecretBytes(count: count) { _ in }, startingAt: 0, lowWaterMark: 0,
                store: Nothing())
        }
        guard
            var authenticator = try? Authenticator(
                hashKey: SecretBytes(copying: (1...16).map { UInt8($0) }),
                sending: pool(1 << 20), receiving: pool(0))
        else { return }
        var digest = Digest()
        guard let tag = try? authenticator.tag(message) else { return }
        for octet in tag.octets { digest.add(UInt64(octet)) }
        var times: [Double] = []
        for _ in 0..<9 {
            let start = processorSeconds()
            for _ in 0..<calls { _ = try? authenticator.tag(message) }
            times.append(processorSeconds() - start)
        }
        times.sort()
        add("message tag of 2^\(exponent) octets", exponent, times[4], calls, digest, &report)
    }

    /// The goal is for messages and blocks of a megabyte; short ones are told without one.
    private static func add(
        _ name: String, _ exponent: Int, _ seconds: Double, _ calls: Int, _ digest: Digest,
        _ report: inout Report
    ) {
        let rate = Double(calls << exponent) / seconds / 1e9
        let figure = "\(decimal(rate)) GB/s"
        report.line(name, figure, digest: digest.value)
        if exponent == 20 {
            report.goal(
                name, figure, wanted: "\(decimal(rateWanted, 0)) GB/s", isMet: rate >= rateWanted)
        }
    }

    private static func kernels(_ report: inout Report) {
        var generator = SplitMix64(seed: 4)
        let count = report.isQuick ? 1 << 16 : 1 << 20
        let data = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        let point = [generator.next(), generator.next()]
        for (name, kernel) in [
            ("portable", BEREK_KERNEL_PORTABLE), ("PCLMULQDQ or PMULL", BEREK_KERNEL_CARRYLESS),
            ("VPCLMULQDQ", BEREK_KERNEL_CARRYLESS_256),
        ] where berek_kernel_available(kernel) != 0 {
            var value: [UInt64] = [0, 0]
            let seconds = medianSeconds(span: 0.05) {
                value = [0, 0]
                berek_gf128_horner(&value, point, data, count / 16, kernel)
            }
            var digest = Digest()
            digest.add(value)
            report.line(
                "hash kernel \(name)", "\(decimal(Double(count) / seconds / 1e9)) GB/s",
                digest: digest.value)
        }
    }
}
