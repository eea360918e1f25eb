/// A two-sided bound of a count.
public struct CountBounds: Hashable, Sendable {
    /// The value with the deviation subtracted.
    public let lower: Double
    /// The value with the deviation added.
    public let upper: Double
}

/// Two-sided bounds at both intensities, n±_k = (e^k / p_k)(n_k ± δ(n, ε)), unclipped.
public struct IntensityBounds: Hashable, Sendable {
    /// The bounds at µ1.
    public let signal: CountBounds
    /// The bounds at µ2.
    public let decoy: CountBounds
}

/// A key length with every intermediate of its derivation, for the record of the block.
///
/// The intermediates are plain binary64 values, clipped to their ranges; `length` alone decides,
/// and is evaluated with outward rounding.
public struct KeyLengthReport: Hashable, Sendable {
    /// The name of the proof the formula and its constants belong to.
    public let proof: String
    /// What the block showed.
    public let counts: DecoyCounts
    /// The intensities assumed.
    public let intensities: DecoyIntensities
    /// The failure probabilities asked for.
    public let security: SecurityParameters

    /// τ_0, the probability that a pulse is empty.
    public let vacuumProbability: Double
    /// τ_1, the probability that a pulse holds one photon.
    public let singlePhotonProbability: Double
    /// n_Z,k^±.
    public let keyDetectionBounds: IntensityBounds
    /// n_X,k^±.
    public let testDetectionBounds: IntensityBounds
    /// m_Z,k^±.
    public let keyErrorBounds: IntensityBounds
    /// m_X,k^±.
    public let testErrorBounds: IntensityBounds
    /// s_Z,0^u: at most this many key detections came from empty pulses.
    public let keyVacuumUpper: Double
    /// s_X,0^u: at most this many test detections came from empty pulses.
    public let testVacuumUpper: Double
    /// s_Z,0^l: at least this many key detections came from empty pulses.
    public let keyVacuumLower: Double
    /// s_Z,1^l: at least this many key detections came from single photons.
    public let keySinglePhotonLower: Double
    /// s_X,1^l: at least this many test detections came from single photons.
    public let testSinglePhotonLower: Double
    /// v_X,1^u: at most this many of them were errors.
    public let testSinglePhotonErrorsUpper: Double
    /// φ_Z^u: the phase error rate of the single-photon part of the key, at most 1/2.
    public let phaseErrorRateUpper: Double
    /// λ_EC: the bits charged for disclosures.
    public let chargedLeakage: Int
    /// The bits paid for secrecy, 6 log₂(19/ε_sec) in Rusca et al. 2018.
    public let secrecyCost: Double
    /// The bits paid for correctness, log₂(2/ε_cor).
    public let correctnessCost: Double
    /// The value of the formula before rounding; below 0 when no key can be made.
    public let unroundedLength: Double
    /// ℓ: the bits of key that may be taken from the block; 0 when none.
    public let length: Int
}
