import Quantities

/// When carriers trapped in an avalanche are released, counted from the avalanche.
public enum TrapRelease: Hashable, Sendable {
    /// One trap level of the given mean lifetime.
    case singleLevel(lifetime: Picoseconds)
    /// A band of trap levels: density proportional to t^(−exponent) between two times, as Korzh et
    /// al. observed from 300 ns to 1 ms in InGaAs/InP (J. Mod. Opt. 62, 1151 (2015)).
    case band(exponent: Double, from: Picoseconds, to: Picoseconds)

    /// The fraction of releases later than `time`.
    public func survival(_ time: Picoseconds) -> Double {
        switch self {
        case .singleLevel(let lifetime):
            return exponential(-Double(max(0, time.rawValue)) / Double(lifetime.rawValue))
        case .band(let exponent, let from, let to):
            let (a, b) = (Double(from.rawValue), Double(to.rawValue))
            let t = min(max(Double(time.rawValue), a), b)
            if abs(exponent - 1) < 1e-9 { return naturalLog(b / t) / naturalLog(b / a) }
            let k = 1 - exponent
            return (power(b, k) - power(t, k)) / (power(b, k) - power(a, k))
        }
    }

    /// A release time in picoseconds.
    func draw(using generator: inout SeededGenerator) -> Double {
        switch self {
        case .singleLevel(let lifetime):
            return generator.exponentialDeviate() * Double(lifetime.rawValue)
        case .band(let exponent, let from, let to):
            let (a, b) = (Double(from.rawValue), Double(to.rawValue))
            let u = generator.uniform()
            if abs(exponent - 1) < 1e-9 { return a * power(b / a, u) }
            let k = 1 - exponent
            return power(power(a, k) + u * (power(b, k) - power(a, k)), 1 / k)
        }
    }
}

/// When a detector is armed.
public enum DetectorGating: Hashable, Sendable {
    /// Armed whenever counting is enabled.
    case freeRunning
    /// Armed once a slot: a window `width` wide whose edges are error functions of standard
    /// deviation `edge`, centred `delay` after the slot's light enters the receiver.
    case gated(width: Picoseconds, edge: Picoseconds, delay: Picoseconds)
}

/// A single-photon avalanche diode with its electronics.
///
/// The defaults are those of an actively quenched thick silicon diode near 810 nm. Dead time and
/// timing are of the class of the SPCM-AQ series (EG&G data sheet: 30 ns, 300 ps FWHM).
public struct DetectorConfiguration: Hashable, Sendable {
    /// The detection efficiency at high excess bias.
    public var maximumEfficiency = 0.65
    /// The standard deviation of the relative efficiency between units, drawn once.
    public var efficiencySpread = 0.03
    /// V₀ of the efficiency η_max·(1 − exp(−V_ex/V₀)) at excess bias V_ex.
    public var efficiencyVoltage = Volts(7.5)
    /// The breakdown voltage at the reference temperature.
    public var breakdownVoltage = Volts(210)
    /// The change of the breakdown voltage with temperature, in V/K.
    public var breakdownVoltsPerKelvin = 0.7
    /// The bias at power-up; dark rate and afterpulsing are stated at it.
    public var nominalBias = Volts(230)
    /// The temperature at which dark rate and breakdown voltage are stated; also the temperature
    /// and setpoint at bench time zero.
    public var referenceTemperature = Celsius(-20)
    /// The time constant with which the sensor approaches its setpoint.
    public var coolingTimeInSeconds = 8.0
    /// Dark counts per second at nominal bias and reference temperature.
    public var darkRate = Hertz(250)
    /// The bias that multiplies the dark rate by e.
    public var darkVoltage = Volts(12)
    /// The warming that doubles the dark rate, in K.
    public var darkDoublingInKelvin = 9.0
    /// The time after an avalanche in which the diode can not fire; not extended by light.
    public var deadTime = Picoseconds(30_000)
    /// The probability that an avalanche leaves at least one carrier that is released later, at
    /// nominal bias. Only releases after the dead time make afterpulses.
    public var trapProbability = 0.012
    /// When trapped carriers are released.
    public var trapRelease = TrapRelease.singleLevel(lifetime: Picoseconds(40_000))
    /// The full width at half maximum of the Gaussian core of the timing jitter.
    public var jitterWidth = Picoseconds(300)
    /// The fraction of avalanches that build up late.
    public var jitterTailFraction = 0.08
    /// The mean extra delay of those avalanches.
    public var jitterTail = Picoseconds(250)
    /// The mean delay from avalanche to output pulse.
    public var latency = Picoseconds(12_000)
    /// The delay from the receiver's input to the diode.
    public var pathDelay = Picoseconds(5_000)
    /// When the diode is armed.
    public var gating = DetectorGating.freeRunning
    /// Whether counting is enabled at bench time zero.
    public var isEnabledAtStart = true
    /// The photon rate at the diode above which it is overlit.
    public var overlightRate = Hertz(1e8)

    /// An actively quenched silicon diode.
    public init() {}

    /// The probability that an avalanche is followed by an afterpulse, at nominal bias and without
    /// other light: releases within the dead time are lost.
    public var afterpulseProbability: Double {
        -exponentialMinus1(naturalLog1p(-trapProbability) * trapRelease.survival(deadTime))
    }

