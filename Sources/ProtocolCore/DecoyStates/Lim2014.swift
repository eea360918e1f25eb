/// The two-decoy finite-key bound of Lim, Curty, Walenta, Xu, Zbinden, Phys. Rev. A 89, 022307
/// (2014).
///
/// With µ1 > µ2 > µ3 ≥ 0, µ1 > µ2 + µ3, τ_n = Σ_k p_k e^{−k} k^n / n! and
/// n±_k = (e^k / p_k)(n_k ± √((n/2) ln(21/ε_sec))), where n counts all intensities together:
///
/// - s_X,0 = τ_0 (µ2 n⁻_µ3 − µ3 n⁺_µ2) / (µ2 − µ3)   (2)
/// - s_X,1 = τ_1 µ1 [n⁻_µ2 − n⁺_µ3 − ((µ2² − µ3²)/µ1²)(n⁺_µ1 − s_X,0/τ_0)]
///   / [µ1(µ2 − µ3) − µ2² + µ3²]   (3)
/// - v_Z,1 = τ_1 (m⁺_µ2 − m⁻_µ3) / (µ2 − µ3)   (4)
/// - φ_X = v_Z,1/s_Z,1 + γ(ε_sec, v_Z,1/s_Z,1, s_Z,1, s_X,1)   (5)
/// - ℓ = ⌊s_X,0 + s_X,1(1 − h(φ_X)) − λ_EC − 6 log₂(21/ε_sec) − log₂(2/ε_cor)⌋   (1)
///
/// The single-photon bound takes the *lower* bound of the vacuum events, where the one-decoy bound
/// takes the upper one. Deviations from the print: every bound is clipped to the count it is part
/// of, and v_Z,1 is at least 1, because γ approximates the sampling tail and vanishes for an error
/// rate of 0, where the tail does not.
///
/// The proof is for a block whose size was fixed beforehand, phase-randomised pulses, uncorrelated
/// intensities, and a detection probability independent of the basis chosen.
public enum Lim2014 {
    /// ε_sec = 2(2α1 + α2 + α3) + ν + 10ε1 + 2ε2 = 21ε.
    public static let budget = FailureBudget(
        source: "Lim 2014, appendix B",
        [
            ("smoothing of the split by photon number, α1", 4),
            ("smoothing of the single-photon part, α2", 2),
            ("phase error rate of the key by sampling, α3", 2),
            ("privacy amplification, ν", 1),
            ("Hoeffding bounds of detections, ε1", 10),
            ("Hoeffding bounds of errors, ε2", 2),
        ])
    /// The budget with detectors that differ: 25 shares.
    public static let budgetWithMismatch = FailureBudget(
        extending: budget, source: "Tupkary 2025, section on efficiency mismatch",
        DetectorMismatch.terms)

    /// The key length of a block.
    ///
    /// - Parameters:
    ///   - counts: detections and test errors of the block.
    ///   - intensities: the measured source.
    ///   - security: the failure probabilities promised.
    ///   - leakage: everything disclosed about the key, from which λ_EC is taken.
    ///   - conditions: the sampling bound, and how far Bob's detectors may differ.
    /// - Returns: the report; its `length` is 0 when no key can be made.
    public static func keyLength(
        counts: TwoDecoyCounts, intensities: TwoDecoyIntensities, security: SecurityParameters,
        leakage: LeakageLedger, conditions: BoundConditions = BoundConditions()
    ) -> TwoDecoyKeyLength {
        let charged = leakage.chargedBits(beside: security)
        let tally = TwoDecoyTally(counts)
        func terms<S: KeyLengthScalar>() -> TwoDecoyTerms<S> {
            length(tally, intensities, security, charged: Double(charged), conditions: conditions)
        }
        return TwoDecoyKeyLength(
            proof: .lim2014, shown: terms(), safe: terms(), charged: charged, of: counts)
    }

    /// The value of (1) for counts that need not be whole, over either arithmetic.
    static func length<S: KeyLengthScalar>(
        _ tally: TwoDecoyTally, _ intensities: TwoDecoyIntensities, _ security: SecurityParameters,
        charged: Double, conditions: BoundConditions = BoundConditions()
    ) -> TwoDecoyTerms<S> {
        let shares = S(Double((conditions.mismatch == nil ? budget : budgetWithMismatch).shares))
        let epsilon = S(security.epsilonSecrecy)
        let inverse = shares / epsilon
        let logarithm = inverse.naturalLogarithm
        let bounds = TwoDecoyBounds<S>(tally, intensities) { ($0 * logarithm / S(2)).root }
        let phase = FiniteKey.phaseErrorRate(
            errors: bounds.testSinglePhotonErrorsUpper, sampled: bounds.testSinglePhotonLower,
            applied: bounds.keySinglePhotonLower,
            testTotal: S(tally.testDetections.total), epsilon: epsilon, terms: shares,
            conditions: conditions)
        let secrecy = S(6) * logarithm / S.logTwo
        let correctness = (S(2) / S(security.epsilonCorrectness)).binaryLogarithm
        let length =
            bounds.keyVacuumLower
            + bounds.keySinglePhotonLower * (S(1) - FiniteKey.entropy(phase))
            - S(charged) - secrecy - correctness
        return TwoDecoyTerms(
            bounds: bounds, phaseErrorRateUpper: phase, secrecyCost: secrecy,
            correctnessCost: correctness, length: length)
    }
}

/// A two-decoy key length in either arithmetic.
struct TwoDecoyTerms<S: KeyLengthScalar> {
    let bounds: TwoDecoyBounds<S>
    let phaseErrorRateUpper: S
    let secrecyCost: S
    let correctnessCost: S
    let length: S
}

extension TwoDecoyKeyLength {
    init(
        proof: FiniteKeyProof, shown: TwoDecoyTerms<Double>, safe: TwoDecoyTerms<OutwardInterval>,
        charged: Int, of counts: TwoDecoyCounts
    ) {
        // A bound that is 0 or below leaves nothing to extract, whatever the other terms say.
        let usable =
            safe.bounds.keySinglePhotonLower.lowerValue > 0
            && safe.bounds.testSinglePhotonLower.lowerValue > 0
        let floor = safe.length.lowerValue.rounded(.down)
        let limit = Double(counts.keyDetections.total)
        self.init(
            proof: proof, vacuumProbability: shown.bounds.tau0,
            singlePhotonProbability: shown.bounds.tau1,
            keyVacuumLower: shown.bounds.keyVacuumLower,
            keySinglePhotonLower: shown.bounds.keySinglePhotonLower,
            testVacuumLower: shown.bounds.testVacuumLower,
            testSinglePhotonLower: shown.bounds.testSinglePhotonLower,
            testSinglePhotonErrorsUpper: shown.bounds.testSinglePhotonErrorsUpper,
            phaseErrorRateUpper: shown.phaseErrorRateUpper, chargedLeakage: charged,
            secrecyCost: shown.secrecyCost, correctnessCost: shown.correctnessCost,
            unroundedLength: shown.length,
            length: usable && floor > 0 ? Int(min(floor, limit)) : 0)
    }
}
