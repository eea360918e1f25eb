import Quantities
import Testing

struct StatisticsTests {
    /// Abramowitz and Stegun, table 26.1 and 26.5.
    @Test func normalDistributionMatchesTables() {
        #expect(abs(normalCumulative(1) - 0.841_344_746_068_543) < 1e-12)
        #expect(abs(normalCumulative(-2) - 0.022_750_131_948_179) < 1e-12)
        #expect(abs(normalQuantile(0.975) - 1.959_963_984_540_054) < 1e-9)
        #expect(abs(normalQuantile(1e-9) + 5.997_807_015_007_68) < 1e-6)
    }

    /// Values printed by R's binom.test.
    @Test func clopperPearsonMatchesR() {
        let interval = clopperPearson(successes: 7, trials: 50, confidence: 0.95)
        #expect(abs(interval.lowerBound - 0.058_19) < 5e-5)
        #expect(abs(interval.upperBound - 0.267_41) < 5e-5)
        let none = clopperPearson(successes: 0, trials: 100, confidence: 0.95)
        #expect(none.lowerBound == 0)
        #expect(abs(none.upperBound - 0.036_216_69) < 1e-7)
        #expect(clopperPearson(successes: 0, trials: 0, confidence: 0.95) == 0...1)
    }

    @Test func incompleteBetaIsABinomialTail() {
        // P(X ≥ 3) for X ~ Binomial(10, 0.2) = I_0.2(3, 8).
        #expect(abs(regularizedIncompleteBeta(0.2, 3, 8) - 0.322_200_473_6) < 1e-10)
    }
}
