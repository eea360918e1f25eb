import HostIO
import LinkTypes
import LinuxIO
import OpticalBench
import ProtocolCore
import Quantities

/// Alice's side of `NodeRun`: listens for Bob, drives the source he serves.
struct AliceNode: Sendable {
    let run: NodeRun
    let reactor: EpollReactor
    let store: NodeKeyStore
    let isStopped: @Sendable () -> Bool

    private var configuration: NodeConfiguration { run.configuration }
    /// How long before its first slot a pattern is announced: it has to reach the source.
    private static let lead = Duration.milliseconds(200)

    func run() async throws -> StationOutcome {
        let listener = try TCPListener(
            address: configuration.address, port: configuration.port, reactor: reactor)
        run.progress("listening on \(listener.address):\(listener.port)")
        var whole = StationOutcome()
        while !isStopped() {
            guard let stream = try await accept(listener) else { break }
            run.progress("peer connected")
            let outcome = try await session(over: stream)
            whole.append(outcome)
            run.note(outcome.abort)
            guard outcome.abort?.isTransient == true else { break }
        }
        return whole
    }

    private func session(over stream: any ByteStream) async throws -> StationOutcome {
        let plan = configuration.plan
        let source = try await connectSource()
        defer { source.close() }
        var random = run.random()
        // New for each session: slots are numbered anew when the bench is, and no slot's choice may
        // serve twice.
        let secret = KeyedPulsePattern(
            key: random.next(), probabilityZ: plan.probabilityZ,
            probabilitySignal: plan.signalProbability)
        let receiverZ = LinkBenchConfiguration.metropolitan.receiver.probabilityZ
        let station = AliceStation(
            session: AliceSession(
                parameters: try plan.sessionParameters(), pattern: secret,
                expectedKeyFraction: plan.expectedKeyFraction(receiverZ: receiverZ),
                lead: Self.lead, authenticator: try store.authenticator(), store: store,
                memory: store.memory(), random: random),
            secretPattern: secret, source: source, channel: StreamChannel(stream: stream),
            reactor: reactor)
        let watcher = Task {
            while !Task.isCancelled {
                try? await reactor.sleep(for: .milliseconds(100))
                if isStopped() { await station.stop("interrupted") }
                // Without the source there is no session, but with the next one there may be.
                if source.failure != nil { await stream.close() }
            }
        }
        await station.run()
        watcher.cancel()
        return await station.outcome
    }

    /// Waits ten minutes for the peer, but no longer than until `isStopped`.
    private func accept(
        _ listener: TCPListener
    ) async throws(ByteStreamError) -> (any ByteStream)? {
        for _ in 0..<1200 where !isStopped() {
            do throws(ByteStreamError) {
                return try await listener.accept(timeout: .milliseconds(500))
            } catch .timedOut {
                continue
            }
        }
        if isStopped() { return nil }
        throw .timedOut
    }

    /// Bob serves the source before he connects, so it is there.
    private func connectSource() async throws -> RemoteSource {
        let (address, port) = configuration.source
        let stream = try await TCP.connect(
            to: address, port: port, timeout: .seconds(10), reactor: reactor)
        let source = RemoteSource(stream: stream, reactor: reactor)
        for _ in 0..<1000 where !source.isKnown && source.failure == nil {
            try await reactor.sleep(for: .milliseconds(10))
        }
        guard source.isKnown else {
            throw SourceFailure(
                text: "\(address):\(port): expected the emulated source of Bob's node, found "
                    + (source.failure ?? "nothing that says where it is"))
        }
        return source
    }
}

extension StationOutcome {
    /// Adds what a later session of the same node brought.
    mutating func append(_ later: StationOutcome) {
        session = later.session ?? session
        delivered += later.delivered
        recovered += later.recovered
        discarded += later.discarded
        abort = later.abort
    }
}
