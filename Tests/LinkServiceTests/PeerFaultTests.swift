import HostIO
import Instruments
import LinkService
import LinkTypes
import ProtocolCore
import Quantities
import TestSupport
import Testing

/// A peer, or somebody on the line, that does not play by the rules.
struct PeerFaultTests {
    @Test(arguments: [
        MeddlingChannel.Mode.garbage, .replay, .silent, .closing,
    ])
    func bothEndsGiveUpWithoutAKey(mode: MeddlingChannel.Mode) throws {
        let reactor = VirtualReactor()
        try reactor.run {
            let plan = LinkFixture.plan
            let (left, right) = await MemoryChannel.pair(
                reactor: reactor, delay: .microseconds(500))
            let meddler = MeddlingChannel(left)
            let silent = SilentBench(reactor: reactor)
            let pair = try await LinkPair(
                plan: plan, seed: 5, instruments: silent.instruments, source: silent,
                receiverZ: 0.8, slotOrigin: reactor.now, profileDigests: [], reactor: reactor,
                channels: (meddler, right))
            let alice = reactor.start { await pair.alice.run() }
            try await pair.bob.connect()
            meddler.turn(mode)
            for _ in 0..<400 {
                if await pair.bob.isOver { break }
                try await reactor.sleep(for: .milliseconds(100))
            }
            // Returns only when Alice's session is over too and all her tasks have ended.
            await alice.value
            let (hers, his) = (await pair.alice.outcome, await pair.bob.outcome)
            #expect(hers.delivered.isEmpty && his.delivered.isEmpty)
            switch (mode, his.abort) {
            case (.garbage, .malformedMessage), (.garbage, .protocolViolation): break
            case (.replay, .protocolViolation), (.replay, .malformedMessage): break
            case (.silent, .peerSilent), (.closing, .channelClosed): break
            default: Issue.record("Bob: \(String(describing: his.abort))")
            }
            switch (mode, hers.abort) {
            case (.closing, .channelClosed): break
            case (.garbage, .peerAborted(let code, _)), (.replay, .peerAborted(let code, _)),
                (.silent, .peerAborted(let code, _)):
                #expect(code == his.abort?.code)
            default: Issue.record("Alice: \(String(describing: hers.abort))")
            }
        }
    }

    @Test func aPeerThatStopsReadingDoesNotHoldTheNode() throws {
        let reactor = VirtualReactor()
        try reactor.run {
            let deaf = DeafChannel(reactor: reactor)
            let silent = SilentBench(reactor: reactor)
            let (_, right) = await MemoryChannel.pair(reactor: reactor, delay: .microseconds(500))
            let pair = try await LinkPair(
                plan: LinkFixture.plan, seed: 5, instruments: silent.instruments, source: silent,
                receiverZ: 0.8, slotOrigin: reactor.now, profileDigests: [], reactor: reactor,
                channels: (deaf, right))
            await pair.alice.run()
            #expect(await pair.alice.outcome.abort != nil)
            #expect(deaf.isClosed)
        }
    }

    @Test func cancellingTheGreetingEndsIt() throws {
        let reactor = VirtualReactor()
        try reactor.run {
            let silent = SilentBench(reactor: reactor)
            let pair = try await LinkPair(
                plan: LinkFixture.plan, seed: 5, instruments: silent.instruments, source: silent,
                receiverZ: 0.8, slotOrigin: reactor.now, profileDigests: [], reactor: reactor)
            let connecting = Task(executorPreference: reactor) { try await pair.bob.connect() }
            try await reactor.sleep(for: .milliseconds(10))
            connecting.cancel()
            guard case .failure(let error) = await connecting.result else {
                Issue.record("connected to nobody")
                return
            }
            #expect(error as? AbortReason == .cancelled("connecting was cancelled"))
        }
    }
}
