import Calibration
import Emulated
import HostIO
import Instruments
import LinkService
import LinkTypes
import OpticalBench
import ProtocolCore
import Quantities
import TestSupport
import Testing

/// Both nodes of a link in one process on virtual time, with instruments wired straight to the
/// bench.
struct StationTests {
    struct Pair: Sendable {
        let alice: AliceStation
        let bob: ReceiverStation
        let source: EmulatedSource
        let sequence: CalibrationSequence<InMemoryCalibrationRecordStore>
        let reactor: VirtualReactor

        static func make(
            seed: UInt64, plan: LinkPlan, fibre: FibreConfiguration = .buried,
            reactor: VirtualReactor
        ) async throws -> Pair {
            var configuration = LinkBenchConfiguration.metropolitan
            configuration.fibre = fibre
            let context = EmulationContext(reactor: reactor, seed: seed)
            let bench = try LinkBench(
                configuration: configuration,
                pattern: KeyedPulsePattern(key: 0, probabilityZ: 0.5, probabilitySignal: 1),
                seed: seed)
            let shared = TestBench(bench: bench, context: context)
            let source = EmulatedSource(bench: bench, context: context)
            let parameters = try plan.sessionParameters()
            let aliceKeys = NodeKeyStore(
                role: .alice, preShared: PreSharedKeys(emulatedWithSeed: seed))
            let bobKeys = NodeKeyStore(
                role: .bob, preShared: PreSharedKeys(emulatedWithSeed: seed))
            let (left, right) = await MemoryChannel.pair(
                reactor: reactor, delay: .microseconds(500))
            let secret = plan.secretPattern(seed: seed)
            let alice = AliceStation(
                session: AliceSession(
                    parameters: parameters, pattern: secret,
                    expectedKeyFraction: plan.expectedKeyFraction(receiverZ: 0.8),
                    authenticator: try aliceKeys.authenticator(), store: aliceKeys,
                    random: SeededGenerator(seed: seed, label: "Alice")),
                secretPattern: secret, source: source, channel: left, reactor: reactor)
            let bob = ReceiverStation(
                instruments: ReceiverInstruments(
                    tagger: DirectTagger(bench: shared, reactor: reactor),
                    controller: DirectController(bench: shared, reactor: reactor),
                    detectors: (0..<4).map { DirectDetector(bench: shared, index: $0) }),
                settings: ReceiverSettings(
                    slotPeriod: plan.slotPeriod, slotOrigin: context.origin,
                    publishedKey: plan.publishedKey),
                session: BobSession(
                    parameters: parameters,
                    authenticator: try bobKeys.authenticator(), store: bobKeys,
                    random: SeededGenerator(seed: seed, label: "Bob")),
                channel: right, multipleClicks: SeededGenerator(seed: seed, label: "multiple"),
                reactor: reactor)
            let sequence = CalibrationSequence(
                station: bob, store: InMemoryCalibrationRecordStore { "\($0.sequence)" },
                context: CalibrationContext(software: "test", profileDigests: []),
                slotPeriod: plan.slotPeriod, stack: .quarterHalfQuarter())
            return Pair(
                alice: alice, bob: bob, source: source, sequence: sequence, reactor: reactor)
        }

        /// Greets, calibrates, and returns the truth about the alignment.
        func calibrate() async throws -> BenchTruth {
            reactor.start { await alice.run() }
            try await bob.connect()
            try await bob.startAcquisition()
            for step in CalibrationSequence<InMemoryCalibrationRecordStore>.Step.allCases {
                _ = try await sequence.run(step)
            }
            return source.truth()
        }
    }

    @Test(arguments: seeds(4)) func aColdLinkIsCalibratedAndMakesEqualKeys(seed: UInt64) throws {
        let reactor = VirtualReactor()
        try reactor.run {
            var plan = LinkPlan()
            plan.blockBits = 1 << 19
            plan.epsilonSecrecy = 1e-6
            plan.epsilonCorrectness = 1e-9
            let pair = try await Pair.make(seed: seed, plan: plan, reactor: reactor)
            let truth = try await pair.calibrate()
            let labels = try await pair.bob.snapshot().labels
            let errorZ = labels.invertsZ ? 1 - truth.misalignmentZ : truth.misalignmentZ
            let errorX = labels.invertsX ? 1 - truth.misalignmentX : truth.misalignmentX
            #expect(errorZ < 0.005)
            #expect(errorX < 0.005)
            _ = try await pair.bob.produceKeys {
                _ = try await pair.sequence.run(.polarization)
            }
            for _ in 0..<120 {
                try await reactor.sleep(for: .seconds(1))
                if await pair.bob.outcome.delivered.count >= 2 { break }
            }
            await pair.bob.stop("enough")
            await pair.bob.stopAcquisition()
            try await reactor.sleep(for: .seconds(1))
            let (bobs, alices) = (await pair.bob.outcome, await pair.alice.outcome)
            #expect(bobs.delivered.count >= 2, "\(String(describing: bobs.abort))")
            for (mine, theirs) in zip(bobs.delivered, alices.delivered) {
                #expect(mine.identifier == theirs.identifier)
                #expect(mine.digest() == theirs.digest())
                #expect(mine.provenance == .emulated)
            }
            for block in bobs.discarded { Issue.record("discarded: \(block.outcome)") }
        }
    }
}
