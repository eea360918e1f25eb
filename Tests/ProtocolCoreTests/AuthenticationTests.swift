import LinkTypes
import ProtocolCore
import Quantities
import Synchronization
import Testing

/// A store in memory that can refuse to write, as a full disk would.
final class MemoryStore: KeyPoolStore {
    struct Refused: Error {}
    private let state: Mutex<(offset: UInt64, refuses: Bool)>

    init(offset: UInt64 = 0) { state = Mutex((offset, false)) }

    var offset: UInt64 { state.withLock { $0.offset } }
    func refuse(_ value: Bool) { state.withLock { $0.refuses = value } }

    func persist(consumedThrough offset: UInt64) throws {
        try state.withLock { state in
            if state.refuses { throw Refused() }
            #expect(offset >= state.offset, "consumption must never go back")
            state.offset = offset
        }
    }
}

/// The code of an error, for comparing without its payload.
func name(_ error: AuthenticationError) -> String {
    switch error {
    case .exhausted: "exhausted"
    case .notPersisted: "notPersisted"
    case .offsetSpent: "offsetSpent"
    case .forged: "forged"
    case .hashKeyWorn: "hashKeyWorn"
    case .hashKeyLength: "hashKeyLength"
    }
}

@Suite struct AuthenticationTests {
    static func pool(
        _ count: Int, seed: UInt64, store: MemoryStore, from offset: Int = 0, low: Int = 0
    ) -> KeyPool {
        var generator = SeededGenerator(seed: seed)
        let all = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
        return KeyPool(
            key: SecretBytes(copying: all[offset...]), startingAt: UInt64(offset),
            lowWaterMark: low, store: store)
    }

    static let hashKey = (0..<16).map { UInt8($0 * 7 + 1) }

    /// One end of a link with `count` pad octets in each direction.
    static func alice(_ count: Int, store: MemoryStore = MemoryStore()) throws -> Authenticator {
        try Authenticator(
            hashKey: SecretBytes(copying: hashKey), sending: pool(count, seed: 1, store: store),
            receiving: pool(count, seed: 2, store: MemoryStore()))
    }

    /// The other end.
    static func bob(_ count: Int, store: MemoryStore = MemoryStore()) throws -> Authenticator {
        try Authenticator(
            hashKey: SecretBytes(copying: hashKey),
            sending: pool(count, seed: 2, store: MemoryStore()),
            receiving: pool(count, seed: 1, store: store))
    }

    /// Expects `body` to throw the error of the given name.
    static func expect(
        _ expected: String, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () throws(AuthenticationError) -> Void
    ) {
        var found = "none"
        do throws(AuthenticationError) { try body() } catch { found = name(error) }
        #expect(found == expected, sourceLocation: sourceLocation)
    }

    /// Tags computed from the formula by a separate program in integer arithmetic: hash key
    /// 00…0f, pad 80…8f.
    @Test(arguments: [
        ("", "808182838485868788898a8b8c8d8e8f"),
        ("abc", "b40a311e8df56a49b0b1f00281ee6652"),
        (
            "The sifted key of block 7 is corrected, verified and amplified.",
            "43c09ce6a138cfa9e465d8c6968285a9"
        ),
    ])
    func knownTags(_ message: String, _ tag: String) throws {
        func pool() -> KeyPool {
            KeyPool(
                key: SecretBytes(copying: (0x80...0x8F).map { UInt8($0) }), startingAt: 32,
                lowWaterMark: 0, store: MemoryStore())
        }
        var sender = try Authenticator(
            hashKey: SecretBytes(copying: (0..<16).map { UInt8($0) }), sending: pool(),
            receiving: pool())
        let made = try sender.tag(Array(message.utf8))
        #expect(made.octets == octets(tag))
        #expect(made.offset == 32)
        try sender.verify(Array(message.utf8), tag: made)
        let left1 = sender.receiving.available
        #expect(left1 == 0)
    }

