/// What a fixed-size key length assumes beyond the print of its paper.
public struct BoundConditions: Hashable, Sendable {
    /// How the phase errors of the key are bounded by the test errors.
    public enum Sampling: String, Hashable, Sendable, CaseIterable {
        /// The deviation γ as published in Lim et al. 2014 and Rusca et al. 2018, from Fung, Ma, Chau
        /// (2010). For known answers and comparisons.
        ///
        /// Not for keys: it bounds the probability of one outcome, not of the tail, and is evaluated
        /// at the observed instead of the true rate. By exact hypergeometric sums it fails more often
        /// than its ε² (and vanishes when ε² exceeds (c+d)/(cd(1−b)b)), most of all at few errors.
        case published
        /// Hoeffding's bound for sampling without replacement, which holds for every size and rate.
        case hoeffding
    }

    /// How the phase errors of the key are bounded by the test errors.
    public var sampling: Sampling
    /// How far Bob's detectors may differ, or `nil` when the probability of a detection does not
    /// depend on his basis.
    public var mismatch: DetectorMismatch?

    /// The conditions of the published bounds unless said otherwise.
    public init(sampling: Sampling = .published, mismatch: DetectorMismatch? = nil) {
        self.sampling = sampling
        self.mismatch = mismatch
    }

    /// What keys are made with.
    public static func forKeys(mismatch: DetectorMismatch? = nil) -> BoundConditions {
        BoundConditions(sampling: .hoeffding, mismatch: mismatch)
    }

    /// The name of a proof under these conditions.
    func label(_ name: String) -> String {
        name + (sampling == .hoeffding ? ", sampling by Hoeffding" : "")
            + (mismatch == nil ? "" : ", detectors that differ")
    }
}
