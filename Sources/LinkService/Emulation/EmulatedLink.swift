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
/// Bob has a CQT time stamp card, a Thorlabs MPC320, two S-Fifteen detector modules (H, V) and two
/// TTL-gated modules (D, A); Alice has a TDC1 on her pulse per second and her monitor detector.
public final class EmulatedLink: Sendable {
    /// The emulated hosts and devices.
    public let devices: EmulatedBench
    /// Alice's source.
    public let source: EmulatedSource
    /// The known profiles.
    public let catalog: ProfileCatalog
    /// The drivers.
    public let registry: DriverRegistry
    /// The wiring of the gated detectors.
    public let wiring: BenchWiring
    /// The configuration of the optics.
    public let configuration: LinkBenchConfiguration
    /// The optics as built, with the imperfections the seed gave them.
    public let parameters: LinkParameters
    private let reactor: any Reactor

    /// The bias that the detectors' data are stated for.
    private static let detectorBias = DetectorConfiguration().nominalBias
    private static let detectorTemperature = DetectorConfiguration().referenceTemperature

    /// A bench whose time starts now. With `certified`, neither drivers nor models use a profile with
    /// guesses.
    ///
    /// - Throws: when a profile or the configuration does not fit the bench, or `certified` refuses a
    ///   profile.
    public init(
        plan: LinkPlan, drift: DriftPreset, seed: UInt64, catalog: ProfileCatalog,
        reactor: any Reactor, certified: Bool = false
    ) throws {
        self.reactor = reactor
        self.catalog = catalog
        registry = BuiltInDrivers.registry(certified: certified)
        var configuration = LinkBenchConfiguration.metropolitan
        configuration.source.slotPeriod = plan.slotPeriod
        configuration.source.meanPhotonNumbers = [plan.signalIntensity, plan.decoyIntensity]
        configuration.fibre = drift.fibre
        self.configuration = configuration
        // Until the first pattern is asked for, Alice sends the published training pattern.
        let bench = try LinkBench(
            configuration: configuration,
            pattern: KeyedPulsePattern(
                key: plan.publishedKey, probabilityZ: 0.5, probabilitySignal: 1),
            seed: seed)
        parameters = bench.parameters
        devices = EmulatedBench(reactor: reactor, seed: seed, certified: certified)
        source = EmulatedSource(bench: bench, context: devices.context)
        wiring = BenchWiring(lines: Self.wirings)
        try addDevices(bench)
    }

    private static let wirings = [("detector-d", 0), ("detector-a", 8)].map { name, first in
        GPIOWiring(
            name: name, profile: "ttl-gated-spad",
            lines: Dictionary(
                uniqueKeysWithValues: gatedRoles.enumerated().map { offset, role in
                    (role, GPIOLineID(chip: "gpiochip0", offset: UInt32(first + offset)))
                }))
    }

    private static let gatedRoles: [Instruments.LineRole] = [
        .gateEnable, .fault, .overLight, .interlock, .shutterCommand, .shutterClosed, .shutterOpen,
        .pulsePerSecond,
    ]

    private func addDevices(_ bench: LinkBench) throws {
        func profile(_ id: String) throws -> DeviceProfile {
            guard let profile = catalog[id] else {
                throw MissingProfileField(profile: id, path: "the whole profile")
            }
            return profile
        }
        try devices.add(
            BenchEntry(
                profile: try profile("cqt-timestamp-usb"), serial: "CQT-1",
                connection: .timeTagger(
                    inputs: bench.receiverInputs, oscillator: bench.receiverOscillator)))
        try devices.add(
            BenchEntry(
                profile: try profile("s15-tdc1"), serial: "TDC1-0019",
                connection: .timeTagger(
                    inputs: bench.sourceInputs, oscillator: bench.sourceOscillator)))
        try devices.add(
            BenchEntry(
                profile: try profile("thorlabs-mpc320"), serial: "38000001",
                connection: .polarizationController(bench.waveplates)))
        for (index, serial) in ["SPD-0001", "SPD-0002"].enumerated() {
            try devices.add(
                BenchEntry(
                    profile: try profile("s15-spd"), serial: serial,
                    connection: .detector(bench.detectors[index])))
        }
        devices.gpio.addChip(
            "gpiochip0", label: "emulated bench",
            lineNames: wiring.lines.flatMap { wiring in
                Self.gatedRoles.map { "\(wiring.name) \($0.rawValue)" }
            })
        for (index, wiring) in wiring.lines.enumerated() {
            try devices.add(
                BenchEntry(
                    profile: try profile(wiring.profile), serial: wiring.name,
                    connection: .gatedDetector(
                        bench.detectors[2 + index],
                        lines: Dictionary(
                            uniqueKeysWithValues: wiring.lines.map { ($0.key.rawValue, $0.value) }))
                ))
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
        var opened: [any Instrument] = []
        do {
            func open(_ profile: String, _ serial: String) async throws -> OpenableInstrument {
                let made = try make(profile, serial, from: found)
                try await made.instrument.open()
                opened.append(made.instrument)
                return made
            }
            guard
                let tagger = try await open("cqt-timestamp-usb", "").timeTagger,
                let controller = try await open("thorlabs-mpc320", "38000001")
                    .polarizationController
            else { throw Self.wrongKind }
            var detectors: [any SinglePhotonDetector] = []
            for (profile, serial) in [
                ("s15-spd", "SPD-0001"), ("s15-spd", "SPD-0002"),
                ("ttl-gated-spad", "detector-d"), ("ttl-gated-spad", "detector-a"),
            ] {
                guard let detector = try await open(profile, serial).singlePhotonDetector else {
                    throw Self.wrongKind
                }
                try await detector.cooling?.setTemperature(Self.detectorTemperature)
                try await detector.biasing?.setBias(Self.detectorBias)
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
        guard let tagger = try make("s15-tdc1", "TDC1-0019", from: found).timeTagger else {
            throw Self.wrongKind
        }
        return tagger
    }

    private func make(
        _ profile: String, _ serial: String, from found: [DiscoveredDevice]
    ) throws(DriverError) -> OpenableInstrument {
        let match = found.first { device in
            guard device.profile == profile else { return false }
            if case .wired(let name) = device.address { return name == serial }
            return serial.isEmpty || device.serial == serial
        }
        guard let match else {
            throw DriverError(
                code: .wrongDevice, instrument: profile, operation: "find the instrument",
                expected: "a device \(serial) on the bench", found: "none",
                advice: "list the devices with 'berek devices'")
        }
        return try registry.make(match, catalog: catalog, ports: ports, wiring: wiring)
    }

    private static let wrongKind = DriverError(
        code: .wrongDevice, instrument: "emulated bench", operation: "open the instruments",
        expected: "an instrument of the kind its profile names", found: "another kind",
        advice: "check the profiles given with --profiles")
}
