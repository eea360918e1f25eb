import LinkTypes
import ProtocolCore
import Synchronization

/// What ends a simulated process in the middle of a write.
struct SimulatedCrash: Error {}

/// What one node would find on its disk after a crash, with a crash planned at one of its writes.
final class SimulatedDisk: SessionStore {
    struct Pool: Hashable {
        /// The octets below this offset are spent.
        var consumedThrough: UInt64 = 0
        /// All octets from offset 0 on, spent ones included, for comparison.
        var octets: [UInt8]
        var end: UInt64 { UInt64(octets.count) }
    }
    struct Held: Hashable {
        var identifier: KeyIdentifier
        var key: [UInt8]
        var aliceRefill: [UInt8]
        var aliceOffset: UInt64
        var bobRefill: [UInt8]
        var bobOffset: UInt64
    }
    struct Content {
        var pools: [Role: Pool]
        var lastReleased: KeyIdentifier?
        var held: Held?
        var released: [KeyIdentifier: [UInt8]] = [:]
        var order: [KeyIdentifier] = []
        /// What was wrong in the order of calls.
        var violations: [String] = []
        fileprivate var writes = 0
        fileprivate var crash: Crash?
        fileprivate var isDown = false
    }
    /// A crash at the n-th write from now, before or after it took effect.
    struct Crash: Hashable {
        var write: Int
        var takesEffect: Bool
    }

    private let content: Mutex<Content>

    init(alicePads: [UInt8], bobPads: [UInt8]) {
        content = Mutex(
            Content(pools: [.alice: Pool(octets: alicePads), .bob: Pool(octets: bobPads)]))
    }

    var state: Content { content.withLock { $0 } }
    /// The writes since the last restart.
    var writes: Int { content.withLock { $0.writes } }
    /// Whether the process that wrote here has crashed.
    var isDown: Bool { content.withLock { $0.isDown } }

    /// The process is started again, and may crash once more.
    func restart(crash: Crash? = nil) {
        content.withLock {
            $0.isDown = false
            $0.writes = 0
            $0.crash = crash
        }
    }

    private func write(_ change: (inout Content) -> Void) throws {
        try content.withLock { content in
            guard !content.isDown else {
                content.violations.append("a write after the crash")
                throw SimulatedCrash()
            }
            let isLast = content.crash?.write == content.writes
            content.writes += 1
            if !isLast || content.crash?.takesEffect == true { change(&content) }
            if isLast {
                content.isDown = true
                throw SimulatedCrash()
            }
        }
    }

    func persist(_ sender: Role, consumedThrough offset: UInt64) throws {
        try write { content in
            guard let pool = content.pools[sender] else { return }
            if offset <= pool.consumedThrough {
                content.violations.append("\(sender)'s pads below \(offset) spent again")
            }
            if offset > pool.end {
                content.violations.append("\(sender)'s pads through \(offset) of \(pool.end)")
            }
            content.pools[sender]?.consumedThrough = offset
        }
    }

    func hold(_ key: borrowing AgreedKey) throws {
        let held = Held(key)
        try write { content in
            if content.held != nil { content.violations.append("two keys held") }
            content.held = held
        }
    }

    func release(_ key: borrowing AgreedKey) throws {
        let held = Held(key)
        try write { content in
            if content.released[held.identifier] != nil {
                content.violations.append("released twice")
            }
            for (role, refill, offset) in [
                (Role.alice, held.aliceRefill, held.aliceOffset),
                (.bob, held.bobRefill, held.bobOffset),
            ] {
                if content.pools[role]?.end != offset {
                    content.violations.append("a refill of \(role)'s pool at \(offset)")
                }
                content.pools[role]?.octets += refill
            }
            content.released[held.identifier] = held.key
            content.order.append(held.identifier)
            content.lastReleased = held.identifier
            content.held = nil
        }
    }

    func forget(_ identifier: KeyIdentifier) throws {
        try write { content in
            if content.held?.identifier != identifier {
                content.violations.append("forgot a key that is not held")
            }
            content.held = nil
        }
    }

    /// The consumption of one pool.
    struct PoolStore: KeyPoolStore {
        let disk: SimulatedDisk
        let sender: Role
        func persist(consumedThrough offset: UInt64) throws {
            try disk.persist(sender, consumedThrough: offset)
        }
    }

    /// The authenticator of an end, as its disk has it.
    func authenticator(for role: Role, hashKey: [UInt8]) throws -> Authenticator {
        func pool(_ sender: Role) -> KeyPool {
            let pool = state.pools[sender] ?? Pool(octets: [])
            return KeyPool(
                key: SecretBytes(copying: pool.octets[Int(pool.consumedThrough)...]),
                startingAt: pool.consumedThrough, lowWaterMark: 0,
                store: PoolStore(disk: self, sender: sender))
        }
        return try Authenticator(
            hashKey: SecretBytes(copying: hashKey), sending: pool(role),
            receiving: pool(role.peer))
    }

    /// What the next session begins with.
    func memory() -> SessionMemory {
        let state = state
        guard let held = state.held else { return SessionMemory(lastReleased: state.lastReleased) }
        return SessionMemory(lastReleased: state.lastReleased, held: held.agreed())
    }
}

extension SimulatedDisk.Held {
    fileprivate init(_ key: borrowing AgreedKey) {
        identifier = key.identifier
        self.key = key.key.withBytes { Array($0) }
        aliceRefill = key.aliceRefill.withBytes { Array($0) }
        aliceOffset = key.aliceOffset
        bobRefill = key.bobRefill.withBytes { Array($0) }
        bobOffset = key.bobOffset
    }

    fileprivate func agreed() -> AgreedKey {
        AgreedKey(
            identifier: identifier, provenance: .emulated, key: SecretBytes(copying: key),
            aliceRefill: SecretBytes(copying: aliceRefill), aliceOffset: aliceOffset,
            bobRefill: SecretBytes(copying: bobRefill), bobOffset: bobOffset)
    }
}
