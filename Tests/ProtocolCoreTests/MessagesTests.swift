import LinkTypes
import ProtocolCore
import Quantities
import Testing

/// Frames of every kind, from a real session, for the decoder to chew on.
private func recordedFrames(seed: UInt64) throws -> [[UInt8]] {
    var setup = LinkUnderTest.Setup(seed: seed)
    setup.blockBits = 15_360
    // A first estimate that is far too low makes the first block fall short: a discard message.
    setup.expectedKeyFraction = 1
    let link = try LinkUnderTest(setup)
    link.start()
    link.request(.synchronization(key: 7), earliestSlot: SlotIndex(0))
    link.request(
        .training(key: 7, probabilityZ: 0.5, probabilitySignal: 0.5), earliestSlot: SlotIndex(1000))
    link.request(.key, earliestSlot: SlotIndex(2000))
    for _ in 0..<16 where !link.isOver { link.epoch(slots: 400_000, losses: [10..<20]) }
    link.stepBob(.cancel("end of recording"))
    return link.ofAlice.frames + link.ofBob.frames
}

@Suite struct MessagesTests {
    @Test func framesSurviveAnyCutting() throws {
        let seed: UInt64 = 0xB0B1
        let frames = try recordedFrames(seed: seed)
        let whole = try messages(frames)
        var generator = SeededGenerator(seed: seed, label: "cuts")
        var decoder = MessageDecoder()
        var cut: [Frame] = []
        var stream = frames.flatMap { $0 }[...]
        while !stream.isEmpty {
            let size = Int.random(in: 1...900, using: &generator)
            try decoder.feed(Array(stream.prefix(size)), into: &cut)
            stream = stream.dropFirst(size)
        }
        #expect(cut.map(\.message) == whole, "seed \(seed)")
        #expect(cut.map(\.bytes) == frames, "seed \(seed)")
        #expect(decoder.bufferedBytes == 0)
        // Encoding what was decoded gives the same bytes: nothing in a frame is without meaning.
        for frame in cut {
            let again = frame.message.frame(
                session: frame.header.session, sequence: frame.header.sequence)
            #expect(again == frame.bytes, "seed \(seed), \(frame.header.type)")
        }
    }

    @Test func recordingHoldsEveryOrdinaryMessage() throws {
        let kinds = Set(try messages(try recordedFrames(seed: 0xB0B1)).map(\.type))
        let rare: Set<MessageType> = [
            .keepAlive, .revealRequest, .revealed, .amplification, .blockTag, .cascadeStart,
            .cascadeParities, .cascadeDifferences,
        ]
        let missing = Set(MessageType.allCases).subtracting(kinds.union(rare))
        #expect(missing.isEmpty)
    }

    @Test func everyMutationIsRefusedOrHarmless() throws {
        let seed: UInt64 = 0xB0B2
        let frames = try recordedFrames(seed: seed)
        var generator = SeededGenerator(seed: seed, label: "mutations")
        var refused = 0
        for round in 0..<4000 {
            var bytes = frames[Int.random(in: 0..<frames.count, using: &generator)]
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                mutate(&bytes, &generator)
            }
            var decoder = MessageDecoder()
            var decoded: [Frame] = []
            do throws(MessageError) {
                var rest = bytes[...]
                while !rest.isEmpty {
                    let size = Int.random(in: 1...200, using: &generator)
                    try decoder.feed(Array(rest.prefix(size)), into: &decoded)
                    rest = rest.dropFirst(size)
                }
            } catch {
                refused += 1
                #expect(error.offset <= UInt64(bytes.count), "seed \(seed), round \(round)")
                #expect(!error.field.isEmpty && !error.expected.isEmpty && !error.found.isEmpty)
                #expect(throws: error) { try decoder.feed([1, 2, 3], into: &decoded) }
            }
            #expect(decoder.bufferedBytes <= bytes.count, "seed \(seed), round \(round)")
            for frame in decoded {
                let again = frame.message.frame(
                    session: frame.header.session, sequence: frame.header.sequence)
                #expect(again == frame.bytes, "seed \(seed), round \(round)")
            }
        }
        #expect(refused > 1000, "mutations were refused \(refused) times")
    }

    private func mutate(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        guard !bytes.isEmpty else { return }
        // Half of the hits go to the header and the first fields, where the structure is.
        let reach = Bool.random(using: &generator) ? min(bytes.count, 64) : bytes.count
        let place = Int.random(in: 0..<reach, using: &generator)
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: bytes[place] = UInt8.random(in: 0...255, using: &generator)
        case 2: bytes.remove(at: place)
        case 3: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
        default: bytes.removeSubrange(place...)
        }
    }

    @Test func refusalsNameThePlace() throws {
        let keepAlive = Message.keepAlive.frame(session: 1, sequence: 0)
        func refusal(of bytes: [UInt8]) throws -> MessageError {
            var decoder = MessageDecoder()
            var frames: [Frame] = []
            return try #require(
                #expect(throws: MessageError.self) { try decoder.feed(bytes, into: &frames) })
        }
        var bytes = keepAlive
        bytes[4] = 9
        let version = try refusal(of: keepAlive + bytes)
        #expect(
            version.description == "byte 32, version: expected 2…2, found 9",
            "the offset counts the whole stream")
        bytes = keepAlive
        bytes[5] = 200
        #expect(try refusal(of: bytes).field == "type")
        bytes = keepAlive
        bytes[24] = 1
        #expect(try refusal(of: bytes).expected == "0…0")
    }

    @Test func aLongLengthIsRefusedBeforeAnythingIsStored() throws {
        var bytes = Message.keepAlive.frame(session: 1, sequence: 0)
        bytes[5] = MessageType.amplification.rawValue
        for index in 24..<28 { bytes[index] = 0xFF }
        var decoder = MessageDecoder()
        var frames: [Frame] = []
        #expect(throws: MessageError.self) {
            try decoder.feed(bytes + [UInt8](repeating: 0, count: 1 << 16), into: &frames)
        }
        #expect(decoder.bufferedBytes == 0)
    }
}
