import LinkTypes
import ProtocolCore
import Quantities
import Synchronization

/// A seeded quantum channel in a few lines: Poissonian pulses, loss, dark counts, errors.
struct SyntheticChannel {
    var transmittance = 0.1
    var darkProbability = 1e-6
    var errorProbability = 0.01
    var receiverProbabilityZ = 0.5
    /// The fraction of pulses that an eavesdropper measures in a random basis and sends again.
    var intercepted = 0.0
    var intensities = [0.4, 0.1]
    var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed, label: "channel") }

    mutating func detections(
        in slots: Range<SlotIndex>, of pattern: KeyedPulsePattern
    ) -> [Detection] {
        let click = intensities.map { 1 - exponential(-transmittance * $0) + darkProbability }
        let largest = click[0]
        var result: [Detection] = []
        var slot = slots.lowerBound.rawValue &+ generator.geometric(largest)
        while slot < slots.upperBound.rawValue {
            let symbol = pattern.symbol(at: SlotIndex(slot))
            if generator.bernoulli(click[Int(symbol.intensity)] / largest) {
                let detector = measure(symbol, click[Int(symbol.intensity)])
                result.append(Detection(slot: SlotIndex(slot), phase: 0, detector: detector))
            }
            slot = slot &+ 1 &+ generator.geometric(largest)
        }
        return result
    }

    private mutating func measure(_ symbol: PulseSymbol, _ click: Double) -> UInt8 {
        var state = symbol.state
        if generator.bernoulli(intercepted) {
            let basis: Basis = generator.bernoulli(0.5) ? .z : .x
            if basis != state.basis {
                state = QubitState(basis: basis, bit: generator.bernoulli(0.5))
            }
        }
        let basis: Basis = generator.bernoulli(receiverProbabilityZ) ? .z : .x
        var bit = state.bit
        if basis != state.basis || generator.bernoulli(darkProbability / click) {
            bit = generator.bernoulli(0.5)
        } else if generator.bernoulli(errorProbability) {
            bit.toggle()
        }
        return UInt8(QubitState(basis: basis, bit: bit).index)
    }
}

/// Pool stores that remember every call.
final class RecordingStore: KeyPoolStore, SessionStore {
    struct Refill: Hashable {
        var sender: Role
        var offset: UInt64
        var octets: [UInt8]
    }
    enum Call: Hashable {
        case held(KeyIdentifier)
        case released(KeyIdentifier)
        case forgotten(KeyIdentifier)
    }
    private struct Record {
        var persisted: [UInt64] = []
        var refills: [Refill] = []
        var calls: [Call] = []
    }
    private let record = Mutex(Record())

    var persisted: [UInt64] { record.withLock { $0.persisted } }
    var refills: [Refill] { record.withLock { $0.refills } }
    var calls: [Call] { record.withLock { $0.calls } }

    func persist(consumedThrough offset: UInt64) { record.withLock { $0.persisted.append(offset) } }

    func hold(_ key: borrowing AgreedKey) {
        let call = Call.held(key.identifier)
        record.withLock { $0.calls.append(call) }
    }

    func release(_ key: borrowing AgreedKey) {
        let call = Call.released(key.identifier)
        let alice = key.aliceRefill.withBytes { Array($0) }
        let bob = key.bobRefill.withBytes { Array($0) }
        let refills = [
            Refill(sender: .alice, offset: key.aliceOffset, octets: alice),
            Refill(sender: .bob, offset: key.bobOffset, octets: bob),
        ]
        record.withLock {
            $0.calls.append(call)
            $0.refills += refills
        }
    }

    func forget(_ identifier: KeyIdentifier) {
        record.withLock { $0.calls.append(.forgotten(identifier)) }
    }
}

/// What one end did.
struct EndRecord {
    var keys: [SecretBlock] = []
    var discarded: [BlockReport] = []
    var aborted: AbortReason?
    var frames: [[UInt8]] = []
    var patterns: [SlotIndex] = []
    var counts = StateDetectorCounts()
    var countedSlots: [Range<SlotIndex>] = []
    var dropped = 0
    var afterAbort = 0
}

