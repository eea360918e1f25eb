/// The counts of a block as the formulas take them; whole numbers for a key, means for a prediction.
struct OneDecoyTally {
    /// A count at each intensity.
    struct Pair {
        var signal: Double
        var decoy: Double
        var total: Double { signal + decoy }
    }

    var keyDetections: Pair
    var keyErrors: Pair
    var testDetections: Pair
    var testErrors: Pair
}

extension OneDecoyTally {
    init(_ counts: DecoyCounts) {
        func pair(_ counts: IntensityCounts) -> Pair {
            Pair(signal: Double(counts.signal), decoy: Double(counts.decoy))
        }
        self.init(
            keyDetections: pair(counts.keyDetections), keyErrors: pair(counts.keyErrors),
            testDetections: pair(counts.testDetections), testErrors: pair(counts.testErrors))
    }
}

/// n±_k of one kind of count at both intensities.
struct OneDecoyDeviation<S: KeyLengthScalar> {
    let signalLower: S
    let signalUpper: S
    let decoyLower: S
    let decoyUpper: S
    let deviation: S

    init(_ counts: OneDecoyTally.Pair, _ source: OneDecoySource<S>, inverseEpsilon: S) {
        let deviation = FiniteKey.deviation(S(counts.total), inverseEpsilon: inverseEpsilon)
        let (signal, decoy) = (S(counts.signal), S(counts.decoy))
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
struct OneDecoySource<S: KeyLengthScalar> {
    let signal: S
    let decoy: S
    let signalWeight: S
    let decoyWeight: S
    let tau0: S
    let tau1: S

    init(_ intensities: DecoyIntensities) {
        func within(_ value: Double) -> S {
            let tolerance = intensities.relativeTolerance
            guard tolerance > 0 else { return S(value) }
            return S(
                from: (value * (1 - tolerance).nextDown).nextDown,
                to: (value * (1 + tolerance).nextUp).nextUp)
        }
        signal = within(intensities.signal)
        decoy = within(intensities.decoy)
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
struct OneDecoyBounds<S: KeyLengthScalar> {
    let tau0: S
    let tau1: S
    let keyDetections: OneDecoyDeviation<S>
    let testDetections: OneDecoyDeviation<S>
    let keyErrors: OneDecoyDeviation<S>
    let testErrors: OneDecoyDeviation<S>
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
        _ counts: OneDecoyTally, _ intensities: DecoyIntensities,
        _ security: SecurityParameters, charged: Double, conditions: BoundConditions
    ) {
        let source = OneDecoySource<S>(intensities)
        let budget = conditions.mismatch == nil ? Rusca2018.budget : Rusca2018.budgetWithMismatch
        let terms = S(Double(budget.shares))
        let inverseEpsilon = terms / S(security.epsilonSecrecy)
        func deviated(_ counts: OneDecoyTally.Pair) -> OneDecoyDeviation<S> {
            OneDecoyDeviation(counts, source, inverseEpsilon: inverseEpsilon)
        }
        tau0 = source.tau0
        tau1 = source.tau1
        keyDetections = deviated(counts.keyDetections)
        testDetections = deviated(counts.testDetections)
        keyErrors = deviated(counts.keyErrors)
        testErrors = deviated(counts.testErrors)
        let keyTotal = S(counts.keyDetections.total)
        let testTotal = S(counts.testDetections.total)
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
        phaseErrorRateUpper = FiniteKey.phaseErrorRate(
            errors: testSinglePhotonErrorsUpper, sampled: testSinglePhotonLower,
            applied: keySinglePhotonLower, testTotal: testTotal,
            epsilon: S(security.epsilonSecrecy), terms: terms,
            conditions: conditions)
        secrecyCost = S(Rusca2018.secrecyFactor) * inverseEpsilon.binaryLogarithm
        correctnessCost = (S(2) / S(security.epsilonCorrectness)).binaryLogarithm
        length =
            keyVacuumLower
            + keySinglePhotonLower * (S(1) - FiniteKey.entropy(phaseErrorRateUpper))
            - S(charged) - secrecyCost - correctnessCost
    }

    static func vacuumUpper(
        _ source: OneDecoySource<S>, _ errors: OneDecoyDeviation<S>,
        _ detections: OneDecoyDeviation<S>
    ) -> S {
        S(2) * (source.tau0 * errors.decoyUpper + detections.deviation)
    }

    static func vacuumLower(_ source: OneDecoySource<S>, _ detections: OneDecoyDeviation<S>) -> S {
        source.tau0 / (source.signal - source.decoy)
            * (source.signal * detections.decoyLower - source.decoy * detections.signalUpper)
    }

    static func singlePhotonLower(
        _ source: OneDecoySource<S>, _ detections: OneDecoyDeviation<S>, vacuumUpper: S
    ) -> S {
        let (signal, decoy) = (source.signal, source.decoy)
        let ratio = (decoy * decoy) / (signal * signal)
        let multiPhoton = ratio * detections.signalUpper
        let vacuum = (S(1) - ratio) * vacuumUpper / source.tau0
        return source.tau1 * signal / (decoy * (signal - decoy))
            * (detections.decoyLower - multiPhoton - vacuum)
    }
}
