import LinkTypes
import ProtocolCore
import Quantities
import Testing

@Suite struct SessionAbortTests {
    /// The frames of one block that nobody disturbs, for comparison.
    private struct Recording {
        var alice: [[UInt8]]
        var bob: [[UInt8]]

        init(seed: UInt64) throws {
            let link = try LinkUnderTest(.init(seed: seed))
            link.startKey()
            link.run(keys: 1)
            try #require(link.ofAlice.keys.count == 1 && link.ofBob.keys.count == 1)
            (alice, bob) = (link.ofAlice.frames, link.ofBob.frames)
        }
    }
    private static let seed: UInt64 = 0xF0_96ED
    private static let reference = Result { try Recording(seed: seed) }

    private func expectNoKey(_ link: LinkUnderTest, _ comment: Comment) {
        #expect(link.ofAlice.keys.isEmpty && link.ofBob.keys.isEmpty, comment)
        #expect(link.isOver, comment)
        #expect(link.ofAlice.afterAbort == 0 && link.ofBob.afterAbort == 0, comment)
    }

    /// Every change of any message before the last tag costs the key at both ends, whatever the
    /// message and wherever in it.
    @Test(arguments: 0..<12) func aChangedMessageGivesNoKey(trial: Int) throws {
        let seed = Self.seed
        let reference = try Self.reference.get()
        var generator = SeededGenerator(seed: seed &+ UInt64(trial), label: "tampering")
        let role: Role = trial % 2 == 0 ? .alice : .bob
        let frames = role == .alice ? reference.alice : reference.bob
        // After Bob's tag Alice has released her key, and her last message only says so.
        let last = role == .alice ? frames.count - 1 : frames.count
        // Messages of every phase: half of the trials aim at post-processing at the end.
        let lowest = trial % 4 < 2 ? 0 : max(0, last - 12)
        let target = Int.random(in: lowest..<last, using: &generator)
        let place = Int.random(in: 0..<frames[target].count, using: &generator)
        let mask: UInt8 = 1 << UInt8.random(in: 0..<8, using: &generator)
        let link = try LinkUnderTest(.init(seed: seed))
        link.tamper = { sender, index, bytes in
            guard sender == role, index == target else { return [bytes] }
            var changed = bytes
            changed[place] ^= mask
            return [changed]
        }
        link.startKey()
        link.run(keys: 1)
        for _ in 0..<3 where !link.isOver {
            link.stepAlice(.tick(now: HostInstant(nanoseconds: 3_600_000_000_000)))
        }
        expectNoKey(link, "seed \(seed), \(role) message \(target), byte \(place)")
    }

    enum Trick: CaseIterable { case drop, repeated, swapped, forgedTag, foreignSession, wrongRole }

    @Test(arguments: Trick.allCases) func trickedDeliveryGivesNoKey(_ trick: Trick) throws {
        let seed = Self.seed
        let reference = try Self.reference.get()
        let tagIndex = reference.alice.count - 2
        let target = trick == .forgedTag ? tagIndex : tagIndex / 2
        let link = try LinkUnderTest(.init(seed: seed))
        var held: [UInt8]?
        link.tamper = { sender, index, bytes in
            guard sender == .alice else { return [bytes] }
            if let previous = held {
                held = nil
                return [bytes, previous]
            }
            guard index == target else { return [bytes] }
            var changed = bytes
            switch trick {
            case .drop: return []
            case .repeated: return [bytes, bytes]
            case .swapped:
                held = bytes
                return []
            case .forgedTag: changed[changed.count - 1] ^= 0x80
            case .foreignSession: changed[8] ^= 1
            case .wrongRole: changed[5] = MessageType.verified.rawValue
            }
            return [changed]
        }
        link.startKey()
        link.run(keys: 1)
        link.stepBob(.tick(now: HostInstant(nanoseconds: 3_600_000_000_000)))
        expectNoKey(link, "seed \(seed), \(trick)")
        let reason = try #require(link.ofBob.aborted)
        switch (trick, reason) {
        case (.forgedTag, .authenticationFailed), (.wrongRole, .malformedMessage),
            (.drop, .protocolViolation), (.repeated, .protocolViolation),
            (.swapped, .protocolViolation), (.foreignSession, .protocolViolation),
            (.wrongRole, .protocolViolation):
            break
        default: Issue.record("\(trick): \(reason)")
        }
    }