/// Two sessions joined by queues; the test may change what travels.
final class LinkUnderTest {
    struct Setup {
        var seed: UInt64
        var blockBits = 30_720
        var poolOctets = 64
        var bobPoolOffset: UInt64 = 0
        var expectedKeyFraction = 0.25
        var disclosedFractionZ = 1.0 / 16
        var disclosedFractionX = 0.1
        var bobMaximumErrorRate = 0.11
        var labels = DetectorLabels()
        var limits = SessionLimits()
        var reconciliation = ReconciliationEngine.ldpc

        init(seed: UInt64) { self.seed = seed }
    }

    private var alice: AliceSession
    private var bob: BobSession
    var channel: SyntheticChannel
    let pattern: KeyedPulsePattern
    private(set) var ofAlice = EndRecord()
    private(set) var ofBob = EndRecord()
    let aliceSends = RecordingStore()
    let aliceReceives = RecordingStore()
    let bobSends = RecordingStore()
    let bobReceives = RecordingStore()
    let aliceStore = RecordingStore()
    let bobStore = RecordingStore()
    private var toAlice: [[UInt8]] = []
    private var toBob: [[UInt8]] = []
    private var nextSlot = SlotIndex(0)
    /// Receives the sender, the number of the frame in its direction, and its bytes; returns what
    /// arrives, piece by piece.
    var tamper: (Role, Int, [UInt8]) -> [[UInt8]] = { _, _, bytes in [bytes] }
    /// Every detection announced, before losses are taken out.
    private(set) var announced: [Detection] = []

