import LinkTypes
import ProtocolCore
import Quantities
import Testing

/// Values of SciPy 1.17 (stats.chi2.isf, special.gammainc, stats.poisson, stats.binom), which for
/// 5 % and 0.1 % are those of the printed chi-square tables.
@Suite struct DistributionFunctionTests {
    @Test(arguments: [
        (0.05, 1, 3.8414588206941285), (0.05, 10, 18.30703805327515),
        (0.05, 31, 44.985343280365136), (0.05, 100, 124.34211340400408),
        (0.001, 1, 10.827566170662733), (0.001, 10, 29.58829844507442),
        (0.001, 31, 61.09830608105814), (0.001, 100, 149.4492527790389),
        (1e-6, 1, 23.928126976934827), (1e-6, 31, 83.64251584700447),
        (1e-6, 100, 182.12677711954765),
    ]) func chiSquareTables(tail: Double, degrees: Int, value: Double) {
        #expect(abs(chiSquareQuantile(tail: tail, degrees: degrees) / value - 1) < 1e-10)
    }

    @Test(arguments: [
        (0.5, 0.5, 0.6826894921370859, 0.31731050786291115),
        (10, 3, 0.0011024881301154815, 0.9988975118698845),
        (10, 25, 0.9997785233617512, 0.0002214766382487835),
        (1000, 1100, 0.9989406767460701, 0.0010593232539299773),
        (1e6, 1.002e6, 0.9771959041012303, 0.022804095898769836),
    ]) func incompleteGamma(a: Double, x: Double, p: Double, q: Double) {
        let found = regularizedIncompleteGamma(a, x)
        let tolerance = 1e-11 + 5e-15 * a
        #expect(abs(found.p / p - 1) < tolerance && abs(found.q / q - 1) < tolerance, "\(found)")
    }

    @Test(arguments: [
        (0, 40, 4.248354255291595e-18, 1), (3, 10, 0.010336050675925726, 0.9972306042844884),
        (20, 10, 0.998411739338142, 0.0034543419758568334),
        (1000, 1100, 0.001175230568136558, 0.9989406767460701),
    ]) func poissonTails(count: Int, mean: Double, lower: Double, upper: Double) {
        #expect(abs(poissonLowerTail(count, mean: mean) / lower - 1) < 1e-10)
        #expect(abs(poissonUpperTail(count, mean: mean) / upper - 1) < 1e-10)
    }

    @Test(arguments: [
        (10, 100, 0.2, 0.005696380955793536, 0.9976664390137892),
        (49_000, 100_000, 0.5, 1.2943580191734472e-10, 0.9999999998757588),
        (100, 1_000_000, 1.5e-4, 9.038544182214768e-06, 0.9999940834259271),
        (-1, 5, 0.5, 0, 1), (6, 5, 0.5, 1, 0), (5, 5, 0.5, 1, 0.03125),
    ]) func binomialTails(count: Int, trials: Int, p: Double, lower: Double, upper: Double) {
        let found = (
            binomialLowerTail(count, trials: trials, probability: p),
            binomialUpperTail(count, trials: trials, probability: p)
        )
        #expect(abs(found.0 - lower) <= 1e-8 * lower && abs(found.1 - upper) <= 1e-8 * upper)
    }
}

@Suite struct GeneratorTestsTests {
    /// SP 800-90B, 4.4.1: α = 2⁻²⁰ and H = 2 give 11.
    @Test func repetitionCutoffs() {
        func cutoff(_ h: Double, _ log: Double) -> Int {
            GeneratorTests.repetitionCutoff(minEntropy: h, alarmRate: power(2, -log))
        }
        #expect(cutoff(2, 20) == 11 && cutoff(1, 30) == 31 && cutoff(8, 30) == 5)
        #expect(GeneratorTests().repetitionCutoff == 5)
    }