    /// A consistent change of a number both ends use, which only the tag can notice.
    @Test func aForgedDisclosureIsCaughtByTheTag() throws {
        let seed: UInt64 = 0xF0_96EF
        let link = try LinkUnderTest(.init(seed: seed))
        link.tamper = { sender, index, bytes in
            var decoder = MessageDecoder()
            var frames: [Frame] = []
            try? decoder.feed(bytes, into: &frames)
            guard sender == .alice, let frame = frames.first,
                case .disclosure(var value) = frame.message, value.epoch == 1,
                value.values.count > 0
            else { return [bytes] }
            value.values[0].toggle()
            return [
                Message.disclosure(value).frame(
                    session: frame.header.session, sequence: frame.header.sequence)
            ]
        }
        link.startKey()
        link.run(keys: 1)
        expectNoKey(link, "seed \(seed)")
        guard case .authenticationFailed(block: 0, _) = link.ofBob.aborted else {
            Issue.record("seed \(seed): \(String(describing: link.ofBob.aborted))")
            return
        }
        // Bob found out first, so he spent no pad on an answer.
        #expect(link.bobSends.persisted.isEmpty)
        #expect(link.aliceSends.persisted == [16])
    }

    @Test func interceptAndResendIsNamed() throws {
        let seed: UInt64 = 0xF0_96F0
        let link = try LinkUnderTest(.init(seed: seed))
        link.channel.intercepted = 1
        link.startKey()
        link.run(keys: 1)
        expectNoKey(link, "seed \(seed)")
        guard
            case .errorRateTooHigh(let basis, let measured, let trials, let limit) =
                link.ofBob.aborted
        else {
            Issue.record("seed \(seed): \(String(describing: link.ofBob.aborted))")
            return
        }
        #expect(abs(measured - 0.25) < 0.1 && limit == 0.11 && trials > 50)
        #expect(
            link.ofBob.aborted?.description.hasPrefix(
                "\(basis == .z ? "Z" : "X")-basis error rate ") == true)
        guard case .peerAborted(code: 9, let text) = link.ofAlice.aborted else {
            Issue.record("seed \(seed): \(String(describing: link.ofAlice.aborted))")
            return
        }
        #expect(text == link.ofBob.aborted?.description)
    }

    @Test(arguments: [
        (0.085, ["key length -", "λ_EC", "X-basis error rate 8."]),
        (0.103, ["phase error rate φ_Z ≤ 50.00 %", "X-basis error rate 10."]),
    ]) func errorsBelowTheAlarmGiveNoKey(rate: Double, words: [String]) throws {
        let seed: UInt64 = 0xF0_96F1
        var setup = LinkUnderTest.Setup(seed: seed)
        setup.limits.discardedBlocks = 2
        let link = try LinkUnderTest(setup)
        link.channel.errorProbability = rate
        link.startKey()
        link.run(keys: 1)
        expectNoKey(link, "seed \(seed)")
        #expect(link.ofBob.discarded.count == 2)
        guard case .noKey(let reason) = link.ofBob.aborted else {
            Issue.record("seed \(seed): \(String(describing: link.ofBob.aborted))")
            return
        }
        for word in words { #expect(reason.contains(word), "\(reason)") }
        let report = try #require(link.ofBob.discarded.last)
        #expect(report.outcome == .discarded(reason))
        #expect(link.aliceSends.persisted.isEmpty, "a block without key costs no authentication")
    }

    @Test func parametersMustAgree() throws {
        var setup = LinkUnderTest.Setup(seed: 0xF0_96F2)
        setup.bobMaximumErrorRate = 0.1
        let link = try LinkUnderTest(setup)
        link.start()
        guard case .parametersDiffer(let own, let peer) = link.ofBob.aborted else {
            Issue.record("\(String(describing: link.ofBob.aborted))")
            return
        }
        #expect(own != peer && own.count == 64)
        #expect(link.ofAlice.aborted != nil)
    }

    @Test func aPoolThatWentBackwardsIsRefused() throws {
        var setup = LinkUnderTest.Setup(seed: 0xF0_96F3)
        setup.bobPoolOffset = 16
        // Bob ahead of Alice's record of him: a gap forwards, allowed.
        let ahead = try LinkUnderTest(setup)
        ahead.startKey()
        ahead.run(keys: 1)
        #expect(ahead.ofAlice.keys.count == 1 && ahead.ofBob.keys.count == 1)
        #expect(ahead.aliceReceives.persisted == [32])
    }

    @Test func withoutPadsThereIsNoKey() throws {
        var setup = LinkUnderTest.Setup(seed: 0xF0_96F4)
        setup.poolOctets = 8
        let link = try LinkUnderTest(setup)
        link.startKey()
        link.run(keys: 1)
        expectNoKey(link, "seed \(setup.seed)")
        guard case .poolExhausted(needed: 32, available: 8) = link.ofAlice.aborted else {
            Issue.record("\(String(describing: link.ofAlice.aborted))")
            return
        }
    }

    @Test func silenceAndStallingEndTheSession() throws {
        let silent = try LinkUnderTest(.init(seed: 0xF0_96F5))
        silent.startKey()
        silent.stepAlice(.tick(now: HostInstant(nanoseconds: 9_000_000_000)))
        #expect(silent.ofAlice.aborted == nil)
        silent.stepAlice(.tick(now: HostInstant(nanoseconds: 11_000_000_000)))
        #expect(silent.ofAlice.aborted == .peerSilent(.seconds(10)))

        // Alice lives and says so, but never answers: only keep-alive messages pass.
        let stalled = try LinkUnderTest(.init(seed: 0xF0_96F6))
        stalled.startKey()
        let start = try #require(stalled.ofBob.patterns.last)
        stalled.announce(
            DetectionBatch(
                slots: start..<SlotIndex(start.rawValue + 100), detections: [],
                provenance: .emulated))
        for second in 1...70 {
            let now = HostInstant(nanoseconds: Int64(second) * 1_000_000_000)
            stalled.stepAlice(.tick(now: now))
            stalled.stepBob(.tick(now: now))
        }
        #expect(
            stalled.ofBob.aborted
                == .peerStalled(awaiting: "disclosure of epoch 0", .seconds(60)))
    }

    @Test func closingAndCancellingDestroyTheSession() throws {
        let link = try LinkUnderTest(.init(seed: 0xF0_96F7))
        link.startKey()
        link.epoch()
        link.stepBob(.closed)
        #expect(link.ofBob.aborted == .channelClosed)
        link.stepAlice(.cancel("maintenance"))
        #expect(link.ofAlice.aborted == .cancelled("maintenance"))
        link.epoch()
        #expect(link.ofAlice.afterAbort == 0 && link.ofBob.afterAbort == 0)
    }

    @Test func garbageEndsTheSessionWithItsPlace() throws {
        let seed: UInt64 = 0xF0_96F8
        for round in 0..<200 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed &+ round, label: "garbage")
            let link = try LinkUnderTest(.init(seed: seed))
            link.startKey()
            let sent = link.ofBob.frames.joined().count
            let garbage = (0..<200).map { _ in UInt8.random(in: 0...255, using: &generator) }
            link.stepAlice(.received(garbage))
            guard case .malformedMessage(let error) = link.ofAlice.aborted else {
                Issue.record("seed \(seed &+ round): \(String(describing: link.ofAlice.aborted))")
                continue
            }
            #expect(error.offset >= UInt64(sent), "seed \(seed &+ round)")
        }
    }

    /// Well-framed messages with damaged payloads, at the point where they are expected: the
    /// session goes on or ends with a reason, and never gives a key for a block they touch.
    @Test func damagedPayloadsNeverCrashASession() throws {
        let seed: UInt64 = 0xF0_96FA
        var ended = 0
        for round in 0..<80 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed &+ round, label: "damage")
            var setup = LinkUnderTest.Setup(seed: seed)
            setup.blockBits = 1024
            let link = try LinkUnderTest(setup)
            let sender: Role = round % 2 == 0 ? .alice : .bob
            let target = Int.random(in: 1..<9, using: &generator)
            link.tamper = { role, index, bytes in
                guard role == sender, index == target, bytes.count > FrameHeader.size else {
                    return [bytes]
                }
                var changed = bytes
                for _ in 0..<Int.random(in: 1...6, using: &generator) {
                    let reach = min(bytes.count, FrameHeader.size + 40)
                    let place = Int.random(in: FrameHeader.size..<reach, using: &generator)
                    changed[place] = UInt8.random(in: 0...255, using: &generator)
                }
                return [changed]
            }
            link.startKey()
            for _ in 0..<4 { link.epoch(slots: 100_000) }
            if link.isOver { ended += 1 }
            #expect(link.ofAlice.keys.isEmpty && link.ofBob.keys.isEmpty, "seed \(seed &+ round)")
        }
        #expect(ended > 40, "\(ended) of 80 sessions ended")
    }

    @Test func announcingSlotsWithoutKeyPatternIsAViolation() throws {
        let link = try LinkUnderTest(.init(seed: 0xF0_96F9))
        link.tamper = { sender, _, bytes in
            var decoder = MessageDecoder()
            var frames: [Frame] = []
            try? decoder.feed(bytes, into: &frames)
            guard sender == .bob, let frame = frames.first,
                case .detections(var value) = frame.message
            else { return [bytes] }
            value.firstSlot = SlotIndex(0)
            return [
                Message.detections(value).frame(
                    session: frame.header.session, sequence: frame.header.sequence)
            ]
        }
        link.startKey()
        link.epoch()
        guard case .protocolViolation("detections", _, let problem) = link.ofAlice.aborted else {
            Issue.record("\(String(describing: link.ofAlice.aborted))")
            return
        }
        #expect(problem.contains("secret pattern"))
    }
}