    init(_ setup: Setup) throws {
        channel = SyntheticChannel(seed: setup.seed)
        pattern = KeyedPulsePattern(
            key: SplitMix64.mix(setup.seed), probabilityZ: 0.5, probabilitySignal: 0.4)
        func parameters(_ maximumErrorRate: Double) throws -> SessionParameters {
            try SessionParameters(
                slotRate: Hertz(1e8),
                intensities: DecoyIntensities(signal: 0.4, decoy: 0.1, signalProbability: 0.4),
                probabilityZ: 0.5, disclosedFractionZ: setup.disclosedFractionZ,
                disclosedFractionX: setup.disclosedFractionX, blockBits: setup.blockBits,
                security: SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-12),
                maximumErrorRate: maximumErrorRate, reconciliation: setup.reconciliation)
        }
        func pool(
            _ label: String, from offset: UInt64, _ store: RecordingStore
        ) -> KeyPool {
            var generator = SeededGenerator(seed: setup.seed, label: label)
            let octets = (0..<setup.poolOctets).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            return KeyPool(
                key: SecretBytes(copying: octets[min(Int(offset), octets.count)...]),
                startingAt: offset, lowWaterMark: 32, store: store)
        }
        let hashKey = (0..<16).map { UInt8(truncatingIfNeeded: setup.seed &+ 17 * $0) }
        alice = AliceSession(
            parameters: try parameters(0.11), limits: setup.limits, pattern: pattern,
            expectedKeyFraction: setup.expectedKeyFraction,
            authenticator: try Authenticator(
                hashKey: SecretBytes(copying: hashKey),
                sending: pool("alice", from: 0, aliceSends),
                receiving: pool("bob", from: 0, aliceReceives)),
            store: aliceStore,
            random: SeededGenerator(seed: setup.seed, label: "alice"))
        bob = BobSession(
            parameters: try parameters(setup.bobMaximumErrorRate), limits: setup.limits,
            labels: setup.labels,
            authenticator: try Authenticator(
                hashKey: SecretBytes(copying: hashKey),
                sending: pool("bob", from: setup.bobPoolOffset, bobSends),
                receiving: pool("alice", from: 0, bobReceives)),
            store: bobStore, random: SeededGenerator(seed: setup.seed, label: "bob"))
    }

    var isOver: Bool { ofAlice.aborted != nil || ofBob.aborted != nil }

    // MARK: Driving

    func start() {
        take(alice.step(.start(now: .zero)), from: .alice)
        take(bob.step(.start(now: .zero)), from: .bob)
        pump()
    }

    /// Greets and begins key production.
    func startKey() {
        start()
        request(.key, earliestSlot: SlotIndex(0))
        nextSlot = ofBob.patterns.last ?? SlotIndex(0)
    }

    func request(_ pattern: PulsePatternKind, earliestSlot: SlotIndex) {
        take(bob.request(pattern, earliestSlot: earliestSlot), from: .bob)
        pump()
    }

    /// Sends and detects `slots` pulses and lets both ends talk until they are quiet.
    func epoch(slots: UInt64 = 500_000, losses: [Range<UInt64>] = []) {
        let range = nextSlot..<SlotIndex(nextSlot.rawValue + slots)
        nextSlot = range.upperBound
        let detections = channel.detections(in: range, of: pattern)
        announced += detections
        let first = range.lowerBound.rawValue
        let batch = DetectionBatch(
            slots: range, detections: detections,
            losses: losses.map {
                LossMark(
                    start: SlotIndex(first + $0.lowerBound), end: SlotIndex(first + $0.upperBound),
                    count: nil, reason: .deviceOverflow)
            }, provenance: .emulated)
        emit(before: range.upperBound)
        announce(batch)
    }

    func announce(_ batch: DetectionBatch) {
        take(bob.announce(batch), from: .bob)
        pump()
    }

    func emit(before slot: SlotIndex) {
        take(alice.emitted(before: slot), from: .alice)
        pump()
    }

    /// Produces key until both ends have `count` keys, one gave up, or `epochs` epochs passed.
    func run(keys count: Int, epochs: Int = 200) {
        for _ in 0..<epochs {
            if isOver { return }
            if ofAlice.keys.count >= count, ofBob.keys.count >= count { return }
            epoch()
        }
    }

    func stepAlice(_ input: SessionInput) {
        take(alice.step(input), from: .alice)
        pump()
    }

    func stepBob(_ input: SessionInput) {
        take(bob.step(input), from: .bob)
        pump()
    }

    private func pump() {
        while !toAlice.isEmpty || !toBob.isEmpty {
            if !toBob.isEmpty { take(bob.step(.received(toBob.removeFirst())), from: .bob) }
            if !toAlice.isEmpty {
                take(alice.step(.received(toAlice.removeFirst())), from: .alice)
            }
        }
    }

    private func take(_ actions: [SessionAction], from role: Role) {
        if role == .alice {
            for bytes in record(actions, role, &ofAlice) { toBob.append(bytes) }
        } else {
            for bytes in record(actions, role, &ofBob) { toAlice.append(bytes) }
        }
    }

    private func record(
        _ actions: [SessionAction], _ role: Role, _ end: inout EndRecord
    ) -> [[UInt8]] {
        var outgoing: [[UInt8]] = []
        for action in actions {
            if end.aborted != nil { end.afterAbort += 1 }
            switch action {
            case .send(let bytes):
                outgoing += tamper(role, end.frames.count, bytes).filter { !$0.isEmpty }
                end.frames.append(bytes)
            case .deliver(let block): end.keys.append(block)
            case .discarded(let report): end.discarded.append(report)
            case .aborted(let reason): end.aborted = reason
            case .patternStarted(_, let slot), .preparePattern(_, let slot):
                end.patterns.append(slot)
            case .calibrationCounts(let counts, let slots):
                end.counts += counts
                end.countedSlots.append(slots)
            case .dropped: end.dropped += 1
            case .established, .recovered: break
            }
        }
        return outgoing
    }
}

/// The messages in recorded frames.
func messages(_ frames: [[UInt8]]) throws -> [Message] {
    var decoder = MessageDecoder()
    var result: [Frame] = []
    for frame in frames { try decoder.feed(frame, into: &result) }
    return result.map(\.message)
}