    func validate(_ name: String) throws(BenchConfigurationError) {
        typealias E = BenchConfigurationError
        try E.requireProbability(maximumEfficiency, "\(name).maximumEfficiency")
        try E.require(
            (0...0.3).contains(efficiencySpread), "\(name).efficiencySpread", "0…0.3",
            found: efficiencySpread)
        for (field, volts) in [
            ("efficiencyVoltage", efficiencyVoltage), ("darkVoltage", darkVoltage),
        ] {
            try E.require(
                volts.rawValue > 0 && volts.rawValue.isFinite, "\(name).\(field)",
                "a positive voltage", found: volts)
        }
        try E.require(
            nominalBias > breakdownVoltage, "\(name).nominalBias", "more than breakdownVoltage",
            found: nominalBias)
        try E.require(
            coolingTimeInSeconds > 0, "\(name).coolingTimeInSeconds", "a positive time",
            found: coolingTimeInSeconds)
        try E.requireNonNegative(darkRate.rawValue, "\(name).darkRate")
        try E.require(
            darkDoublingInKelvin > 0, "\(name).darkDoublingInKelvin", "a positive difference",
            found: darkDoublingInKelvin)
        try E.require(
            (0...1_000_000_000).contains(deadTime.rawValue), "\(name).deadTime", "0 to 1 ms",
            found: deadTime)
        try E.require(
            (0...0.5).contains(trapProbability), "\(name).trapProbability", "0…0.5",
            found: trapProbability)
        try E.requireProbability(jitterTailFraction, "\(name).jitterTailFraction")
        try E.require(
            jitterWidth.rawValue >= 0 && jitterTail.rawValue >= 0, "\(name).jitterWidth",
            "widths of 0 or more", found: jitterWidth)
        // Pulses must not leave before their avalanche.
        try E.require(
            latency.rawValue >= 4 * jitterWidth.rawValue && latency.rawValue <= 1_000_000_000,
            "\(name).latency", "4 jitter widths to 1 ms", found: latency)
        try E.require(
            (0...1_000_000).contains(pathDelay.rawValue), "\(name).pathDelay", "0 to 1 µs",
            found: pathDelay)
        try validateChoices(name)
    }

    private func validateChoices(_ name: String) throws(BenchConfigurationError) {
        typealias E = BenchConfigurationError
        switch trapRelease {
        case .singleLevel(let lifetime):
            try E.require(
                lifetime.rawValue > 0, "\(name).trapRelease", "a positive lifetime",
                found: lifetime)
        case .band(let exponent, let from, let to):
            try E.require(
                from.rawValue > 0 && from < to && (0...5).contains(exponent),
                "\(name).trapRelease", "0 < from < to and an exponent in 0…5",
                found: "\(from), \(to), \(exponent)")
        }
        if case .gated(let width, let edge, let delay) = gating {
            try E.require(
                width.rawValue > 0 && edge.rawValue > 0 && delay.rawValue >= 0,
                "\(name).gating", "positive width and edge and a delay of 0 or more",
                found: "\(width), \(edge), \(delay)")
        }
    }
}

/// What bias and temperature make of a detector.
public struct DetectorOperatingPoint: Hashable, Sendable {
    /// The probability that a photon at the armed diode starts an avalanche.
    public let efficiency: Double
    /// Dark counts per second of an armed diode.
    public let darkRate: Double
    /// The mean number of carriers trapped in an avalanche and released later.
    public let releaseMean: Double

    /// The operating point of a detector at `bias` and `temperature`.
    ///
    /// Below breakdown the diode does not fire. Above it the efficiency saturates as
    /// η_max·(1 − exp(−V_ex/V₀)); the dark rate grows exponentially with bias and temperature, and
    /// trapping in proportion to the avalanche charge, hence to the excess bias.
    public init(_ detector: DetectorConfiguration, bias: Volts, temperature: Celsius) {
        let warming = (temperature - detector.referenceTemperature).rawValue
        let breakdown =
            detector.breakdownVoltage.rawValue + detector.breakdownVoltsPerKelvin * warming
        let excess = bias.rawValue - breakdown
        guard excess > 0 else {
            (efficiency, darkRate, releaseMean) = (0, 0, 0)
            return
        }
        let nominal = (detector.nominalBias - detector.breakdownVoltage).rawValue
        efficiency =
            -detector.maximumEfficiency
            * exponentialMinus1(-excess / detector.efficiencyVoltage.rawValue)
        darkRate =
            detector.darkRate.rawValue
            * exponential(
                (excess - nominal) / detector.darkVoltage.rawValue
                    + warming / detector.darkDoublingInKelvin * naturalLog(2))
        releaseMean = -naturalLog1p(-detector.trapProbability) * excess / nominal
    }

    /// The operating point at nominal bias and reference temperature.
    public init(nominal detector: DetectorConfiguration) {
        self.init(
            detector, bias: detector.nominalBias, temperature: detector.referenceTemperature)
    }
}

/// The sensitivity of a gate of width `width` and edge deviation `edge`, `offset` from its centre.
package func gateResponse(offset: Double, width: Double, edge: Double) -> Double {
    let scale = 1 / (edge * 2.0.squareRoot())
    return 0.5
        * (errorFunction((offset + width / 2) * scale) - errorFunction((offset - width / 2) * scale))
}
