import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import Instruments
import LinkTypes
import OpticalBench
import Quantities
import Registry
import Testing

/// The shipped profiles, read once.
let shippedCatalog = Result { try FirmwareProfiles.catalog() }

/// One emulated instrument, reached through discovery and its driver as a program does it.
struct ContractBench: Sendable {
    let profile: DeviceProfile
    let reactor: VirtualReactor
    let bench: EmulatedBench
    let wiring: BenchWiring
    private let catalog: ProfileCatalog
    private let registry = BuiltInDrivers.registry()

    /// The name of the instrument on the bench, and its serial number where it shows one.
    let name: String
    /// Three units where a line can be shared, at addresses that are neither 0 nor in order.
    let addresses: [UInt8]

    /// The time between two pulses at the first input of a time tagger.
    /// Slow enough that the FIFO of a CQT card outlasts a silence of its endpoint: an overflow shorter
    /// than the poll of its status is not seen.
    static let shortestPulsePeriod = Picoseconds(250_000_000)

    /// The time between two pulses of this instrument: no shorter than that, and longer for those
    /// that are saturated by so many.
    let pulsePeriod: Picoseconds

    init(profile id: String, seed: UInt64, reactor: VirtualReactor) throws {
        catalog = try shippedCatalog.get()
        profile = try #require(catalog[id])
        pulsePeriod =
            profile.limits["event_rate"]?.max.map {
                max(Self.shortestPulsePeriod, Picoseconds(Int64(4e12 / $0)))
            } ?? Self.shortestPulsePeriod
        self.reactor = reactor
        name = profile.emulation?.serial ?? "unit-1"
        addresses = profile.dialect?.style == .elliptecText ? [8, 2, 3] : []
        bench = EmulatedBench(reactor: reactor, seed: seed)
        let connection = try BenchConnection.standIn(
            for: profile, name: name, context: bench.context, gpio: bench.gpio,
            inputs: PeriodicPulses(period: pulsePeriod), units: max(1, addresses.count))
        var wiring = BenchWiring()
        if case .gatedDetector(_, let lines, _) = connection {
            var assignment: LineAssignment = [:]
            for (role, line) in lines {
                let known = Instruments.LineRole(rawValue: role)
                assignment[try #require(known)] = line
            }
            wiring.lines = [GPIOWiring(name: name, profile: id, lines: assignment)]
        }
        if profile.identity.transport == .serialLine || profile.usb?.isGeneric ?? false {
            wiring.serial = [
                SerialWiring(
                    name: name, profile: id, location: .adapter(serial: name),
                    addresses: addresses)
            ]
        }
        self.wiring = wiring
        try bench.add(
            BenchEntry(
                profile: profile, serial: name, connection: connection, addresses: addresses))
    }

    /// Looks for the instrument and makes its driver.
    func make() async throws -> OpenableInstrument {
        let ports = HostPorts(usb: bench.usb, gpio: bench.gpio, reactor: reactor)
        let found = try await registry.discover(on: ports, catalog: catalog, wiring: wiring)
        let device = try #require(
            found.first { $0.profile == profile.id }, "\(profile.id) is not found: \(found)")
        return try registry.make(device, catalog: catalog, ports: ports, wiring: wiring)
    }

    /// Puts a sound unit of the same model and serial number in the place of the faulty one.
    func repair() throws {
        bench.unplug(name)
        let connection = try BenchConnection.standIn(
            for: profile, name: name, context: bench.context, gpio: bench.gpio,
            inputs: PeriodicPulses(period: pulsePeriod), units: max(1, addresses.count))
        try bench.add(
            BenchEntry(
                profile: profile, serial: name, connection: connection,
                path: bench.usbPath(of: name), addresses: addresses))
    }

    /// Whether the instrument is on its bus.
    func isAttached() async throws -> Bool {
        guard let path = bench.usbPath(of: name) else { return true }
        return try await bench.usb.devices().contains { $0.id.path == path }
    }
}

/// The identifiers of all shipped profiles.
func shippedProfileIDs() -> [String] {
    (try? shippedCatalog.get())?.profiles.map(\.id).sorted() ?? []
}

/// Runs `operation` on virtual time, but not beyond `limit`.
///
/// - Returns: the result, or nil when the operation was still running at the limit: a hang.
func within<Result: Sendable>(
    _ limit: Duration, _ reactor: VirtualReactor,
    _ operation: @escaping @Sendable () async throws -> Result
) async throws -> Result? {
    let race = Race<Result?>()
    let work = reactor.start {
        do { race.finish(.success(try await operation())) } catch { race.finish(.failure(error)) }
    }
    let token = reactor.schedule(at: reactor.now + limit) {
        race.finish(.success(nil))
        work.cancel()
    }
    defer { reactor.cancel(token) }
    return try await race.result()
}
