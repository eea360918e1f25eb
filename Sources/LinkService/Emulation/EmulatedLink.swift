import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import Instruments
import LinkTypes
import OpticalBench
import Quantities
import Registry

/// What an emulated link is exposed to.
public enum DriftPreset: String, CaseIterable, Sendable {
    /// A buried fibre: slow drift.
    case buried
    /// An aerial fibre in light wind.
    case aerial

    var fibre: FibreConfiguration {
        switch self {
        case .buried: .buried
        case .aerial: .aerial
        }
    }
}

/// A whole emulated bench: optics, and byte-level models of the instruments of both nodes on
/// emulated USB and GPIO hosts.
///
/// What it consists of is said by a `BenchFile`; the shipped one has for Bob a CQT time stamp card,
/// a Thorlabs MPC320, two S-Fifteen detector modules (H, V) and two TTL-gated modules (D, A), and for
/// Alice a TDC1 on her pulse per second and her monitor detector.
public final class EmulatedLink: Sendable {
    /// What the bench was built from.
    public let file: BenchFile
    /// The emulated hosts and devices.
    public let devices: EmulatedBench
    /// Alice's source.
    public let source: EmulatedSource
    /// The known profiles.
    public let catalog: ProfileCatalog
    /// The drivers.
    public let registry: DriverRegistry
    /// The wiring of the instruments that can not be found by looking.
    public let wiring: BenchWiring
    /// The configuration of the optics.
    public let configuration: LinkBenchConfiguration
    /// The optics as built, with the imperfections the seed gave them.
    public let parameters: LinkParameters
    private let reactor: any Reactor

    /// The bias that the detectors' data are stated for.
    private static let detectorBias = DetectorConfiguration().nominalBias
    private static let detectorTemperature = DetectorConfiguration().referenceTemperature

    /// The shipped bench with other surroundings and another seed; its time starts now.
    ///
    /// - Throws: as the other initializer.
    public convenience init(
        plan: LinkPlan, drift: DriftPreset, seed: UInt64, catalog: ProfileCatalog,
        reactor: any Reactor, certified: Bool = false
    ) throws {
        var file = try BenchFile.bb84(catalog: catalog)
        file.seed = seed
        file.expose(to: drift)
        try self.init(
            file: file, plan: plan, catalog: catalog, reactor: reactor, certified: certified)
    }

    /// The bench of `file`, whose time starts now; its planned faults are scheduled. With
    /// `certified`, neither drivers nor models use a profile with guesses.
    ///
    /// - Parameter cable: how each serial instrument reaches its host, by name.
    /// - Throws: when a profile or the configuration does not fit the bench, or `certified` refuses a
    ///   profile.
    public init(
        file: BenchFile, plan: LinkPlan, catalog: ProfileCatalog, reactor: any Reactor,
        certified: Bool = false, cable: (String) -> SerialCable = { _ in .usb }
    ) throws {
        self.file = file
        self.reactor = reactor
        self.catalog = catalog
        registry = BuiltInDrivers.registry(certified: certified)
        var configuration = file.optics
        configuration.source.slotPeriod = plan.slotPeriod
        configuration.source.meanPhotonNumbers = [plan.signalIntensity, plan.decoyIntensity]
        self.configuration = configuration
        // Until the first pattern is asked for, Alice sends the published training pattern.
        let optics = try LinkBench(
            configuration: configuration,
            pattern: KeyedPulsePattern(
                key: plan.publishedKey, probabilityZ: 0.5, probabilitySignal: 1),
            seed: file.seed)
        parameters = optics.parameters
        devices = EmulatedBench(reactor: reactor, seed: file.seed, certified: certified)
        source = EmulatedSource(bench: optics, context: devices.context)
        let assembly = BenchAssembly(file: file, catalog: catalog, bench: devices, optics: optics)
        wiring = try assembly.assemble(cable: cable)
        for planned in file.faults {
            schedule(planned.fault, at: devices.context.origin + planned.after)
        }
    }

    /// The emulated hosts as a program sees them.
    public var ports: HostPorts {
        HostPorts(usb: devices.usb, gpio: devices.gpio, reactor: reactor)
    }

