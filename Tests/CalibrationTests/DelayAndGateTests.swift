import Calibration
import LinkTypes
import Quantities
import TestSupport
import Testing

/// Phases of four detectors with known delays.
struct SyntheticPhases {
    var delays = [0.0, 350, -200, 120]
    var common = 0.0
    var width = 150.0
    var tailFraction = 0.08
    var tailLength = 250.0
    var backgroundFraction = 0.03
    var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed, label: "synthetic phases") }

    mutating func phases(_ count: Int) -> [ArrivalPhase] {
        (0..<count).map { _ in
            let detector = Int(generator.next() & 3)
            if generator.bernoulli(backgroundFraction) {
                return ArrivalPhase(
                    detector: UInt8(detector), picoseconds: 50_000 * (generator.uniform() - 0.5))
            }
            var phase = common + delays[detector] + width * generator.gaussian()
            if generator.bernoulli(tailFraction) {
                phase += tailLength * generator.exponentialDeviate()
            }
            return ArrivalPhase(detector: UInt8(detector), picoseconds: phase)
        }
    }

    mutating func measurement(_ count: Int) -> CalibrationMeasurement {
        CalibrationMeasurement(
            payload: .arrivalPhases(phases(count)), settings: [], started: .zero, finished: .zero,
            provenance: .emulated)
    }
}

@Suite struct DelayAndGateTests {
    private let slot = Picoseconds(50_000)

    private func snapshot(delays: ChannelDelays? = nil) -> CalibrationSnapshot {
        var snapshot = CalibrationSnapshot.empty
        snapshot.clock = ClockSolution(
            referenceTime: Picoseconds(0), referenceSlot: SlotIndex(0), referencePhase: 0,
            slotPeriod: slot, stretch: 0, phaseVariance: 1, stretchVariance: 0, covariance: 0,
            clickDeviation: 150, falseSlotProbability: 0)
        snapshot.delays = delays
        return snapshot
    }

    @Test func delaysReachTheCramerRaoBound() throws {
        var squares = 0.0
        var limits = 0.0
        let runs = 30
        for seed in seeds(runs) {
            var source = SyntheticPhases(seed: seed)
            source.common = -400 + 20 * Double(seed)
            var procedure = DelayCalibration(configuration: .init(slotPeriod: slot))
            _ = procedure.step(.started(snapshot(), settings: []))
            let actions = procedure.step(.measured(source.measurement(4_000)))
            guard case .stage(let result) = actions.first,
                case .delays(let delays, let shift) = result.change
            else {
                Issue.record("seed \(seed): \(actions)")
                continue
            }
            let mean = source.delays.reduce(0, +) / 4
            #expect(abs(shift - source.common - mean) < 25, "seed \(seed): shift \(shift)")
            for detector in 0..<4 {
                let error = delays.picoseconds[detector] - (source.delays[detector] - mean)
                squares += error * error
                limits += delays.deviations[detector] * delays.deviations[detector]
            }
            #expect(abs(delays.picoseconds.reduce(0, +)) < 1e-6)
            #expect(procedure.verify(result, with: source.measurement(4_000)).passed)
            // A detector that moved by 100 ps since must be noticed.
            source.delays[2] += 100
            #expect(!procedure.verify(result, with: source.measurement(10_000)).passed)
            let comparison = try #require(result.limit)
            #expect(comparison.ratio >= 1 && comparison.ratio < 2)
        }
        let ratio = (squares / limits).squareRoot()
        #expect(ratio > 0.7 && ratio < 1.25, "errors are \(ratio) times the stated deviation")
    }

    @Test func delaysWithoutAPeakRollBack() {
        var source = SyntheticPhases(seed: 3)
        source.backgroundFraction = 1
        var procedure = DelayCalibration(configuration: .init(slotPeriod: slot))
        _ = procedure.step(.started(snapshot(), settings: []))
        guard case .rollBack = procedure.step(.measured(source.measurement(5_000))).first else {
            Issue.record("delays from background")
            return
        }
    }

    @Test func gateKeepsSignalAndBalancesDetectors() {
        for seed in seeds(6) {
            var source = SyntheticPhases(seed: seed)
            source.backgroundFraction = [0.01, 0.05, 0.2][Int(seed % 3)]
            let mean = source.delays.reduce(0, +) / 4
            let delays = ChannelDelays(
                picoseconds: source.delays.map { $0 - mean }, deviations: [1, 1, 1, 1])
            source.common = -mean
            var procedure = GateCalibration(configuration: .init(slotPeriod: slot))
            _ = procedure.step(.started(snapshot(delays: delays), settings: []))
            let actions = procedure.step(.measured(source.measurement(20_000)))
            guard case .stage(let result) = actions.first, case .gate(let gate) = result.change
            else {
                Issue.record("seed \(seed): \(actions)")
                continue
            }
            #expect(gate.signalFraction >= 0.95 && gate.mismatch <= 0.02, "seed \(seed): \(gate)")
            #expect(gate.width > 500 && gate.width < 3_000, "seed \(seed): \(gate)")
            // Count fresh signal against the gate.
            var counter = source
            counter.backgroundFraction = 0
            let fresh = counter.phases(20_000).filter {
                let phase = $0.picoseconds - delays.picoseconds[Int($0.detector)]
                return phase >= gate.start && phase < gate.end
            }
            #expect(abs(Double(fresh.count) / 20_000 - gate.signalFraction) < 0.01)
            #expect(procedure.verify(result, with: source.measurement(10_000)).passed)
            source.common += 1_500
            #expect(!procedure.verify(result, with: source.measurement(10_000)).passed)
        }
    }

    @Test func lessBackgroundMakesAWiderGate() throws {
        func width(_ background: Double) throws -> Double {
            var source = SyntheticPhases(seed: 8)
            source.delays = [0, 0, 0, 0]
            source.backgroundFraction = background
            let templates = try #require(
                DelayCalibration.templates(source.phases(40_000), slotPeriod: slot))
            let selection = GateSelection(
                signalError: 0.015, minimumFraction: 0.8, mismatchLimit: 0.05)
            return try #require(selection.bestGate(templates, slotPeriod: 50_000)).width
        }
        #expect(try width(0.005) > 1.2 * width(0.3))
    }

    @Test func templateIntegratesToOne() {
        let template = ArrivalTemplate(
            centre: 120, width: 150, tailFraction: 0.2, tailLength: 400, signal: 1, background: 0,
            centreVariance: 0, centreLimit: 0)
        #expect(abs(template.fraction(from: -20_000, to: 20_000) - 1) < 1e-4)
        // Far in the tail the density is that of the exponential alone.
        let ratio = template.signalDensity(at: 3_400) / template.signalDensity(at: 3_000)
        #expect(abs(ratio - exponential(-1)) < 1e-3)
    }
}
