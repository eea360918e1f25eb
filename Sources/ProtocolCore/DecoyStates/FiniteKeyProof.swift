/// The finite-key security proofs that are known to this core, and which of them may make keys.
///
/// Every proof has its own constants; they live with its formula and are never combined with those
/// of another.
public enum FiniteKeyProof: String, Hashable, Sendable, CaseIterable {
    /// One decoy: `Rusca2018`.
    case rusca2018
    /// Two decoys: `Lim2014`.
    case lim2014
    /// Two decoys, block sizes not fixed beforehand, detectors that differ: `Tupkary2024`.
    case tupkary2024
    /// Wiesemann, Krause, Tupkary, Lütkenhaus, Rusca, Walenta, Quantum 10, 2037 (2026),
    /// arXiv:2405.16578: one and two decoys, consolidated.
    case wiesemann2024

    /// What a proof demands of the size of a block.
    public enum BlockRule: Hashable, Sendable {
        /// The number of key-basis detections is fixed before the block begins. The proof treats
        /// the counts of each intensity and of the test basis as fixed too.
        case fixedBeforehand
        /// The length may depend on everything that was observed.
        case anyObservation
    }

    /// Whether keys can be made with the proof here.
    public enum Availability: Hashable, Sendable {
        /// Implemented as published.
        case available(BlockRule)
        /// Not implemented, and why.
        case unavailable(reason: String)
    }

    /// Whether keys can be made with the proof here.
    public var availability: Availability {
        switch self {
        case .rusca2018, .lim2014: .available(.fixedBeforehand)
        case .tupkary2024: .available(.anyObservation)
        case .wiesemann2024:
            .unavailable(
                reason: "the text of the theorem could not be read. A program published by its"
                    + " first author subtracts 4 log2(15 / (2^(1/4) epsilon_sec)) for one decoy,"
                    + " with epsilon_sec/15 in every bound, but it does not state the acceptance"
                    + " test that the fixed-length proof needs, and nothing was found for two"
                    + " decoys")
        }
    }

    /// Conditions that no formula can check and a node must meet, for all proofs.
    public static let assumptions = [
        "the phase of every pulse is random, so that photon numbers are all an eavesdropper gains",
        "the photon number of a pulse is Poissonian with a mean inside the stated interval, and"
            + " independent of the other pulses, of basis and of bit",
        "the four states are prepared so that a single photon does not tell its basis",
        "bases, bits and intensities are drawn from independent true random numbers",
        "the probability of a detection does not depend on Bob's basis, or differs by no more than"
            + " the stated DetectorMismatch",
        "a detection has no memory of earlier ones: detections within the dead time of any"
            + " detector are discarded for all",
        "a multiple click counts as one detection with a random result",
        "neither device emits or admits anything else",
    ]
}
