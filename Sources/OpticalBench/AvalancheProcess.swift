import Quantities

/// What started an avalanche.
public enum ClickCause: UInt8, Hashable, Sendable {
    /// A photon of Alice's pulse.
    case signal
    /// A thermal carrier.
    case dark
    /// A photon that Alice did not send.
    case background
    /// A carrier trapped in an earlier avalanche.
    case afterpulse
}

/// Where a click came from: what no receiver can know, for checking estimates against.
public struct ClickTruth: Hashable, Sendable {
    /// When its pulse reaches the tagger, in bench time.
    public var time: Picoseconds
    /// The detector, 0…3: H, V, D, A.
    public var detector: UInt8
    /// What started the avalanche.
    public var cause: ClickCause
    /// The slot of the photon, or the slot whose light would arrive at the time of the avalanche.
    public var slot: SlotIndex
    /// The number of photons that left Alice in the slot.
    public var photonNumber: Int
}

/// The clicks of one run of the detectors.
struct ClickLog {
    var pulses: [InputPulse] = []
    var truths: [ClickTruth] = []
    var isRecordingTruth = false
}

/// Bench time at a detector expressed in slots.
struct SlotClock {
    let oscillator: Oscillator
    let period: Int64
    let delay: FibreDelay

    /// The slot whose light enters the receiver within half a period of `time`, and `time` relative
    /// to that entry on Alice's clock.
    func position(at time: Int64) -> (slot: Int64, phase: Int64) {
        let reading = oscillator.reading(time - delay.value(at: time))
        let shifted = reading + period / 2
        let slot = shifted >= 0 ? shifted / period : -((period - 1 - shifted) / period)
        return (slot, reading - slot * period)
    }
}

/// One diode: the race of photons, dark carriers and released traps for the next avalanche.
///
/// Everything that starts an avalanche is a Poisson process, so after the dead time the next dark
/// carrier is drawn anew instead of stepping through those that were missed: the work of a
/// free-running diode is bounded by clicks however bright the light. Non-Markovian afterpulsing is kept exactly: each avalanche
/// schedules its own releases, and all pending ones compete.
struct AvalancheProcess {
    private struct Arrival {
        var time: Int64
        var slot: UInt64
    }

    let detector: DetectorConfiguration
    private let input: UInt8
    private let cableDelay: Int64
    private let jitterSigma: Double
    private let deadTime: Int64
    private var generator: SeededGenerator
    private var normal = NormalDeviates()

    private(set) var isEnabled: Bool
    /// Whether bright light holds the diode in linear mode, where no photon starts an avalanche.
    private(set) var isBlinded = false
    private(set) var point: DetectorOperatingPoint
    private var noReleaseChance: Double
    private var bias: Volts
    private var setpoint: Celsius
    private var settlingStart: Int64 = 0
    private var settlingDifference = 0.0
    private var gateDelay: Double = 0
    /// Background photons per second at the diode.
    private(set) var background: Double

    private var arrivals: [Arrival] = []
    private var releases: [Int64] = []  // latest first
    private var nextSpontaneous: Int64 = .max
    private var deadUntil: Int64 = .min
    /// All clicks so far.
    private(set) var clicks: UInt64 = 0

    init(
        detector: DetectorConfiguration, input: UInt8, cableDelay: Picoseconds, background: Double,
        seed: UInt64
    ) {
        self.detector = detector
        self.input = input
        self.cableDelay = cableDelay.rawValue
        self.background = background
        jitterSigma = Double(detector.jitterWidth.rawValue) / (8 * naturalLog(2)).squareRoot()
        deadTime = detector.deadTime.rawValue
        generator = SeededGenerator(seed: seed, label: "detector \(input)")
        isEnabled = detector.isEnabledAtStart
        bias = detector.nominalBias
        setpoint = detector.referenceTemperature
        point = DetectorOperatingPoint(nominal: detector)
        noReleaseChance = exponential(-point.releaseMean)
        if case .gated(_, _, let delay) = detector.gating { gateDelay = Double(delay.rawValue) }
        redrawSpontaneous(from: 0)
    }

    // MARK: Settings

    func temperature(at time: Int64) -> Celsius {
        let elapsed = Double(time - settlingStart) * 1e-12
        let rest = settlingDifference * exponential(-elapsed / detector.coolingTimeInSeconds)
        return Celsius(setpoint.rawValue + rest)
    }

    /// Whether the temperature still changes enough to move the operating point.
    func isSettling(at time: Int64) -> Bool {
        abs((temperature(at: time) - setpoint).rawValue) > 1e-3
    }

    mutating func updateOperatingPoint(at time: Int64) {
        point = DetectorOperatingPoint(detector, bias: bias, temperature: temperature(at: time))
        noReleaseChance = exponential(-point.releaseMean)
        redrawSpontaneous(from: time)
    }

    mutating func setEnabled(_ isEnabled: Bool, at time: Int64) {
        self.isEnabled = isEnabled
        redrawSpontaneous(from: time)
    }

