import Quantities

/// The rotation of the Poincaré sphere by a drifting fibre, held for steps of 1 ms.
///
/// R ← exp(w)·R with w normal of variance D·dt about each axis: the isotropic random walk that
/// Czegledi et al., "Polarization drift channel model for coherent fibre-optic systems", Sci. Rep.
/// 6, 21217 (2016), compared with measurements. The mean of s(0)·s(t) over fibres is exp(−D t).
/// Wind adds a rotation rate that follows an Ornstein–Uhlenbeck process; the day adds a sinusoidal
/// rotation about a fixed axis.
package struct FibreRotation: Sendable {
    /// The length of a step in picoseconds.
    package static let step: Int64 = 1_000_000_000

    private var generator: SeededGenerator
    private let walkSigma: Double
    private let windSigma: Double
    private let windMemory: Double
    private let dailyAxis: StokesVector
    private var walk: StokesRotation
    private var wind = StokesVector.zero
    private var stepIndex: Int64 = 0
    /// The rotation in the current step.
    package private(set) var rotation: StokesRotation

    /// The fibre at bench time zero.
    package init(configuration: FibreConfiguration, seed: UInt64) {
        generator = SeededGenerator(seed: seed, label: "fibre rotation")
        let seconds = Double(Self.step) * 1e-12
        walkSigma = configuration.diffusionInRadiansPerRootSecond * seconds.squareRoot()
        windSigma = configuration.windInRadiansPerSecond
        windMemory = exponential(-seconds / configuration.windCorrelationInSeconds)
        let start = StokesRotation.random(using: &generator)
        walk = configuration.startsAtRandomRotation ? start : .identity
        dailyAxis =
            StokesRotation.random(using: &generator).column1 * configuration.dailySwing.rawValue
        rotation = walk
        if windSigma > 0 { wind = Self.normal(&generator) * windSigma }
    }

    private static func normal(_ generator: inout SeededGenerator) -> StokesVector {
        StokesVector(generator.gaussian(), generator.gaussian(), generator.gaussian())
    }

    /// The last instant of the current step.
    package var stepEnd: Int64 { (stepIndex + 1) * Self.step - 1 }

    /// Walks on to the step that holds `time`; returns whether the rotation changed.
    package mutating func advance(to time: Int64) -> Bool {
        let target = time / Self.step
        guard target > stepIndex else { return false }
        let isWalking = walkSigma > 0 || windSigma > 0
        if isWalking {
            while stepIndex < target { walkOneStep() }
        }
        stepIndex = target
        guard isWalking || dailyAxis != .zero else { return false }
        update()
        return true
    }

    private mutating func walkOneStep() {
        var vector = Self.normal(&generator) * walkSigma
        if windSigma > 0 {
            vector = vector + wind * (Double(Self.step) * 1e-12)
            let kick = windSigma * (1 - windMemory * windMemory).squareRoot()
            wind = wind * windMemory + Self.normal(&generator) * kick
        }
        walk = StokesRotation(rotationVector: vector) * walk
        stepIndex += 1
        if stepIndex & 1023 == 0 { walk = walk.orthonormalized }
    }

    private mutating func update() {
        guard dailyAxis != .zero else {
            rotation = walk
            return
        }
        let phase = 2 * Double.pi * Double(stepIndex) * Double(Self.step) * 1e-12 / 86_400
        rotation = StokesRotation(rotationVector: dailyAxis * sine(phase)) * walk
    }

    /// Replaces the rotation by a random one, as work on a splice or a changed route does.
    package mutating func jump() {
        walk = StokesRotation.random(using: &generator)
        update()
    }
}

/// The transit time of the fibre as a function of the emission time.
struct FibreDelay: Sendable {
    let delay: Int64
    let swing: Double

    init(configuration: FibreConfiguration) {
        delay = configuration.delay.rawValue
        swing = Double(configuration.delaySwing.rawValue)
    }

    /// The transit time of light that leaves at `time`: warmest and longest after a quarter day.
    @inline(__always) func value(at time: Int64) -> Int64 {
        guard swing > 0 else { return delay }
        let phase = 2 * Double.pi * Double(time) * 1e-12 / 86_400
        return delay + Int64((swing * sine(phase)).rounded())
    }
}
