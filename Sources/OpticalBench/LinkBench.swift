import LinkTypes
import Quantities

/// A polarization BB84 link on an optical bench: what the instruments of both nodes are wired to.
///
/// Alice's pulsed source, the fibre, a stack of wave plates, a passive-basis receiver with four
/// single-photon detectors and the oscillators of both nodes, simulated click by click: the work
/// grows with clicks, not with pulses. Everything follows from the configuration and the seed;
/// when and in which steps callers ask makes no difference to what happens.
///
/// Bench time is the picoseconds of an ideal clock from 0. Asking for results moves the bench on
/// to the time asked for; changes can be given for the present or the future, and a change for a
/// time that has passed takes effect at once. A bench is used from one thread at a time.
public final class LinkBench {
    /// What the bench was built from.
    public let configuration: LinkBenchConfiguration
    /// Alice's oscillator; slot n leaves when it reads n slot periods.
    public let sourceOscillator: Oscillator
    /// The oscillator of Bob's tagger.
    public let receiverOscillator: Oscillator
    /// Bob's tagger: the detectors H, V, D, A on inputs 0, 1, 2, 3.
    public let receiverInputs: any TaggerInputs
    /// Alice's tagger: pulse per second on input 0, her monitor detector on input 1.
    public let sourceInputs: SourceMonitor
    /// The polarization controller between fibre and receiver.
    public let waveplates: WaveplateStack
    /// The detectors of the H, V, D and A ports.
    public let detectors: [BenchDetector]
    private let engine: BenchEngine

    /// A bench at time zero, on which Alice sends `pattern` from slot 0 on.
    ///
    /// Intensity classes that the configuration does not list send nothing.
    /// Throws `BenchConfigurationError` if a value of `configuration` is out of range.
    public init(
        configuration: LinkBenchConfiguration = .metropolitan, pattern: any PulsePattern,
        seed: UInt64
    ) throws(BenchConfigurationError) {
        let engine = try BenchEngine(configuration: configuration, pattern: pattern, seed: seed)
        self.configuration = configuration
        self.engine = engine
        sourceOscillator = engine.sourceOscillator
        receiverOscillator = Oscillator(
            configuration: configuration.receiverOscillator, seed: seed, label: "receiver")
        receiverInputs = ReceiverInputs(engine: engine)
        sourceInputs = SourceMonitor(engine: engine, seed: seed)
        waveplates = WaveplateStack(engine: engine)
        detectors = (0..<4).map { BenchDetector(engine: engine, index: $0) }
    }

    /// The link as built, with the imperfections that the seed gave it.
    public var parameters: LinkParameters { engine.parameters }

    /// The time up to which everything has happened; −1 ps before the first question.
    public var now: Picoseconds { Picoseconds(engine.horizon) }

    /// Lets everything up to and including `time` happen.
    public func advance(through time: Picoseconds) { engine.advance(through: time.rawValue) }

    // MARK: Source

    /// The first slot whose pulse has not left Alice.
    public var earliestOpenSlot: SlotIndex {
        let latest = max(engine.horizon, sourceInputs.horizon)
        let reading = sourceOscillator.reading(latest)
        let period = engine.parameters.slotPeriod.rawValue
        return SlotIndex(reading < 0 ? 0 : UInt64(reading / period) + 1)
    }

    /// Sends `pattern` from `slot` on.
    ///
    /// Throws `BenchError.slotAlreadySent` if the slot has left Alice, or
    /// `BenchError.segmentOutOfOrder` if a later pattern has been given.
    public func send(_ pattern: any PulsePattern, from slot: SlotIndex) throws(BenchError) {
        try engine.append(pattern, from: slot, notBefore: earliestOpenSlot)
    }

    /// What Alice prepares in `slot`.
    public func symbol(at slot: SlotIndex) -> PulseSymbol { engine.symbol(at: slot) }

    /// When the light of `slot` enters the receiver.
    public func arrival(of slot: SlotIndex) -> Picoseconds { engine.arrival(of: slot) }

    // MARK: Disturbances

    /// Attacks the light that enters the receiver from `time` on.
    ///
    /// Throws `BenchError.valueOutOfRange` if the fraction is not a probability.
    public func setAttack(_ attack: Attack, at time: Picoseconds) throws(BenchError) {
        if case .interceptResend(let fraction) = attack, !(0...1).contains(fraction) {
            throw .valueOutOfRange("attacked fraction: expected 0…1, found \(fraction)")
        }
        engine.schedule(.attack(attack), at: time)
    }

    /// Attacks the pulses from `slot` on.
    ///
    /// Throws `BenchError.valueOutOfRange` if the fraction is not a probability.
    public func setAttack(_ attack: Attack, from slot: SlotIndex) throws(BenchError) {
        try setAttack(attack, at: engine.arrival(of: slot))
    }

    /// Changes the unpolarized background entering the receiver to `rate` photons per second.
    ///
    /// Throws `BenchError.valueOutOfRange` unless the rate is in 0…1e10.
    public func setBackground(_ rate: Hertz, at time: Picoseconds) throws(BenchError) {
        guard (0...1e10).contains(rate.rawValue) else {
            throw .valueOutOfRange("background: expected 0…1e10 Hz, found \(rate)")
        }
        engine.schedule(.background(rate), at: time)
    }

    /// Sets the loss of the fibre beyond the configured one, as a bend or a cut causes.
    ///
    /// Throws `BenchError.valueOutOfRange` if the loss is negative.
    public func setExtraLoss(_ loss: Decibels, at time: Picoseconds) throws(BenchError) {
        guard loss.rawValue >= 0 else {
            throw .valueOutOfRange("extra loss: expected 0 dB or more, found \(loss)")
        }
        engine.schedule(.extraLoss(loss), at: time)
    }

