import LinkTypes
import ProtocolCore
import Quantities

/// Two nodes that crash and restart, and a network that loses, repeats, reorders and forges.
///
/// A crash loses everything in memory and everything under way; what a node does next depends on
/// its disk alone. Whenever a session ends at either end, both begin a new one.
final class TwoNodeSimulation {
    /// How often, out of 1000 messages, each thing happens to one.
    struct Faults {
        var lost = 0
        var repeated = 0
        var swapped = 0
        var forged = 0
        var killed = 0
        static let none = Faults()
    }

    let alice: SimulatedDisk
    let bob: SimulatedDisk
    var faults = Faults.none
    /// What went wrong, in words; empty when every invariant held.
    private(set) var violations: [String] = []
    private(set) var sessions = 0
    private(set) var crashes = 0
    /// The names that Bob released after a restart, from the word of Alice's next session.
    private(set) var recovered: [KeyIdentifier] = []

    private let hashKey: [UInt8]
    private let pattern: KeyedPulsePattern
    private let seed: UInt64
    private var channel: SyntheticChannel
    private var random: SeededGenerator
    private var nextSlot = SlotIndex(0)
    private var now = HostInstant.zero
    private var ofAlice: AliceSession?
    private var ofBob: BobSession?
    private var isBroken = false
    private var toAlice: [[UInt8]] = []
    private var toBob: [[UInt8]] = []
    /// Pads that went over the wire, by sender and offset, with the message they were for.
    private var pads: [Role: [UInt64: [UInt8]]] = [.alice: [:], .bob: [:]]

    init(seed: UInt64) {
        self.seed = seed
        channel = SyntheticChannel(seed: seed)
        pattern = KeyedPulsePattern(
            key: SplitMix64.mix(seed), probabilityZ: 0.5, probabilitySignal: 0.4)
        random = SeededGenerator(seed: seed, label: "faults")
        var generator = SeededGenerator(seed: seed, label: "pre-shared")
        func draw(_ count: Int) -> [UInt8] {
            (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
        }
        hashKey = draw(16)
        let (alicePads, bobPads) = (draw(4096), draw(4096))
        alice = SimulatedDisk(alicePads: alicePads, bobPads: bobPads)
        bob = SimulatedDisk(alicePads: alicePads, bobPads: bobPads)
    }

    /// Runs until Bob released `count` keys in all, or `epochs` epochs passed.
    func run(untilBobReleased count: Int, epochs: Int = 60) throws {
        for _ in 0..<epochs {
            if bob.state.released.count >= count { return }
            if isBroken || ofAlice == nil || ofBob == nil { try connect() }
            epoch()
        }
    }

    // MARK: Nodes

    private func parameters() throws -> SessionParameters {
        try SessionParameters(
            slotRate: Hertz(1e8),
            intensities: DecoyIntensities(signal: 0.4, decoy: 0.1, signalProbability: 0.4),
            probabilityZ: 0.5, disclosedFractionX: 0.1, blockBits: 30_720,
            security: SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-12))
    }

    private func connect() throws {
        for disk in [alice, bob] where disk.isDown { disk.restart() }
        (toAlice, toBob, isBroken) = ([], [], false)
        sessions += 1
        ofAlice = AliceSession(
            parameters: try parameters(), pattern: pattern, expectedKeyFraction: 0.25,
            authenticator: try alice.authenticator(for: .alice, hashKey: hashKey), store: alice,
            memory: alice.memory(),
            random: SeededGenerator(seed: seed, label: "alice \(sessions)"))
        ofBob = BobSession(
            parameters: try parameters(),
            authenticator: try bob.authenticator(for: .bob, hashKey: hashKey), store: bob,
            memory: bob.memory(), random: SeededGenerator(seed: seed, label: "bob \(sessions)"))
        stepAlice { [now] in $0.step(.start(now: now)) }
        stepAlice { [nextSlot] in $0.emitted(before: nextSlot) }
        stepBob { [now] in $0.step(.start(now: now)) }
        pump()
        stepBob { [nextSlot] in $0.request(.key, earliestSlot: nextSlot) }
        pump()
        // The lead of Alice's source.
        nextSlot = SlotIndex(nextSlot.rawValue + 2_000_000)
    }

