import Calibration
import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkTypes
import LinuxIO
import OpticalBench
import ProtocolCore
import Quantities

/// Runs one node of a link in real time, with its peer over TCP.
///
/// The emulated bench, source included, lives in Bob's process; Alice's node decides what it sends
/// and knows her pattern, and Bob's process lets the emulated source follow what she says.
public struct NodeRun: Sendable {
    private let configuration: NodeConfiguration
    private let catalog: ProfileCatalog
    private let progress: @Sendable (String) -> Void

    /// A node that has not started.
    public init(
        configuration: NodeConfiguration, catalog: ProfileCatalog,
        progress: @escaping @Sendable (String) -> Void
    ) {
        self.configuration = configuration
        self.catalog = catalog
        self.progress = progress
    }

    /// Runs until enough keys are made, the session ends, or `isStopped`.
    ///
    /// - Throws: when the peer can not be reached or a calibration fails.
    public func run(isStopped: @escaping @Sendable () -> Bool) async throws -> StationOutcome {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        return switch configuration.role {
        case .alice: try await runAlice(reactor, isStopped)
        case .bob: try await runBob(reactor, isStopped)
        }
    }

    private func runAlice(
        _ reactor: EpollReactor, _ isStopped: @escaping @Sendable () -> Bool
    ) async throws -> StationOutcome {
        let plan = configuration.plan
        let listener = try TCPListener(
            address: configuration.address, port: configuration.port, reactor: reactor)
        progress("listening on \(listener.address):\(listener.port)")
        guard let stream = try await accept(listener, isStopped) else { return StationOutcome() }
        progress("peer connected")
        let secret = plan.secretPattern(seed: configuration.seed)
        let keys = PreSharedKeys(emulatedWithSeed: configuration.seed)
        let receiverZ = LinkBenchConfiguration.metropolitan.receiver.probabilityZ
        let station = AliceStation(
            session: AliceSession(
                parameters: try plan.sessionParameters(), pattern: secret,
                expectedKeyFraction: plan.expectedKeyFraction(receiverZ: receiverZ),
                authenticator: try keys.emulatedAuthenticator(for: .alice),
                refillStore: VolatileKeyPoolStore(),
                random: SeededGenerator(seed: configuration.seed, label: "Alice's session")),
            secretPattern: secret,
            source: RemoteEmulatedSource(slotPeriod: plan.slotPeriod, reactor: reactor),
            channel: StreamChannel(stream: stream), reactor: reactor)
        let stopper = Task {
            while !Task.isCancelled {
                try? await reactor.sleep(for: .milliseconds(100))
                if isStopped() { await station.stop("interrupted") }
            }
        }
        await station.run()
        stopper.cancel()
        return await station.outcome
    }

    /// Waits ten minutes for the peer, but no longer than until `isStopped`.
    private func accept(
        _ listener: TCPListener, _ isStopped: @escaping @Sendable () -> Bool
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

    private func runBob(
        _ reactor: EpollReactor, _ isStopped: @escaping @Sendable () -> Bool
    ) async throws -> StationOutcome {
        let plan = configuration.plan
        let stream = try await connect(reactor)
        progress("connected to \(configuration.address):\(configuration.port)")
        let link = try EmulatedLink(
            plan: plan, drift: configuration.drift, seed: configuration.seed, catalog: catalog,
            reactor: reactor)
        let instruments = try await link.openReceiver(try await link.discover())
        let keys = PreSharedKeys(emulatedWithSeed: configuration.seed)
        let station = ReceiverStation(
            instruments: instruments,
            settings: ReceiverSettings(
                slotPeriod: plan.slotPeriod, slotOrigin: link.devices.context.origin,
                publishedKey: plan.publishedKey),
            session: BobSession(
                parameters: try plan.sessionParameters(),
                authenticator: try keys.emulatedAuthenticator(for: .bob),
                refillStore: VolatileKeyPoolStore(),
                random: SeededGenerator(seed: configuration.seed, label: "Bob's session")),
            channel: StreamChannel(stream: stream),
            multipleClicks: SeededGenerator(seed: configuration.seed, label: "multiple clicks"),
            reactor: reactor,
            mirror: SourceMirror(
                source: link.source, secretPattern: plan.secretPattern(seed: configuration.seed)))
        do {
            try await station.connect()
            try await station.startAcquisition()
            let sequence = CalibrationSequence(
                station: station, store: InMemoryCalibrationRecordStore(digest: recordDigest),
                context: CalibrationContext(software: softwareVersion, profileDigests: []),
                slotPeriod: plan.slotPeriod,
                stack: await retarderStack(of: instruments.controller))
            for step in CalibrationSequence<InMemoryCalibrationRecordStore>.Step.allCases {
                _ = try await sequence.run(step)
                progress("calibrated \(step.rawValue)")
            }
            _ = try await station.produceKeys { _ = try await sequence.run(.polarization) }
            while await !station.isOver, !isStopped() {
                try await reactor.sleep(for: .milliseconds(100))
                if await station.outcome.delivered.count >= configuration.keys { break }
            }
            await station.stop(isStopped() ? "interrupted" : "enough keys")
        } catch {
            await station.stop("\(error)")
            await shutDown(station, instruments)
            throw error
        }
        await shutDown(station, instruments)
        return await station.outcome
    }

    private func shutDown(_ station: ReceiverStation, _ instruments: ReceiverInstruments) async {
        await station.stopAcquisition()
        await instruments.close()
    }

    /// Tries for a minute: the nodes may be started in either order.
    private func connect(_ reactor: EpollReactor) async throws -> any ByteStream {
        let deadline = reactor.now + .seconds(60)
        while true {
            do throws(ByteStreamError) {
                return try await TCP.connect(
                    to: configuration.address, port: configuration.port, timeout: .seconds(5),
                    reactor: reactor)
            } catch {
                if case .notFound = error { throw error }
                guard reactor.now < deadline else { throw error }
                try await reactor.sleep(for: .milliseconds(200))
            }
        }
    }
}

/// Alice's side of an emulated source that lives in Bob's process: it only keeps time.
final class RemoteEmulatedSource: SourceControl {
    private let slotPeriod: Picoseconds
    private let reactor: any Reactor
    private let origin: HostInstant

    init(slotPeriod: Picoseconds, reactor: any Reactor) {
        self.slotPeriod = slotPeriod
        self.reactor = reactor
        origin = reactor.now
    }

    func send(_ pattern: any PulsePattern, from slot: SlotIndex) {}

    func emittedBefore() -> SlotIndex {
        let elapsed = (reactor.now - origin).inSeconds
        return SlotIndex(UInt64(max(0, elapsed / slotPeriod.seconds)))
    }
}

/// Lets an emulated source in Bob's process follow what Alice's node says.
public struct SourceMirror: Sendable {
    let source: any SourceControl
    let secretPattern: any PulsePattern
    /// A source, and the pattern that stands for Alice's quantum random numbers.
    public init(source: any SourceControl, secretPattern: any PulsePattern) {
        self.source = source
        self.secretPattern = secretPattern
    }
}
