/// The two ends of the link.
public enum Role: UInt8, Hashable, Sendable, CaseIterable, Codable {
    /// The end that prepares pulses.
    case alice = 0
    /// The end that measures them.
    case bob = 1

    /// The other end.
    public var peer: Role { self == .alice ? .bob : .alice }
}

/// The kinds of message, with their number on the wire, who may send them and how large their
/// payload may be.
public enum MessageType: UInt8, Hashable, Sendable, CaseIterable {
    /// Opens a session.
    case hello = 1
    /// Nothing to say; keeps the peer's time limit from running out.
    case keepAlive = 2
    /// Ends the session.
    case abort = 3
    /// Asks for another pulse pattern.
    case patternRequest = 4
    /// States where the requested pattern begins.
    case patternStart = 5
    /// The slots of one epoch in which Bob's receiver clicked.
    case detections = 6
    /// The states of the detections of one epoch that Alice gives away for calibration.
    case disclosure = 7
    /// Bob's bases, and his results in the test basis, of one epoch of a closed block.
    case bases = 8
    /// Alice's bases, intensities and test-basis bits of one epoch of a closed block.
    case sifting = 9
    /// Bob's errors among the disclosed detections of a block.
    case estimate = 10
    /// The syndromes of a block.
    case syndromes = 11
    /// The frames that need more information.
    case revealRequest = 12
    /// The bits that were asked for.
    case revealed = 13
    /// Bob's strings are corrected.
    case reconciled = 14
    /// The hash of Alice's string.
    case verification = 15
    /// Whether the hash of Bob's string is the same.
    case verified = 16
    /// The length of the key and the seed of privacy amplification.
    case amplification = 17
    /// The block gives no key.
    case discard = 18
    /// The authentication tag of a block.
    case blockTag = 19
    /// Alice has released the key of a block, so Bob may.
    case released = 20
    /// The parameters and the seed of Cascade.
    case cascadeStart = 21
    /// Alice's parities of one step.
    case cascadeParities = 22
    /// Where Bob's parities differ.
    case cascadeDifferences = 23

    /// The end that may send the message, or `nil` when both may.
    public var sender: Role? {
        switch self {
        case .hello, .keepAlive, .abort, .blockTag: nil
        case .patternRequest, .detections, .bases, .estimate, .revealRequest, .reconciled,
            .verified, .cascadeDifferences:
            .bob
        case .patternStart, .disclosure, .sifting, .syndromes, .revealed, .verification,
            .amplification, .discard, .released, .cascadeStart, .cascadeParities:
            .alice
        }
    }

    /// The largest payload in bytes; a longer one is refused before it is stored.
    public var payloadLimit: Int {
        switch self {
        case .hello: 128
        case .keepAlive: 0
        case .abort: 1024
        case .patternRequest, .patternStart, .estimate, .reconciled, .verification, .verified,
            .blockTag, .released:
            96
        case .discard: 1024
        case .detections: 1 << 20
        case .disclosure, .bases, .sifting: 1 << 18
        case .syndromes, .revealed: 1 << 17
        case .revealRequest: 1 << 18
        case .amplification: 1 << 24
        case .cascadeStart: 256
        case .cascadeParities, .cascadeDifferences: 1 << 21 + 64
        }
    }
}

/// Limits of single messages that are part of the format.
public enum MessageLimits {
    /// Detections in one epoch.
    public static let detectionsPerEpoch = 1 << 18
    /// Lost intervals in one epoch.
    public static let lossesPerEpoch = 4096
    /// Slots in one epoch.
    public static let slotsPerEpoch: UInt64 = 1 << 32 - 1
    /// Bytes of UTF-8 in a reason.
    public static let reasonBytes = 512
    /// Bits of the seed of privacy amplification.
    public static let seedBits = 1 << 26
    /// Positions of one reveal request.
    public static let positionsPerReveal = 1 << 18
    /// Bits of a string that Cascade reconciles, and of a block of one of its passes.
    public static let cascadeBits: UInt32 = 1 << 26
    /// Parities of one step of Cascade.
    public static let cascadeBitsPerStep = 1 << 24
    /// Bits of one reveal message.
    public static let bitsPerMessage = 1 << 20
}