    /// H = 1/1 … 1/15, W = 512, α = 2⁻³⁰: sums of the binomial law with 60 digits. Linux's
    /// jitterentropy has the same table but for H = 1/3 and 1/5, where it prints one more.
    @Test func proportionCutoffs() {
        let table = [
            325, 422, 458, 477, 487, 494, 499, 502, 505, 507, 508, 509, 510, 511, 512,
        ]
        for (index, value) in table.enumerated() {
            let found = GeneratorTests.proportionCutoff(
                minEntropy: 1 / Double(index + 1), window: 512, alarmRate: 0x1p-30)
            #expect(found == value, "H = 1/\(index + 1)")
        }
        for (h, value) in [(8.0, 16), (4, 71), (2, 190)] {
            #expect(
                GeneratorTests.proportionCutoff(minEntropy: h, window: 512, alarmRate: 0x1p-30)
                    == value)
        }
        #expect(
            GeneratorTests.proportionCutoff(minEntropy: 1, window: 1024, alarmRate: 0x1p-20) == 589)
    }

}

@Suite struct HealthStatisticsTests {
    private func verdicts(_ signals: [HealthSignal]) -> Set<HealthSignal.Verdict> {
        Set(signals.map(\.verdict))
    }

    private func bits(
        _ count: Int, ones: Double, _ generator: inout SeededGenerator
    ) -> BitStatistics {
        var statistics = BitStatistics(isConfidential: false)
        var bits = BitBuffer()
        for _ in 0..<count / 64 {
            bits.append(ones == 0.5 ? generator.next() : word(ones, &generator), bitCount: 64)
        }
        statistics.add(bits)
        return statistics
    }

    private func word(_ ones: Double, _ generator: inout SeededGenerator) -> UInt64 {
        (0..<64).reduce(0) { $0 | (generator.bernoulli(ones) ? 1 << UInt64($1) : 0) }
    }

    /// Thresholds of SciPy for 100,000 trials and α = 2⁻²⁰, and their meaning as interval.
    @Test func proportionsAreClopperPearsonTests() {
        func signal(_ ones: Int) -> HealthSignal {
            var statistics = BitStatistics(isConfidential: false)
            var left = ones
            for start in stride(from: 0, to: 100_000, by: 64) {
                let size = min(64, 100_000 - start)
                let take = min(left, size)
                left -= take
                statistics.add(take == 64 ? .max : 1 << UInt64(take) - 1, bitCount: size)
            }
            return statistics.bias("bits")
        }
        #expect(signal(49_225).accepted == 0.49225...0.50775)
        for (ones, verdict) in [
            (49_224, HealthSignal.Verdict.alarm), (49_225, .normal), (50_775, .normal),
            (50_776, .alarm),
        ] {
            let interval = clopperPearson(
                successes: ones, trials: 100_000, confidence: 1 - 0x1p-20)
            #expect(signal(ones).verdict == verdict)
            #expect(interval.contains(0.5) == (verdict == .normal))
        }
        #expect(BitStatistics(isConfidential: false).bias("none").verdict == .tooFewSamples)
    }

