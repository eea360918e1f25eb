import CKernels
import LinkTypes

/// A tag as it goes over the channel: where its pad starts, and 128 bits.
public struct AuthenticationTag: Hashable, Sendable {
    /// The number of octets in a tag and of pad octets it spends.
    public static let octetCount = 16

    /// The offset in the sender's pool of the first pad octet.
    public let offset: UInt64
    /// The 16 octets of the tag.
    public let octets: [UInt8]

    /// Wraps a received tag; `nil` unless there are 16 octets.
    public init?(offset: UInt64, octets: [UInt8]) {
        guard octets.count == Self.octetCount else { return nil }
        self.offset = offset
        self.octets = octets
    }

    init(offset: UInt64, tag: GF128) {
        self.offset = offset
        octets = tag.octets
    }
}

/// Wegman–Carter authentication of both directions of a link.
///
/// A message of B octets in L = ⌈B/16⌉ blocks m_i is hashed to
/// H = Σ_(i=1…L) m_i K^(L+2−i) + (8B)·K over GF(2^128), and the tag is H plus 16 fresh octets of a
/// one-time pad. For two different messages H differs by a given value for at most L + 1 keys K,
/// so a forgery succeeds with probability at most ε = (L+1)/2^128 (Wegman and Carter, J. Comput.
/// Syst. Sci. 22, 265, 1981; Bierbrauer, Johansson, Kabatianskii, Smeets, CRYPTO 1993). The pad
/// hides H, so K serves many tags and the ε of all tags add up (Portmann, IEEE Trans. Inf. Theory
/// 60, 4383, 2014, arXiv:1202.1229).
///
/// A rejected message spends no key, so a stream of forgeries can not drain the pools; callers
/// must not answer one with a tagged message. Every check adds its ε, also of rejected messages.
public struct Authenticator: ~Copyable, Sendable {
    /// The tags one hash key makes and accepts before it must be replaced.
    public static let tagsPerHashKey = 1 << 20

    /// The pool that pads tags sent.
    public private(set) var sending: KeyPool
    /// The pool that checks tags received.
    public private(set) var receiving: KeyPool
    /// An upper bound of the probability that any forgery was accepted so far.
    public private(set) var epsilon = 0.0
    /// The tags made and accepted under the present hash key.
    public private(set) var tagsOfHashKey = 0

    private var hashKey: SecretBytes

    /// An authenticator; `hashKey` has 16 octets, the same at both ends and known to nobody else.
    public init(
        hashKey: consuming SecretBytes, sending: consuming KeyPool, receiving: consuming KeyPool
    ) throws(AuthenticationError) {
        let length = hashKey.count
        guard length == AuthenticationTag.octetCount else { throw .hashKeyLength(length) }
        self.hashKey = hashKey
        self.sending = sending
        self.receiving = receiving
    }

    /// ε = (L+1)/2^128 of one tag over a message of `octets` octets; exact.
    public static func epsilonPerTag(messageOctets octets: Int) -> Double {
        precondition(octets >= 0 && octets < 1 << 52)
        return Double((octets + 15) / 16 + 1) * 0x1p-128
    }

    /// Makes the tag of `message`, spending 16 octets of the sending pool.
    ///
    /// Throws `exhausted`, `notPersisted` or `hashKeyWorn`; nothing is spent then.
    public mutating func tag(_ message: [UInt8]) throws(AuthenticationError) -> AuthenticationTag {
        try requireFreshHashKey()
        let offset = sending.consumedThrough
        let pad = try sending.take(AuthenticationTag.octetCount)
        addEpsilon(message)
        tagsOfHashKey += 1
        return AuthenticationTag(offset: offset, tag: hash(message) + Self.element(pad))
    }

    /// Accepts `message`, spending the receiving pool through its tag's pad, or throws.
    ///
    /// The pad may lie ahead of the last one used, since messages can be lost, but never behind.
    /// Throws `offsetSpent`, `exhausted`, `forged`, `notPersisted` or `hashKeyWorn`; nothing is
    /// spent then, and the message must be ignored.
    public mutating func verify(
        _ message: [UInt8], tag: AuthenticationTag
    ) throws(AuthenticationError) {
        try check(message, tag: tag)
        try spend(tag)
    }

    /// The first half of `verify`: throws unless the tag is the one of `message`, spends nothing.
    ///
    /// For a message from which something follows that must be durable before its pad is spent;
    /// `spend` must follow before the next message is tagged or checked.
    mutating func check(
        _ message: [UInt8], tag: AuthenticationTag
    ) throws(AuthenticationError) {
        let pad = try receiving.copy(AuthenticationTag.octetCount, at: tag.offset)
        try requireFreshHashKey()
        addEpsilon(message)
        let expected = hash(message) + Self.element(pad)
        let difference = expected.octets.withUnsafeBufferPointer { expected in
            tag.octets.withUnsafeBufferPointer { found -> UInt32 in
                guard let left = expected.baseAddress, let right = found.baseAddress,
                    found.count == expected.count
                else { return 1 }
                return berek_constant_time_difference(left, right, expected.count)
            }
        }
        guard difference == 0 else { throw .forged }
    }

    /// The second half of `verify`: spends the receiving pool through the pad of a checked tag.
    mutating func spend(_ tag: AuthenticationTag) throws(AuthenticationError) {
        try receiving.spend(through: tag.offset + UInt64(AuthenticationTag.octetCount))
        tagsOfHashKey += 1
    }

    /// Adds fresh key to the pool that pads tags sent.
    public mutating func refillSending(_ key: consuming SecretBytes) { sending.append(key) }

    /// Adds fresh key to the pool that checks tags received.
    public mutating func refillReceiving(_ key: consuming SecretBytes) { receiving.append(key) }

    /// Replaces the hash key by 16 fresh octets; both ends do it between the same two messages.
    public mutating func replaceHashKey(
        _ key: consuming SecretBytes
    ) throws(AuthenticationError) {
        let length = key.count
        guard length == AuthenticationTag.octetCount else { throw .hashKeyLength(length) }
        hashKey = key
        tagsOfHashKey = 0
    }

    /// The contribution of all tags so far to a node's ledger.
    public var epsilonEntry: EpsilonLedger.Entry {
        EpsilonLedger.Entry(
            name: "authentication", value: epsilon, source: "Wegman and Carter 1981, (L+1)/2^128")
    }

    private borrowing func requireFreshHashKey() throws(AuthenticationError) {
        guard tagsOfHashKey < Self.tagsPerHashKey else { throw .hashKeyWorn(tags: tagsOfHashKey) }
    }

    private mutating func addEpsilon(_ message: [UInt8]) {
        epsilon = epsilon(withTagOver: message.count)
    }

    /// What `epsilon` will be after one more tag over `octets` octets.
    borrowing func epsilon(withTagOver octets: Int) -> Double {
        (epsilon + Self.epsilonPerTag(messageOctets: octets)).nextUp
    }

    private borrowing func hash(_ message: [UInt8]) -> GF128 {
        var hash = PolynomialHash(point: Self.element(hashKey))
        message.withUnsafeBytes { hash.absorb($0) }
        hash.absorb(GF128(low: UInt64(message.count) * 8, high: 0))
        return hash.value
    }

    private static func element(_ octets: borrowing SecretBytes) -> GF128 {
        octets.withBytes { octets in
            func word(_ start: Int) -> UInt64 {
                (0..<8).reduce(0) { $0 | UInt64(octets[start + $1]) << UInt64(8 * $1) }
            }
            return GF128(low: word(0), high: word(8))
        }
    }
}
