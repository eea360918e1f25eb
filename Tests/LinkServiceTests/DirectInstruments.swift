import Emulated
import HostIO
import Instruments
import LinkTypes
import OpticalBench
import Quantities

// Instruments wired straight to the bench, without drivers and without a wire: for tests of the
// stations alone.

/// A bench that tests share with the instruments on it.
final class TestBench: @unchecked Sendable {
    // @unchecked: the bench is touched only under the lock of the context.
    let bench: LinkBench
    let context: EmulationContext

    init(bench: LinkBench, context: EmulationContext) {
        self.bench = bench
        self.context = context
    }

    func use<R: Sendable>(_ body: (LinkBench, Picoseconds) -> R) -> R {
        context.exclusively { body(bench, context.benchTime(at: context.now)) }
    }
}

func testIdentity(_ model: String) -> InstrumentIdentity {
    InstrumentIdentity(
        vendor: "test", model: model, serial: "1", firmware: "", profile: "none",
        provenance: .emulated)
}

/// Stamps the detectors' pulses every 10 ms, in ticks of 125 ps of the receiver's oscillator.
actor DirectTagger: TimeTagger, TagBlockSource {
    let tickPeriod = TickPeriod(picoseconds: 125)
    let channelCount = 4
    let identity = testIdentity("direct tagger")
    let health = InstrumentHealth.good
    let counting: (any PulseCounting)? = nil
    private let bench: TestBench
    private let reactor: any Reactor
    private var isRunning = false
    private var zero: Int64 = 0

    nonisolated var unownedExecutor: UnownedSerialExecutor { reactor.asUnownedSerialExecutor() }

    init(bench: TestBench, reactor: any Reactor) {
        self.bench = bench
        self.reactor = reactor
    }

    func open() async throws(DriverError) {}
    func close() async {}
    func selfTest() async throws(DriverError) -> SelfTestReport { SelfTestReport(checks: []) }

    func start(_ plan: AcquisitionPlan) async throws(DriverError) -> any TagBlockSource {
        isRunning = true
        zero = bench.use { bench, time in
            _ = bench.receiverInputs.takePulses(through: time)
            return bench.receiverOscillator.reading(at: time).rawValue
        }
        return self
    }

    func stop() async throws(DriverError) { isRunning = false }

    func next() async throws(DriverError) -> TagBlock? {
        guard isRunning else { return nil }
        try? await reactor.sleep(for: .milliseconds(10))
        let zero = zero
        let (tags, through) = bench.use { bench, time in
            let tags = bench.receiverInputs.takePulses(through: time).map { pulse in
                let reading = bench.receiverOscillator.reading(at: pulse.time).rawValue - zero
                return TimeTag(ticks: UInt64(max(0, reading)) / 125, channel: pulse.input)
            }
            let now = bench.receiverOscillator.reading(at: time).rawValue - zero
            return (tags, UInt64(max(0, now)) / 125)
        }
        return TagBlock(
            tickPeriod: tickPeriod, tags: tags.sorted(), completeThrough: DeviceTicks(through),
            arrival: reactor.now, provenance: .emulated)
    }
}

/// Turns the bench's plates at 400 degrees a second, one after the other.
actor DirectController: PolarizationController {
    let axes = [PolarizationAxis](
        repeating: PolarizationAxis(
            kind: .rotatablePlate, range: 0...(170 * Double.pi / 180), resolution: 0.002), count: 3)
    let identity = testIdentity("direct controller")
    let health = InstrumentHealth.good
    private let bench: TestBench
    private let reactor: any Reactor
    private var angles = [0.0, 0.0, 0.0]

    nonisolated var unownedExecutor: UnownedSerialExecutor { reactor.asUnownedSerialExecutor() }

    init(bench: TestBench, reactor: any Reactor) {
        self.bench = bench
        self.reactor = reactor
    }

    func open() async throws(DriverError) {}
    func close() async {}
    func selfTest() async throws(DriverError) -> SelfTestReport { SelfTestReport(checks: []) }
    func halt() async throws(DriverError) {}
    func settings() async throws(DriverError) -> [ActuatorSetting] {
        angles.map { .angle(Radians($0)) }
    }

    func move(_ axis: Int, to setting: ActuatorSetting) async throws(DriverError) -> MotionReport {
        let started = reactor.now
        let target = (setting.value / 0.00216).rounded() * 0.00216
        let travel = abs(target - angles[axis]) * 180 / .pi / 400
        try? await reactor.sleep(for: .microseconds(Int64(travel * 1e6) + 3000))
        angles[axis] = target
        bench.use { $0.waveplates.setMountAngle(Radians(target), plate: axis, at: $1) }
        return MotionReport(
            axis: axis, requested: setting, reached: .angle(Radians(target)), started: started,
            finished: reactor.now)
    }
}

/// Opens and closes the gate of one detector of the bench.
actor DirectDetector: SinglePhotonDetector {
    let identity = testIdentity("direct detector")
    let health = InstrumentHealth.good
    let biasing: (any DetectorBiasing)? = nil
    let cooling: (any DetectorCooling)? = nil
    let gating: (any Instruments.DetectorGating)? = nil
    let counting: (any PulseCounting)? = nil
    private let bench: TestBench
    private let index: Int

    init(bench: TestBench, index: Int) {
        self.bench = bench
        self.index = index
    }

    func open() async throws(DriverError) {}
    func close() async {}
    func selfTest() async throws(DriverError) -> SelfTestReport { SelfTestReport(checks: []) }
    func arm() async throws(DriverError) {
        let index = index
        bench.use { bench, time in
            bench.detectors[index].setGateEnabled(true, at: time)
        }
    }
    func disarm() async throws(DriverError) {
        let index = index
        bench.use { bench, time in
            bench.detectors[index].setGateEnabled(false, at: time)
        }
    }
    func status() async throws(DriverError) -> DetectorStatus { DetectorStatus(isCounting: true) }
}