    /// Messages of one text with other lengths, other bits, or another order are rejected, and
    /// nothing is spent by that. Seed 81.
    @Test func everythingButTheMessageIsRejected() throws {
        var generator = SeededGenerator(seed: 81)
        var alice = try Self.alice(1000)
        var bob = try Self.bob(1000)
        let message = (0..<100).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let tag = try alice.tag(message)
        var wrong: [[UInt8]] = [
            [], message + [0], Array(message.dropLast()), Array(message.reversed()),
            Array(message[16..<32] + message[0..<16] + message[32...]),
        ]
        for _ in 0..<200 {
            var other = message
            other[Int.random(in: 0..<100, using: &generator)] ^=
                1 << UInt8.random(in: 0...7, using: &generator)
            wrong.append(other)
        }
        for other in wrong {
            Self.expect("forged") { () throws(AuthenticationError) in
                try bob.verify(other, tag: tag)
            }
        }
        for index in 0..<16 {
            var changed = tag.octets
            changed[index] ^= 0x10
            let forged = try #require(AuthenticationTag(offset: tag.offset, octets: changed))
            Self.expect("forged") { () throws(AuthenticationError) in
                try bob.verify(message, tag: forged)
            }
        }
        let moved = try #require(AuthenticationTag(offset: 16, octets: tag.octets))
        Self.expect("forged") { () throws(AuthenticationError) in
            try bob.verify(message, tag: moved)
        }
        let left2 = bob.receiving.available
        #expect(left2 == 1000)
        try bob.verify(message, tag: tag)
        let consumed3 = bob.receiving.consumedThrough
        #expect(consumed3 == 16)
        #expect(AuthenticationTag(offset: 0, octets: [1, 2, 3]) == nil)
    }

    @Test func replayAndReorderingAreRejectedAndGapsAreNot() throws {
        var alice = try Self.alice(64)
        var bob = try Self.bob(64)
        let first = try alice.tag([1])
        let second = try alice.tag([2])
        let third = try alice.tag([3])
        try bob.verify([1], tag: first)
        try bob.verify([3], tag: third)
        for (message, tag) in [([1], first), ([2], second), ([3], third)] as [([UInt8], _)] {
            Self.expect("offsetSpent") { () throws(AuthenticationError) in
                try bob.verify(message, tag: tag)
            }
        }
        let beyond = try #require(AuthenticationTag(offset: 49, octets: first.octets))
        let far = try #require(AuthenticationTag(offset: .max, octets: first.octets))
        for tag in [beyond, far] {
            Self.expect("exhausted") { () throws(AuthenticationError) in
                try bob.verify([1], tag: tag)
            }
        }
        let left4 = bob.receiving.available
        #expect(left4 == 16)
    }

    @Test func exhaustionLowWaterAndRefill() throws {
        var alice = try Self.alice(40)
        var bob = try Self.bob(40)
        _ = try alice.tag([1])
        let second = try alice.tag([2])
        Self.expect("exhausted") { () throws(AuthenticationError) in _ = try alice.tag([3]) }
        let left5 = alice.sending.available
        #expect(left5 == 8)
        // The key that follows continues the offsets, also across the octets left over.
        let fresh = (0..<24).map { UInt8($0) }
        alice.refillSending(SecretBytes(copying: fresh))
        bob.refillReceiving(SecretBytes(copying: fresh))
        let third = try alice.tag([3])
        #expect(third.offset == 32)
        try bob.verify([2], tag: second)
        try bob.verify([3], tag: third)
        let consumed6 = bob.receiving.consumedThrough
        #expect(consumed6 == 48)

        var pool = Self.pool(64, seed: 3, store: MemoryStore(), low: 40)
        let before = pool.isLow
        _ = try pool.take(25).count
        let during = pool.isLow
        pool.append(SecretBytes(copying: fresh))
        let after = pool.isLow
        #expect([before, during, after] == [false, true, false])
    }

