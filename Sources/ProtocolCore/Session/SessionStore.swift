import LinkTypes

/// The name of a key: 16 octets, public, the same at both ends.
public struct KeyIdentifier: Hashable, Sendable, CustomStringConvertible {
    /// The octets.
    public let octets: [UInt8]

    /// Wraps a name; `nil` unless it has 16 octets.
    public init?(octets: [UInt8]) {
        guard octets.count == 16 else { return nil }
        self.octets = octets
    }

    /// The key of block `block` in the session that both nonces name.
    init(aliceNonce: [UInt8], bobNonce: [UInt8], block: UInt32) {
        var name = Array("berek key 1".utf8) + aliceNonce + bobNonce
        withUnsafeBytes(of: block.littleEndian) { name.append(contentsOf: $0) }
        octets = Array(SHA256.digest(of: name)[..<16])
    }

    /// The octets as 32 hexadecimal digits.
    public var description: String { octets.hexadecimal }
}

/// The key of a block that is verified and authenticated: what the consumer gets, and what goes
/// back to the two pools of one-time pads.
public struct AgreedKey: ~Copyable, Sendable {
    /// Octets that refill the pool for Alice's tags: as many as a block spends, two tags.
    public static let aliceRefillOctets = 2 * AuthenticationTag.octetCount
    /// Octets that refill the pool for Bob's tags.
    public static let bobRefillOctets = AuthenticationTag.octetCount

    /// The name of the key.
    public let identifier: KeyIdentifier
    /// What the key was made from.
    public let provenance: Provenance
    /// The key for the consumer.
    public let key: SecretBytes
    /// Fresh octets of the pool for Alice's tags.
    public let aliceRefill: SecretBytes
    /// The offset in that pool of the first of them.
    public let aliceOffset: UInt64
    /// Fresh octets of the pool for Bob's tags.
    public let bobRefill: SecretBytes
    /// The offset in that pool of the first of them.
    public let bobOffset: UInt64

    /// Puts a key together again, as a store kept it.
    public init(
        identifier: KeyIdentifier, provenance: Provenance, key: consuming SecretBytes,
        aliceRefill: consuming SecretBytes, aliceOffset: UInt64,
        bobRefill: consuming SecretBytes, bobOffset: UInt64
    ) {
        self.identifier = identifier
        self.provenance = provenance
        self.key = key
        self.aliceRefill = aliceRefill
        self.aliceOffset = aliceOffset
        self.bobRefill = bobRefill
        self.bobOffset = bobOffset
    }

    /// A second owner of the same octets.
    public borrowing func duplicate() -> AgreedKey {
        AgreedKey(
            identifier: identifier, provenance: provenance, key: key.duplicate(),
            aliceRefill: aliceRefill.duplicate(), aliceOffset: aliceOffset,
            bobRefill: bobRefill.duplicate(), bobOffset: bobOffset)
    }
}

/// Where one end makes durable what a crash must not undo.
///
/// Every call returns only once a crash can no longer undo it, and throws when that can not be
/// promised; the session ends then, and the next one must begin with what the store really holds.
public protocol SessionStore: Sendable {
    /// Bob: keeps `key`, not released, beside the last release. At most one key is held.
    func hold(_ key: borrowing AgreedKey) throws

    /// Releases `key`, all of it or nothing: the consumer can have it, its refills are the octets
    /// of the pools from their offsets on, it is the last key released, and no key is held.
    func release(_ key: borrowing AgreedKey) throws

    /// Bob: destroys the key that is held; Alice never released it.
    func forget(_ identifier: KeyIdentifier) throws
}

/// What a store knows of earlier sessions when a new one begins.
public struct SessionMemory: ~Copyable, Sendable {
    /// The last key this end released.
    public let lastReleased: KeyIdentifier?
    /// The key that Bob holds without knowing whether Alice released it.
    private var held: AgreedKey?

    /// A memory; empty for a pair of nodes that never made a key.
    public init(lastReleased: KeyIdentifier? = nil, held: consuming AgreedKey? = nil) {
        self.lastReleased = lastReleased
        self.held = held
    }

    mutating func takeHeld() -> AgreedKey? { held.take() }
}