    /// However the bits are cut into words, and against sums of single bits.
    @Test func bitSumsAreThoseOfTheDefinition() {
        let seed: UInt64 = 0x4EA1
        var generator = SeededGenerator(seed: seed, label: "cuts")
        for round in 0..<30 {
            let count = Int.random(in: 1000...2000, using: &generator)
            let values = (0..<count).map { _ in generator.bernoulli(0.3) }
            var statistics = BitStatistics(isConfidential: false)
            var start = 0
            while start < count {
                let size = min(count - start, Int.random(in: 1...64, using: &generator))
                var word = (generator.next() << UInt64(size - 1)) << 1
                for index in 0..<size where values[start + index] { word |= 1 << UInt64(index) }
                statistics.add(word, bitCount: size)
                start += size
            }
            let p = Double(values.count { $0 }) / Double(count)
            for signal in statistics.autocorrelation("bits").enumerated() {
                let lag = signal.offset + 1
                let pairs = (lag..<count).count { values[$0] && values[$0 - lag] }
                let trials = Double(count - lag)
                let expected =
                    (Double(pairs) / trials - p * p) / (p * (1 - p)) * trials.squareRoot()
                #expect(
                    abs(signal.element.statistic - expected) < 1e-9,
                    "seed \(seed), round \(round), lag \(lag)")
            }
        }
    }

    /// Alarms of devices without fault, at 5 % so that they can be counted: at most as many as
    /// stated, up to four standard deviations, and not far fewer.
    @Test func falseAlarmsOfBitsAreAsStated() {
        let seed: UInt64 = 0x4EA2
        var generator = SeededGenerator(seed: seed, label: "null bits")
        let runs = 10_000
        for (ones, label) in [(0.5, "fair"), (0.4375, "biased")] {
            var (bias, families) = (0, 0)
            for _ in 0..<runs {
                var statistics = BitStatistics(isConfidential: false)
                for _ in 0..<48 {
                    // 7/16 as a function of four fair bits, so that words are cheap.
                    let (a, b, c, d) = (
                        generator.next(), generator.next(), generator.next(), generator.next()
                    )
                    statistics.add(ones == 0.5 ? a : a & (b | c | d))
                }
                let expected = ones
                if statistics.bias("", expected: expected...expected, alarmRate: 0.05).verdict
                    == .alarm
                {
                    bias += 1
                }
                let family = statistics.autocorrelation("", alarmRate: 0.05)
                if verdicts(family).contains(.alarm) { families += 1 }
            }
            let most = 0.05 * Double(runs) + 4 * (0.05 * 0.95 * Double(runs)).squareRoot()
            #expect(Double(bias) < most, "seed \(seed), \(label): \(bias)")
            #expect(Double(families) < most, "seed \(seed), \(label): \(families)")
            #expect(bias > runs / 40 && families > runs / 40, "\(label): \(bias), \(families)")
        }
    }

    /// A receiver in a few lines: clicks per detector and slot, arrival times, afterpulses.
    private struct Receiver {
        var clicks = [1e-2, 1e-2, 1e-2, 1e-2]
        var sigma = 100.0
        var shift = [0.0, 0, 0, 0]
        var afterpulse = 0.0
        var slots: UInt64 = 20_000
        var generator: SeededGenerator

        mutating func batch() -> DetectionBatch {
            let total = clicks.reduce(0, +)
            var times: [UInt64: UInt8] = [:]
            var slot = generator.geometric(total)
            while slot < slots {
                var place = generator.uniform() * total
                var detector = 0
                while detector < 3, place >= clicks[detector] {
                    place -= clicks[detector]
                    detector += 1
                }
                times[slot] = times[slot] ?? UInt8(detector)
                if generator.bernoulli(afterpulse) {
                    let later = slot + 1 + generator.geometric(0.2)
                    if later < slots { times[later] = times[later] ?? UInt8(detector) }
                }
                slot += 1 + generator.geometric(total)
            }
            let detections = times.keys.sorted().map { slot -> Detection in
                let detector = times[slot] ?? 0
                let phase = generator.gaussian() * sigma + shift[Int(detector)]
                return Detection(slot: SlotIndex(slot), phase: Int32(phase), detector: detector)
            }
            return DetectionBatch(
                slots: SlotIndex(0)..<SlotIndex(slots), detections: detections,
                provenance: .emulated)
        }
    }

    @Test func falseAlarmsOfDetectorsAreAsStated() {
        let seed: UInt64 = 0x4EA3
        var receiver = Receiver(generator: SeededGenerator(seed: seed, label: "null clicks"))
        var expectation = HealthExpectation()
        expectation.balanceZ = 0.5...0.5
        expectation.balanceX = 0.5...0.5
        var alarms: [HealthSignal.Test: Int] = [:]
        let runs = 10_000
        for run in 0..<runs {
            var statistics = DetectionStatistics(slotRate: Hertz(1e9))
            statistics.add(receiver.batch())
            let signals = statistics.signals(expectation, alarmRate: 0.05)
            for test in Set(signals.filter { $0.verdict == .alarm }.map(\.test)) {
                alarms[test, default: 0] += 1
            }
            if run == 0 { #expect(!verdicts(signals).contains(.tooFewSamples)) }
        }
        for test in [HealthSignal.Test.detectorBalance, .gatePosition, .clickCorrelation] {
            let count = alarms[test, default: 0]
            #expect(Double(count) < 0.05 * Double(runs) + 90, "seed \(seed), \(test): \(count)")
            #expect(count > runs / 100, "seed \(seed), \(test): \(count)")
        }
    }

    /// 5 % more efficiency in one detector: seen in 120,000 clicks of the basis.
    @Test func unequalEfficienciesAreFound() {
        let seed: UInt64 = 0x4EA4
        for (second, verdict) in [(1.0, HealthSignal.Verdict.normal), (1.05, .alarm)] {
            var receiver = Receiver(generator: SeededGenerator(seed: seed, label: "balance"))
            receiver.clicks = [1e-2, 1e-2 * second, 1e-3, 1e-3]
            receiver.slots = 6_000_000
            var statistics = DetectionStatistics(slotRate: Hertz(1e9))
            statistics.add(receiver.batch())
            var expectation = HealthExpectation()
            expectation.balanceZ = 0.5...0.5
            let signals = statistics.signals(expectation)
            let balance = signals.filter { $0.test == .detectorBalance }
            #expect(balance[0].verdict == verdict, "seed \(seed): \(balance[0])")
            #expect(balance[1].verdict == .normal, "seed \(seed)")
        }
    }

    /// Afterpulses of 1 %: seen in 40,000 clicks at 10⁻³ per slot.
    @Test func afterpulsesAreFound() {
        let seed: UInt64 = 0x4EA5
        for (probability, verdict) in [(0.0, HealthSignal.Verdict.normal), (0.01, .alarm)] {
            var receiver = Receiver(generator: SeededGenerator(seed: seed, label: "afterpulses"))
            receiver.clicks = [2.5e-4, 2.5e-4, 2.5e-4, 2.5e-4]
            receiver.slots = 40_000_000
            receiver.afterpulse = probability
            var statistics = DetectionStatistics(slotRate: Hertz(1e9))
            statistics.add(receiver.batch())
            let signals = statistics.signals(HealthExpectation()).filter {
                $0.test == .clickCorrelation
            }
            let own = signals.first { $0.subject == "one detector, lag 1" }
            #expect(own?.verdict == verdict, "seed \(seed): \(String(describing: own))")
            let others = signals.filter { $0.subject.hasPrefix("two") }
            #expect(verdicts(others) == [.normal], "seed \(seed)")
        }
    }

    /// A shift of 30 ps at a width of 100 ps: seen in 10,000 clicks of the basis; with a reference
    /// the detector is named.
    @Test func timeShiftsAreFound() {
        let seed: UInt64 = 0x4EA6
        var receiver = Receiver(generator: SeededGenerator(seed: seed, label: "shift"))
        receiver.slots = 500_000
        var reference = DetectionStatistics(slotRate: Hertz(1e9))
        reference.add(receiver.batch())
        receiver.shift[3] = 30
        var statistics = DetectionStatistics(slotRate: Hertz(1e9))
        statistics.add(receiver.batch())
        let between = statistics.gatePositions.signals()
        #expect(between.map(\.verdict) == [.normal, .alarm], "seed \(seed): \(between)")
        let against = statistics.gatePositions.signals(reference: reference.gatePositions)
        #expect(against.map(\.verdict) == [.normal, .normal, .normal, .alarm], "seed \(seed)")
    }

    /// Blinded detectors click one at a time, when the eavesdropper says so: where 60 multiple
    /// clicks are expected within 20 %, none is an alarm, and so are far too many.
    @Test func blindedDetectorsAreFound() throws {
        let source = try DecoyIntensities(signal: 0.5, decoy: 0.1, signalProbability: 0.7)
        let t = 0.02
        let matched = [t / 2, t / 200, t / 4, t / 4]
        let probability = MultipleClickModel.probability(
            transmittance: [
                matched, [matched[1], matched[0], t / 4, t / 4], [t / 4, t / 4, t / 2, t / 200],
                [t / 4, t / 4, t / 200, t / 2],
            ], stateProbabilities: [0.25, 0.25, 0.25, 0.25], intensities: source,
            darkProbability: [1e-6, 1e-6, 1e-6, 1e-6])
        // By hand: E[µ²]·Σ over pairs of detectors of their products, to lowest order.
        let square = 0.7 * 0.25 + 0.3 * 0.01
        let pairs =
            matched[0] * matched[1] + (matched[0] + matched[1]) * t / 2 + t / 4 * t / 4
        #expect(abs(probability / (square * pairs) - 1) < 0.02)
        var expectation = HealthExpectation()
        expectation.multipleProbability = 0.8 * probability...1.2 * probability
        let slots = UInt64(60 / probability)
        for (count, verdict) in [
            (0, HealthSignal.Verdict.alarm), (60, .normal), (200, .alarm),
        ] {
            let detections = (0..<200).map {
                Detection(
                    slot: SlotIndex(1000 * UInt64($0)), phase: 0, detector: UInt8($0 % 4),
                    isMultiple: $0 < count)
            }
            var statistics = DetectionStatistics(slotRate: Hertz(1e9))
            statistics.add(
                DetectionBatch(
                    slots: SlotIndex(0)..<SlotIndex(slots), detections: detections,
                    provenance: .emulated))
            let signal = statistics.signals(expectation).first { $0.test == .multipleClicks }
            #expect(signal?.verdict == verdict, "\(String(describing: signal))")
        }
    }

    /// Key bits of a detector pair with 5 % imbalance in 150,000 bits; bits that repeat the one
    /// before with 2 % more probability, in 200,000.
    @Test func biasAndCorrelationOfBitsAreFound() {
        let seed: UInt64 = 0x4EA7
        var generator = SeededGenerator(seed: seed, label: "faulty bits")
        #expect(bits(150_016, ones: 1.05 / 2.05, &generator).bias("").verdict == .alarm)
        #expect(bits(150_016, ones: 0.5, &generator).bias("").verdict == .normal)
        var statistics = BitStatistics(isConfidential: true)
        var (word, last): (UInt64, Bool) = (0, false)
        for index in 0..<200_000 {
            last = generator.bernoulli(0.51) ? last : !last
            if last { word |= 1 << UInt64(index & 63) }
            if index & 63 == 63 {
                statistics.add(word)
                word = 0
            }
        }
        let signals = statistics.autocorrelation("key")
        #expect(signals[0].verdict == .alarm && signals[1].verdict == .normal, "seed \(seed)")
        #expect(!signals[0].description.contains("\(signals[0].statistic)"))
    }

    @Test func asymmetricErrorsAreFound() {
        let seed: UInt64 = 0x4EA8
        var generator = SeededGenerator(seed: seed, label: "asymmetry")
        for (atOne, verdict) in [(0.02, HealthSignal.Verdict.normal), (0.03, .alarm)] {
            var errors = ErrorsByBit()
            for _ in 0..<100_000 {
                let sent = generator.bernoulli(0.5)
                errors.add(sent: sent, isError: generator.bernoulli(sent ? atOne : 0.02))
            }
            #expect(errors.signal("X").verdict == verdict, "seed \(seed)")
        }
    }
}
