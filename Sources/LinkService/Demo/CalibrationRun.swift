import Calibration
import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkTypes
import OpticalBench
import Quantities

/// Calibrates an emulated bench in virtual time, without producing keys.
public struct CalibrationRun: Sendable {
    /// A procedure by the name an operator uses.
    public typealias Step = CalibrationSequence<InMemoryCalibrationRecordStore>.Step

    private let bench: BenchFile
    private let catalog: ProfileCatalog
    private let certified: Bool
    private let last: Step
    private let progress: @Sendable (String) -> Void

    /// All procedures up to and including `through`; with `certified`, profiles with guesses are
    /// refused.
    public init(
        bench: BenchFile, catalog: ProfileCatalog, certified: Bool = false, through: Step,
        progress: @escaping @Sendable (String) -> Void
    ) {
        self.bench = bench
        self.catalog = catalog
        self.certified = certified
        last = through
        self.progress = progress
    }

    /// Runs to the end and returns the records, in order.
    ///
    /// - Throws: the failure of the first procedure that does not succeed.
    public func run() throws -> [CalibrationRecord] {
        let reactor = VirtualReactor()
        return try reactor.run { try await self.perform(on: reactor) }
    }

    private func perform(on reactor: VirtualReactor) async throws -> [CalibrationRecord] {
        let plan = LinkPlan()
        let link = try EmulatedLink(
            file: bench, plan: plan, catalog: catalog, reactor: reactor, certified: certified)
        let instruments = try await link.openReceiver(try await link.discover())
        return try await Self.calibrate(
            link, plan: plan, instruments: instruments, reactor: reactor, through: last
        ) { [progress] step, _ in progress("calibrated \(step.rawValue)") }
    }

    /// Calibrates `link` with instruments that are open, and closes them.
    ///
    /// - Parameters:
    ///   - instruments: Bob's, wherever they were opened.
    ///   - reactor: the one that their drivers run on.
    ///   - last: the last procedure.
    ///   - onRecord: called after each procedure.
    /// - Returns: the records, in order.
    /// - Throws: the failure of the first procedure that does not succeed.
    public static func calibrate(
        _ link: EmulatedLink, plan: LinkPlan, instruments: ReceiverInstruments,
        reactor: any Reactor, through last: Step,
        onRecord: @Sendable (Step, CalibrationRecord) -> Void
    ) async throws -> [CalibrationRecord] {
        let pair = try await LinkPair(
            plan: plan, seed: link.file.seed, instruments: instruments, source: link.source,
            receiverZ: link.configuration.receiver.probabilityZ,
            slotOrigin: link.devices.context.origin,
            profileDigests: link.catalog.profiles.map(\.id), reactor: reactor)
        reactor.start { await pair.alice.run() }
        var records: [CalibrationRecord] = []
        do {
            try await pair.bob.connect()
            try await pair.bob.startAcquisition()
            for step in Step.allCases {
                let record = try await pair.sequence.run(step)
                records.append(record)
                onRecord(step, record)
                if step == last { break }
            }
        } catch {
            await pair.bob.stopAcquisition()
            await instruments.close()
            throw error
        }
        await pair.bob.stop("the calibration is over")
        await pair.bob.stopAcquisition()
        await instruments.close()
        return records
    }

    /// The records for people.
    public static func text(of records: [CalibrationRecord]) -> String {
        records.flatMap { record -> [String] in
            var lines = ["\(record.procedure): \(record.outcome), \(record.moves) moves"]
            for value in record.result?.values ?? [] {
                let error = value.uncertainty > 0 ? " ± \(number(value.uncertainty))" : ""
                lines.append("  \(value.name): \(number(value.value))\(error) \(value.unit)")
            }
            if let limit = record.result?.limit {
                lines.append("  \(fixed(limit.ratio, 2)) × the physical limit (\(limit.bound))")
            }
            lines.append("  record \(record.sequence), SHA-256 \(recordDigest(record))")
            return lines
        }.joined(separator: "\n")
    }
}
