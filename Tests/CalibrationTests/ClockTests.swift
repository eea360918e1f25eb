import Calibration
import LinkTypes
import Quantities
import TestSupport
import Testing

@Suite struct ClockTests {
    private let configuration = ClockLockProcedure.Configuration(slotPeriod: Picoseconds(50_000))

    @Test func lockFindsSlotPhaseAndPeriodAtTheStatisticalLimit() throws {
        var squares = 0.0
        var phaseSquares = 0.0
        let count = 24
        for seed in seeds(count) {
            var clicks = SyntheticClicks(seed: seed, tick: seed.isMultiple(of: 2) ? 125 : 80)
            clicks.backgroundRate = [0, 1_200, 6_000, 14_000][Int(seed % 4)]
            let sample = clicks.sample(from: 10_000_000 + seed * 7_919, seconds: 0.25)
            let lock = try ClockLockProcedure.lock(sample, configuration: configuration).get()
            let solution = lock.solution
            // The true position of the solution's reference slot.
            let truth = clicks.centre(of: solution.referenceSlot.rawValue)
            let found =
                Double(solution.referenceTime.rawValue) + solution.referencePhase
                + 0.5 * clicks.tickPeriod.picoseconds
            let phaseError = found - truth
            #expect(abs(phaseError) < 60, "seed \(seed): phase off by \(phaseError) ps")
            #expect(solution.falseSlotProbability < 1e-9, "seed \(seed)")
            let ratio = (solution.stretch - clicks.stretch) / lock.stretchLimit
            #expect(abs(ratio) < 5, "seed \(seed): stretch off by \(ratio) standard deviations")
            squares += ratio * ratio
            phaseSquares += phaseError * phaseError / solution.phaseVariance
        }
        // 24 squared normal deviates have a root mean square of 1 ± 0.15; tails of the jitter and
        // unequal detectors are in the limit's σ.
        let rms = (squares / Double(count)).squareRoot()
        #expect(rms < 1.5, "frequency errors are \(rms) times the limit")
    }

    @Test func lockNeedsOnlyAFewHundredDetections() throws {
        var locked = 0
        for seed in seeds(20, from: 100) {
            var clicks = SyntheticClicks(seed: seed)
            let sample = clicks.sample(from: 4_000_000, seconds: 0.03)
            if case .success(let lock) = ClockLockProcedure.lock(
                sample, configuration: configuration)
            {
                locked += 1
                let truth = clicks.centre(of: lock.solution.referenceSlot.rawValue)
                #expect(
                    abs(Double(lock.solution.referenceTime.rawValue) - truth) < 300,
                    "seed \(seed): a lock on the wrong slot")
            }
        }
        #expect(locked >= 18, "\(locked) of 20 locked with about 1000 detections")
    }

    @Test(arguments: seeds(10))
    func backgroundAloneNeverLocks(seed: UInt64) {
        var clicks = SyntheticClicks(seed: seed)
        clicks.signalRate = 1e-3
        clicks.backgroundRate = 30_000
        let sample = clicks.sample(from: 1_000_000, seconds: 0.25)
        if case .success(let lock) = ClockLockProcedure.lock(sample, configuration: configuration) {
            Issue.record("locked on background: \(lock)")
        }
    }

    @Test func hostTimeThatExcludesTheCodeIsReported() {
        var clicks = SyntheticClicks(seed: 5)
        var sample = clicks.sample(from: 20_000_000, seconds: 0.1)
        sample.coarse.slot = SlotIndex(sample.coarse.slot.rawValue + 3_000_000)
        sample.coarse.uncertainty = 100_000
        guard
            case .failure(.hostTimeDisagrees) = ClockLockProcedure.lock(
                sample, configuration: configuration)
        else {
            Issue.record("a wrong host time was accepted")
            return
        }
    }

    @Test func verificationAcceptsTheTruthAndRefusesAnotherSlot() throws {
        var clicks = SyntheticClicks(seed: 11)
        let procedure = ClockLockProcedure(configuration: configuration)
        let lock = try ClockLockProcedure.lock(
            clicks.sample(from: 20_000_000, seconds: 0.25), configuration: configuration
        ).get()
        let held = CalibrationMeasurement(
            payload: .timeTags(clicks.sample(from: 30_000_000, seconds: 0.25)), settings: [],
            started: .zero, finished: .zero, provenance: .emulated)
        var result = StagedResult(change: .clock(lock.solution), values: [], limit: nil)
        #expect(procedure.verify(result, with: held).passed)
        var wrong = lock.solution
        wrong.referenceSlot = SlotIndex(wrong.referenceSlot.rawValue + 3)
        result.change = .clock(wrong)
        #expect(!procedure.verify(result, with: held).passed)
        wrong = lock.solution
        wrong.stretch += 5e-8
        result.change = .clock(wrong)
        #expect(!procedure.verify(result, with: held).passed)
    }

    @Test func positionsStayExactOverHalfAnHour() throws {
        // A slot of exactly 50 001 ps: every centre is an integer.
        let solution = ClockSolution(
            referenceTime: Picoseconds(12_345), referenceSlot: SlotIndex(77), referencePhase: 0,
            slotPeriod: Picoseconds(50_000), stretch: 1.0 / 50_000, phaseVariance: 1,
            stretchVariance: 0, covariance: 0, clickDeviation: 150, falseSlotProbability: 0)
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<2000 {
            let count = Int64(generator.next() % 36_000_000_000)
            let shift = Int64(generator.next() % 40_000) - 20_000
            let time = Picoseconds(12_345 + count * 50_001 + shift)
            let position = try #require(solution.position(of: time))
            #expect(position.slot.rawValue == 77 + UInt64(count))
            #expect(abs(position.phase - Double(shift)) < 0.01)
            #expect(solution.time(of: position.slot).rawValue == time.rawValue - shift)
            let moved = try #require(solution.rebased(to: time).position(of: time))
            #expect(moved.slot == position.slot)
            #expect(abs(moved.phase - position.phase) < 0.01)
        }
        #expect(solution.position(of: Picoseconds(12_345 - 80 * 50_000)) == nil)
    }

    @Test func remaindersCombineToTheSlot() {
        var generator = SeededGenerator(seed: 9)
        let moduli: [Int64] = [3, 127, 131, 139]
        for _ in 0..<200 {
            let slot = Int64(generator.next() % SynchronizationPattern.period)
            #expect(FrameSearch.combine(moduli.map { slot % $0 }, moduli) == slot)
        }
    }
}

