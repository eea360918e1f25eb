import LinkTypes
import OpticalBench
import Quantities
import Testing

@Suite struct DetectorTests {
    private let dark = ConstantPattern(horizontal)

    private func pulses(
        _ link: LinkBenchConfiguration, through end: Double, seed: UInt64
    ) throws -> [InputPulse] {
        let bench = try LinkBench(configuration: link, pattern: dark, seed: seed)
        return bench.receiverInputs.takePulses(through: seconds(end))
    }

    @Test func darkCountsAreAPoissonProcess() throws {
        let seed: UInt64 = 60
        var link = perfectLink()
        link.source.meanPhotonNumbers = [0]
        for index in 0..<4 { link.detectors[index].darkRate = Hertz(20_000) }
        let times = try pulses(link, through: 10, seed: seed).times(input: 2)
        expectPoisson(times.count, 200_000, "dark counts", seed: seed)
        let waits = zip(times, times.dropFirst()).map { Double($1 - $0) / 5e7 }
        // Exponential waits: mean 1, mean square 2 (variance 20), a fraction e^(−1) beyond 1.
        let count = Double(waits.count)
        expectNear(mean(waits), 1, deviation: (1 / count).squareRoot(), "wait", seed: seed)
        expectNear(
            mean(waits.map { $0 * $0 }), 2, deviation: (20 / count).squareRoot(), "square",
            seed: seed)
        expectBinomial(
            waits.count { $0 > 1 }, of: waits.count, probability: exponential(-1), "long waits",
            seed: seed)
    }

    @Test(arguments: [1e5, 5e6, 1e8, 5e9])
    func deadTimeSaturates(rate: Double) throws {
        // Non-paralysable: r/(1 + rτ), with the variance r·t/(1 + rτ)³ of the renewal process.
        let seed: UInt64 = 61
        var link = darkLink(clickRate: rate)
        link.receiver.background = min(link.receiver.background, Hertz(1e10))
        let actual =
            link.receiver.background.rawValue / 4 * nominalEfficiency
        for index in 0..<4 { link.detectors[index].deadTime = Picoseconds(50_000) }
        let time = 0.02
        let counts = try pulses(link, through: time, seed: seed)
        let slowing = 1 + actual * 50e-9
        for input: UInt8 in 0..<4 {
            let times = counts.times(input: input)
            expectNear(
                Double(times.count), actual * time / slowing,
                deviation: (actual * time / (slowing * slowing * slowing)).squareRoot() + 1,
                "rate of \(input)", seed: seed)
            #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 >= 50_000 })
        }
    }

    @Test(arguments: [
        TrapRelease.singleLevel(lifetime: Picoseconds(80_000)),
        .band(exponent: 1.3, from: Picoseconds(20_000), to: Picoseconds(3_000_000)),
        .band(exponent: 1, from: Picoseconds(20_000), to: Picoseconds(1_000_000)),
    ])
    func afterpulsesComeWithTheirProbability(release: TrapRelease) throws {
        let seed: UInt64 = 62
        var link = darkLink(clickRate: 20_000)
        for index in 0..<4 {
            link.detectors[index].deadTime = Picoseconds(40_000)
            link.detectors[index].trapProbability = 0.03
            link.detectors[index].trapRelease = release
        }
        let bench = try LinkBench(configuration: link, pattern: dark, seed: seed)
        bench.startRecordingClickTruth()
        let clicks = bench.receiverInputs.takePulses(through: seconds(20)).count
        let afterpulses = bench.takeClickTruth().count { $0.cause == .afterpulse }
        // Each click, afterpulses included, is followed by −ln(1 − p)·S(τ) releases on average;
        // the dead time of other clicks takes r·τ of them and a little more within clusters.
        let releases = -naturalLog1p(-0.03) * release.survival(Picoseconds(40_000))
        let expected = Double(clicks) * releases
        expectNear(
            Double(afterpulses), expected, deviation: expected.squareRoot() + 0.002 * expected,
            "afterpulses", seed: seed)
        // The receiver sees the same thing: an excess of short intervals.
        let probability = link.detectors[0].afterpulseProbability
        #expect(abs(probability - (1 - exponential(-releases))) < 1e-12)
        expectPoisson(
            clicks - afterpulses, 4 * 20_000 * 20 * (1 - 20_000 * 40e-9), "primary", seed: seed)
    }

    @Test func trapReleaseSurvivalIntegratesItsDensity() {
        let band = TrapRelease.band(exponent: 1.4, from: Picoseconds(100), to: Picoseconds(9000))
        func integral(_ a: Double, _ b: Double) -> Double {
            let steps = 20_000
            let width = (b - a) / Double(steps)
            return (0..<steps).reduce(0) {
                $0 + power(a + (Double($1) + 0.5) * width, -1.4) * width
            }
        }
        for time: Int64 in [100, 400, 2500, 9000] {
            let expected = integral(Double(time), 9000) / integral(100, 9000)
            #expect(abs(band.survival(Picoseconds(time)) - expected) < 1e-5)
        }
        #expect(band.survival(Picoseconds(0)) == 1)
        let level = TrapRelease.singleLevel(lifetime: Picoseconds(1000))
        #expect(abs(level.survival(Picoseconds(2000)) - 0.135_335_283) < 1e-9)
    }

