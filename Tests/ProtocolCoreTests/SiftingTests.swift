import CKernels
import LinkTypes
import ProtocolCore
import Quantities
import Testing

/// One detection as both ends know it.
private struct Event {
    var alice: QubitState
    var bob: QubitState
    var isDecoy: Bool
}

private func events(
    _ count: Int, probabilityZ: Double = 0.9, decoys: Double = 0.3, errors: Double = 0.05,
    _ generator: inout SeededGenerator
) -> [Event] {
    (0..<count).map { _ in
        let a: Basis = generator.bernoulli(probabilityZ) ? .z : .x
        let b: Basis = generator.bernoulli(probabilityZ) ? .z : .x
        let bit = generator.bernoulli(0.5)
        let seen = a == b ? bit != generator.bernoulli(errors) : generator.bernoulli(0.5)
        return Event(
            alice: QubitState(basis: a, bit: bit), bob: QubitState(basis: b, bit: seen),
            isDecoy: generator.bernoulli(decoys))
    }
}

private func record(_ number: Int, _ events: [Event], of role: Role) -> EpochRecord {
    let planes = DetectionPlanes(capacity: events.count)
    for event in events {
        planes.append(
            role == .alice ? event.alice : event.bob,
            isDecoy: role == .alice && event.isDecoy)
    }
    return EpochRecord(
        number: UInt32(number), slots: SlotIndex(0)..<SlotIndex(1), provenance: .emulated,
        multipleCount: 0, planes: planes)
}

/// Sifting as its definition reads, one detection after the other.
private struct Reference {
    var quota: Int
    var key: [Role: [Bool]] = [.alice: [], .bob: []]
    var intensities: [Bool] = []
    var test = [[0, 0], [0, 0]]  // [signal, decoy] × [detections, errors]
    var keyEvents = 0

    mutating func add(_ event: Event) {
        guard event.alice.basis == event.bob.basis else { return }
        let isKey = event.alice.basis == .z
        if isKey { keyEvents += 1 }
        guard intensities.count < quota else { return }
        if isKey {
            key[.alice, default: []].append(event.alice.bit)
            key[.bob, default: []].append(event.bob.bit)
            intensities.append(event.isDecoy)
        } else {
            test[event.isDecoy ? 1 : 0][0] += 1
            if event.alice.bit != event.bob.bit { test[event.isDecoy ? 1 : 0][1] += 1 }
        }
    }
}

