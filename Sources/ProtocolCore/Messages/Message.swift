import LinkTypes
import Quantities

/// What the two ends say to each other. docs/protocol.md describes every field.
public enum Message: Hashable, Sendable {
    case hello(Hello)
    case keepAlive
    case abort(AbortNotice)
    case patternRequest(PatternRequest)
    case patternStart(PatternStart)
    case detections(DetectionAnnouncement)
    case disclosure(Disclosure)
    case bases(BasisAnnouncement)
    case sifting(SiftingReply)
    case estimate(ErrorEstimate)
    case syndromes(SyndromeMessage)
    case revealRequest(RevealRequest)
    case revealed(RevealReply)
    case reconciled(ReconciledNotice)
    case verification(VerificationMessage)
    case verified(VerifiedNotice)
    case amplification(AmplificationMessage)
    case discard(DiscardNotice)
    case blockTag(BlockTag)
    case released(BlockTag)
    case cascadeStart(CascadeStart)
    case cascadeParities(CascadeParities)
    case cascadeDifferences(CascadeDifferences)

    /// The kind of the message.
    public var type: MessageType {
        switch self {
        case .hello: .hello
        case .keepAlive: .keepAlive
        case .abort: .abort
        case .patternRequest: .patternRequest
        case .patternStart: .patternStart
        case .detections: .detections
        case .disclosure: .disclosure
        case .bases: .bases
        case .sifting: .sifting
        case .estimate: .estimate
        case .syndromes: .syndromes
        case .revealRequest: .revealRequest
        case .revealed: .revealed
        case .reconciled: .reconciled
        case .verification: .verification
        case .verified: .verified
        case .amplification: .amplification
        case .discard: .discard
        case .blockTag: .blockTag
        case .released: .released
        case .cascadeStart: .cascadeStart
        case .cascadeParities: .cascadeParities
        case .cascadeDifferences: .cascadeDifferences
        }
    }
}

/// Opens a session: who speaks, under which parameters.
public struct Hello: Hashable, Sendable {
    /// The sender's end.
    public var role: Role
    /// 16 random bytes; both nonces together name the session.
    public var nonce: [UInt8]
    /// SHA-256 of the parameters that both ends must share.
    public var parametersDigest: [UInt8]
    /// The unspent octets of the sender's pool for its own tags.
    public var sending: Range<UInt64>
    /// The unspent octets of the sender's pool for its peer's tags.
    public var receiving: Range<UInt64>
    /// The last key the sender released, in any session.
    public var lastReleased: KeyIdentifier?
    /// A key of an earlier session that the sender holds without knowing whether the peer released
    /// it; only Bob can hold one.
    public var held: KeyIdentifier?
}

/// Why the sender ends the session. It is not authenticated: nothing but the end follows from it.
public struct AbortNotice: Hashable, Sendable {
    /// The number of the reason, `AbortReason.code`.
    public var code: UInt16
    /// The reason in words.
    public var text: String
}

/// What Alice's source sends.
public enum PulsePatternKind: Hashable, Sendable {
    /// `SynchronizationPattern` with a published key.
    case synchronization(key: UInt64)
    /// `KeyedPulsePattern` with a published key and the probabilities of the Z basis and of the
    /// signal intensity.
    case training(key: UInt64, probabilityZ: Double, probabilitySignal: Double)
    /// Alice's secret pattern, for key production.
    case key
}

/// Bob asks for another pattern.
public struct PatternRequest: Hashable, Sendable {
    /// Counts the requests of the session, from 1.
    public var identifier: UInt32
    /// The pattern wanted.
    public var pattern: PulsePatternKind
    /// The first slot that may carry it.
    public var earliestSlot: SlotIndex
}

/// Alice states from which slot on she sends the requested pattern.
public struct PatternStart: Hashable, Sendable {
    /// The request that is granted.
    public var identifier: UInt32
    /// The first slot with the pattern.
    public var slot: SlotIndex
}

