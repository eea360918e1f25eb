import Glibc
import HostIO
import LinkService
import LinuxIO
import ProtocolCore
import Quantities
import Testing

/// Two nodes that talk over loopback TCP on the live reactor.
struct TCPLinkTests {
    @Test func nodesGreetAndPartOverTCP() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let (near, far) = try await connected(reactor)
        let silent = SilentBench(reactor: reactor)
        let pair = try await LinkPair(
            plan: LinkFixture.plan, seed: 5, instruments: silent.instruments, source: silent,
            receiverZ: 0.8, slotOrigin: reactor.now, profileDigests: [], reactor: reactor,
            channels: (StreamChannel(stream: far), StreamChannel(stream: near)))
        let alice = reactor.start { await pair.alice.run() }
        try await pair.bob.connect()
        await pair.bob.stop("that is all")
        // Returns when her session is over: what Bob said last has reached her.
        await alice.value
        let (hers, his) = (await pair.alice.outcome, await pair.bob.outcome)
        #expect(his.abort == .cancelled("that is all"))
        #expect(hers.session != nil && hers.session == his.session)
        guard case .peerAborted(let code, _) = hers.abort else {
            Issue.record("Alice: \(String(describing: hers.abort))")
            return
        }
        #expect(code == AbortReason.cancelled("").code)
    }

    /// A hang-up is reported by epoll whether or not it is asked for; nobody reads meanwhile.
    @Test func anIdleStreamWhosePeerIsGoneCostsNothing() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let (near, far) = try await connected(reactor)
        await far.close()
        // The peer answers with a reset, after which nothing can be sent.
        for _ in 0..<100 {
            guard (try? await near.write([1], timeout: .seconds(1))) != nil else { break }
            try await reactor.sleep(for: .milliseconds(1))
        }
        let before = await processorTime(of: reactor)
        try await reactor.sleep(for: .milliseconds(200))
        let used = await processorTime(of: reactor) - before
        #expect(used < 20_000_000, "\(used) ns of the reactor's thread")
        await near.close()
    }

    private func connected(
        _ reactor: EpollReactor
    ) async throws -> (any ByteStream, any ByteStream) {
        let listener = try TCPListener(port: 0, reactor: reactor)
        async let accepted = listener.accept(timeout: .seconds(20))
        let near = try await TCP.connect(
            to: "127.0.0.1", port: listener.port, timeout: .seconds(20), reactor: reactor)
        return (near, try await accepted)
    }

    /// Nanoseconds of processor time that the reactor's thread has used.
    private func processorTime(of reactor: EpollReactor) async -> Int {
        await withCheckedContinuation { continuation in
            reactor.schedule(at: reactor.now) {
                var time = timespec()
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
                continuation.resume(returning: time.tv_sec * 1_000_000_000 + time.tv_nsec)
            }
        }
    }
}
