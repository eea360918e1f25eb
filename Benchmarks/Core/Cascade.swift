import ProtocolCore
import Quantities

/// Cascade: parities announced, steps and processor time of both ends, by error rate.
///
/// The strings have exactly round(e n) errors at random places. f is Alice's parities per n h(e);
/// under the accounting that charges both directions it is twice that, because Bob answers each
/// parity with one bit.
func cascadeStage(_ report: inout Report) {
    let bits = 1 << 20
    let blocks = report.isQuick ? 4 : 40
    for rate in [0.01, 0.02, 0.03, 0.05] {
        let parameters = CascadeParameters.optimized(bits: bits, errorRate: rate)
        let name = "2^20 bits, e \(decimal(100 * rate, 1)) %"
        let total = measure(parameters, rate: rate, strings: blocks, seed: 1)
        total.print(to: report, name, bits: bits, rate: rate)
        let f = total.efficiency(bits: bits, rate: rate)
        report.goal("  f", decimal(f, 4), wanted: "1.05 or less", isMet: f <= 1.05)
        let speed = total.speed(bits: bits, total.bobSeconds)
        report.goal(
            "  Bob's end", "\(decimal(speed, 1)) Mbit/s", wanted: "60", isMet: speed >= 60)
        let both = total.speed(bits: bits, total.bobSeconds + total.aliceSeconds)
        report.line("  both ends on one core", "\(decimal(both, 1)) Mbit/s")
        report.goal(
            "  strings left different", "\(total.failures) of \(total.strings)", wanted: "0",
            isMet: total.failures == 0)
    }
    compareOrders(report)
    // Many short strings, where a failure would show soonest.
    let frame = 1 << 14
    let total = measure(
        .optimized(bits: frame, errorRate: 0.03), rate: 0.03,
        strings: report.isQuick ? 500 : 30_000, seed: 2)
    total.print(to: report, "2^14 bits, e 3.0 %", bits: frame, rate: 0.03)
    report.goal(
        "  strings left different", "\(total.failures) of \(total.strings)", wanted: "1e-4 or less",
        isMet: Double(total.failures) <= 1e-4 * Double(total.strings))
}

/// The published orders on the strings for which results of other programs are known.
private func compareOrders(_ report: Report) {
    for variant in CascadeParameters.Variant.allCases {
        let published = CascadeParameters.published(variant, bits: 10_000, errorRate: 0.02)
        let total = measure(published, rate: 0.02, strings: report.isQuick ? 50 : 1000, seed: 3)
        total.print(
            to: report, "10 000 bits, e 2.0 %, \(variant.rawValue)", bits: 10_000, rate: 0.02)
    }
}

/// Sums over the strings of one measurement.
private struct CascadeTotal {
    var strings = 0
    var parities = 0
    var steps = 0
    var failures = 0
    var aliceSeconds = 0.0
    var bobSeconds = 0.0
    var digest = Digest()

    func efficiency(bits: Int, rate: Double) -> Double {
        Double(parities) / (Double(strings * bits) * FiniteKey.binaryEntropy(rate))
    }

    /// Mbit/s.
    func speed(bits: Int, _ seconds: Double) -> Double { Double(strings * bits) / seconds / 1e6 }

    func print(to report: Report, _ name: String, bits: Int, rate: Double) {
        let f = efficiency(bits: bits, rate: rate)
        report.line(
            name,
            "f \(decimal(f, 4)), both directions \(decimal(2 * f, 4)),"
                + " \(steps / strings) round trips,"
                + " Alice \(decimal(speed(bits: bits, aliceSeconds), 1)),"
                + " Bob \(decimal(speed(bits: bits, bobSeconds), 1)) Mbit/s",
            digest: digest.value)
    }
}

private func measure(
    _ parameters: CascadeParameters, rate: Double, strings: Int, seed: UInt64
) -> CascadeTotal {
    var total = CascadeTotal()
    var generator = SeededGenerator(seed: seed, label: "cascade")
    let bits = parameters.bits
    for string in 0..<strings {
        let words = (0..<(bits + 63) / 64).map { _ in generator.next() }
        let alice = BitBuffer(words: words, count: bits)
        var bob = alice
        var left = Int((rate * Double(bits)).rounded())
        while left > 0 {
            let place = Int.random(in: 0..<bits, using: &generator)
            guard bob[place] == alice[place] else { continue }
            bob[place].toggle()
            left -= 1
        }
        total.reconcile(parameters, seed: UInt64(string), alice, bob)
    }
    return total
}

extension CascadeTotal {
    /// One string through both ends, each timed alone.
    fileprivate mutating func reconcile(
        _ parameters: CascadeParameters, seed: UInt64, _ alice: BitBuffer, _ bob: BitBuffer
    ) {
        var time = processorSeconds()
        func lap() -> Double {
            let now = processorSeconds()
            defer { time = now }
            return now - time
        }
        let ofAlice = CascadeAlice(parameters: parameters, seed: seed, bits: alice)
        var next: BitBuffer? = ofAlice.start()
        aliceSeconds += lap()
        let ofBob = CascadeBob(parameters: parameters, seed: seed, bits: bob)
        do throws(CascadeError) {
            while let announced = next {
                let found = try ofBob.step(parities: announced)
                bobSeconds += lap()
                next = try ofAlice.step(differences: found)
                aliceSeconds += lap()
            }
        } catch {
            failures += 1
        }
        let corrected = ofBob.corrected
        bobSeconds += lap()
        strings += 1
        parities += ofAlice.announcedBits
        steps += ofAlice.steps
        if corrected != alice { failures += 1 }
        digest.add(corrected.words)
        digest.add(UInt64(ofAlice.announcedBits))
    }
}