    /// Replaces the rotation of the fibre by a random one at `time`.
    public func disturbFibre(at time: Picoseconds) { engine.schedule(.fibreJump, at: time) }

    /// Blinds detector `detector` with bright light from `time` on, or ends that: the diode is held
    /// in linear mode and does not click, and its monitor sees too much light (Lydersen et al.,
    /// Nature Photonics 4, 686 (2010)). The clicks that an attacker forces on a blinded diode are
    /// not modelled.
    ///
    /// Throws `BenchError.noSuchDetector` unless `detector` is 0…3.
    public func setBlinding(
        _ isBlind: Bool, detector: Int, at time: Picoseconds
    ) throws(BenchError) {
        guard (0..<4).contains(detector) else { throw .noSuchDetector(detector) }
        engine.schedule(.blinding(isBlind, detector: detector), at: time)
    }

    /// Where the plates of the controller stand at `time`, or at `now` if that is later, behind the
    /// play of their mounts.
    public func plateAngles(at time: Picoseconds) -> [Radians] {
        engine.advance(through: time.rawValue)
        return engine.waveplates.plateAngles
    }

    /// Avalanches of each detector up to `time`, or up to `now` if that is later.
    public func clicks(at time: Picoseconds) -> [UInt64] {
        engine.advance(through: time.rawValue)
        return detectors.indices.map(engine.clicks)
    }

    /// Whether each detector is held in linear mode at `time`.
    public func blinded(at time: Picoseconds) -> [Bool] {
        engine.advance(through: time.rawValue)
        return detectors.indices.map(engine.isBlinded)
    }

    /// Moves the gate of detector `detector` to `delay` after the light of a slot enters the
    /// receiver; free-running detectors ignore it.
    ///
    /// Throws `BenchError.noSuchDetector` unless `detector` is 0…3.
    public func setGateDelay(
        _ delay: Picoseconds, detector: Int, at time: Picoseconds
    ) throws(BenchError) {
        guard (0..<4).contains(detector) else { throw .noSuchDetector(detector) }
        engine.schedule(.gateDelay(delay, detector: detector), at: time)
    }

    // MARK: Truth

    /// The state of the bench at `time`, or at `now` if that is later.
    public func truth(at time: Picoseconds) -> BenchTruth {
        engine.advance(through: time.rawValue)
        return BenchTruth(engine: engine, receiverOscillator: receiverOscillator)
    }

    /// Records where each click comes from, from now on; costs time and memory.
    public func startRecordingClickTruth() { engine.startRecordingTruth() }

    /// The clicks recorded since the previous call in order of time; the most recent ones may
    /// follow with the next call.
    public func takeClickTruth() -> [ClickTruth] { engine.takeTruths() }
}

/// The four detectors' cables at Bob's tagger.
///
/// Pulses wait here until they are taken, 16 bytes each.
final class ReceiverInputs: TaggerInputs {
    private let engine: BenchEngine

    init(engine: BenchEngine) { self.engine = engine }

    func takePulses(through time: Picoseconds) -> [InputPulse] {
        engine.takePulses(through: time.rawValue)
    }
}

/// The polarization controller of a bench, seen from its motors.
public final class WaveplateStack: RotatableWaveplates {
    private let engine: BenchEngine

    init(engine: BenchEngine) { self.engine = engine }

    /// The number of plates.
    public var plateCount: Int { engine.waveplates.plates.count }

    /// The nominal retardances in the order the light passes.
    public var nominalRetardances: [Radians] { engine.configuration.controller.retardances }

    /// Turns plate `plate`, which must exist, so that its mount stands at `angle` from `time` on.
    public func setMountAngle(_ angle: Radians, plate: Int, at time: Picoseconds) {
        precondition(plate >= 0 && plate < plateCount, "plate \(plate) of \(plateCount)")
        engine.schedule(.mountAngle(angle, plate: plate), at: time)
    }
}

/// One detector of a bench, seen from its control electronics.
public final class BenchDetector: DetectorElement {
    private let engine: BenchEngine
    private let index: Int
    private var countsTaken: UInt64 = 0

    init(engine: BenchEngine, index: Int) {
        self.engine = engine
        self.index = index
    }

    /// The detector as built.
    public var configuration: DetectorConfiguration { engine.parameters.detectors[index] }

    /// Enables or inhibits counting from `time` on.
    public func setGateEnabled(_ isEnabled: Bool, at time: Picoseconds) {
        engine.schedule(.gateEnabled(isEnabled, detector: index), at: time)
    }

    /// Sets the bias voltage from `time` on.
    public func setBias(_ bias: Volts, at time: Picoseconds) {
        engine.schedule(.bias(bias, detector: index), at: time)
    }

    /// Sets the temperature the cooler regulates to from `time` on.
    public func setTemperatureSetpoint(_ temperature: Celsius, at time: Picoseconds) {
        engine.schedule(.setpoint(temperature, detector: index), at: time)
    }

    /// The temperature of the sensor at `time`, or at the bench's present if that is later.
    public func temperature(at time: Picoseconds) -> Celsius {
        engine.advance(through: time.rawValue)
        return engine.temperature(of: index, at: engine.horizon)
    }

    /// Whether the light at the diode exceeds what it survives, taking every pulse as one of the
    /// brightest class.
    public func isOverlit(at time: Picoseconds) -> Bool {
        engine.advance(through: time.rawValue)
        return engine.incidentRate(of: index) > configuration.overlightRate.rawValue
    }

    /// Avalanches since the previous call up to `time`, or to the bench's present if that is later.
    public func takeCounts(through time: Picoseconds) -> UInt64 {
        engine.advance(through: time.rawValue)
        let clicks = engine.clicks(of: index)
        defer { countsTaken = clicks }
        return clicks - countsTaken
    }
}