    @Test func jitterHasItsWidthAndTail() throws {
        let seed: UInt64 = 63
        func delays(tail: Double) throws -> [Double] {
            var link = perfectLink()
            link.receiver.probabilityZ = 1
            link.detectors[0].jitterWidth = Picoseconds(400)
            link.detectors[0].jitterTailFraction = tail
            link.detectors[0].jitterTail = Picoseconds(500)
            let bench = try LinkBench(configuration: link, pattern: dark, seed: seed)
            let start = bench.arrival(of: SlotIndex(0))
            return bench.receiverInputs.takePulses(through: seconds(0.1)).map {
                Double(($0.time - start).rawValue % 50_000) - 17_000
            }
        }
        let core = try delays(tail: 0)
        let sigma = 400 / 2.354_820_045
        expectNear(
            mean(core), 0, deviation: sigma / Double(core.count).squareRoot(), "mean", seed: seed
        )
        expectVariance(core, sigma * sigma, "core", seed: seed)
        // erf(√ln 2) of a Gaussian lies within its full width at half maximum.
        expectBinomial(
            core.count { abs($0) <= 200 }, of: core.count, probability: 0.760_968, "within FWHM",
            seed: seed)
        let tailed = try delays(tail: 0.2)
        let spread = (sigma * sigma + 0.2 * 2 * 250_000 - 10_000).squareRoot()
        expectNear(
            mean(tailed), 100, deviation: spread / Double(tailed.count).squareRoot(), "tail",
            seed: seed)
    }

    @Test func gateOpensWithErrorFunctionEdges() throws {
        let seed: UInt64 = 64
        var link = perfectLink()
        link.receiver.probabilityZ = 1
        link.detectors[0].gating = .gated(
            width: Picoseconds(800), edge: Picoseconds(120), delay: Picoseconds(5_000))
        let bench = try LinkBench(configuration: link, pattern: dark, seed: seed)
        var time = 0.0
        for delay: Int64 in stride(from: 4200, through: 5800, by: 200) {
            try bench.setGateDelay(Picoseconds(delay), detector: 0, at: seconds(time))
            // The path of 5 ns puts light at the middle of a gate delayed by 5 ns.
            bench.advance(through: seconds(time + 0.000_1))
            _ = bench.detectors[0].takeCounts(through: seconds(time + 0.000_1))
            let clicks = Int(bench.detectors[0].takeCounts(through: seconds(time + 0.020_1)))
            let offset = Double(5000 - delay)
            let response = gateResponse(offset: offset, width: 800, edge: 120)
            expectPoisson(
                clicks, 0.02 * 2e7 * 0.1 * nominalEfficiency * response + 0.5, "delay \(delay)",
                seed: seed)
            time += 0.020_1
        }
        #expect(abs(gateResponse(offset: 0, width: 800, edge: 120) - 0.999_14) < 1e-4)
        #expect(abs(gateResponse(offset: 400, width: 800, edge: 120) - 0.5) < 1e-9)
        #expect(gateResponse(offset: 900, width: 800, edge: 120) < 2e-5)
    }

