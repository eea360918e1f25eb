import Quantities
import TestSupport
import Testing
import TimeTaggers

/// A stuck bit of a counter, found in time stamps alone.
struct BitWatchTests {
    private static let ticksPerSecond = 5e8
    /// In ticks: about 2^17 and 2^20, and others.
    private static let periods: [UInt64] = [
        125_000, 131_072, 131_071, 131_073, 131_136, 1_048_576, 1_048_575, 500_000, 196_608,
    ]

    /// Feeds times to a watch; what it finds, and after how many seconds.
    private static func watch(
        _ seconds: Double, mask: UInt64 = 0, value: UInt64 = 0, next: (UInt64) -> UInt64
    ) -> (bit: Int, seconds: Double)? {
        var watch = BitWatch(width: 27, ticksPerSecond: ticksPerSecond)
        var time: UInt64 = 0
        while Double(time) < seconds * ticksPerSecond {
            time = next(time)
            let shown = (time & ~mask | value) & (1 << 27 - 1)
            guard watch.isDue(at: time) else { continue }
            if let found = watch.sample(counter: shown, ticks: time) {
                return (found.bit, Double(time) / ticksPerSecond)
            }
        }
        return nil
    }

    private static func poisson(_ rate: Double, seed: UInt64) -> (UInt64) -> UInt64 {
        var generator = SeededGenerator(seed: seed, label: "bit watch")
        return { $0 + 1 + UInt64(generator.exponentialDeviate() * ticksPerSecond / rate) }
    }

    @Test(arguments: [3, 4, 7, 10, 14, 17, 19]) func aStuckBitIsFound(bit: Int) throws {
        for isHigh in [true, false] {
            let found = try #require(
                Self.watch(
                    5, mask: 1 << UInt64(bit), value: isHigh ? 1 << UInt64(bit) : 0,
                    next: Self.poisson(5000, seed: UInt64(bit))), "bit \(bit)")
            #expect(found.bit == bit && found.seconds < 2.2, "bit \(bit): \(found)")
        }
    }

    /// Good counters for minutes, at all kinds of rate.
    @Test(arguments: [50.0, 700, 3000, 20_000]) func aGoodCounterIsNotSuspected(rate: Double) {
        let found = Self.watch(
            min(120, 3e5 / rate), next: Self.poisson(rate, seed: UInt64(rate)))
        #expect(found == nil, "\(rate): \(String(describing: found))")
    }

    /// Trains of pulses in step with the counter, or almost: bits below the period never change then,
    /// and others hardly ever.
    @Test(arguments: periods)
    func aTrainInStepIsNotSuspected(period: UInt64) {
        #expect(Self.watch(40, next: { $0 + period }) == nil, "period \(period)")
    }

    /// Pulses in step with the counter whose jitter is comparable to a half period of some of its bits:
    /// those may well keep one value for long, in the middle of which the pulses lie.
    @Test(arguments: [3, 5, 8, 12, 20, 40, 80] as [Double]) func jitterIsNotSuspected(
        width: Double
    ) {
        var generator = SeededGenerator(seed: UInt64(width), label: "jitter")
        let phases: [Double] = [8, 16, 32, 64, 100]
        for phase in phases {
            var pulse: UInt64 = 0
            let found = Self.watch(25) { last in
                pulse += 131_072
                let time = Double(pulse) + phase + width * generator.gaussian()
                return max(last + 1, UInt64(max(0, time)))
            }
            #expect(found == nil, "width \(width), phase \(phase): \(String(describing: found))")
        }
    }
}
