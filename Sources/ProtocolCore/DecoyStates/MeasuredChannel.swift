import Quantities

/// A channel and receiver by the few numbers that calibration measures: what predictions and the
/// optimiser start from.
///
/// For a pulse of mean photon number k, with both ends in one basis (Lim et al. 2014, section IV; dead
/// time as in Rusca et al. 2018, appendix B):
///
/// - D_k = 1 − (1 − P_DC) e^{−ηk}, and a click with probability R_k = D_k (1 + p_ap);
/// - a wrong click with probability e_k = P_DC/2 + e_mis (1 − e^{−ηk}) + p_ap D_k / 2.
///
/// η is the whole transmittance, detectors included. (Lim et al. print η_ch in e_k, which gives no
/// sensible error rate; η is meant.)
public struct MeasuredChannel: Hashable, Sendable {
    /// η: the probability that a photon sent is detected when both ends use one basis, in (0, 1].
    public var transmittance: Double
    /// P_DC: the probability of a dark count per pulse in the two detectors of a basis, in 0..<1.
    public var darkCountProbability: Double
    /// e_mis: the probability that a detected photon shows the wrong bit, in 0...0.5.
    public var misalignment: Double
    /// p_ap: the probability that a click causes another one, in 0..<1.
    public var afterpulseProbability: Double
    /// The time the detectors of a basis are blind after a click.
    public var deadTime: Picoseconds
    /// Pulses per second.
    public var repetitionRate: Hertz

    /// Wraps the parameters; throws when one is out of its range.
    public init(
        transmittance: Double, darkCountProbability: Double, misalignment: Double,
        afterpulseProbability: Double = 0, deadTime: Picoseconds = Picoseconds(0),
        repetitionRate: Hertz = Hertz(1e9)
    ) throws(DecoyStateError) {
        let ranges: [(String, Double, ClosedRange<Double>)] = [
            ("transmittance", transmittance, .leastNonzeroMagnitude...1),
            ("darkCountProbability", darkCountProbability, 0...1.0.nextDown),
            ("misalignment", misalignment, 0...0.5),
            ("afterpulseProbability", afterpulseProbability, 0...1.0.nextDown),
            ("deadTime", deadTime.seconds, 0...1),
            ("repetitionRate", repetitionRate.rawValue, .leastNonzeroMagnitude...1e15),
        ]
        for (name, value, range) in ranges where !range.contains(value) {
            throw .channelParameterOutOfRange(name: name, value: value)
        }
        self.transmittance = transmittance
        self.darkCountProbability = darkCountProbability
        self.misalignment = misalignment
        self.afterpulseProbability = afterpulseProbability
        self.deadTime = deadTime
        self.repetitionRate = repetitionRate
    }

    /// R_k and e_k: the probabilities of a click, and of a wrong click.
    @inline(__always)
    func gain(_ intensity: Double) -> (click: Double, error: Double) {
        let photon = -exponentialMinus1(-transmittance * intensity)
        let click = photon + darkCountProbability * (1 - photon)
        return (
            click * (1 + afterpulseProbability),
            darkCountProbability / 2 + misalignment * photon + afterpulseProbability * click / 2
        )
    }

    /// The part of clicks that a dead time leaves when `rate` clicks per pulse would come without.
    func live(_ rate: Double) -> Double {
        1 / (1 + rate * repetitionRate.rawValue * deadTime.seconds)
    }

    /// The secret key capacity of the channel, −log₂(1 − η) bits per pulse and mode (Pirandola,
    /// Laurenza, Ottaviani, Banchi, Nat. Commun. 8, 15043, 2017). No key rate exceeds it.
    public var capacity: Double { -naturalLog1p(-transmittance) / Double.logTwo }

    /// The key rate per pulse of an infinite block with infinitely many decoys, all pulses in the key
    /// basis at the one intensity `intensity`: Q_0 + Q_1 (1 − h(e_1)) − f Q h(E) (Gottesman, Lo,
    /// Lütkenhaus, Preskill 2004; Lo, Ma, Chen 2005), without afterpulses. At least 0.
    public func asymptoticRate(intensity: Double, reconciliationEfficiency f: Double) -> Double {
        var ideal = self
        ideal.afterpulseProbability = 0
        let all = ideal.gain(intensity)
        let empty = exponential(-intensity)
        let single = intensity * empty
        let yield = transmittance + darkCountProbability * (1 - transmittance)
        let wrong = misalignment * transmittance + darkCountProbability / 2
        let rate =
            empty * darkCountProbability
            + single * yield * (1 - FiniteKey.binaryEntropy(wrong / yield))
            - f * all.click * FiniteKey.binaryEntropy(all.error / all.click)
        return max(0, rate)
    }
}
