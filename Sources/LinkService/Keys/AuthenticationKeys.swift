import LinkTypes
import ProtocolCore
import Quantities
import Synchronization

/// The pre-shared secret of two nodes: a hash key and a one-time pad for each direction.
public struct PreSharedKeys: ~Copyable {
    let hashKey: SecretBytes
    let aliceToBob: SecretBytes
    let bobToAlice: SecretBytes

    /// Secrets of an emulated link, from its seed: both ends can make the same. Never for a real
    /// link, where they come from a file that was carried.
    public init(emulatedWithSeed seed: UInt64, octetsEachWay: Int = 1 << 16) {
        var generator = SeededGenerator(seed: seed, label: "pre-shared authentication key")
        func draw(_ count: Int) -> SecretBytes {
            SecretBytes(count: count) { memory in
                for index in 0..<count {
                    memory[index] = UInt8(truncatingIfNeeded: generator.next() >> 32)
                }
            }
        }
        hashKey = draw(16)
        aliceToBob = draw(octetsEachWay)
        bobToAlice = draw(octetsEachWay)
    }

    /// Takes the three parts of a pool.
    init(
        hashKey: consuming SecretBytes, aliceToBob: consuming SecretBytes,
        bobToAlice: consuming SecretBytes
    ) {
        self.hashKey = hashKey
        self.aliceToBob = aliceToBob
        self.bobToAlice = bobToAlice
    }

    /// The authenticator of one end; consumption goes to `sent` and `received`.
    func authenticator(
        for role: Role, sent: KeyPoolState, received: KeyPoolState
    ) throws(AuthenticationError) -> Authenticator {
        func pool(_ key: borrowing SecretBytes, _ state: KeyPoolState) -> KeyPool {
            KeyPool(
                key: key.duplicate(), startingAt: state.offset, lowWaterMark: 4096,
                store: state.store)
        }
        return try Authenticator(
            hashKey: hashKey.duplicate(),
            sending: role == .alice ? pool(aliceToBob, sent) : pool(bobToAlice, sent),
            receiving: role == .alice ? pool(bobToAlice, received) : pool(aliceToBob, received))
    }
}

/// Where one pool stands and where its consumption is made durable.
struct KeyPoolState {
    let offset: UInt64
    let store: any KeyPoolStore
}

/// Remembers consumption for as long as the process lives: enough for an emulated link, whose
/// secrets do not outlive it either.
public final class VolatileKeyPoolStore: KeyPoolStore, KeyPoolRefillStore {
    private let consumed = Mutex<UInt64>(0)

    /// A store that has seen no consumption.
    public init() {}

    /// The offset below which every octet is spent.
    public var consumedThrough: UInt64 { consumed.withLock { $0 } }

    /// Notes that every octet below `offset` is spent.
    public func persist(consumedThrough offset: UInt64) {
        consumed.withLock { $0 = max($0, offset) }
    }

    /// Fresh key needs no place of its own: the pool in memory holds it.
    public func refill(_ key: borrowing SecretBytes, poolOf sender: Role, at offset: UInt64) {}
}

extension PreSharedKeys {
    /// The authenticator of one end of an emulated link.
    public func emulatedAuthenticator(
        for role: Role
    ) throws(AuthenticationError) -> Authenticator {
        try authenticator(
            for: role, sent: KeyPoolState(offset: 0, store: VolatileKeyPoolStore()),
            received: KeyPoolState(offset: 0, store: VolatileKeyPoolStore()))
    }
}
