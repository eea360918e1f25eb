import LinkTypes

/// Where the consumption of a key pool is made durable.
public protocol KeyPoolStore: Sendable {
    /// Makes durable that every octet below `offset` is spent; returns only when it is.
    func persist(consumedThrough offset: UInt64) throws
}

/// Why a message can not be tagged or is not accepted.
public enum AuthenticationError: Error, Sendable {
    /// The pool has too little key left.
    case exhausted(needed: Int, available: Int)
    /// The consumption could not be made durable, so the key was not used.
    case notPersisted(any Error)
    /// The offset of the tag has been used, or is not one a tag can start at.
    case offsetNotFresh(offset: UInt64, expected: UInt64)
    /// The tag is wrong.
    case forged
    /// The hash key served its number of tags and must be replaced.
    case hashKeyWorn(tags: Int)
    /// The hash key does not have 16 octets.
    case hashKeyLength(Int)
}

/// One direction's store of one-time-pad octets, spent strictly forwards.
public struct KeyPool: ~Copyable, Sendable {
    /// The offset of the first octet not yet spent.
    public private(set) var consumedThrough: UInt64
    /// The octets left.
    public var available: Int { preconditionFailure() }
    /// Whether the octets left are below the low-water mark.
    public var isLow: Bool { preconditionFailure() }
    /// The number of octets below which `isLow` is set.
    public let lowWaterMark: Int

    /// A pool whose first octet of `key` has the offset `startingAt`.
    public init(
        key: consuming SecretBytes, startingAt: UInt64, lowWaterMark: Int,
        store: any KeyPoolStore
    ) {
        consumedThrough = startingAt
        self.lowWaterMark = lowWaterMark
    }

    /// Adds fresh key behind the last octet. The caller has made it durable before.
    public mutating func append(_ key: consuming SecretBytes) { preconditionFailure() }

    /// Takes the next `count` octets for use, after making their consumption durable.
    public mutating func take(_ count: Int) throws(AuthenticationError) -> SecretBytes {
        preconditionFailure()
    }
}