@Suite struct SiftingTests {
    @Test func planesGiveWhatTheDefinitionGives() throws {
        let seed: UInt64 = 0x51F0
        var generator = SeededGenerator(seed: seed, label: "sifting")
        for round in 0..<120 {
            let quota = Int.random(in: 1...2500, using: &generator)
            let probabilityZ = generator.uniform()
            var (alice, bob) = (SiftedBlock(quota: quota), SiftedBlock(quota: quota))
            var reference = Reference(quota: quota)
            var count = 0
            for epoch in 0..<Int.random(in: 1...8, using: &generator) {
                let size = Int.random(in: 0...700, using: &generator)
                let part = events(size, probabilityZ: probabilityZ, &generator)
                let (own, peer) = (
                    record(epoch, part, of: .alice), record(epoch, part, of: .bob)
                )
                let announced = peer.announcement(block: 0)
                let answer = alice.sift(own, with: announced)
                let reply = try #require(answer)
                let fits = bob.sift(peer, with: reply)
                #expect(fits)
                part.forEach { reference.add($0) }
                count += part.count
            }
            for (block, role) in [(alice, Role.alice), (bob, Role.bob)] {
                let at: Comment = "seed \(seed), round \(round), \(role)"
                let key = try #require(reference.key[role])
                #expect((0..<block.keyBits.count).map { block.keyBits.bits[$0] } == key, at)
                #expect(
                    (0..<block.intensities.count).map { block.intensities[$0] }
                        == reference.intensities, at)
                #expect(block.isComplete == (key.count == quota), at)
                #expect(block.detectionCount == count, at)
                #expect(block.keyEventCount == reference.keyEvents, at)
                let decoys = reference.intensities.count { $0 }
                #expect(block.keyDetections == (key.count - decoys, decoys), at)
                #expect(block.testDetections == (reference.test[0][0], reference.test[1][0]), at)
                #expect(block.testErrors == (reference.test[0][1], reference.test[1][1]), at)
            }
        }
    }

    @Test func planesThatDoNotFitAreRefused() throws {
        let seed: UInt64 = 0x51F1
        var generator = SeededGenerator(seed: seed, label: "misfits")
        let part = events(500, probabilityZ: 0.5, &generator)
        let (own, peer) = (record(0, part, of: .alice), record(0, part, of: .bob))
        let announced = peer.announcement(block: 0)
        var alice = SiftedBlock(quota: 50)
        for change in [-500, -1, 1, 64, 200] {
            var wrong = announced
            wrong.bases = BitBuffer((0..<500 + change).map { $0 % 3 == 0 })
            wrong.testValues = BitBuffer(zeros: wrong.bases.populationCount)
            let answer = alice.sift(own, with: wrong)
            #expect(answer == nil)
        }
        let answer = alice.sift(own, with: announced)
        let reply = try #require(answer)
        var bob = SiftedBlock(quota: 50)
        for change in [-1, 1, 64] {
            func resized(_ bits: BitBuffer) -> BitBuffer { BitBuffer(zeros: bits.count + change) }
            var (first, second, third) = (reply, reply, reply)
            first.bases = resized(reply.bases)
            second.intensities = resized(reply.intensities)
            third.testValues = resized(reply.testValues)
            for wrong in [first, second, third] {
                let fits = bob.sift(peer, with: wrong)
                #expect(!fits)
            }
        }
        #expect(bob.detectionCount == 0)
        let fits = bob.sift(peer, with: reply)
        #expect(fits)
    }

    @Test func kernelsGiveTheSameBits() {
        let seed: UInt64 = 0x51F2
        var generator = SeededGenerator(seed: seed, label: "compress")
        for round in 0..<400 {
            let words = Int.random(in: 0...40, using: &generator)
            let offset = Int.random(in: 0...200, using: &generator)
            let density = generator.uniform()
            let source = (0..<words).map { _ in generator.next() }
            let mask = (0..<words).map { index -> UInt64 in
                if (round + index) % 11 == 0 { return round % 2 == 0 ? 0 : .max }
                return (0..<64).reduce(0) {
                    $0 | (generator.bernoulli(density) ? 1 << UInt64($1) : 0)
                }
            }
            var expected = BitBuffer(words: [0xAAAA, 0x5555, 0x1234, 0x8888], count: 256)
                .slice(0..<offset)
            for index in 0..<words * 64 where mask[index / 64] >> UInt64(index % 64) & 1 == 1 {
                expected.append(source[index / 64] >> UInt64(index % 64) & 1 == 1)
            }
            for kernel in [BEREK_KERNEL_PORTABLE, BEREK_KERNEL_AVX2, BEREK_KERNEL_BEST] {
                let guardWord: UInt64 = 0xFEED_F00D
                var out: [UInt64] = [0xAAAA, 0x5555, 0x1234, 0x8888]
                let used = expected.count / 64 + 1
                out = Array((out + [UInt64](repeating: 0, count: used)).prefix(used))
                out.append(guardWord)
                let count = berek_bits_compress(&out, offset, source, mask, words, kernel)
                let at: Comment = "seed \(seed), round \(round), kernel \(kernel.rawValue)"
                #expect(count == expected.count - offset, at)
                #expect(out.last == guardWord, at)
                let size = (expected.count + 63) / 64
                #expect(
                    BitBuffer(words: Array(out.prefix(size)), count: expected.count) == expected,
                    at)
            }
        }
    }

    /// All that sifting says of 100 ms at 1 GHz or of the half of a full epoch, with every header,
    /// against the entropies of positions, bases and intensities. X results and X bits are uniform
    /// and cost one bit.
    @Test(arguments: [(0.1, 1 << 17), (0.01, 1 << 17), (0.001, 100_000), (0.0001, 10_000)])
    func messagesCostTheirEntropy(p: Double, count: Int) throws {
        let seed: UInt64 = 0x51F3
        let (probabilityZ, decoyFraction) = (0.9, 0.3)
        var generator = SeededGenerator(seed: seed, label: "messages \(p)")
        var (octets, floor) = (0, 0.0)
        for epoch in 0..<2 {
            let (positions, limit) = clicks(p, count: count, &generator)
            let announcement = DetectionAnnouncement(
                epoch: UInt32(epoch), firstSlot: SlotIndex(0), slotCount: limit,
                provenance: .emulated, multipleCount: 3, losses: [],
                positions: CodedPositions(encoding: positions, below: limit))
            let part = events(
                count, probabilityZ: probabilityZ, decoys: decoyFraction, &generator)
            let (own, peer) = (record(epoch, part, of: .alice), record(epoch, part, of: .bob))
            let announced = peer.announcement(block: 0)
            var block = SiftedBlock(quota: 1 << 20)
            let answer = block.sift(own, with: announced)
            let reply = try #require(answer)
            let messages: [Message] = [
                .detections(announcement), .bases(announced), .sifting(reply),
            ]
            for message in messages {
                let bytes = message.frame(session: 1, sequence: 0)
                octets += bytes.count
                var decoder = MessageDecoder()
                var frames: [Frame] = []
                try decoder.feed(bytes, into: &frames)
                #expect(frames.map(\.message) == [message], "seed \(seed)")
            }
            let h = FiniteKey.binaryEntropy
            floor += Double(count) * (h(p) / p + 2 * h(probabilityZ))
            floor += Double(reply.intensities.count) * h(decoyFraction)
            floor += Double(announced.testValues.count + reply.testValues.count)
        }
        let ratio = Double(8 * octets) / floor
        #expect(ratio < 1.03 && ratio > 0.98, "seed \(seed), p \(p): \(ratio)")
    }

    /// Planes in every form: empty, short, constant, biased to either side, even.
    @Test func planesOfAnyContentTravel() throws {
        let seed: UInt64 = 0x51F4
        var generator = SeededGenerator(seed: seed, label: "planes")
        for count in [0, 1, 63, 64, 255, 256, 257, 5000] {
            for ones in [0, 0.001, 0.1, 0.44, 0.5, 0.56, 0.9, 1] {
                let bases = BitBuffer((0..<count).map { _ in generator.bernoulli(ones) })
                let message = Message.bases(
                    BasisAnnouncement(
                        block: 1, epoch: 2, bases: bases,
                        testValues: BitBuffer(zeros: bases.populationCount)))
                let bytes = message.frame(session: 1, sequence: 0)
                var decoder = MessageDecoder()
                var frames: [Frame] = []
                try decoder.feed(bytes, into: &frames)
                #expect(frames.map(\.message) == [message], "seed \(seed), \(count), \(ones)")
            }
        }
    }

    /// A plane in another form than its content asks for is refused, with its place.
    @Test func planesHaveOneForm() throws {
        let bases = BitBuffer((0..<1024).map { $0 % 10 == 0 })
        var writer: [UInt8] = []
        func put(_ value: Int, octets: Int) {
            for index in 0..<octets { writer.append(UInt8(value >> (8 * index) & 0xFF)) }
        }
        let good = Message.bases(
            BasisAnnouncement(
                block: 0, epoch: 0, bases: bases,
                testValues: BitBuffer(zeros: bases.populationCount)))
        var bytes = good.frame(session: 1, sequence: 0)
        put(0, octets: 8)
        put(1024, octets: 4)
        put(0, octets: 1)
        writer += bases.bytes + [UInt8](repeating: 0, count: 13)
        bytes = Array(bytes.prefix(24))
        bytes += withUnsafeBytes(of: UInt32(writer.count).littleEndian, Array.init) + writer
        var decoder = MessageDecoder()
        var frames: [Frame] = []
        let error = try #require(
            #expect(throws: MessageError.self) { try decoder.feed(bytes, into: &frames) })
        #expect(error.field == "bases form" && error.offset == 40, "\(error)")
        #expect(error.expected == "1" && error.found == "0")
        // The right form, but a damaged code: the place is inside it.
        bytes = good.frame(session: 1, sequence: 0)
        // Header 28, block and epoch 8, count 4, form 1, positions and length 8: then the state.
        bytes.replaceSubrange(49..<53, with: [1, 0, 0, 0])
        decoder = MessageDecoder()
        let damaged = try #require(
            #expect(throws: MessageError.self) { try decoder.feed(bytes, into: &frames) })
        #expect(damaged.field == "bases" && damaged.offset == 49, "\(damaged)")
    }
}
