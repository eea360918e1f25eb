import CKernels
import LinkTypes

/// A tag as it goes over the channel: where its pad starts, and 128 bits.
public struct AuthenticationTag: Hashable, Sendable {
    /// The offset in the sender's pool of the 16 pad octets.
    public let offset: UInt64
    /// The 16 octets of the tag.
    public let octets: [UInt8]

    /// Wraps a received tag; `nil` unless there are 16 octets.
    public init?(offset: UInt64, octets: [UInt8]) {
        guard octets.count == 16 else { return nil }
        self.offset = offset
        self.octets = octets
    }
}

/// Wegman–Carter authentication of both directions of a link.
public struct Authenticator: ~Copyable, Sendable {
    /// The failure probability accumulated by all tags made and accepted or rejected, rounded up.
    public private(set) var epsilon: Double
    /// The pool that pads tags sent.
    public private(set) var sending: KeyPool
    /// The pool that checks tags received.
    public private(set) var receiving: KeyPool

    /// An authenticator; `hashKey` has 16 octets.
    public init(
        hashKey: consuming SecretBytes, sending: consuming KeyPool, receiving: consuming KeyPool
    ) throws(AuthenticationError) {
        epsilon = 0
        self.sending = sending
        self.receiving = receiving
    }

    /// Makes the tag of `message`, spending 16 octets of the sending pool.
    public mutating func tag(_ message: [UInt8]) throws(AuthenticationError) -> AuthenticationTag {
        preconditionFailure()
    }

    /// Accepts `message` or throws; a wrong tag spends nothing.
    public mutating func verify(
        _ message: [UInt8], tag: AuthenticationTag
    ) throws(AuthenticationError) {
        preconditionFailure()
    }

    /// Adds fresh key to the pool that pads tags sent.
    public mutating func refillSending(_ key: consuming SecretBytes) { preconditionFailure() }
    /// Adds fresh key to the pool that checks tags received.
    public mutating func refillReceiving(_ key: consuming SecretBytes) { preconditionFailure() }
    /// Replaces the hash key by 16 fresh octets, on both ends between the same two messages.
    public mutating func replaceHashKey(
        _ key: consuming SecretBytes
    ) throws(AuthenticationError) { preconditionFailure() }
}
