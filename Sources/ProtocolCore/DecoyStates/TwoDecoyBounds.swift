/// A value at each of three intensities.
struct Triple<Element> {
    var signal: Element
    var decoy: Element
    var weak: Element
}

extension Triple where Element == Double {
    init(_ counts: IntensityTriple) {
        self.init(
            signal: Double(counts.signal), decoy: Double(counts.decoy), weak: Double(counts.weak))
    }

    var total: Double { signal + decoy + weak }
}

/// The counts of a block as the formulas take them; whole numbers for a key, means for a prediction.
struct TwoDecoyTally {
    var keyDetections: Triple<Double>
    var testDetections: Triple<Double>
    var testErrors: Triple<Double>
}

extension TwoDecoyTally {
    init(_ counts: TwoDecoyCounts) {
        self.init(
            keyDetections: Triple(counts.keyDetections),
            testDetections: Triple(counts.testDetections), testErrors: Triple(counts.testErrors))
    }
}

/// The source as it enters the formulas: intensities, e^k / p_k, τ_0 and τ_1.
struct TwoDecoySource<S: KeyLengthScalar> {
    let signal: S
    let decoy: S
    let weak: S
    let weights: Triple<S>
    let tau0: S
    let tau1: S

    init(_ intensities: TwoDecoyIntensities) {
        func within(_ value: Double) -> S {
            let tolerance = intensities.relativeTolerance
            guard tolerance > 0, value > 0 else { return S(value) }
            return S(
                from: (value * (1 - tolerance).nextDown).nextDown,
                to: (value * (1 + tolerance).nextUp).nextUp)
        }
        signal = within(intensities.signal)
        decoy = within(intensities.decoy)
        weak = within(intensities.weak)
        let signalProbability = S(intensities.signalProbability)
        let decoyProbability = S(intensities.decoyProbability)
        let weakProbability = S(1) - signalProbability - decoyProbability
        weights = Triple(
            signal: signal.naturalExponential / signalProbability,
            decoy: decoy.naturalExponential / decoyProbability,
            weak: weak.naturalExponential / weakProbability)
        let (first, second, third) = (
            S(1) / weights.signal, S(1) / weights.decoy, S(1) / weights.weak
        )
        tau0 = first + second + third
        tau1 = first * signal + second * decoy + third * weak
    }
}

/// n±_k = (e^k / p_k)(n_k ± δ) of one kind of count at three intensities; one δ for all.
struct TwoDecoyDeviation<S: KeyLengthScalar> {
    let lower: Triple<S>
    let upper: Triple<S>

    init(_ counts: Triple<Double>, _ source: TwoDecoySource<S>, deviation: S) {
        let weights = source.weights
        lower = Triple(
            signal: weights.signal * (S(counts.signal) - deviation),
            decoy: weights.decoy * (S(counts.decoy) - deviation),
            weak: weights.weak * (S(counts.weak) - deviation))
        upper = Triple(
            signal: weights.signal * (S(counts.signal) + deviation),
            decoy: weights.decoy * (S(counts.decoy) + deviation),
            weak: weights.weak * (S(counts.weak) + deviation))
    }
}

/// The photon-number bounds of Lim et al. 2014 (their equations 2 to 4), for any deviation of the
/// counts: what they share with the bounds of Tupkary et al. 2025.
struct TwoDecoyBounds<S: KeyLengthScalar> {
    let tau0: S
    let tau1: S
    let keyVacuumLower: S
    let keySinglePhotonLower: S
    let testVacuumLower: S
    let testSinglePhotonLower: S
    let testSinglePhotonErrorsUpper: S

    init(_ counts: TwoDecoyTally, _ intensities: TwoDecoyIntensities, deviation: (S) -> S) {
        let source = TwoDecoySource<S>(intensities)
        func deviated(_ counts: Triple<Double>) -> TwoDecoyDeviation<S> {
            TwoDecoyDeviation(counts, source, deviation: deviation(S(counts.total)))
        }
        tau0 = source.tau0
        tau1 = source.tau1
        let key = deviated(counts.keyDetections)
        let test = deviated(counts.testDetections)
        let errors = deviated(counts.testErrors)
        let keyTotal = S(counts.keyDetections.total)
        let testTotal = S(counts.testDetections.total)
        keyVacuumLower = Self.vacuumLower(source, key).clipped(to: keyTotal)
        testVacuumLower = Self.vacuumLower(source, test).clipped(to: testTotal)
        keySinglePhotonLower =
            Self.singlePhotonLower(source, key, vacuumLower: keyVacuumLower)
            .clipped(to: keyTotal - keyVacuumLower)
        testSinglePhotonLower =
            Self.singlePhotonLower(source, test, vacuumLower: testVacuumLower)
            .clipped(to: testTotal - testVacuumLower)
        let wrong =
            source.tau1 * (errors.upper.decoy - errors.lower.weak) / (source.decoy - source.weak)
        testSinglePhotonErrorsUpper = S.greatest(S(1), wrong.clipped(to: testTotal))
    }

    static func vacuumLower(_ source: TwoDecoySource<S>, _ counts: TwoDecoyDeviation<S>) -> S {
        source.tau0
            * (source.decoy * counts.lower.weak - source.weak * counts.upper.decoy)
            / (source.decoy - source.weak)
    }

    static func singlePhotonLower(
        _ source: TwoDecoySource<S>, _ counts: TwoDecoyDeviation<S>, vacuumLower: S
    ) -> S {
        let (signal, decoy, weak) = (source.signal, source.decoy, source.weak)
        let squares = decoy * decoy - weak * weak
        let multiPhoton =
            squares / (signal * signal) * (counts.upper.signal - vacuumLower / source.tau0)
        return source.tau1 * signal * (counts.lower.decoy - counts.upper.weak - multiPhoton)
            / (signal * (decoy - weak) - squares)
    }
}
