import Quantities

/// How far Bob's detectors may differ: the two bounds that calibration delivers to the key length.
///
/// The proofs of decoy-state BB84 assume that the probability of a detection does not depend on
/// Bob's basis. Tupkary, Nahar, Sinha, Lütkenhaus, "Phase error rate estimation in QKD with
/// imperfect detectors", Quantum 9, 1937 (2025), arXiv:2408.17349, remove that assumption: with
/// efficiencies and dark counts anywhere inside these bounds, chosen by the eavesdropper in every
/// round, the phase error rate obeys
///
/// φ ≤ (e + γ + δ₁ + γ₁) / (1 − δ₂ − γ₂),
///
/// where e is the single-photon error rate of the test basis, γ the sampling deviation, and γ₁, γ₂
/// are binomial deviations of the events whose probabilities are at most δ₁ and δ₂. With r =
/// η_min/η_max, d and D the smallest and the largest dark-count probability:
///
/// - δ₂ = max{1 − d(2 − d) / (D(2 − D)), (1 − d)² (1 − r)}: a detection in the one basis that
///   the other basis would have missed, for no photon and for one or more photons at Bob;
/// - δ₁ = max{(1 − d(2 − d) / (D(2 − D))) D(2 − d) / (d(2 − d)), 4 (1 − √(1 − (1 − d)² (1 − r)))}.
///
/// The two expressions are those of the program the authors published; the text of the paper was
/// not available, so they were derived again. Sketch: let F be a filter, common to both bases, that
/// passes every state that either basis detects, G the part of it that the key basis detects, and P
/// the operator of a test-basis error behind F. Losses that all detectors share belong to the
/// channel, hence η_max = 1. For n photons at Bob 1 − G ≤ δ₂ (worst for n = 1, and for n = 0 by dark
/// counts). The key basis' phase error is √G P √G (the entropic uncertainty relation allows any
/// complementary measurement at Bob), and ‖√G P √G − P‖ ≤ 2 ‖1 − √G‖ ≤ 2(1 − √(1 − δ₂)) = δ₁/2; for
/// n = 0 both are numbers and differ by at most (1 − G)P. If A ≤ B + q for operators between 0
/// and 1, then A / (1 + q) ≤ (B + q) / (1 + q): thinning the outcomes A by coins of probability
/// q / (1 + q), and adding coins of the same probability to the outcomes B, shows that the count of A
/// in n rounds exceeds that of B by two binomial counts of at most (n, q). With q = δ₁/2 this
/// gives the numerator, with both tails of Bernstein's inequality in γ₁; the denominator counts
/// the rounds behind F that the key basis did not detect.
///
/// When the bounds are so wide that nothing remains, φ is 1/2 and there is no key.
public struct DetectorMismatch: Hashable, Sendable {
    /// η_min/η_max over all detectors of both bases and over all modes (times, wavelengths,
    /// directions) that light can enter in, in (0, 1].
    public let efficiencyRatio: Double
    /// The smallest and the largest probability of a dark count per slot of any detector.
    public let darkCountProbability: ClosedRange<Double>

    /// Wraps the bounds; throws when one is out of its range.
    public init(
        efficiencyRatio: Double, darkCountProbability: ClosedRange<Double>
    ) throws(DecoyStateError) {
        guard efficiencyRatio > 0, efficiencyRatio <= 1 else {
            throw .probabilityOutOfRange(name: "efficiencyRatio", value: efficiencyRatio)
        }
        guard darkCountProbability.lowerBound >= 0, darkCountProbability.upperBound < 1 else {
            throw .probabilityOutOfRange(
                name: "darkCountProbability", value: darkCountProbability.upperBound)
        }
        self.efficiencyRatio = efficiencyRatio
        self.darkCountProbability = darkCountProbability
    }

    /// The bounds from measured efficiencies and dark-count probabilities, one of each for every
    /// detector, with the largest relative error of each kind.
    public init(
        efficiencies: [Double], relativeError: Double, darkCountProbabilities: [Double],
        darkCountRelativeError: Double
    ) throws(DecoyStateError) {
        let (low, high) = (efficiencies.min() ?? 0, efficiencies.max() ?? 0)
        let (least, most) = (darkCountProbabilities.min() ?? 0, darkCountProbabilities.max() ?? 1)
        for error in [relativeError, darkCountRelativeError] where !(error >= 0 && error < 1) {
            throw .probabilityOutOfRange(name: "relative error of calibration", value: error)
        }
        guard high > 0, least >= 0 else {
            throw .probabilityOutOfRange(name: "efficiency or dark count", value: min(high, least))
        }
        let ratio = low * (1 - relativeError) / (high * (1 + relativeError))
        try self.init(
            efficiencyRatio: ratio.nextDown.nextDown.nextDown.nextDown,
            darkCountProbability: max(
                0, (least * (1 - darkCountRelativeError)).nextDown)...(most
                * (1 + darkCountRelativeError)).nextUp)
    }

    /// δ₁ and δ₂, rounded up.
    public var deltas: (first: Double, second: Double) {
        let values: (first: OutwardInterval, second: OutwardInterval) = differences()
        return (values.first.upperValue, values.second.upperValue)
    }

    func differences<S: KeyLengthScalar>() -> (first: S, second: S) {
        let (d, most) = (
            S(darkCountProbability.lowerBound), S(darkCountProbability.upperBound)
        )
        let (one, two) = (S(1), S(2))
        let photons = (one - d) * (one - d) * (one - S(efficiencyRatio))
        let turned = S(4) * (one - S.greatest(one - photons, S(0)).root)
        guard darkCountProbability.lowerBound < darkCountProbability.upperBound else {
            return (turned, photons)
        }
        guard darkCountProbability.lowerBound > 0 else { return (one, one) }
        let missed = one - d * (two - d) / (most * (two - most))
        let vacuum = missed * most * (two - d) / (d * (two - d))
        return (S.greatest(vacuum, turned), S.greatest(missed, photons))
    }

    /// φ for the bound `testRate` = e + γ of test-basis errors among the `applied` single photons of
    /// the key; 1/2 where no smaller bound can be given.
    func phaseErrorRate<S: KeyLengthScalar>(testRate: S, applied: S, inverseEpsilon: S) -> S {
        let (first, second): (S, S) = differences()
        let q = first / S(2)
        guard q.upperValue < 0.5, second.upperValue < 0.5, applied.lowerValue > 0 else {
            return S(0.5)
        }
        let more = FiniteKey.bernstein(
            trials: applied, probability: q, inverseEpsilon: inverseEpsilon)
        let fewer = FiniteKey.bernstein(
            trials: applied, probability: second, inverseEpsilon: inverseEpsilon)
        let remaining = S(1) - second - fewer
        guard remaining.lowerValue > 0 else { return S(0.5) }
        return S.least((testRate + first + S(2) * more) / remaining, S(0.5))
    }

    /// What the two extra tail bounds add to a proof that spends two shares on each smoothing
    /// term, of failure probability α²: √(α₃² + α₄² + α₅²) ≤ α₃ + α₄ + α₅.
    static let terms = [
        ("phase errors by detectors that differ", 2), ("detections by detectors that differ", 2),
    ]
}