    /// What is attached.
    public func discover() async throws -> [DiscoveredDevice] {
        try await registry.discover(on: ports, catalog: catalog, wiring: wiring)
    }

    /// Makes and opens the instruments of Bob's node.
    ///
    /// - Throws: `DriverError` when one is missing or does not open; those opened before are closed.
    public func openReceiver(
        _ found: [DiscoveredDevice]
    ) async throws -> ReceiverInstruments {
        try await Self.openReceiver { terminal in try make(terminal, from: found) }
    }

    /// Opens the instruments of Bob's node and sets them to the operating point of the bench.
    ///
    /// - Parameter make: makes the driver of the instrument at a terminal.
    /// - Throws: what `make` throws, and `DriverError` when an instrument does not open; those opened
    ///   before are closed.
    public static func openReceiver(
        _ make: (BenchTerminal) async throws -> OpenableInstrument
    ) async throws -> ReceiverInstruments {
        var opened: [any Instrument] = []
        do {
            func open(_ terminal: BenchTerminal) async throws -> OpenableInstrument {
                let made = try await make(terminal)
                try await made.instrument.open()
                opened.append(made.instrument)
                return made
            }
            guard
                let tagger = try await open(.receiverInputs).timeTagger,
                let controller = try await open(.receiverPlates).polarizationController
            else { throw wrongKind }
            var detectors: [any SinglePhotonDetector] = []
            for terminal in BenchTerminal.detectors {
                guard let detector = try await open(terminal).singlePhotonDetector else {
                    throw wrongKind
                }
                try await detector.cooling?.setTemperature(detectorTemperature)
                try await detector.biasing?.setBias(detectorBias)
                detectors.append(detector)
            }
            return ReceiverInstruments(
                tagger: tagger, controller: controller, detectors: detectors)
        } catch {
            for instrument in opened { await instrument.close() }
            throw error
        }
    }

    /// Makes Alice's tagger.
    public func sourceTagger(_ found: [DiscoveredDevice]) throws -> any TimeTagger {
        guard let tagger = try make(.sourceInputs, from: found).timeTagger else {
            throw Self.wrongKind
        }
        return tagger
    }

    private func make(
        _ terminal: BenchTerminal, from found: [DiscoveredDevice]
    ) throws(DriverError) -> OpenableInstrument {
        guard let device = file.devices.first(where: { $0.terminal == terminal }) else {
            throw DriverError(
                code: .wrongDevice, instrument: "emulated bench", operation: "find the instrument",
                expected: "an instrument wired to \(terminal.rawValue) in \(file.file)",
                found: "none", advice: "add one to the bench file")
        }
        let match = found.first { candidate in
            switch candidate.address {
            case .wired(let name), .serialLine(let name): name == device.name
            case .usb(let id): id.path == devices.usbPath(of: device.name)
            case .serialPort: false
            }
        }
        guard let match, match.profile == device.profile else {
            throw DriverError(
                code: .wrongDevice, instrument: device.profile, operation: "find the instrument",
                expected: "a device \(device.name) on the bench",
                found: match?.profile ?? "none", advice: "list the devices with 'berek devices'")
        }
        return try registry.make(match, catalog: catalog, ports: ports, wiring: wiring)
    }

    private static let wrongKind = DriverError(
        code: .wrongDevice, instrument: "emulated bench", operation: "open the instruments",
        expected: "an instrument of the kind its profile names", found: "another kind",
        advice: "check the profiles given with --profiles")
}

// MARK: - Faults

extension EmulatedLink {
    /// Makes a fault happen now. Returns false when no instrument has the name, or the instrument
    /// does not have this kind of fault.
    @discardableResult
    public func inject(_ fault: BenchFault) -> Bool {
        switch fault {
        case .device(let name, let fault): return devices.inject(fault, into: name)
        case .optics(let disturbance, let duration):
            source.disturb(disturbance, configuration: configuration, for: duration)
            return true
        }
    }

    /// Makes a fault happen at `instant`; the token takes it back.
    @discardableResult
    public func schedule(_ fault: BenchFault, at instant: HostInstant) -> TimerToken {
        reactor.schedule(at: instant) { [weak self] in self?.inject(fault) }
    }
}
