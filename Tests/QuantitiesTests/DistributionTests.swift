import Quantities
import TestSupport
import Testing

/// Sample moments against theory, within six standard errors.
struct DistributionTests {
    private func moments(
        _ count: Int, seed: UInt64, _ draw: (inout SeededGenerator) -> Double
    ) -> (mean: Double, variance: Double) {
        var generator = SeededGenerator(seed: seed)
        var sum = 0.0
        var squares = 0.0
        for _ in 0..<count {
            let value = draw(&generator)
            sum += value
            squares += value * value
        }
        let mean = sum / Double(count)
        return (mean, squares / Double(count) - mean * mean)
    }

    @Test(arguments: [0.01, 0.7, 5, 29.9, 30, 250, 40_000], seeds(2))
    func poissonHasEqualMeanAndVariance(mean: Double, seed: UInt64) {
        let count = 40_000
        let sample = moments(count, seed: seed) { Double($0.poisson(mean: mean)) }
        let n = Double(count)
        #expect(abs(sample.mean - mean) < 6 * (mean / n).squareRoot())
        // Var(s²) ≈ (µ4 − σ⁴)/n with µ4 = 3λ² + λ.
        let spread = ((2 * mean * mean + mean) / n).squareRoot()
        #expect(abs(sample.variance - mean) < 6 * spread)
    }

    @Test(arguments: [0.9, 0.5, 0.01, 1e-5], seeds(2))
    func geometricHasItsMean(p: Double, seed: UInt64) {
        let count = 40_000
        let sample = moments(count, seed: seed) { Double($0.geometric(p)) }
        let mean = (1 - p) / p
        #expect(abs(sample.mean - mean) < 6 * ((1 - p) / (p * p) / Double(count)).squareRoot())
    }

    @Test(arguments: seeds(3)) func gaussianIsStandard(seed: UInt64) {
        let count = 200_000
        let sample = moments(count, seed: seed) { $0.gaussian() }
        #expect(abs(sample.mean) < 6 / Double(count).squareRoot())
        #expect(abs(sample.variance - 1) < 6 * (2 / Double(count)).squareRoot())
    }
}
