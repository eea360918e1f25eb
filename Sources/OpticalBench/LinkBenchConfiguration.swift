import Quantities

// What a bench is built from. Every property is a nominal value or the spread from which the
// hidden imperfections of one unit are drawn; `LinkParameters` holds the values drawn.

/// A value of a bench configuration outside its range.
public struct BenchConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The path of the property, such as `source.slotPeriod`.
    public let field: String
    /// What the property must satisfy.
    public let expected: String
    /// The value found.
    public let found: String
    /// The error as one sentence.
    public var description: String { "\(field): expected \(expected), found \(found)" }

    static func require(
        _ condition: Bool, _ field: String, _ expected: String, found: some CustomStringConvertible
    ) throws(BenchConfigurationError) {
        if !condition { throw Self(field: field, expected: expected, found: found.description) }
    }

    static func requireProbability(
        _ value: Double, _ field: String
    ) throws(BenchConfigurationError) {
        try require((0...1).contains(value), field, "a probability in 0…1", found: value)
    }

    static func requireNonNegative(
        _ value: Double, _ field: String
    ) throws(BenchConfigurationError) {
        try require(
            value >= 0 && value.isFinite, field, "a finite value of 0 or more", found: value)
    }
}

/// The pulsed source on Alice's side.
public struct SourceConfiguration: Hashable, Sendable {
    /// The time between pulses on Alice's clock.
    public var slotPeriod = Picoseconds(50_000)
    /// The mean photon number of every intensity class leaving Alice, nominal. Classes that are not
    /// listed are vacuum.
    public var meanPhotonNumbers = [0.5, 0.15]
    /// The relative standard deviation of the actual mean photon numbers, drawn once.
    public var intensitySpread = 0.005
    /// The standard deviation of the error of a prepared state about each Stokes axis, as an angle
    /// on the Poincaré sphere, drawn once for each of the four states.
    public var preparationSpread = Radians(degrees: 0.5)
    /// The fraction of the light that leaves in the orthogonal state.
    public var extinction = 0.002
    /// The standard deviation of a photon's emission time within its pulse.
    public var pulseWidth = Picoseconds(80)
    /// The mean number of clicks of Alice's monitor in a pulse of the brightest class.
    public var monitorMean = 5e-4
    /// The standard deviation of the pulse-per-second signal, such as that of a GPS receiver.
    public var pulsePerSecondJitter = Picoseconds(15_000)

    /// The source of a 20 MHz link with signal and decoy states.
    public init() {}

    func validate() throws(BenchConfigurationError) {
        typealias E = BenchConfigurationError
        try E.require(
            (1000...1_000_000_000_000).contains(slotPeriod.rawValue), "source.slotPeriod",
            "1 ns to 1 s", found: slotPeriod)
        try E.require(
            (1...256).contains(meanPhotonNumbers.count), "source.meanPhotonNumbers",
            "1 to 256 intensity classes", found: meanPhotonNumbers.count)
        for (index, mean) in meanPhotonNumbers.enumerated() {
            try E.require(
                (0...100).contains(mean), "source.meanPhotonNumbers[\(index)]", "0…100 photons",
                found: mean)
        }
        try E.require(
            (0...0.2).contains(intensitySpread), "source.intensitySpread", "0…0.2",
            found: intensitySpread)
        try E.requireNonNegative(preparationSpread.rawValue, "source.preparationSpread")
        try E.require(
            (0...0.5).contains(extinction), "source.extinction", "0…0.5", found: extinction)
        try E.require(
            pulseWidth.rawValue >= 0 && pulseWidth.rawValue * 16 <= slotPeriod.rawValue,
            "source.pulseWidth", "0 to 1/16 of the slot period", found: pulseWidth)
        try E.require(
            (0...1).contains(monitorMean), "source.monitorMean", "0…1", found: monitorMean)
        try E.require(
            (0...1_000_000).contains(pulsePerSecondJitter.rawValue), "source.pulsePerSecondJitter",
            "0 to 1 µs", found: pulsePerSecondJitter)
    }
}

/// The fibre between the two nodes.
public struct FibreConfiguration: Hashable, Sendable {
    /// The loss from Alice's output to Bob's input.
    public var loss = Decibels(19.8)
    /// The transit time.
    public var delay = Picoseconds(29_400_000)
    /// The amplitude of the slow change of the transit time.
    public var delaySwing = Picoseconds(0)
    /// The square root of the variance rate about each Stokes axis, in rad/√s.
    public var diffusionInRadiansPerRootSecond = 0.005
    /// The standard deviation of the rotation rate that wind causes about each axis, in rad/s.
    public var windInRadiansPerSecond = 0.0
    /// The correlation time of the wind.
    public var windCorrelationInSeconds = 3.0
    /// The amplitude of the daily rotation about a fixed random axis.
    public var dailySwing = Radians(0)
    /// Whether the rotation at time zero is random; otherwise it is the identity.
    public var startsAtRandomRotation = true

    /// A buried fibre of 6 km at 810 nm.
    public init() {}

    /// A buried fibre: correlated over minutes to hours.
    public static let buried = FibreConfiguration()
    /// An aerial fibre in light wind.
    public static let aerial = {
        var fibre = FibreConfiguration()
        fibre.diffusionInRadiansPerRootSecond = 0.05
        fibre.windInRadiansPerSecond = 0.02
        return fibre
    }()