/// The clicks of one epoch: where, not what.
public struct DetectionAnnouncement: Hashable, Sendable {
    /// Counts the epochs of the session, from 0.
    public var epoch: UInt32
    /// The first slot of the epoch.
    public var firstSlot: SlotIndex
    /// The number of slots of the epoch.
    public var slotCount: UInt64
    /// What made the clicks.
    public var provenance: Provenance
    /// How many of the detections are multiple clicks with a randomly drawn result.
    public var multipleCount: UInt32
    /// The slots of the epoch in which clicks are missing, relative to its first slot.
    public var losses: [Range<UInt64>]
    /// The slots with a detection, relative to the first slot.
    public var positions: CodedPositions

    /// An announcement of `slotCount` slots from `firstSlot` on.
    public init(
        epoch: UInt32, firstSlot: SlotIndex, slotCount: UInt64, provenance: Provenance,
        multipleCount: UInt32, losses: [Range<UInt64>], positions: CodedPositions
    ) {
        self.epoch = epoch
        self.firstSlot = firstSlot
        self.slotCount = slotCount
        self.provenance = provenance
        self.multipleCount = multipleCount
        self.losses = losses
        self.positions = positions
    }
}

/// The detections of one epoch that Alice gives away, with the states she sent.
public struct Disclosure: Hashable, Sendable {
    /// The epoch.
    public var epoch: UInt32
    /// Which detections of the announcement, by rank.
    public var ranks: CodedPositions
    /// The basis of each: one for X.
    public var bases: BitBuffer
    /// The bit of each.
    public var values: BitBuffer
    /// Whether the epoch is the last one of its block.
    public var closesBlock: Bool
}

/// Bob's bases for the undisclosed detections of one epoch of a closed block.
public struct BasisAnnouncement: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The epoch.
    public var epoch: UInt32
    /// The basis of each undisclosed detection: one for X.
    public var bases: BitBuffer
    /// Bob's results in the X basis, in order.
    public var testValues: BitBuffer

    /// Bases of one epoch, with a result for each X among them.
    public init(block: UInt32, epoch: UInt32, bases: BitBuffer, testValues: BitBuffer) {
        self.block = block
        self.epoch = epoch
        self.bases = bases
        self.testValues = testValues
    }
}

/// Alice's answer to one `BasisAnnouncement`.
public struct SiftingReply: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The epoch.
    public var epoch: UInt32
    /// Alice's basis for each undisclosed detection: one for X.
    public var bases: BitBuffer
    /// The intensity class of each detection measured in Alice's basis: one for decoy.
    public var intensities: BitBuffer
    /// Alice's bits where both used the X basis.
    public var testValues: BitBuffer
}

/// Bob's errors among the disclosed Z–Z detections of a block's epochs.
public struct ErrorEstimate: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// Disclosed detections with both ends in Z.
    public var trials: UInt32
    /// Those with different bits.
    public var errors: UInt32
}

/// Bob's string is corrected.
public struct ReconciledNotice: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// Corrected bits of signal pulses.
    public var signalErrors: UInt32
    /// Corrected bits of decoy pulses.
    public var decoyErrors: UInt32
}

/// The outcome of comparing the hashes.
public struct VerifiedNotice: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// Whether Bob's hash equals Alice's.
    public var matches: Bool
}

/// The length of the key and the seed that extracts it.
public struct AmplificationMessage: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The length of the extracted key in bits.
    public var keyBits: UInt32
    /// The seed.
    public var seed: BitBuffer
}

/// The block gives no key.
public struct DiscardNotice: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The failing inequality, in words.
    public var reason: String
}

/// The tag of one end over everything said up to the end of a block, or, in `released`, Alice's
/// over the name of the block's key.
public struct BlockTag: Hashable, Sendable {
    /// The block.
    public var block: UInt32
    /// The position of the one-time pad in the sender's pool.
    public var padOffset: UInt64
    /// The tag.
    public var tag: [UInt8]
}
