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
    /// The number of equal failure terms, ε_sec = 2(α1 + 2α2 + α3) + ν + 6ε1 + 4ε2 = 19ε (A24).
    public static let failureTerms = 19.0
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
    /// - Returns: the report; its `length` is 0 when no key can be made.
    public static func keyLength(
        counts: DecoyCounts, intensities: DecoyIntensities, security: SecurityParameters,
        leakage: LeakageLedger
    ) -> KeyLengthReport {
        let charged = leakage.chargedBits(beside: security)
        let shown = Bounds<Double>(counts, intensities, security, charged: charged)
        let safe = Bounds<OutwardInterval>(counts, intensities, security, charged: charged)
        // A bound that is 0 or below leaves nothing to extract, whatever the other terms say.
        let usable =
            safe.keySinglePhotonLower.lowerValue > 0
            && safe.testSinglePhotonLower.lowerValue > 0
        let floor = safe.length.lowerValue.rounded(.down)
        let length = usable && floor > 0 ? Int(min(floor, Double(counts.keyDetections.total))) : 0
        return KeyLengthReport(
            proof: name, counts: counts, intensities: intensities, security: security,
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

    /// The failure probabilities of a key made with `security`, for its ledger.
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

/// n±_k of one kind of count at both intensities.
private struct Deviated<S: KeyLengthScalar> {
    let signalLower: S
    let signalUpper: S
    let decoyLower: S
    let decoyUpper: S
    let deviation: S

    init(_ counts: IntensityCounts, _ source: SourceTerms<S>, inverseEpsilon: S) {
        let deviation = FiniteKey.deviation(S(Double(counts.total)), inverseEpsilon: inverseEpsilon)
        let (signal, decoy) = (S(Double(counts.signal)), S(Double(counts.decoy)))
        signalLower = source.signalWeight * (signal - deviation)
        signalUpper = source.signalWeight * (signal + deviation)
        decoyLower = source.decoyWeight * (decoy - deviation)
        decoyUpper = source.decoyWeight * (decoy + deviation)
        self.deviation = deviation
    }

    var report: IntensityBounds {
        IntensityBounds(
            signal: CountBounds(lower: signalLower.lowerValue, upper: signalUpper.upperValue),
            decoy: CountBounds(lower: decoyLower.lowerValue, upper: decoyUpper.upperValue))
    }
}

/// The source as it enters the formulas: intensities, e^k / p_k, τ_0 and τ_1.
private struct SourceTerms<S: KeyLengthScalar> {
    let signal: S
    let decoy: S
    let signalWeight: S
    let decoyWeight: S
    let tau0: S
    let tau1: S

    init(_ intensities: DecoyIntensities) {
        signal = S(intensities.signal)
        decoy = S(intensities.decoy)
        let signalProbability = S(intensities.signalProbability)
        let decoyProbability = S(1) - signalProbability
        signalWeight = signal.naturalExponential / signalProbability
        decoyWeight = decoy.naturalExponential / decoyProbability
        let signalVacuum = S(1) / signalWeight
        let decoyVacuum = S(1) / decoyWeight
        tau0 = signalVacuum + decoyVacuum
        tau1 = signalVacuum * signal + decoyVacuum * decoy
    }
}

/// The formulas of the paper, once, over either arithmetic.
private struct Bounds<S: KeyLengthScalar> {
    let tau0: S
    let tau1: S
    let keyDetections: Deviated<S>
    let testDetections: Deviated<S>
    let keyErrors: Deviated<S>
    let testErrors: Deviated<S>
    let keyVacuumUpper: S
    let testVacuumUpper: S
    let keyVacuumLower: S
    let keySinglePhotonLower: S
    let testSinglePhotonLower: S
    let testSinglePhotonErrorsUpper: S
    let phaseErrorRateUpper: S
    let secrecyCost: S
    let correctnessCost: S
    let length: S

    init(
        _ counts: DecoyCounts, _ intensities: DecoyIntensities, _ security: SecurityParameters,
        charged: Int
    ) {
        let source = SourceTerms<S>(intensities)
        let inverseEpsilon = S(Rusca2018.failureTerms) / S(security.epsilonSecrecy)
        func deviated(_ counts: IntensityCounts) -> Deviated<S> {
            Deviated(counts, source, inverseEpsilon: inverseEpsilon)
        }
        tau0 = source.tau0
        tau1 = source.tau1
        keyDetections = deviated(counts.keyDetections)
        testDetections = deviated(counts.testDetections)
        keyErrors = deviated(counts.keyErrors)
        testErrors = deviated(counts.testErrors)
        let keyTotal = S(Double(counts.keyDetections.total))
        let testTotal = S(Double(counts.testDetections.total))
        keyVacuumUpper = Self.vacuumUpper(source, keyErrors, keyDetections).clipped(to: keyTotal)
        testVacuumUpper =
            Self.vacuumUpper(source, testErrors, testDetections).clipped(to: testTotal)
        keyVacuumLower = Self.vacuumLower(source, keyDetections).clipped(to: keyTotal)
        keySinglePhotonLower =
            Self.singlePhotonLower(source, keyDetections, vacuumUpper: keyVacuumUpper)
            .clipped(to: keyTotal - keyVacuumLower)
        testSinglePhotonLower =
            Self.singlePhotonLower(source, testDetections, vacuumUpper: testVacuumUpper)
            .clipped(to: testTotal)
        let errors =
            source.tau1 / (source.signal - source.decoy)
            * (testErrors.signalUpper - testErrors.decoyLower)
        testSinglePhotonErrorsUpper = S.greatest(S(1), errors.clipped(to: testTotal))
        phaseErrorRateUpper = Self.phaseErrorRate(
            errors: testSinglePhotonErrorsUpper, sampled: testSinglePhotonLower,
            applied: keySinglePhotonLower, epsilon: security.epsilonSecrecy)
        let logTwo = S(2).naturalLogarithm
        secrecyCost = S(Rusca2018.secrecyFactor) * inverseEpsilon.naturalLogarithm / logTwo
        correctnessCost = (S(2) / S(security.epsilonCorrectness)).naturalLogarithm / logTwo
        length =
            keyVacuumLower
            + keySinglePhotonLower * (S(1) - FiniteKey.entropy(phaseErrorRateUpper))
            - S(Double(charged)) - secrecyCost - correctnessCost
    }

    static func vacuumUpper(
        _ source: SourceTerms<S>, _ errors: Deviated<S>, _ detections: Deviated<S>
    ) -> S {
        S(2) * (source.tau0 * errors.decoyUpper + detections.deviation)
    }

    static func vacuumLower(_ source: SourceTerms<S>, _ detections: Deviated<S>) -> S {
        source.tau0 / (source.signal - source.decoy)
            * (source.signal * detections.decoyLower - source.decoy * detections.signalUpper)
    }

    static func singlePhotonLower(
        _ source: SourceTerms<S>, _ detections: Deviated<S>, vacuumUpper: S
    ) -> S {
        let (signal, decoy) = (source.signal, source.decoy)
        let ratio = (decoy * decoy) / (signal * signal)
        let multiPhoton = ratio * detections.signalUpper
        let vacuum = (S(1) - ratio) * vacuumUpper / source.tau0
        return source.tau1 * signal / (decoy * (signal - decoy))
            * (detections.decoyLower - multiPhoton - vacuum)
    }

    /// (A23), and 1/2 where no smaller bound can be given.
    static func phaseErrorRate(errors: S, sampled: S, applied: S, epsilon: Double) -> S {
        let half = S(0.5)
        guard sampled.lowerValue > 0, applied.lowerValue > 0 else { return half }
        let rate = errors / sampled
        guard rate.upperValue < 0.5 else { return half }
        let deviation = FiniteKey.sampling(
            S(epsilon), rate, applied, sampled, terms: S(Rusca2018.failureTerms))
        return S.least(rate + deviation, half)
    }
}
