import Quantities

/// What the health signals compare with: properties of the devices as calibration found them. All
/// ranges are those within which an intact device lies.
public struct HealthExpectation: Hashable, Sendable {
    /// The share of detector V among the clicks of H and V.
    public var balanceZ: ClosedRange<Double> = 0.45...0.55
    /// The share of detector A among the clicks of D and A.
    public var balanceX: ClosedRange<Double> = 0.45...0.55
    /// The probability of a multiple click in a slot, as `MultipleClickModel` gives it, or `nil`
    /// when nothing is known.
    public var multipleProbability: ClosedRange<Double>?
    /// Arrival times of each detector without attack, or `nil` to compare the detectors of a basis.
    public var gateReference: GatePositionHistogram?
    /// The slots after a click in which its detector can not click again.
    public var deadSlots = 0
    /// The probability of a dark count in a slot, all detectors together.
    public var darkProbability: ClosedRange<Double> = 0...1e-5
    /// The relative uncertainty of the ratio of the two intensities.
    public var intensityTolerance = 0.02
    /// The fraction of ones among sifted bits.
    public var bias: ClosedRange<Double> = 0.45...0.55

    /// Wide ranges that fit a receiver nobody has measured.
    public init() {}
}

/// How often several detectors click in one slot when nothing but light and dark counts make them.
public enum MultipleClickModel {
    /// The probability of two or more clicks in a slot.
    ///
    /// - Parameters:
    ///   - transmittance: for each of Alice's states H, V, D, A the probability that a photon in it
    ///     makes each of the detectors H, V, D, A click; measured as `StateDetectorCounts`.
    ///   - stateProbabilities: how often Alice sends each state; their sum is 1.
    ///   - intensities: the source.
    ///   - darkProbability: the probability of a dark count of each detector in a slot.
    ///
    /// Poissonian light divides into independent Poissonian beams, so detector d clicks with
    /// probability 1 − (1 − p_dark)·exp(−µ t_d), whatever the others do.
    public static func probability(
        transmittance: [[Double]], stateProbabilities: [Double], intensities: DecoyIntensities,
        darkProbability: [Double]
    ) -> Double {
        precondition(transmittance.count == 4 && stateProbabilities.count == 4)
        var total = 0.0
        let classes = [
            (intensities.signal, intensities.signalProbability),
            (intensities.decoy, 1 - intensities.signalProbability),
        ]
        for (state, row) in transmittance.enumerated() {
            for (mean, weight) in classes {
                let silent = zip(row, darkProbability).map { t, dark in
                    (1 - dark) * exponential(-mean * t)
                }
                let none = silent.reduce(1, *)
                // Exactly one: its click times the silence of the others.
                let one = silent.reduce(0.0) { $0 + (1 - $1) / $1 * none }
                total += stateProbabilities[state] * weight * max(0, 1 - none - one)
            }
        }
        return total
    }
}

/// The share of the signal intensity that Poissonian pulses through a linear channel give.
enum IntensityModel {
    /// The range of the share of signal pulses among detections, when a fraction `rate` of all
    /// slots has a detection.
    ///
    /// Solves Σ p_k (1 − (1 − Y₀) e^{−µ_k η}) = rate for η at either end of the dark counts' range
    /// and widens the odds by the tolerance. Returns `nil` when no η fits.
    static func signalShare(
        rate: Double, _ intensities: DecoyIntensities, _ expectation: HealthExpectation
    ) -> ClosedRange<Double>? {
        func share(_ dark: Double) -> Double? {
            func clicks(_ mean: Double, _ eta: Double) -> Double {
                dark - (1 - dark) * exponentialMinus1(-mean * eta)
            }
            let p = intensities.signalProbability
            func total(_ eta: Double) -> Double {
                p * clicks(intensities.signal, eta) + (1 - p) * clicks(intensities.decoy, eta)
            }
            guard rate > dark, total(1) >= rate else { return nil }
            var (low, high) = (0.0, 1.0)
            for _ in 0..<60 {
                let middle = 0.5 * (low + high)
                if total(middle) < rate { low = middle } else { high = middle }
            }
            return p * clicks(intensities.signal, high) / rate
        }
        let dark = expectation.darkProbability
        guard let most = share(dark.lowerBound),
            let least = share(min(dark.upperBound, 0.5 * rate))
        else { return nil }
        let factor = 1 + expectation.intensityTolerance
        func scaled(_ share: Double, _ factor: Double) -> Double {
            share * factor / (share * factor + 1 - share)
        }
        return scaled(least, 1 / factor)...scaled(most, factor)
    }
}
