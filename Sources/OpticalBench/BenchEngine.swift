import LinkTypes
import Quantities

/// A change to the bench that takes effect at a bench time.
enum BenchChange {
    case mountAngle(Radians, plate: Int)
    case gateEnabled(Bool, detector: Int)
    case bias(Volts, detector: Int)
    case setpoint(Celsius, detector: Int)
    case gateDelay(Picoseconds, detector: Int)
    case attack(Attack)
    case background(Hertz)
    case extraLoss(Decibels)
    case fibreJump
    case blinding(Bool, detector: Int)
}

/// Changes that wait for their time; changes for one time keep the order in which they came.
struct BenchTimeline {
    private var waiting: [(time: Int64, change: BenchChange)] = []
    var nextTime: Int64 { waiting.first?.time ?? .max }

    mutating func insert(_ change: BenchChange, at time: Int64) {
        var index = waiting.count
        while index > 0, waiting[index - 1].time > time { index -= 1 }
        waiting.insert((time, change), at: index)
    }

    mutating func takeDue(at time: Int64) -> [BenchChange] {
        let count = waiting.prefix { $0.time <= time }.count
        defer { waiting.removeFirst(count) }
        return waiting.prefix(count).map(\.change)
    }
}

/// Pulses on their way to the tagger, in time order.
struct PulseQueue {
    private var pulses: [InputPulse] = []

    /// Sorts in the pulses of one run, which overlap little with those already waiting, and empties
    /// `run`.
    mutating func merge(_ run: inout [InputPulse]) {
        guard !run.isEmpty else { return }
        run.sort { Self.isLater($1, $0) }
        for pulse in run {
            var index = pulses.count
            pulses.append(pulse)
            while index > 0, Self.isLater(pulses[index - 1], pulse) {
                pulses[index] = pulses[index - 1]
                index -= 1
            }
            pulses[index] = pulse
        }
        run.removeAll(keepingCapacity: true)
    }

    @inline(__always) private static func isLater(_ a: InputPulse, _ b: InputPulse) -> Bool {
        a.time == b.time ? a.input > b.input : a.time > b.time
    }

    /// Removes the pulses up to and including `time`.
    mutating func take(through time: Int64) -> [InputPulse] {
        var count = pulses.count
        while count > 0, pulses[count - 1].time.rawValue > time { count -= 1 }
        let later = Array(pulses[count...])
        pulses.removeSubrange(count...)
        defer { pulses = later }
        return pulses
    }
}

/// The state of the bench and its only clock hand: everything up to and including `horizon` has
/// happened.
///
/// Time is cut where something may change: at the steps of the fibre and at the changes of the
/// timeline. Between cuts the optics stand still, so where callers stop in between makes no
/// difference to what is drawn, and every source of randomness has its own stream.
final class BenchEngine {
    /// How often the operating point of a settling detector is recomputed.
    private static let settlingSteps: Int64 = 100 * FibreRotation.step

    let configuration: LinkBenchConfiguration
    let parameters: LinkParameters
    let sourceOscillator: Oscillator
    private(set) var horizon: Int64 = -1
    private(set) var fibre: FibreRotation
    private(set) var waveplates: WaveplateModel
    private var portsAreStale = true
    private var extraTransmittance = 1.0
    private var background: Double
    private var photons: PhotonProcess
    private var diodes: [AvalancheProcess]
    private let clock: SlotClock
    private var timeline = BenchTimeline()
    private var log = ClickLog()
    private var waitingPulses = PulseQueue()
    private var unresolvedTruths: [ClickTruth] = []
    private var truths: [ClickTruth] = []
    private let seed: UInt64

