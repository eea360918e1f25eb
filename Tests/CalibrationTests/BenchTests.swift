import Calibration
import LinkTypes
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The optical bench as the environment of calibrations: clicks become ticks of Bob's oscillator,
/// a tracked clock gives slots, the published pattern gives Alice's states.
actor BenchEnvironment: CalibrationEnvironment {
    private let bench: LinkBench
    private let training = KeyedPulsePattern(
        key: 0x7261_696E, probabilityZ: 0.5, probabilitySignal: 1)
    private let synchronization = SynchronizationPattern(key: 0x73_796E)
    private let tick = TickPeriod(picoseconds: 125)
    private var sent = TrainingPattern.training
    private var time = Picoseconds(0)
    private var mounts = [0.0, 0.0, 0.0]
    private var published = CalibrationSnapshot.empty
    private var tracker: ClockTracker?
    private var block: [Picoseconds] = []
    private(set) var moves = 0

    init(seed: UInt64, fibre: FibreConfiguration = .buried) throws {
        var configuration = LinkBenchConfiguration.metropolitan
        configuration.fibre = fibre
        bench = try LinkBench(
            configuration: configuration,
            pattern: KeyedPulsePattern(key: 0x7261_696E, probabilityZ: 0.5, probabilitySignal: 1),
            seed: seed)
        // The oscillators are not started in the same instant.
        bench.advance(through: Picoseconds(seconds: 0.1))
        _ = bench.receiverInputs.takePulses(through: Picoseconds(seconds: 0.1))
        time = Picoseconds(seconds: 0.1)
    }

    func truth() -> BenchTruth { bench.truth(at: time) }
    func snapshot() -> CalibrationSnapshot { published }
    func now() -> HostInstant { HostInstant(nanoseconds: time.rawValue / 1000) }
    func publish(_ snapshot: CalibrationSnapshot) {
        let isNewClock = snapshot.clock != published.clock
        published = snapshot
        if isNewClock, let clock = snapshot.clock {
            tracker = ClockTracker(solution: clock, wander: 3e-10)
            block = []
        }
    }
    func settings(of actuator: ActuatorName) -> ActuatorSettings {
        ActuatorSettings(actuator: actuator, values: mounts)
    }
    func move(_ target: ActuatorSettings) -> ActuatorSettings {
        // One axis after the other at 400°/s, positions in encoder counts.
        let count = 170 * Double.pi / 180 / 1370
        for index in target.values.indices {
            let reached = (target.values[index] / count).rounded() * count
            let seconds = abs(reached - mounts[index]) * 180 / Double.pi / 400 + 0.02
            pass(seconds)
            mounts[index] = reached
            bench.waveplates.setMountAngle(Radians(reached), plate: index, at: time)
        }
        moves += 1
        return ActuatorSettings(actuator: target.actuator, values: mounts)
    }
    func restore(_ target: ActuatorSettings) -> ActuatorSettings { move(target) }
    func settle(_ duration: Duration) { pass(duration.inSeconds) }

    /// Lets time pass in small pieces so that the clock is followed.
    private func pass(_ seconds: Double) { _ = clicks(seconds: seconds) }

    /// The next clicks, in nominal picoseconds of the tagger; the clock follows them.
    private func clicks(seconds: Double) -> [(time: Picoseconds, detector: UInt8)] {
        var found: [(time: Picoseconds, detector: UInt8)] = []
        var left = Int64(seconds * 1e12)
        while left > 0 {
            let piece = min(left, 5_000_000_000)
            left -= piece
            time = time + Picoseconds(piece)
            for pulse in bench.receiverInputs.takePulses(through: time) {
                let reading = bench.receiverOscillator.reading(at: pulse.time).rawValue
                let stamp = Picoseconds(reading / 125 * 125)
                found.append((stamp, pulse.input))
                let delay = published.delays?.picoseconds[Int(pulse.input)] ?? 0
                block.append(Picoseconds(stamp.rawValue - Int64(delay)))
            }
            if block.count >= 100 {
                _ = tracker?.update(clickTimes: block)
                block = []
            }
        }
        return found
    }

    private func send(_ pattern: TrainingPattern) throws(EnvironmentFailure) {
        guard pattern != sent else { return }
        do {
            let slot = bench.earliestOpenSlot
            switch pattern {
            case .training: try bench.send(training, from: slot)
            case .synchronization: try bench.send(synchronization, from: slot)
            }
        } catch {
            throw EnvironmentFailure(code: "BENCH", message: "\(error)")
        }
        sent = pattern
        pass(0.001)
    }

    func measure(_ request: MeasurementRequest) throws(EnvironmentFailure) -> CalibrationMeasurement
    {
        try send(request.pattern)
        let started = now()
        let end = time + Picoseconds(seconds: request.maximumDuration.inSeconds)
        var raw: [(time: Picoseconds, detector: UInt8)] = []
        var phases: [ArrivalPhase] = []
        var counts = StateDetectorCounts()
        var total = 0
        while total < request.detections, time < end {
            for click in clicks(seconds: 0.002) {
                if request.quantity == .timeTags {
                    raw.append(click)
                    total += 1
                    continue
                }
                guard let at = tracker?.solution.position(of: click.time) else { continue }
                if request.quantity == .arrivalPhases {
                    phases.append(ArrivalPhase(detector: click.detector, picoseconds: at.phase))
                    total += 1
                } else if let gate = published.gate, let delays = published.delays {
                    let phase = at.phase - delays.picoseconds[Int(click.detector)]
                    guard phase >= gate.start, phase < gate.end else { continue }
                    let state = training.symbol(at: at.slot).state.index
                    counts[state, Int(click.detector)] += 1
                    total += 1
                }
            }
        }
        let payload: CalibrationMeasurement.Payload =
            switch request.quantity {
            case .timeTags: .timeTags(sample(raw))
            case .arrivalPhases: .arrivalPhases(phases)
            case .stateCounts: .stateCounts(counts)
            }
        return CalibrationMeasurement(
            payload: payload, settings: [settings(of: .polarizationController)], started: started,
            finished: now(), provenance: .emulated)
    }

    private func sample(_ raw: [(time: Picoseconds, detector: UInt8)]) -> TimeTagSample {
        let tags = raw.map {
            TimeTag(ticks: UInt64($0.time.rawValue / 125), channel: $0.detector)
        }
        // Host time knows Alice's clock, not the fibre; here it is 20 ms off.
        let slot = bench.sourceOscillator.reading(at: time).rawValue / 50_000 + 400_000
        let ticks = bench.receiverOscillator.reading(at: time).rawValue / 125
        return TimeTagSample(
            tickPeriod: tick, tags: tags.sorted(),
            coarse: CoarseSlotTime(
                ticks: DeviceTicks(UInt64(ticks)), slot: SlotIndex(UInt64(slot)),
                uncertainty: 1_000_000))
    }

    /// Keeps the link aligned for `seconds` on what sifting would disclose; returns the mean of
    /// true misalignment over the frames.
    func track(seconds: Double) throws(EnvironmentFailure) -> (mean: Double, worst: Double) {
        guard let estimate = published.polarization, let gate = published.gate,
            let delays = published.delays
        else { throw EnvironmentFailure(code: "BENCH", message: "not calibrated") }
        var tracking = PolarizationTracker(
            estimate: estimate, configuration: .init(shortestFrame: .milliseconds(400)))
        var labels = estimate.labels
        var frame = 0.5
        let end = time + Picoseconds(seconds: seconds)
        var (sum, worst, frames) = (0.0, 0.0, 0.0)
        while time < end {
            let begun = time
            var counts = StateDetectorCounts()
            for click in clicks(seconds: frame) {
                guard let at = tracker?.solution.position(of: click.time) else { continue }
                let phase = at.phase - delays.picoseconds[Int(click.detector)]
                guard phase >= gate.start, phase < gate.end else { continue }
                let state = training.symbol(at: at.slot).state.index
                // Of matched Z detections sifting discloses a sample.
                if state < 2, click.detector < 2, at.slot.rawValue % 16 != 0 { continue }
                counts[state, Int(click.detector)] += 1
            }
            let truth = bench.truth(at: time)
            let error = MisalignmentError(link: truth.totalRotation, labels: labels)
            sum += error.mean
            worst = max(worst, error.worst)
            frames += 1
            let settings = mounts
            let exposure = Double((time - begun).rawValue) * 1e-12
            let decision = tracking.step(
                PolarizationTracker.Frame(
                    counts: counts, settings: settings, elapsed: .seconds(exposure + 0.06),
                    exposure: .seconds(exposure)))
            _ = move(
                ActuatorSettings(actuator: .polarizationController, values: decision.settings))
            labels = decision.labels
            frame = decision.frame.inSeconds
        }
        return (sum / frames, worst)
    }
}

