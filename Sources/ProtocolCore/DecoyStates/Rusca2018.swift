import Quantities

/// The one-decoy finite-key bound of Rusca, Boaron, Grünenfelder, Martin, Zbinden, Appl. Phys.
/// Lett. 112, 171104 (2018), arXiv:1801.03443, appendix A.
///
/// With τ_n = Σ_k p_k e^{−k} k^n / n! and n±_k = (e^k / p_k)(n_k ± δ(n, ε_sec/19)), where δ takes
/// the count of both intensities together:
///
/// - s_Z,0^u = 2[τ_0 (e^µ2 / p_µ2)(m_Z,µ2 + δ(m_Z)) + δ(n_Z)]   (A16)
/// - s_Z,0^l = τ_0 / (µ1 − µ2) · (µ1 n⁻_Z,µ2 − µ2 n⁺_Z,µ1)   (A19)
/// - s_Z,1^l = τ_1 µ1 / (µ2(µ1 − µ2)) · [n⁻_Z,µ2 − (µ2²/µ1²) n⁺_Z,µ1
///   − ((µ1² − µ2²)/µ1²) s_Z,0^u / τ_0]   (A17)
/// - v_X,1^u = τ_1 / (µ1 − µ2) · (m⁺_X,µ1 − m⁻_X,µ2)   (A22)
/// - φ_Z^u = v_X,1^u / s_X,1^l + γ(ε_sec, v_X,1^u / s_X,1^l, s_Z,1^l, s_X,1^l)   (A23)
/// - ℓ = ⌊s_Z,0^l + s_Z,1^l (1 − h(φ_Z^u)) − λ_EC − 6 log₂(19/ε_sec) − log₂(2/ε_cor)⌋   (A25)
///
/// Deviations from the print: (A18) omits the factor e^k / p_k that (A10) needs; (A21) prints
/// 2^21 where the failure terms of this proof give 19²; both follow Lim et al., Phys. Rev. A 89,
/// 022307 (2014), from which the paper takes them. Every bound is clipped to the count it is a
/// part of. v_X,1^u is taken as at least 1, because γ approximates the sampling tail and vanishes
/// for an error rate of 0, where the tail does not.
///
/// The proof is for a block whose size was fixed beforehand, phase-randomised pulses, uncorrelated
/// intensities, and a detection probability independent of the basis chosen.
public enum Rusca2018 {
    /// ε_sec = 2(α1 + 2α2 + α3) + ν + 6ε1 + 4ε2 = 19ε (A24).
    public static let budget = FailureBudget(
        source: "Rusca 2018, A24",
        [
            ("smoothing of the split by photon number, α1", 2),
            ("smoothing of multi-photon and vacuum parts, α2", 4),
            ("phase error rate of the key by sampling, α3", 2),
            ("privacy amplification, ν", 1),
            ("Hoeffding bounds of detections, ε1", 6),
            ("Hoeffding bounds of errors, ε2", 4),
        ])
    /// The budget with detectors that differ: 23 shares.
    public static let budgetWithMismatch = FailureBudget(
        extending: budget, source: "Tupkary 2025, section on efficiency mismatch",
        DetectorMismatch.terms)
    /// The number of equal failure terms of the published bound.
    public static let failureTerms = Double(budget.shares)
    /// The factor of log₂(19/ε_sec) in the key length.
    public static let secrecyFactor = 6.0
    /// The name of the proof in reports.
    public static let name = "Rusca 2018, one decoy"

    /// The key length of a block, with every intermediate.
    ///
    /// - Parameters:
    ///   - counts: detections and errors of the block.
    ///   - intensities: the measured source.
    ///   - security: the failure probabilities promised.
    ///   - leakage: everything disclosed about the key, from which λ_EC is taken.
    ///   - conditions: the sampling bound, and how far Bob's detectors may differ. With a mismatch
    ///     φ_Z^u is that of `DetectorMismatch`, and ε_sec is divided into 23 instead of 19 shares.
    /// - Returns: the report; its `length` is 0 when no key can be made.
    public static func keyLength(
        counts: DecoyCounts, intensities: DecoyIntensities, security: SecurityParameters,
        leakage: LeakageLedger, conditions: BoundConditions = BoundConditions()
    ) -> KeyLengthReport {
        let charged = leakage.chargedBits(beside: security)
        let tally = OneDecoyTally(counts)
        let shown = OneDecoyBounds<Double>(
            tally, intensities, security, charged: Double(charged), conditions: conditions)
        let safe = OneDecoyBounds<OutwardInterval>(
            tally, intensities, security, charged: Double(charged), conditions: conditions)
        // A bound that is 0 or below leaves nothing to extract, whatever the other terms say.
        let usable =
            safe.keySinglePhotonLower.lowerValue > 0
            && safe.testSinglePhotonLower.lowerValue > 0
        let floor = safe.length.lowerValue.rounded(.down)
        let length = usable && floor > 0 ? Int(min(floor, Double(counts.keyDetections.total))) : 0
        return KeyLengthReport(
            proof: conditions.label(name), counts: counts, intensities: intensities,
            security: security,
            vacuumProbability: shown.tau0, singlePhotonProbability: shown.tau1,
            keyDetectionBounds: shown.keyDetections.report,
            testDetectionBounds: shown.testDetections.report,
            keyErrorBounds: shown.keyErrors.report, testErrorBounds: shown.testErrors.report,
            keyVacuumUpper: shown.keyVacuumUpper, testVacuumUpper: shown.testVacuumUpper,
            keyVacuumLower: shown.keyVacuumLower,
            keySinglePhotonLower: shown.keySinglePhotonLower,
            testSinglePhotonLower: shown.testSinglePhotonLower,
            testSinglePhotonErrorsUpper: shown.testSinglePhotonErrorsUpper,
            phaseErrorRateUpper: shown.phaseErrorRateUpper, chargedLeakage: charged,
            secrecyCost: shown.secrecyCost, correctnessCost: shown.correctnessCost,
            unroundedLength: shown.length, length: length)
    }

    /// The value of (A25) for counts that need not be whole, without rounding: for predictions and
    /// for the optimiser, never for a key.
    static func estimate(
        _ tally: OneDecoyTally, _ intensities: DecoyIntensities, _ security: SecurityParameters,
        charged: Double, conditions: BoundConditions = BoundConditions()
    ) -> OneDecoyBounds<Double> {
        OneDecoyBounds(tally, intensities, security, charged: charged, conditions: conditions)
    }

    /// The failure probabilities of a key made with `security`, for its ledger; `budget` has the
    /// terms of the first.
    public static func epsilonEntries(_ security: SecurityParameters) -> [EpsilonLedger.Entry] {
        [
            EpsilonLedger.Entry(
                name: "secrecy", value: security.epsilonSecrecy, source: "Rusca 2018, A24"),
            EpsilonLedger.Entry(
                name: "correctness", value: security.epsilonCorrectness,
                source: "Lim 2014, verification by universal hashing"),
        ]
    }
}
