import Calibration
import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import Instruments
import LinkTypes
import OpticalBench
import ProtocolCore
import Quantities

/// What the demonstration is to show.
public struct DemoOptions: Sendable {
    /// The bench.
    public var bench: BenchFile
    /// Decides everything random.
    public var seed: UInt64 {
        get { bench.seed }
        set { bench.seed = newValue }
    }
    /// What the fibre does.
    public var drift: DriftPreset {
        get { bench.drift }
        set { bench.expose(to: newValue) }
    }
    /// Produce keys for this long, in virtual time; `nil` ends after `blocks`.
    public var duration: Duration?
    /// Without a duration, end after so many keys.
    public var blocks = 2
    /// Whether an eavesdropper intercepts and resends every pulse of the key pattern.
    public var interceptResend = false
    /// Whether instruments about which the profile guesses are refused.
    public var certified = false
    /// What the ends agree on.
    public var plan = LinkPlan()
    /// The firmware profiles.
    public var catalog: ProfileCatalog
    /// Options with defaults, on `bench` or the shipped bench.
    ///
    /// - Throws: `ConfigurationError` when `catalog` lacks a profile of the shipped bench.
    public init(catalog: ProfileCatalog, bench: BenchFile? = nil) throws(ConfigurationError) {
        self.catalog = catalog
        if let bench { self.bench = bench } else { self.bench = try .bb84(catalog: catalog) }
    }
}

/// The main job on an emulated bench, in virtual time: find the devices, calibrate, produce keys on
/// two nodes, compare them.
public struct DemoRun: Sendable {
    private let options: DemoOptions
    private let progress: @Sendable (String) -> Void

    /// A demonstration that tells `progress` what it does, one line at a time.
    public init(options: DemoOptions, progress: @escaping @Sendable (String) -> Void) {
        self.options = options
        self.progress = progress
    }

    /// Runs to the end.
    ///
    /// - Throws: the first error that ends the job; instruments are left in their safe state.
    public func run() throws -> DemoReport {
        let reactor = VirtualReactor()
        return try reactor.run { try await self.perform(on: reactor) }
    }

    private func perform(on reactor: VirtualReactor) async throws -> DemoReport {
        var report = DemoReport(options: options)
        let link = try EmulatedLink(
            file: options.bench, plan: options.plan, catalog: options.catalog, reactor: reactor,
            certified: options.certified)
        report.devices = try await link.discover()
        progress("found \(report.devices.count) devices")
        let instruments = try await link.openReceiver(report.devices)
        do {
            try await produce(&report, link, instruments, reactor)
        } catch {
            await instruments.close()
            throw error
        }
        await instruments.close()
        return report
    }

    private func produce(
        _ report: inout DemoReport, _ link: EmulatedLink, _ instruments: ReceiverInstruments,
        _ reactor: VirtualReactor
    ) async throws {
        report.selfTests = try await selfTest(instruments)
        report.sourceCounts = try await countAtSource(link, report.devices)
        let pair = try await LinkPair(
            plan: options.plan, seed: options.seed, instruments: instruments,
            source: link.source, receiverZ: link.configuration.receiver.probabilityZ,
            slotOrigin: link.devices.context.origin,
            profileDigests: options.catalog.profiles.map {
                "\($0.id) \(hexadecimal(SHA256.digest(of: $0.source.text.utf8)))"
            }, reactor: reactor)
        reactor.start { await pair.alice.run() }
        try await pair.bob.connect()
        progress("nodes connected")
        try await pair.bob.startAcquisition()
        report.startTruth = Self.misalignment(link.source.truth(), DetectorLabels())
        do {
            try await calibrate(&report, pair, link)
            try await produceKeys(&report, pair, link, reactor)
        } catch {
            await pair.bob.stop("the demonstration failed")
            await pair.bob.stopAcquisition()
            throw error
        }
        await pair.bob.stopAcquisition()
    }

    private func selfTest(
        _ instruments: ReceiverInstruments
    ) async throws -> [(name: String, passed: Bool)] {
        var all: [any Instrument] = [instruments.tagger, instruments.controller]
        all += instruments.detectors
        var result: [(name: String, passed: Bool)] = []
        for instrument in all {
            let outcome = try await instrument.selfTest()
            result.append((await instrument.identity.shortName, outcome.passed))
        }
        return result
    }

    /// Alice's tagger counts her pulse per second and her monitor detector for two seconds.
    private func countAtSource(
        _ link: EmulatedLink, _ devices: [DiscoveredDevice]
    ) async throws -> [UInt64] {
        let tagger = try link.sourceTagger(devices)
        try await tagger.open()
        let counts: [UInt64]
        do {
            counts = try await tagger.counting?.counts(for: .seconds(2)) ?? []
        } catch {
            await tagger.close()
            throw error
        }
        await tagger.close()
        return counts
    }

    private func calibrate(
        _ report: inout DemoReport, _ pair: LinkPair, _ link: EmulatedLink
    ) async throws {
        for step in CalibrationSequence<InMemoryCalibrationRecordStore>.Step.allCases {
            let record = try await pair.sequence.run(step)
            report.calibrations.append(record)
            progress("calibrated \(step.rawValue)")
        }
        report.snapshot = try await pair.bob.snapshot()
        report.alignedTruth = Self.misalignment(
            link.source.truth(), report.snapshot?.labels ?? DetectorLabels())
    }

    private func produceKeys(
        _ report: inout DemoReport, _ pair: LinkPair, _ link: EmulatedLink,
        _ reactor: VirtualReactor
    ) async throws {
        let first = try await pair.bob.produceKeys {
            _ = try await pair.sequence.run(.polarization)
        }
        if options.interceptResend {
            try link.source.attack(.interceptResend(fraction: 1), from: first)
        }
        let began = reactor.now
        let limit = options.duration ?? .seconds(3600)
        while reactor.now - began < limit, await !pair.bob.isOver {
            try await reactor.sleep(for: .milliseconds(250))
            // What nobody on the link can know: how far off it really is while clicks count.
            if await !pair.bob.isMoving {
                let labels = await pair.bob.labelsInForce
                report.sample(Self.misalignment(link.source.truth(), labels))
            }
            let delivered = await pair.bob.outcome.delivered.count
            if delivered > report.blocksSeen {
                report.blocksSeen = delivered
                progress("key \(delivered) after \((reactor.now - began).inSeconds) s of link time")
            }
            if options.duration == nil, delivered >= options.blocks { break }
        }
        report.keyDuration = reactor.now - began
        report.endTruth = Self.misalignment(
            link.source.truth(), await pair.bob.labelsInForce)
        report.tally = await pair.bob.tally
        await pair.bob.stop("the demonstration is over")
        try await reactor.sleep(for: .seconds(1))
        report.bob = await pair.bob.outcome
        report.alice = await pair.alice.outcome
        report.tracking = await pair.bob.tracking
        try report.predict(link.parameters)
    }

    private static func misalignment(
        _ truth: BenchTruth, _ labels: DetectorLabels
    ) -> (z: Double, x: Double) {
        (
            labels.invertsZ ? 1 - truth.misalignmentZ : truth.misalignmentZ,
            labels.invertsX ? 1 - truth.misalignmentX : truth.misalignmentX
        )
    }
}
