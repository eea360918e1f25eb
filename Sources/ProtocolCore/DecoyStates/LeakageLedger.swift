import Quantities

/// Every bit about the key that went over the public channel: the only source of λ_EC.
///
/// Entries are appended when the message that carries the bits is made, also for rounds that fail
/// later; nothing is ever removed.
public struct LeakageLedger: Hashable, Sendable {
    /// What kind of message disclosed bits.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// The syndrome of a frame.
        case syndrome
        /// Bits disclosed on request after a decoding failed.
        case blindReveal
        /// The rest of a frame that was given up: see `appendDroppedFrame`.
        case droppedFrame
        /// Parities of Cascade that Alice announced, one bit each.
        case cascadeParityA
        /// Differences of parities of Cascade that Bob announced, one bit each.
        case cascadeParityB
        /// The tag that compares the two corrected keys.
        case verificationTag
        /// Key bits compared in the clear to estimate the error rate.
        case sample
        /// What the receiver's requests and error counts tell about his errors.
        case feedback
        /// Any of the above sent once more in a form that is not a repetition of the same bits.
        case retransmission
    }

    /// One disclosure.
    public struct Entry: Hashable, Sendable {
        /// What was disclosed.
        public let kind: Kind
        /// How many bits.
        public let bits: Int
        /// The frame concerned, or `nil` when it is the whole block.
        public let frame: Int?
    }

    /// The disclosures in order.
    public private(set) var entries: [Entry] = []

    /// An empty ledger.
    public init() {}

    /// Appends a disclosure of `bits` bits, 0 or more.
    public mutating func append(_ kind: Kind, bits: Int, frame: Int? = nil) {
        precondition(bits >= 0, "a disclosure can not be negative")
        entries.append(Entry(kind: kind, bits: bits, frame: frame))
    }

    /// Appends what giving up `frame` discloses: all its `frameBits` bits count as known, less those
    /// already disclosed about it, because no message can tell more about a frame than the frame.
    public mutating func appendDroppedFrame(_ frame: Int, frameBits: Int) {
        let known = entries.reduce(0) { $1.frame == frame ? $0 + $1.bits : $0 }
        append(.droppedFrame, bits: max(0, frameBits - known), frame: frame)
    }

    /// The bits of one kind.
    public func bits(of kind: Kind) -> Int {
        entries.reduce(0) { $1.kind == kind ? $0 + $1.bits : $0 }
    }

    /// All bits disclosed, the verification tags included.
    public var totalBits: Int { entries.reduce(0) { $0 + $1.bits } }

    /// λ_EC: the bits a key-length formula subtracts for disclosures.
    ///
    /// The formulas already pay log₂(2/ε_cor) bits for the verification tag (Lim et al. 2014), so
    /// tag bits are charged here only as far as they exceed that term; all other entries are
    /// charged in full.
    public func chargedBits(beside security: SecurityParameters) -> Int {
        let tagBits = bits(of: .verificationTag)
        let covered = Int((1 - binaryLog(security.epsilonCorrectness)).nextDown.rounded(.down))
        return totalBits - tagBits + max(0, tagBits - covered)
    }
}