    mutating func setBlinded(_ isBlinded: Bool, at time: Int64) {
        self.isBlinded = isBlinded
        redrawSpontaneous(from: time)
    }

    mutating func setBias(_ bias: Volts, at time: Int64) {
        self.bias = bias
        updateOperatingPoint(at: time)
    }

    mutating func setSetpoint(_ setpoint: Celsius, at time: Int64) {
        let temperature = temperature(at: time)
        self.setpoint = setpoint
        settlingStart = time
        settlingDifference = (temperature - setpoint).rawValue
        updateOperatingPoint(at: time)
    }

    mutating func setGateDelay(_ delay: Picoseconds) { gateDelay = Double(delay.rawValue) }

    mutating func setBackground(_ rate: Double, at time: Int64) {
        background = rate
        redrawSpontaneous(from: time)
    }

    private var spontaneousRate: Double { point.darkRate + background * point.efficiency }

    private mutating func redrawSpontaneous(from time: Int64) {
        let rate = spontaneousRate
        guard isEnabled, !isBlinded, rate > 0 else {
            nextSpontaneous = .max
            return
        }
        let wait = generator.exponentialDeviate() * 1e12 / rate
        nextSpontaneous = wait < 0x1p61 ? time + Int64(wait.rounded()) : .max
    }

    // MARK: Running

    /// Adds a photon that will start an avalanche if the diode is armed at `time`.
    mutating func insert(photonAt time: Int64, slot: UInt64) {
        var index = arrivals.count
        while index > 0, arrivals[index - 1].time > time { index -= 1 }
        let arrival = Arrival(time: time, slot: slot)
        if index == arrivals.count {
            arrivals.append(arrival)
        } else {
            arrivals.insert(arrival, at: index)
        }
    }

    /// Plays everything up to and including `end`; all photons that arrive until then are known.
    mutating func run(through end: Int64, clock: SlotClock, into log: inout ClickLog) {
        var head = 0
        while true {
            var time = nextSpontaneous
            var cause = ClickCause.dark
            if let release = releases.last, release < time {
                (time, cause) = (release, .afterpulse)
            }
            if head < arrivals.count, arrivals[head].time <= time {
                (time, cause) = (arrivals[head].time, .signal)
            }
            guard time <= end else { break }
            var slot: UInt64?
            switch cause {
            case .signal:
                slot = arrivals[head].slot
                head += 1
            case .afterpulse: releases.removeLast()
            default:
                let isBackground = generator.uniform() * spontaneousRate >= point.darkRate
                cause = isBackground ? .background : .dark
            }
            if time >= deadUntil, isArmed(at: time, clock: clock) {
                avalanche(at: time, cause: cause, slot: slot, clock: clock, into: &log)
            }
            if cause == .dark || cause == .background {
                redrawSpontaneous(from: max(time, deadUntil))
            }
        }
        if head > 0 { arrivals.removeFirst(head) }
    }

    private mutating func isArmed(at time: Int64, clock: SlotClock) -> Bool {
        guard isEnabled, !isBlinded else { return false }
        guard case .gated(let width, let edge, _) = detector.gating else { return true }
        let period = Double(clock.period)
        var offset = Double(clock.position(at: time).phase) - gateDelay
        offset -= (offset / period).rounded() * period
        let response = gateResponse(
            offset: offset, width: Double(width.rawValue), edge: Double(edge.rawValue))
        return generator.bernoulli(response)
    }

    private mutating func avalanche(
        at time: Int64, cause: ClickCause, slot: UInt64?, clock: SlotClock, into log: inout ClickLog
    ) {
        clicks += 1
        deadUntil = time + deadTime
        trapCarriers(at: time)
        var delay = Double(detector.latency.rawValue) + jitterSigma * normal.next(using: &generator)
        if generator.bernoulli(detector.jitterTailFraction) {
            delay += generator.exponentialDeviate() * Double(detector.jitterTail.rawValue)
        }
        let output = Picoseconds(time + max(0, nearestInteger(delay)) + cableDelay)
        log.pulses.append(InputPulse(time: output, input: input))
        guard log.isRecordingTruth else { return }
        let nearest = clock.position(at: time - detector.pathDelay.rawValue).slot
        log.truths.append(
            ClickTruth(
                time: output, detector: input, cause: cause,
                slot: SlotIndex(slot ?? UInt64(max(0, nearest))), photonNumber: 0))
    }

    private mutating func trapCarriers(at time: Int64) {
        // A Poisson number by multiplication; nearly always none, after one comparison.
        var product = generator.uniform()
        while product > noReleaseChance {
            product *= generator.uniform()
            let release = time + Int64(min(0x1p61, detector.trapRelease.draw(using: &generator)))
            // The dead time of this avalanche swallows it whatever else happens.
            guard release >= deadUntil else { continue }
            var index = releases.count
            while index > 0, releases[index - 1] < release { index -= 1 }
            releases.insert(release, at: index)
        }
    }
}