    @Test func keyIsNotUsedWhenItsConsumptionCanNotBeStored() throws {
        let (store, peerStore) = (MemoryStore(), MemoryStore())
        var alice = try Self.alice(64, store: store)
        var bob = try Self.bob(64, store: peerStore)
        store.refuse(true)
        Self.expect("notPersisted") { () throws(AuthenticationError) in _ = try alice.tag([1]) }
        let consumed7 = alice.sending.consumedThrough
        #expect(consumed7 == 0)
        store.refuse(false)
        let tag = try alice.tag([1])
        #expect(tag.offset == 0)
        #expect(store.offset == 16)
        peerStore.refuse(true)
        Self.expect("notPersisted") { () throws(AuthenticationError) in
            try bob.verify([1], tag: tag)
        }
        peerStore.refuse(false)
        try bob.verify([1], tag: tag)
        #expect(peerStore.offset == 16)
    }

    /// A sender that is killed and restarted at random points from its durable offset never uses
    /// a pad octet twice, and the receiver accepts everything that arrives in order. Seed 82.
    @Test func restartsNeverReuseKey() throws {
        var generator = SeededGenerator(seed: 82)
        let (total, store) = (16 * 300, MemoryStore())
        var used = Set<UInt64>()
        var alice = try Self.alice(total, store: store)
        var bob = try Self.bob(total)
        for step in 0..<400 {
            if generator.bernoulli(0.1) {
                alice = try Authenticator(
                    hashKey: SecretBytes(copying: Self.hashKey),
                    sending: Self.pool(total, seed: 1, store: store, from: Int(store.offset)),
                    receiving: Self.pool(total, seed: 2, store: MemoryStore()))
            }
            store.refuse(generator.bernoulli(0.1))
            let message = [UInt8](repeating: UInt8(step & 255), count: step % 40)
            do throws(AuthenticationError) {
                let tag = try alice.tag(message)
                #expect(used.insert(tag.offset).inserted)
                #expect(store.offset >= tag.offset + 16)
                if generator.bernoulli(0.7) { try bob.verify(message, tag: tag) }
            } catch {
                #expect(["notPersisted", "exhausted"].contains(name(error)))
            }
        }
        #expect(used.count > 250)
    }

    @Test func epsilonGrowsWithEveryTag() throws {
        #expect(Authenticator.epsilonPerTag(messageOctets: 0) == 0x1p-128)
        #expect(Authenticator.epsilonPerTag(messageOctets: 17) == 3 * 0x1p-128)
        #expect(Authenticator.epsilonPerTag(messageOctets: 1 << 24) < 0x1p-107)
        var alice = try Self.alice(64)
        var bob = try Self.bob(64)
        let tag = try alice.tag([UInt8](repeating: 0, count: 32))
        let aliceEpsilon = alice.epsilon
        #expect(aliceEpsilon >= 3 * 0x1p-128)
        Self.expect("forged") { () throws(AuthenticationError) in try bob.verify([1], tag: tag) }
        // A rejected forgery was a chance for the forger too.
        let bobEpsilon = bob.epsilon
        #expect(bobEpsilon >= 2 * 0x1p-128)
        let (tags, entry) = (bob.tagsOfHashKey, bob.epsilonEntry.value)
        #expect(tags == 0)
        #expect(entry == bobEpsilon)
    }

    @Test func hashKeyIsReplaced() throws {
        var alice = try Self.alice(64)
        var bob = try Self.bob(64)
        let fresh = (0..<16).map { UInt8(200 + $0) }
        try alice.replaceHashKey(SecretBytes(copying: fresh))
        let tag = try alice.tag([9])
        Self.expect("forged") { () throws(AuthenticationError) in try bob.verify([9], tag: tag) }
        try bob.replaceHashKey(SecretBytes(copying: fresh))
        try bob.verify([9], tag: tag)
        let tags = alice.tagsOfHashKey
        #expect(tags == 1)
        Self.expect("hashKeyLength") { () throws(AuthenticationError) in
            try alice.replaceHashKey(SecretBytes(copying: [1, 2, 3]))
        }
    }
}