    @Test func aGateAdmitsItsShareOfDarkCounts() throws {
        let seed: UInt64 = 65
        var link = perfectLink()
        link.source.meanPhotonNumbers = [0]
        link.detectors[1].darkRate = Hertz(1e6)
        link.detectors[1].gating = .gated(
            width: Picoseconds(1500), edge: Picoseconds(100), delay: Picoseconds(49_800))
        let bench = try LinkBench(configuration: link, pattern: dark, seed: seed)
        let pulses = bench.receiverInputs.takePulses(through: seconds(5))
        // The integral of the response is its width, whatever the edges.
        expectPoisson(pulses.count, 5e6 * 1500 / 50_000, "gated dark counts", seed: seed)
        let start = bench.arrival(of: SlotIndex(0)).rawValue
        #expect(
            pulses.allSatisfy { pulse in
                let phase = (pulse.time.rawValue - start - 12_000 - 49_800) % 50_000
                return abs(phase) < 1500 || abs(phase) > 48_500
            })
    }

    @Test func inhibitedDetectorsAreSilent() throws {
        let bench = try LinkBench(
            configuration: darkLink(clickRate: 1e6), pattern: dark, seed: 66)
        bench.detectors[0].setGateEnabled(false, at: seconds(0.01))
        bench.detectors[0].setGateEnabled(true, at: seconds(0.03))
        let times = bench.receiverInputs.takePulses(through: seconds(0.04)).times(input: 0)
        let latency: Int64 = 12_000
        let inside = times.count { (10_000_000_000..<30_000_000_000).contains($0 - latency) }
        #expect(inside == 0)
        expectPoisson(times.count, 0.02 * 1e6, "clicks while enabled", seed: 66)
        #expect(bench.detectors[0].takeCounts(through: seconds(0.04)) >= UInt64(times.count))
    }

    @Test func countersAgreeWithPulses() throws {
        let bench = try LinkBench(
            configuration: darkLink(clickRate: 2e5), pattern: dark, seed: 67)
        var counts = [UInt64](repeating: 0, count: 4)
        for step in 1...50 {
            for index in 0..<4 {
                counts[index] += bench.detectors[index].takeCounts(
                    through: seconds(0.01 * Double(step)))
            }
        }
        let pulses = bench.receiverInputs.takePulses(through: seconds(0.5) + Picoseconds(12_000))
        for index in 0..<4 {
            // Pulses still on their way are counted; later clicks of the last 12 ns are not.
            #expect(abs(Int(counts[index]) - pulses.count(input: UInt8(index))) <= 1)
        }
    }

    @Test func efficiencyFollowsTheExcessBias() {
        let detector = DetectorConfiguration()
        func point(_ bias: Double, _ temperature: Double = -20) -> DetectorOperatingPoint {
            DetectorOperatingPoint(detector, bias: Volts(bias), temperature: Celsius(temperature))
        }
        #expect(abs(point(230).efficiency - 0.65 * (1 - exponential(-20 / 7.5))) < 1e-12)
        #expect(abs(point(215).efficiency - 0.65 * (1 - exponential(-5 / 7.5))) < 1e-12)
        #expect(point(209.9).efficiency == 0 && point(209.9).darkRate == 0)
        #expect(abs(point(230).darkRate - 250) < 1e-9)
        #expect(abs(point(218).darkRate - 250 / exponential(1)) < 1e-9)
        // 9 K warmer: twice the dark rate, less what the higher breakdown voltage takes.
        #expect(abs(point(230 + 6.3, -11).darkRate - 500) < 1e-9)
        #expect(abs(point(230 + 6.3, -11).efficiency - point(230).efficiency) < 1e-12)
        #expect(abs(point(225).releaseMean / point(230).releaseMean - 0.75) < 1e-12)
    }

    @Test func biasActsOnTheCountRate() throws {
        let bench = try LinkBench(
            configuration: darkLink(clickRate: 1e5), pattern: dark, seed: 68)
        bench.detectors[1].setBias(Volts(215), at: seconds(0.5))
        bench.detectors[2].setBias(Volts(200), at: seconds(0.5))
        let pulses = bench.receiverInputs.takePulses(through: seconds(1))
        let later = pulses.filter { $0.time > seconds(0.5) + Picoseconds(12_000) }
        let ratio =
            (1 - exponential(-5.0 / 7.5)) / (1 - exponential(-20.0 / 7.5))
        expectPoisson(later.count(input: 0), 5e4, "unchanged", seed: 68)
        expectPoisson(later.count(input: 1), 5e4 * ratio, "less bias", seed: 68)
        #expect(later.count(input: 2) == 0)
    }

    @Test func temperatureApproachesItsSetpoint() throws {
        var link = perfectLink()
        link.source.meanPhotonNumbers = [0]
        for index in 0..<4 {
            link.detectors[index].darkRate = Hertz(20_000)
            link.detectors[index].coolingTimeInSeconds = 2
            link.detectors[index].breakdownVoltsPerKelvin = 0
        }
        let bench = try LinkBench(configuration: link, pattern: dark, seed: 69)
        let detector = bench.detectors[3]
        #expect(detector.temperature(at: seconds(1)) == Celsius(-20))
        detector.setTemperatureSetpoint(Celsius(-11), at: seconds(1))
        for elapsed in [0.5, 2, 6.0] {
            let expected = -11 - 9 * exponential(-elapsed / 2)
            let found = detector.temperature(at: seconds(1 + elapsed)).rawValue
            #expect(abs(found - expected) < 1e-6)
        }
        _ = detector.takeCounts(through: seconds(31))
        let counts = detector.takeCounts(through: seconds(41))
        expectPoisson(Int(counts), 400_000, "dark counts 9 K warmer", seed: 69)
    }

    @Test func brightLightIsReported() throws {
        let bench = try LinkBench(
            configuration: darkLink(clickRate: 1e5), pattern: dark, seed: 70)
        #expect(!bench.detectors[0].isOverlit(at: seconds(0.001)))
        try bench.setBackground(Hertz(5e9), at: seconds(0.002))
        #expect(bench.detectors[0].isOverlit(at: seconds(0.003)))
        #expect(throws: BenchError.self) {
            try bench.setBackground(Hertz(-1), at: seconds(0.004))
        }
    }
}
