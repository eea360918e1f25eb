import Calibration
import Emulated
import HostIO
import LinkTypes
import LinuxIO
import ProtocolCore
import Quantities

/// Bob's side of `NodeRun`: the emulated bench, his instruments and calibrations, his sessions.
///
/// The bench, acquisition and calibration outlive a session. A session that ends before the link is
/// calibrated begins its calibration anew; after that only the polarization is aligned again, since
/// the fibre moved while nobody followed it.
struct BobNode: Sendable {
    let run: NodeRun
    let reactor: EpollReactor
    let store: NodeKeyStore
    let isStopped: @Sendable () -> Bool

    private var configuration: NodeConfiguration { run.configuration }
    private typealias Sequence = CalibrationSequence<InMemoryCalibrationRecordStore>

    func run() async throws -> StationOutcome {
        let plan = configuration.plan
        let link = try EmulatedLink(
            plan: plan, drift: configuration.drift, seed: configuration.seed,
            catalog: run.catalog, reactor: reactor)
        let (address, port) = configuration.source
        let server = SourceServer(
            listener: try TCPListener(address: address, port: port, reactor: reactor),
            source: link.source, reactor: reactor, isStopped: isStopped)
        let serving = Task { await server.serve() }
        defer { serving.cancel() }
        let instruments = try await link.openReceiver(try await link.discover())
        let station = ReceiverStation(
            instruments: instruments,
            settings: ReceiverSettings(
                slotPeriod: plan.slotPeriod, slotOrigin: link.devices.context.origin,
                publishedKey: plan.publishedKey),
            session: try session(), channel: StreamChannel(stream: try await connect()),
            multipleClicks: SeededGenerator(seed: configuration.seed, label: "multiple clicks"),
            reactor: reactor)
        let sequence = Sequence(
            station: station, store: InMemoryCalibrationRecordStore(digest: recordDigest),
            context: CalibrationContext(software: softwareVersion, profileDigests: []),
            slotPeriod: plan.slotPeriod, stack: await retarderStack(of: instruments.controller))
        do {
            try await station.startAcquisition()
            try await sessions(station, sequence)
        } catch {
            await station.stop("\(error)")
            await shutDown(station, instruments)
            throw error
        }
        await shutDown(station, instruments)
        return await station.outcome
    }

    /// One session after the other, until there are enough keys or one can not be mended.
    private func sessions(_ station: ReceiverStation, _ sequence: Sequence) async throws {
        var isCalibrated = false
        while true {
            do {
                try await station.connect()
                run.progress("connected to \(configuration.address):\(configuration.port)")
                let steps = isCalibrated ? [.polarization] : Sequence.Step.allCases
                for step in steps {
                    _ = try await sequence.run(step)
                    run.progress("calibrated \(step.rawValue)")
                }
                isCalibrated = true
                _ = try await station.produceKeys { _ = try await sequence.run(.polarization) }
                while await !station.isOver, !isStopped(), await !hasEnough(station) {
                    try await reactor.sleep(for: .milliseconds(100))
                }
            } catch {
                // The end of the session is the cause; without one the failure stands for itself.
                guard await station.outcome.abort?.isTransient == true else { throw error }
            }
            let end = await station.outcome.abort
            run.note(end)
            if isStopped() { return await station.stop("interrupted") }
            if await hasEnough(station) { return await station.stop("enough keys") }
            guard end?.isTransient == true else { return }
            await station.resume(
                session: try session(), channel: StreamChannel(stream: try await connect()))
        }
    }

    private func hasEnough(_ station: ReceiverStation) async -> Bool {
        let outcome = await station.outcome
        return outcome.delivered.count + outcome.recovered.count >= configuration.keys
    }

    private func session() throws -> BobSession {
        BobSession(
            parameters: try configuration.plan.sessionParameters(),
            authenticator: try store.authenticator(), store: store, memory: store.memory(),
            random: run.random())
    }

    private func shutDown(_ station: ReceiverStation, _ instruments: ReceiverInstruments) async {
        await station.stopAcquisition()
        await instruments.close()
    }

    /// Tries for a minute: the nodes may be started in either order, and again.
    private func connect() async throws -> any ByteStream {
        let deadline = reactor.now + .seconds(60)
        while true {
            do throws(ByteStreamError) {
                return try await TCP.connect(
                    to: configuration.address, port: configuration.port, timeout: .seconds(5),
                    reactor: reactor)
            } catch {
                if case .notFound = error { throw error }
                guard reactor.now < deadline, !isStopped() else { throw error }
                try await reactor.sleep(for: .milliseconds(200))
            }
        }
    }
}
