/// A two-decoy key length that may depend on everything observed, block sizes included, for
/// detectors that may differ: the bound of Tupkary, Nahar, Sinha, Lütkenhaus, Quantum 9, 1937
/// (2025), arXiv:2408.17349.
///
/// - n±_k = (e^k / p_k)(n_k ± √((n/2) ln(2/ε²))), and from them s_K,1, s_X,1, v_X,1 as in
///   `Lim2014`;
/// - φ = (v_X,1/s_X,1 + γ + δ₁ + γ₁) / (1 − δ₂ − γ₂) with γ = √(ln(1/ε) (d + c)(d + 1)/(c d²)) for
///   c = s_K,1, d = s_X,1 (Serfling), and δ, γ₁, γ₂ of `DetectorMismatch`, all 0 without one;
/// - ℓ = ⌊s_K,1(1 − h(φ)) − λ_EC − 2 log₂(1/(2 ε_PA)) − log₂(2/ε_cor)⌋.
///
/// Formula and constants are those of the program the authors published (compared in the tests);
/// the text of the paper was not available, so the secrecy is argued here. The nine two-sided
/// Hoeffding bounds (three intensities; key detections, test detections, test errors) fail with
/// probability ε² each, the sampling with ε², the detectors with 2ε², together κ ≤ 12 ε². For the
/// observations i and a failure probability κ_i given i, the entropic uncertainty relation for
/// smooth entropies (Tomamichel, Renner, Phys. Rev. Lett. 106, 110506, 2011) bounds
/// H_min^{√κ_i} of the single-photon part given everything else by s_K,1(1 − h(φ)), since an upper
/// bound of the phase errors bounds H_max; leaving out the other detections can only lower it; the
/// leftover hash lemma gives a key at distance 2√κ_i + ½ 2^{−(H − λ_EC − log₂(2/ε_cor) − ℓ)/2} =
/// 2√κ_i + ε_PA. The average over i is at most 2√κ + ε_PA ≤ 2√12 ε + ε_PA by concavity; with 2√12 < 7
/// and ε_PA = ε the budget has 8 shares. No size needs to be fixed beforehand.
///
/// The error counts of the key basis must not enter, because the average is over events that do
/// not depend on the key: hence two decoys and no vacuum term. λ_EC must not depend on the key
/// either, or pay for the bits that tell it (entry `feedback` of the ledger).
public enum Tupkary2024 {
    /// ε_sec = 2√(9 + 3) ε + ε_PA ≤ 8ε.
    public static let budget = FailureBudget(
        source: "Tupkary 2025, with 2 sqrt(12) < 7",
        [("parameter estimation, 12 bounds with probability ε² each", 7), ("hashing, ε_PA", 1)])

    /// The key length of a block; parameters as for `Lim2014.keyLength`.
    public static func keyLength(
        counts: TwoDecoyCounts, intensities: TwoDecoyIntensities, security: SecurityParameters,
        leakage: LeakageLedger, mismatch: DetectorMismatch? = nil
    ) -> TwoDecoyKeyLength {
        let charged = leakage.chargedBits(beside: security)
        let tally = TwoDecoyTally(counts)
        func terms<S: KeyLengthScalar>() -> TwoDecoyTerms<S> {
            length(tally, intensities, security, charged: Double(charged), mismatch: mismatch)
        }
        return TwoDecoyKeyLength(
            proof: .tupkary2024, shown: terms(), safe: terms(), charged: charged, of: counts)
    }

    static func length<S: KeyLengthScalar>(
        _ tally: TwoDecoyTally, _ intensities: TwoDecoyIntensities, _ security: SecurityParameters,
        charged: Double, mismatch: DetectorMismatch? = nil
    ) -> TwoDecoyTerms<S> {
        let inverse = S(Double(budget.shares)) / S(security.epsilonSecrecy)
        let logarithm = inverse.naturalLogarithm
        let doubled = S.logTwo + S(2) * logarithm
        let bounds = TwoDecoyBounds<S>(tally, intensities) { ($0 * doubled / S(2)).root }
        let phase = phaseErrorRate(bounds, inverse, mismatch)
        // −2 log₂(1/(2ε)) = 2 − 2 log₂(1/ε)
        let secrecy = S(2) * logarithm / S.logTwo - S(2)
        let correctness = (S(2) / S(security.epsilonCorrectness)).binaryLogarithm
        let length =
            bounds.keySinglePhotonLower * (S(1) - FiniteKey.entropy(phase)) - S(charged)
            - secrecy - correctness
        return TwoDecoyTerms(
            bounds: bounds, phaseErrorRateUpper: phase, secrecyCost: secrecy,
            correctnessCost: correctness, length: length)
    }

    private static func phaseErrorRate<S: KeyLengthScalar>(
        _ bounds: TwoDecoyBounds<S>, _ inverseEpsilon: S, _ mismatch: DetectorMismatch?
    ) -> S {
        let (sampled, applied) = (bounds.testSinglePhotonLower, bounds.keySinglePhotonLower)
        guard sampled.lowerValue > 0, applied.lowerValue > 0 else { return S(0.5) }
        let rate = bounds.testSinglePhotonErrorsUpper / sampled
        let deviation = FiniteKey.serfling(
            applied: applied, sampled: sampled, inverseEpsilon: inverseEpsilon)
        guard let mismatch else { return S.least(rate + deviation, S(0.5)) }
        return mismatch.phaseErrorRate(
            testRate: rate + deviation, applied: applied, inverseEpsilon: inverseEpsilon)
    }
}