    private func epoch() {
        let range = nextSlot..<SlotIndex(nextSlot.rawValue + 1_000_000)
        nextSlot = range.upperBound
        let detections = channel.detections(in: range, of: pattern)
        stepAlice { $0.emitted(before: range.upperBound) }
        stepBob {
            $0.announce(
                DetectionBatch(slots: range, detections: detections, provenance: .emulated))
        }
        pump()
        // Five seconds an epoch: a message that was lost is missed after a few of them.
        now = now + .seconds(5)
        stepAlice { [now] in $0.step(.tick(now: now)) }
        stepBob { [now] in $0.step(.tick(now: now)) }
        pump()
    }

    private func pump() {
        while !isBroken, !toAlice.isEmpty || !toBob.isEmpty {
            if !toBob.isEmpty {
                let bytes = toBob.removeFirst()
                stepBob { $0.step(.received(bytes)) }
            }
            if !isBroken, !toAlice.isEmpty {
                let bytes = toAlice.removeFirst()
                stepAlice { $0.step(.received(bytes)) }
            }
        }
    }

    private func stepAlice(_ body: (inout AliceSession) -> [SessionAction]) {
        guard !isBroken, var session = ofAlice.take() else { return }
        let actions = body(&session)
        ofAlice = consume session
        perform(actions, of: .alice, disk: alice)
    }

    private func stepBob(_ body: (inout BobSession) -> [SessionAction]) {
        guard !isBroken, var session = ofBob.take() else { return }
        let actions = body(&session)
        ofBob = consume session
        perform(actions, of: .bob, disk: bob)
    }

    /// Carries out what a step asked for, unless the process crashed in it.
    private func perform(_ actions: [SessionAction], of role: Role, disk: SimulatedDisk) {
        defer { checkKeys() }
        if disk.isDown {
            crashes += 1
            isBroken = true
            return
        }
        for action in actions {
            switch action {
            case .send(let bytes):
                notePad(bytes, of: role)
                if random.next() % 1000 < UInt64(faults.killed) {
                    // The process dies between two messages.
                    crashes += 1
                    isBroken = true
                    return
                }
                deliver(bytes, from: role)
            case .aborted: isBroken = true
            case .recovered(let identifier): recovered.append(identifier)
            default: break
            }
        }
    }

    // MARK: Network

    private func deliver(_ bytes: [UInt8], from role: Role) {
        var arriving = [bytes]
        func happens(_ permille: Int) -> Bool { random.next() % 1000 < UInt64(permille) }
        if happens(faults.lost) { arriving = [] }
        if happens(faults.repeated) { arriving += [bytes] }
        if happens(faults.forged) {
            var forged = bytes
            forged[Int(random.next() % UInt64(bytes.count))] ^= 1 << UInt8(random.next() % 8)
            arriving = [forged]
        }
        let isSwapped = happens(faults.swapped)
        func enqueue(_ queue: inout [[UInt8]]) {
            if isSwapped, let last = queue.popLast() {
                queue += arriving + [last]
            } else {
                queue += arriving
            }
        }
        if role == .alice { enqueue(&toBob) } else { enqueue(&toAlice) }
    }

    // MARK: Invariants

    private func notePad(_ bytes: [UInt8], of role: Role) {
        var decoder = MessageDecoder()
        var frames: [Frame] = []
        try? decoder.feed(bytes, into: &frames)
        for frame in frames {
            switch frame.message {
            case .blockTag(let tag), .released(let tag):
                if let other = pads[role]?[tag.padOffset], other != bytes {
                    violations.append("\(role) used pad \(tag.padOffset) twice")
                }
                pads[role]?[tag.padOffset] = bytes
            default: break
            }
        }
    }

    /// No key is released at one end that the other does not hold, and the same octets.
    private func checkKeys() {
        let (his, hers) = (bob.state, alice.state)
        for (name, key) in his.released where hers.released[name] != key {
            violations.append("Bob released \(name), which Alice did not")
        }
        for (name, key) in hers.released where his.released[name] != key {
            guard his.held?.identifier == name, his.held?.key == key else {
                violations.append("Alice released \(name), which Bob does not hold")
                continue
            }
        }
        violations += his.violations + hers.violations
    }

    /// What must be true when both are at rest: the same keys, the same pools, nothing held.
    func checkRest() {
        let (his, hers) = (bob.state, alice.state)
        if his.order != hers.order { violations.append("the ends released different keys") }
        if his.held != nil { violations.append("Bob still holds a key") }
        for role in Role.allCases where his.pools[role]?.octets != hers.pools[role]?.octets {
            violations.append("\(role)'s pools differ")
        }
    }
}