    init(
        configuration: LinkBenchConfiguration, pattern: any PulsePattern, seed: UInt64
    ) throws(BenchConfigurationError) {
        try configuration.validate()
        let parameters = LinkParameters(configuration, seed: seed)
        let oscillator = Oscillator(
            configuration: configuration.sourceOscillator, seed: seed, label: "source")
        self.configuration = configuration
        self.parameters = parameters
        self.seed = seed
        sourceOscillator = oscillator
        fibre = FibreRotation(configuration: configuration.fibre, seed: seed)
        waveplates = WaveplateModel(
            plates: parameters.plates, angles: configuration.controller.startAngles)
        photons = PhotonProcess(
            configuration: configuration, parameters: parameters, oscillator: oscillator,
            schedule: TransmissionSchedule(pattern), seed: seed)
        let background = parameters.background.rawValue
        self.background = background
        diodes = parameters.detectors.indices.map { index in
            AvalancheProcess(
                detector: parameters.detectors[index], input: UInt8(index),
                cableDelay: configuration.receiver.cableDelays[index],
                background: Self.backgroundShare(background, parameters, detector: index),
                seed: seed)
        }
        clock = SlotClock(
            oscillator: oscillator, period: parameters.slotPeriod.rawValue,
            delay: FibreDelay(configuration: configuration.fibre))
    }

    private static func backgroundShare(
        _ rate: Double, _ parameters: LinkParameters, detector: Int
    ) -> Double {
        rate * parameters.unpolarizedShare(detector: detector)
    }

    // MARK: Time

    /// Lets everything up to and including `time` happen.
    func advance(through time: Int64) {
        while horizon < time {
            let start = horizon + 1
            applyChanges(at: start)
            if fibre.advance(to: start) { portsAreStale = true }
            if start % Self.settlingSteps == 0 { settleDetectors(at: start) }
            if portsAreStale { updatePorts() }
            let end = min(time, fibre.stepEnd, timeline.nextTime - 1)
            photons.run(through: end, diodes: &diodes)
            for index in diodes.indices {
                diodes[index].run(through: end, clock: clock, into: &log)
            }
            horizon = end
            waitingPulses.merge(&log.pulses)
            if log.isRecordingTruth { collectTruths() }
        }
    }

    func schedule(_ change: BenchChange, at time: Picoseconds) {
        timeline.insert(change, at: time.rawValue)
    }

    private func applyChanges(at time: Int64) {
        guard timeline.nextTime <= time else { return }
        for change in timeline.takeDue(at: time) { apply(change, at: time) }
        portsAreStale = true
    }

    private func apply(_ change: BenchChange, at time: Int64) {
        switch change {
        case .mountAngle(let angle, let plate): waveplates.setMountAngle(angle, plate: plate)
        case .gateEnabled(let isEnabled, let index): diodes[index].setEnabled(isEnabled, at: time)
        case .bias(let bias, let index): diodes[index].setBias(bias, at: time)
        case .setpoint(let celsius, let index): diodes[index].setSetpoint(celsius, at: time)
        case .gateDelay(let delay, let index): diodes[index].setGateDelay(delay)
        case .attack(let attack): photons.eavesdropper.attack = attack
        case .extraLoss(let loss): extraTransmittance = loss.transmittance
        case .fibreJump: fibre.jump()
        case .blinding(let isBlind, let index): diodes[index].setBlinded(isBlind, at: time)
        case .background(let rate):
            background = rate.rawValue
            for index in diodes.indices {
                let share = Self.backgroundShare(background, parameters, detector: index)
                diodes[index].setBackground(share, at: time)
            }
        }
    }

    private func settleDetectors(at time: Int64) {
        for index in diodes.indices where diodes[index].isSettling(at: time) {
            diodes[index].updateOperatingPoint(at: time)
            portsAreStale = true
        }
    }

