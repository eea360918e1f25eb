import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import Instruments
import OpticalBench
import Quantities
import Registry

/// The shipped profiles, read once.
package let shippedCatalog = Result { try FirmwareProfiles.catalog() }

/// The identifiers of all shipped profiles.
package func shippedProfileIDs() -> [String] {
    (try? shippedCatalog.get())?.profiles.map(\.id).sorted() ?? []
}

/// What a bench can not be made of, or what is not on it.
package struct ContractBenchError: Error, CustomStringConvertible {
    /// What is wrong, as a sentence.
    package let description: String
    init(_ description: String) { self.description = description }
}

/// One emulated instrument, reached through discovery and its driver as a program does it.
package struct ContractBench: Sendable {
    /// What the instrument is.
    package let profile: DeviceProfile
    /// The time of the bench.
    package let reactor: any Reactor
    /// The bench it stands on.
    package let bench: EmulatedBench
    /// What its operator has declared.
    package let wiring: BenchWiring
    /// The ports its driver has, without anything in between.
    package let ports: HostPorts
    /// The serial port that it is on instead of USB, if it is.
    package let line: EmulatedSerialHost?
    private let catalog: ProfileCatalog
    private let cable: SerialCable

    /// The name of the instrument on the bench, and its serial number where it shows one.
    package let name: String
    /// Three units where a line can be shared, at addresses that are neither 0 nor in order.
    package let addresses: [UInt8]

    /// The time between two pulses at the first input of a time tagger.
    /// Slow enough that the FIFO of a CQT card outlasts a silence of its endpoint: an overflow shorter
    /// than the poll of its status is not seen.
    package static let shortestPulsePeriod = Picoseconds(250_000_000)

    /// The time between two pulses of this instrument: no shorter than that, and longer for those
    /// that are saturated by so many.
    package let pulsePeriod: Picoseconds

    /// A bench with one instrument.
    ///
    /// - Parameters:
    ///   - cable: whether an instrument with a serial port is behind its USB bridge or on a line.
    ///   - period: the shortest time between two pulses at a time tagger.
    package init(
        profile id: String, seed: UInt64, reactor: any Reactor, cable: SerialCable = .usb,
        period: Picoseconds = shortestPulsePeriod
    ) throws {
        catalog = try shippedCatalog.get()
        guard let profile = catalog[id] else { throw ContractBenchError("no profile \(id)") }
        self.profile = profile
        self.reactor = reactor
        // Only what has a serial port can be on a line.
        self.cable = profile.serialPort == nil ? .usb : cable
        pulsePeriod =
            profile.limits["event_rate"]?.max.map { max(period, Picoseconds(Int64(4e12 / $0))) }
            ?? period
        name = profile.emulation?.serial ?? "unit-1"
        addresses = profile.dialect?.style == .elliptecText ? [8, 2, 3] : []
        bench = EmulatedBench(reactor: reactor, seed: seed)
        let entry = try Self.entry(
            profile, name: name, cable: self.cable, on: bench, period: pulsePeriod,
            addresses: addresses)
        var wiring = BenchWiring()
        if case .gatedDetector(_, let lines, _) = entry.connection {
            var assignment: LineAssignment = [:]
            for (role, line) in lines {
                guard let known = Instruments.LineRole(rawValue: role) else {
                    throw ContractBenchError("\(id): no line is called \(role)")
                }
                assignment[known] = line
            }
            wiring.lines = [GPIOWiring(name: name, profile: id, lines: assignment)]
        }
        try bench.add(entry)
        if self.cable == .line {
            let host = EmulatedSerialHost(bench: bench, instrument: name)
            line = host
            ports = HostPorts(serial: host, reactor: reactor)
            wiring.serial = [
                SerialWiring(
                    name: name, profile: id, location: .path(host.path), addresses: addresses)
            ]
        } else {
            line = nil
            ports = HostPorts(usb: bench.usb, gpio: bench.gpio, reactor: reactor)
            if profile.identity.transport == .serialLine || profile.usb?.isGeneric ?? false {
                wiring.serial = [
                    SerialWiring(
                        name: name, profile: id, location: .adapter(serial: name),
                        addresses: addresses)
                ]
            }
        }
        self.wiring = wiring
    }

    private static func entry(
        _ profile: DeviceProfile, name: String, cable: SerialCable, on bench: EmulatedBench,
        period: Picoseconds, addresses: [UInt8]
    ) throws -> BenchEntry {
        BenchEntry(
            profile: profile, serial: name,
            connection: try BenchConnection.standIn(
                for: profile, name: name, context: bench.context, gpio: bench.gpio,
                inputs: PeriodicPulses(period: period), units: max(1, addresses.count)),
            path: bench.usbPath(of: name), addresses: addresses, cable: cable)
    }

    /// The instrument as the contract sees it.
    package var subject: ContractSubject {
        ContractSubject(
            profile: profile.id, reactor: reactor, isEmulated: true, pulsePeriod: pulsePeriod,
            bias: Volts(160)
        ) { try await make() }
    }

    /// Looks for the instrument and makes its driver.
    package func make() async throws -> OpenableInstrument { try await make(through: ports) }

    /// Looks for the instrument through ports that something may be in between, and makes its driver.
    package func make(through ports: HostPorts) async throws -> OpenableInstrument {
        let registry = BuiltInDrivers.registry()
        let found = try await registry.discover(on: ports, catalog: catalog, wiring: wiring)
        guard let device = found.first(where: { $0.profile == profile.id }) else {
            throw ContractBenchError("\(profile.id) is not found: \(found)")
        }
        return try registry.make(device, catalog: catalog, ports: ports, wiring: wiring)
    }

    /// Pulls the cable. An instrument on a line keeps its power.
    package func unplug() { bench.unplug(name) }

    /// Connects the cable again.
    package func plugIn() { bench.plugIn(name) }

    /// Puts a sound unit of the same model and serial number in the place of the faulty one.
    package func repair() throws {
        bench.unplug(name)
        try bench.add(
            try Self.entry(
                profile, name: name, cable: cable, on: bench, period: pulsePeriod,
                addresses: addresses))
    }

    /// Whether the instrument is on its bus or line.
    package func isAttached() async throws -> Bool {
        if let port = bench.serialPort(of: name) { return port.isPluggedIn }
        guard let path = bench.usbPath(of: name) else { return true }
        return try await bench.usb.devices().contains { $0.id.path == path }
    }
}
