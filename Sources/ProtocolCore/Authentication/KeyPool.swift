import CKernels
import LinkTypes

/// Where the consumption of a key pool is made durable.
public protocol KeyPoolStore: Sendable {
    /// Makes durable that every octet of the pool below `offset` is spent.
    ///
    /// Returns only once a crash can no longer undo it; throws when that can not be promised.
    func persist(consumedThrough offset: UInt64) throws
}

/// Why a message can not be tagged, or is not accepted.
public enum AuthenticationError: Error, Sendable, CustomStringConvertible {
    /// The pool has too few octets left: refill it before the next message.
    case exhausted(needed: Int, available: Int)
    /// The consumption could not be made durable, so the key was not used.
    case notPersisted(any Error)
    /// The tag's pad starts below `consumedThrough`: a replay, or a pool restored from a backup.
    case offsetSpent(offset: UInt64, consumedThrough: UInt64)
    /// The tag is not the one of this message.
    case forged
    /// The hash key made its last tag; replace it.
    case hashKeyWorn(tags: Int)
    /// The hash key does not have 16 octets.
    case hashKeyLength(Int)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .exhausted: "BRK-AUT-001"
        case .notPersisted: "BRK-AUT-002"
        case .offsetSpent: "BRK-AUT-003"
        case .forged: "BRK-AUT-004"
        case .hashKeyWorn: "BRK-AUT-005"
        case .hashKeyLength: "BRK-AUT-006"
        }
    }

    /// What was expected and what was found.
    public var description: String {
        switch self {
        case .exhausted(let needed, let available):
            "authentication needs \(needed) key octets, \(available) are left; refill the pool"
        case .notPersisted(let error):
            "the consumption of key could not be made durable: \(error)"
        case .offsetSpent(let offset, let consumed):
            "the tag uses key octet \(offset), but all below \(consumed) are spent"
        case .forged:
            "the tag does not belong to the message"
        case .hashKeyWorn(let tags):
            "the hash key has served \(tags) tags; replace it"
        case .hashKeyLength(let found):
            "the hash key must have 16 octets, found \(found)"
        }
    }
}

/// One direction's store of one-time-pad octets, spent strictly forwards.
///
/// Both ends hold the same octets under the same offsets: the sender of the direction takes, the
/// receiver follows. Consumption is made durable before an octet is used, so that a crash at any
/// point wastes octets but never uses one twice. Octets are zeroed once spent.
public struct KeyPool: ~Copyable, Sendable {
    /// The offset of the first octet not yet spent. Offsets count octets since the first key.
    public private(set) var consumedThrough: UInt64
    /// The number of octets left.
    public var available: Int { octets.count - spent }
    /// The number of octets below which `isLow` is set.
    public let lowWaterMark: Int
    /// Whether fewer octets are left than the low-water mark.
    public var isLow: Bool { available < lowWaterMark }

    private var octets: SecretBytes
    /// Octets at the front of `octets` that are spent.
    private var spent = 0
    private let store: any KeyPoolStore

    /// A pool whose first octet has the offset `startingAt`, as last made durable in `store`.
    public init(
        key: consuming SecretBytes, startingAt: UInt64, lowWaterMark: Int,
        store: any KeyPoolStore
    ) {
        precondition(lowWaterMark >= 0)
        consumedThrough = startingAt
        self.lowWaterMark = lowWaterMark
        self.store = store
        octets = key
    }

    /// Adds fresh key behind the last octet. The caller has made the key durable before.
    public mutating func append(_ key: consuming SecretBytes) {
        let (kept, added, skipped) = (available, key.count, spent)
        let joined = SecretBytes(count: kept + added) { target in
            octets.withBytes { old in
                for index in 0..<kept { target[index] = old[skipped + index] }
            }
            key.withBytes { fresh in
                for index in 0..<added { target[kept + index] = fresh[index] }
            }
        }
        octets = joined
        spent = 0
    }

    /// Takes the next `count` octets, after making their consumption durable.
    ///
    /// Throws `exhausted` or `notPersisted`; the pool is then unchanged.
    public mutating func take(_ count: Int) throws(AuthenticationError) -> SecretBytes {
        precondition(count >= 0)
        let taken = try copy(count, at: consumedThrough)
        try spend(through: consumedThrough + UInt64(count))
        return taken
    }

    /// Lends a copy of `count` octets from `offset` on without spending them.
    borrowing func copy(
        _ count: Int, at offset: UInt64
    ) throws(AuthenticationError) -> SecretBytes {
        guard offset >= consumedThrough else {
            throw .offsetSpent(offset: offset, consumedThrough: consumedThrough)
        }
        let gap = offset - consumedThrough
        guard gap <= UInt64(available), count <= available - Int(gap) else {
            let needed = gap > UInt64(Int.max / 2) ? Int.max : Int(gap) + count
            throw .exhausted(needed: needed, available: available)
        }
        let first = spent + Int(gap)
        return SecretBytes(count: count) { target in
            octets.withBytes { source in
                for index in 0..<count { target[index] = source[first + index] }
            }
        }
    }

    /// Makes durable that all octets below `offset` are spent, and zeroes them.
    mutating func spend(through offset: UInt64) throws(AuthenticationError) {
        precondition(offset >= consumedThrough && offset - consumedThrough <= UInt64(available))
        do {
            try store.persist(consumedThrough: offset)
        } catch {
            throw .notPersisted(error)
        }
        let count = Int(offset - consumedThrough)
        let first = spent
        octets.withBytes { memory in
            // The pool owns the memory; nothing else can be reading it.
            guard let base = memory.baseAddress else { return }
            berek_zeroize(UnsafeMutableRawPointer(mutating: base + first), count)
        }
        spent += count
        consumedThrough = offset
    }
}
