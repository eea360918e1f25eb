import LinkTypes
import Quantities
import TestSupport
import Testing

struct PatternTests {
    @Test(arguments: seeds(3)) func keyedPatternHasItsProbabilities(seed: UInt64) {
        let pattern = KeyedPulsePattern(key: seed, probabilityZ: 0.8, probabilitySignal: 0.7)
        var z = 0
        var signal = 0
        var ones = 0
        let count = 100_000
        for slot in 0..<count {
            let symbol = pattern.symbol(at: SlotIndex(UInt64(slot)))
            z += symbol.state.basis == .z ? 1 : 0
            signal += symbol.intensity == 0 ? 1 : 0
            ones += symbol.state.bit ? 1 : 0
        }
        let n = Double(count)
        #expect(abs(Double(z) / n - 0.8) < 6 * (0.16 / n).squareRoot())
        #expect(abs(Double(signal) / n - 0.7) < 6 * (0.21 / n).squareRoot())
        #expect(abs(Double(ones) / n - 0.5) < 6 * (0.25 / n).squareRoot())
    }

    /// A Legendre sequence of length p ≡ 3 (mod 4) has off-peak autocorrelation −1 as ±1 with its
    /// zero chip counted as −1 or +1, that is −1 ± 2 at most (Golomb and Gong, "Signal Design for
    /// Good Correlation", §2.3).
    @Test(arguments: 0..<3) func synchronizationCodesAreNearlyIdeal(component: Int) {
        let p = Int(SynchronizationPattern.primes[component])
        let chips = (0..<p).map {
            SynchronizationPattern.isBright(component: component, chip: UInt64($0)) ? 1 : -1
        }
        for shift in 1..<p {
            let correlation = (0..<p).reduce(0) { $0 + chips[$1] * chips[($1 + shift) % p] }
            #expect(abs(correlation) <= 3, "shift \(shift)")
        }
    }

    @Test func labelsInvertOnlyTheirBasis() {
        let labels = DetectorLabels(invertsZ: true, invertsX: false)
        #expect(labels.outcome(of: 0) == QubitState(basis: .z, bit: true))
        #expect(labels.outcome(of: 3) == QubitState(basis: .x, bit: true))
    }
}