@Suite struct ClockTrackerTests {
    private func start(_ stretch: Double) -> ClockSolution {
        ClockSolution(
            referenceTime: Picoseconds(0), referenceSlot: SlotIndex(1_000), referencePhase: 0,
            slotPeriod: Picoseconds(50_000), stretch: stretch, phaseVariance: 100,
            stretchVariance: 1e-20, covariance: 0, clickDeviation: 150, falseSlotProbability: 0)
    }

    /// Clicks of an oscillator pair whose frequency walks by `wander` per √s.
    private func run(
        seed: UInt64, wander: Double, assumed: Double, rate: Double, seconds: Double,
        jumpAt: Double? = nil
    ) -> (rms: Double, jumps: Int, wander: Double) {
        var generator = SeededGenerator(seed: seed, label: "clock walk")
        var stretch = 3e-6
        var tracker = ClockTracker(solution: start(stretch), wander: assumed)
        let perBlock = 100
        let block = Double(perBlock) / rate
        // The time error against the start's line, in picoseconds.
        var (error, time, squares, count, jumps) = (0.0, 0.0, 0.0, 0, 0)
        let reference = tracker.solution
        while time < seconds {
            var clicks: [Picoseconds] = []
            for _ in 0..<perBlock {
                let dt = block / Double(perBlock)
                time += dt
                error += (stretch - 3e-6) * dt * 1e12
                stretch += wander * dt.squareRoot() * generator.gaussian()
                let slot = SlotIndex(1_000 + UInt64(time * 20e6))
                let jitter =
                    generator.bernoulli(0.04)
                    ? 50_000 * (generator.uniform() - 0.5) : 150 * generator.gaussian()
                clicks.append(
                    Picoseconds(
                        reference.time(of: slot).rawValue + Int64((error + jitter).rounded())))
            }
            if let jumpAt, time > jumpAt, time <= jumpAt + block { error += 8_000 }
            if tracker.update(clickTimes: clicks.sorted())?.isJump == true { jumps += 1 }
            let slot = SlotIndex(1_000 + UInt64(time * 20e6))
            let truth = Double(reference.time(of: slot).rawValue) + error
            if time > seconds / 4 {
                let off = Double(tracker.solution.time(of: slot).rawValue) - truth
                squares += off * off
                count += 1
            }
        }
        return ((squares / Double(count)).squareRoot(), jumps, tracker.wander)
    }

    @Test(arguments: [(1e-10, 1e4), (1e-9, 1e4), (1e-8, 3e4)])
    func followsAWanderingOscillatorNearTheLimit(wander: Double, rate: Double) {
        var squares = 0.0
        for seed in seeds(4) {
            let run = run(seed: seed, wander: wander, assumed: wander, rate: rate, seconds: 40)
            #expect(run.jumps == 0)
            squares += run.rms * run.rms / 4
        }
        let sigma = 150e-12
        let limit =
            (2.0.squareRoot() * power(sigma * sigma / (0.96 * rate), 0.75) * wander.squareRoot())
            .squareRoot() * 1e12
        let ratio = squares.squareRoot() / limit
        #expect(ratio < 1.6, "\(squares.squareRoot()) ps against a limit of \(limit) ps")
    }

    @Test func aWrongWanderIsCorrected() {
        let run = run(seed: 2, wander: 1e-8, assumed: 1e-9, rate: 2e4, seconds: 60)
        #expect(run.wander > 3e-9 && run.wander < 3e-8, "wander \(run.wander)")
    }

    @Test func aJumpIsFlaggedAndFollowed() {
        let run = run(
            seed: 4, wander: 1e-9, assumed: 1e-9, rate: 1e4, seconds: 40, jumpAt: 5)
        #expect(run.jumps >= 1)
        #expect(run.rms < 60, "\(run.rms) ps after the jump")
    }
}
