/// The three mean photon numbers of the two-decoy protocol and how often each is sent.
public struct TwoDecoyIntensities: Hashable, Sendable {
    /// µ1, the largest mean photon number per pulse.
    public let signal: Double
    /// µ2, the middle one.
    public let decoy: Double
    /// µ3, the smallest one, 0 or above.
    public let weak: Double
    /// The probability of sending µ1.
    public let signalProbability: Double
    /// The probability of sending µ2; µ3 has the rest.
    public let decoyProbability: Double
    /// The relative error of all three: each lies within ± this part of its value. The key length
    /// holds for all intensities in that range.
    public let relativeTolerance: Double

    /// Wraps the source parameters, which must satisfy µ1 > µ2 + µ3 and µ2 > µ3 ≥ 0, also at the
    /// ends of their tolerance, and have probabilities above 0 that leave something for µ3.
    public init(
        signal: Double, decoy: Double, weak: Double, signalProbability: Double,
        decoyProbability: Double, relativeTolerance: Double = 0
    ) throws(DecoyStateError) {
        guard relativeTolerance >= 0, relativeTolerance < 1 else {
            throw .probabilityOutOfRange(name: "relativeTolerance", value: relativeTolerance)
        }
        let (low, high) = (1 - relativeTolerance, 1 + relativeTolerance)
        guard signal.isFinite, weak >= 0, weak * high < decoy * low,
            (decoy + weak) * high < signal * low
        else { throw .intensitiesOutOfOrder(signal: signal, decoy: decoy) }
        for (name, value) in [
            ("signalProbability", signalProbability), ("decoyProbability", decoyProbability),
            ("probability of the weakest intensity", 1 - signalProbability - decoyProbability),
        ] where !(value > 0 && value < 1) {
            throw .probabilityOutOfRange(name: name, value: value)
        }
        self.signal = signal
        self.decoy = decoy
        self.weak = weak
        self.signalProbability = signalProbability
        self.decoyProbability = decoyProbability
        self.relativeTolerance = relativeTolerance
    }
}

/// One count for each of three intensities.
public struct IntensityTriple: Hashable, Sendable {
    /// The count at µ1.
    public let signal: Int
    /// The count at µ2.
    public let decoy: Int
    /// The count at µ3.
    public let weak: Int
    /// The counts at all intensities together.
    public var total: Int { signal + decoy + weak }

    /// Wraps the three counts.
    public init(signal: Int, decoy: Int, weak: Int) {
        self.signal = signal
        self.decoy = decoy
        self.weak = weak
    }
}

/// What one block of the two-decoy protocol showed. The key basis is the X of Lim et al. 2014, the
/// test basis their Z. The errors of the key basis do not enter the bounds.
public struct TwoDecoyCounts: Hashable, Sendable {
    /// n_X,k: detections in the key basis.
    public let keyDetections: IntensityTriple
    /// n_Z,k: detections in the test basis.
    public let testDetections: IntensityTriple
    /// m_Z,k: errors in the test basis.
    public let testErrors: IntensityTriple

    /// Wraps the counts of one block; throws as `DecoyCounts` does.
    public init(
        keyDetections: IntensityTriple, testDetections: IntensityTriple, testErrors: IntensityTriple
    ) throws(DecoyStateError) {
        for count in [
            keyDetections.signal, keyDetections.decoy, keyDetections.weak, testDetections.signal,
            testDetections.decoy, testDetections.weak, testErrors.signal, testErrors.decoy,
            testErrors.weak,
        ] where count < 0 || count > DecoyCounts.largestCount {
            throw .countOutOfRange(count)
        }
        for (errors, detections) in [
            (testErrors.signal, testDetections.signal), (testErrors.decoy, testDetections.decoy),
            (testErrors.weak, testDetections.weak),
        ] where errors > detections {
            throw .moreErrorsThanDetections(errors: errors, detections: detections)
        }
        self.keyDetections = keyDetections
        self.testDetections = testDetections
        self.testErrors = testErrors
    }
}

/// A key length of the two-decoy protocol with the intermediates of its derivation.
///
/// The intermediates are plain binary64 values, clipped to their ranges; `length` alone decides,
/// and is evaluated with outward rounding.
public struct TwoDecoyKeyLength: Hashable, Sendable {
    /// The proof whose formula and constants were used.
    public let proof: FiniteKeyProof
    /// τ_0, the probability that a pulse is empty.
    public let vacuumProbability: Double
    /// τ_1, the probability that a pulse holds one photon.
    public let singlePhotonProbability: Double
    /// s_X,0: at least this many key detections came from empty pulses.
    public let keyVacuumLower: Double
    /// s_X,1: at least this many key detections came from single photons.
    public let keySinglePhotonLower: Double
    /// s_Z,0: at least this many test detections came from empty pulses.
    public let testVacuumLower: Double
    /// s_Z,1: at least this many test detections came from single photons.
    public let testSinglePhotonLower: Double
    /// v_Z,1: at most this many of them were errors.
    public let testSinglePhotonErrorsUpper: Double
    /// φ_X: the phase error rate of the single-photon part of the key, at most 1/2.
    public let phaseErrorRateUpper: Double
    /// λ_EC: the bits charged for disclosures.
    public let chargedLeakage: Int
    /// The bits paid for secrecy.
    public let secrecyCost: Double
    /// The bits paid for correctness, log₂(2/ε_cor).
    public let correctnessCost: Double
    /// The value of the formula before rounding; below 0 when no key can be made.
    public let unroundedLength: Double
    /// ℓ: the bits of key that may be taken from the block; 0 when none.
    public let length: Int
}