    func validate() throws(BenchConfigurationError) {
        typealias E = BenchConfigurationError
        try E.requireNonNegative(loss.rawValue, "fibre.loss")
        try E.require(
            (0...1_000_000_000_000).contains(delay.rawValue), "fibre.delay", "0 to 1 s",
            found: delay)
        try E.require(
            (0...min(delay.rawValue, 1_000_000)).contains(delaySwing.rawValue), "fibre.delaySwing",
            "0 to the delay and at most 1 µs", found: delaySwing)
        try E.require(
            (0...3).contains(diffusionInRadiansPerRootSecond),
            "fibre.diffusionInRadiansPerRootSecond", "0…3 rad/√s",
            found: diffusionInRadiansPerRootSecond)
        try E.require(
            (0...100).contains(windInRadiansPerSecond), "fibre.windInRadiansPerSecond",
            "0…100 rad/s", found: windInRadiansPerSecond)
        try E.require(
            windCorrelationInSeconds >= 0.01 && windCorrelationInSeconds.isFinite,
            "fibre.windCorrelationInSeconds", "at least 0.01 s", found: windCorrelationInSeconds)
        try E.requireNonNegative(dailySwing.rawValue, "fibre.dailySwing")
    }
}

/// The passive-basis receiver in front of the four detectors.
public struct ReceiverConfiguration: Hashable, Sendable {
    /// The probability that a photon takes the path to the Z analyser.
    public var probabilityZ = 0.8
    /// The loss from the receiver's input to the detectors, equal for all ports.
    public var insertionLoss = Decibels(1.5)
    /// The standard deviation of the error of an analyser about each Stokes axis, drawn once for
    /// each basis; the two ports of a basis stay opposite.
    public var analyserSpread = Radians(degrees: 0.6)
    /// The fraction of the light that leaves an analyser by the wrong port.
    public var extinction = 0.002
    /// Unpolarized background photons per second entering the receiver.
    public var background = Hertz(200)
    /// The delays of the cables from the detectors H, V, D, A to the tagger.
    public var cableDelays = [
        Picoseconds(10_000), Picoseconds(10_350), Picoseconds(9_800), Picoseconds(10_120),
    ]

    /// A receiver with an 80:20 splitter.
    public init() {}

    func validate() throws(BenchConfigurationError) {
        typealias E = BenchConfigurationError
        try E.requireProbability(probabilityZ, "receiver.probabilityZ")
        try E.requireNonNegative(insertionLoss.rawValue, "receiver.insertionLoss")
        try E.requireNonNegative(analyserSpread.rawValue, "receiver.analyserSpread")
        try E.require(
            (0...0.5).contains(extinction), "receiver.extinction", "0…0.5", found: extinction)
        try E.require(
            (0...1e10).contains(background.rawValue), "receiver.background", "0…1e10 Hz",
            found: background)
        try E.require(
            cableDelays.count == 4, "receiver.cableDelays", "four delays", found: cableDelays.count)
        for (index, delay) in cableDelays.enumerated() {
            try E.require(
                (0...1_000_000_000).contains(delay.rawValue), "receiver.cableDelays[\(index)]",
                "0 to 1 ms", found: delay)
        }
    }
}

/// A whole link: source, fibre, controller, receiver, detectors and the two oscillators.
public struct LinkBenchConfiguration: Hashable, Sendable {
    /// The pulsed source.
    public var source = SourceConfiguration()
    /// The fibre.
    public var fibre = FibreConfiguration.buried
    /// The polarization controller between fibre and receiver.
    public var controller = WaveplateStackConfiguration()
    /// The receiver optics.
    public var receiver = ReceiverConfiguration()
    /// The detectors of the H, V, D and A ports.
    public var detectors: [DetectorConfiguration]
    /// Alice's oscillator; slot n leaves when it reads n slot periods.
    public var sourceOscillator: OscillatorConfiguration
    /// The oscillator of Bob's tagger.
    public var receiverOscillator = OscillatorConfiguration()

    /// The metropolitan link.
    public init() {
        detectors = ([5_000, 5_700, 4_300, 5_400] as [Int64]).map { delay in
            var detector = DetectorConfiguration()
            detector.pathDelay = Picoseconds(delay)
            return detector
        }
        sourceOscillator = OscillatorConfiguration()
        sourceOscillator.initialReading = Picoseconds(0)...Picoseconds(0)
    }

    /// A 20 MHz link at 810 nm over 6 km of buried fibre with silicon detectors: about 35 000
    /// clicks a second with 70 % signal pulses.
    public static let metropolitan = LinkBenchConfiguration()

    /// Checks every value against its range.
    ///
    /// Throws `BenchConfigurationError` naming the first property that is out of range.
    public func validate() throws(BenchConfigurationError) {
        try source.validate()
        try fibre.validate()
        try controller.validate()
        try receiver.validate()
        try BenchConfigurationError.require(
            detectors.count == 4, "detectors", "four detectors: H, V, D, A",
            found: detectors.count)
        for (index, detector) in detectors.enumerated() {
            try detector.validate("detectors[\(index)]")
            // A photon may not reach its detector before the light reaches the receiver.
            try BenchConfigurationError.require(
                detector.pathDelay.rawValue >= 8 * source.pulseWidth.rawValue,
                "detectors[\(index)].pathDelay", "at least 8 pulse widths",
                found: detector.pathDelay)
        }
        try sourceOscillator.validate("sourceOscillator")
        try receiverOscillator.validate("receiverOscillator")
    }
}