    /// Recomputes the chances of the ports after the optics or an efficiency changed.
    private func updatePorts() {
        portsAreStale = false
        let toAlice = totalRotation.inverse
        let z = toAlice * parameters.analysers[0]
        let x = toAlice * parameters.analysers[1]
        let scale =
            photons.bound > 0
            ? 0.5 * extraTransmittance * parameters.transmittance * brightestMean / photons.bound
            : 0
        let shareZ = scale * parameters.probabilityZ
        let shareX = scale * (1 - parameters.probabilityZ)
        let weights = (
            shareZ * diodes[0].point.efficiency, shareZ * diodes[1].point.efficiency,
            shareX * diodes[2].point.efficiency, shareX * diodes[3].point.efficiency
        )
        for row in 0..<8 {
            let state = row < 4 ? parameters.preparedStates[row] : QubitState.all[row - 4].stokes
            let (alongZ, alongX) = (z.dot(state), x.dot(state))
            let h = weights.0 * (1 + alongZ)
            let v = h + weights.1 * (1 - alongZ)
            let d = v + weights.2 * (1 + alongX)
            photons.cumulated[row * 4] = h
            photons.cumulated[row * 4 + 1] = v
            photons.cumulated[row * 4 + 2] = d
            photons.cumulated[row * 4 + 3] = d + weights.3 * (1 - alongX)
        }
    }

    private var brightestMean: Double { parameters.meanPhotonNumbers.max() ?? 0 }

    /// The rotation from Alice's Stokes axes to the receiver's.
    var totalRotation: StokesRotation { waveplates.rotation * fibre.rotation }

    // MARK: Results

    func takePulses(through time: Int64) -> [InputPulse] {
        advance(through: time)
        return waitingPulses.take(through: time)
    }

    func startRecordingTruth() {
        guard !log.isRecordingTruth else { return }
        log.isRecordingTruth = true
        photons.numbers = PhotonNumberTruth(seed: seed)
    }

    private func collectTruths() {
        for var truth in log.truths {
            truth.photonNumber = photons.undetectedPhotons(slot: truth.slot.rawValue)
            unresolvedTruths.append(truth)
        }
        log.truths.removeAll(keepingCapacity: true)
        // A dark click may belong to a slot whose light is still on its way.
        unresolvedTruths.removeAll { truth in
            guard truth.slot.rawValue < photons.nextSlot else { return false }
            var resolved = truth
            resolved.photonNumber += photons.numbers?.placed(slot: truth.slot.rawValue) ?? 0
            truths.append(resolved)
            return true
        }
        photons.numbers?.trim()
    }

    func takeTruths() -> [ClickTruth] {
        defer { truths.removeAll() }
        return truths.sorted {
            ($0.time.rawValue, $0.detector) < ($1.time.rawValue, $1.detector)
        }
    }

    func isBlinded(_ detector: Int) -> Bool { diodes[detector].isBlinded }

    func clicks(of detector: Int) -> UInt64 { diodes[detector].clicks }

    func temperature(of detector: Int, at time: Int64) -> Celsius {
        diodes[detector].temperature(at: time)
    }

    func operatingPoint(of detector: Int) -> DetectorOperatingPoint { diodes[detector].point }

    /// Photons per second at the diode, taking every pulse as one of the brightest class.
    func incidentRate(of detector: Int) -> Double {
        if diodes[detector].isBlinded { return .infinity }
        let shares = parameters.preparedStates.map {
            parameters.portShares(of: $0, rotation: totalRotation)[detector]
        }
        let pulses = 1e12 / Double(parameters.slotPeriod.rawValue) * brightestMean
        let arriving = parameters.transmittance * extraTransmittance
        return diodes[detector].background + pulses * arriving * (shares.max() ?? 0)
    }

    // MARK: Source

    func symbol(at slot: SlotIndex) -> PulseSymbol { photons.schedule.symbol(at: slot) }

    func arrival(of slot: SlotIndex) -> Picoseconds {
        Picoseconds(photons.arrival(of: slot.rawValue))
    }

    func append(
        _ pattern: any PulsePattern, from slot: SlotIndex, notBefore earliest: SlotIndex
    ) throws(BenchError) {
        guard slot >= earliest else { throw .slotAlreadySent(slot: slot, earliest: earliest) }
        try photons.schedule.append(pattern, from: slot)
    }
}