/// Cold starts on the simulated bench: random fibre, plates as built, states and analysers off
/// their axes, crystal oscillators, afterpulses, unequal cables.
@Suite struct BenchTests {
    private func coldStart(_ bench: BenchEnvironment) async throws -> [CalibrationRecord] {
        let slot = Picoseconds(50_000)
        let store = InMemoryCalibrationRecordStore { "\($0.sequence)" }
        let runner = CalibrationRunner(
            environment: bench, store: store,
            context: CalibrationContext(software: "test", profileDigests: []))
        return [
            try await runner.run(
                ClockLockProcedure(configuration: .init(slotPeriod: slot, wander: 1e-9))),
            try await runner.run(DelayCalibration(configuration: .init(slotPeriod: slot))),
            try await runner.run(GateCalibration(configuration: .init(slotPeriod: slot))),
            try await runner.run(PolarizationAlignment(stack: .quarterHalfQuarter())),
        ]
    }

    @Test(arguments: seeds(20))
    func coldStartAlignsBothBases(seed: UInt64) async throws {
        let bench = try BenchEnvironment(seed: seed)
        let records = try await coldStart(bench)
        let snapshot = await bench.snapshot()
        let truth = await bench.truth()
        let error = MisalignmentError(link: truth.totalRotation, labels: snapshot.labels)
        #expect(error.worst <= 0.005, "seed \(seed): \(error)")
        let clock = try #require(snapshot.clock)
        let difference =
            (1 + truth.receiverFrequencyError) / (1 + truth.sourceFrequencyError) - 1
        #expect(abs(clock.stretch - difference) < 2e-9, "seed \(seed)")
        #expect(records.allSatisfy { $0.verification?.passed == true })
    }

    @Test func delaysAreThoseOfCablesAndDetectors() async throws {
        let bench = try BenchEnvironment(seed: 3)
        _ = try await coldStart(bench)
        let delays = try #require(await bench.snapshot().delays)
        // Cables 10 000, 10 350, 9 800, 10 120 ps and detectors 5 000, 5 700, 4 300, 5 400 ps.
        let sums = [15_000.0, 16_050, 14_100, 15_520]
        let mean = sums.reduce(0, +) / 4
        for detector in 0..<4 {
            let error = delays.picoseconds[detector] - (sums[detector] - mean)
            #expect(abs(error) < 40, "detector \(detector): \(error) ps")
        }
    }

    @Test(arguments: [(FibreConfiguration.buried, 0.002), (.aerial, 0.006)])
    func keyDataKeepTheLinkAligned(fibre: FibreConfiguration, mean: Double) async throws {
        let bench = try BenchEnvironment(seed: 5, fibre: fibre)
        _ = try await coldStart(bench)
        let run = try await bench.track(seconds: 60)
        #expect(run.mean < mean, "\(run)")
    }
}
