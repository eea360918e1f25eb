import DeviceProfiles
import Emulated
import HostIO
import LinuxIO
import Quantities

/// An emulated instrument alone on a pseudo-terminal, in real time, with stand-ins at its
/// connectors.
public struct PtyInstrument: Sendable {
    /// Short names of serial instruments, for people and scripts.
    public static let shortNames: [(name: String, profile: String)] = [
        ("tdc1", "s15-tdc1"), ("mpc320", "thorlabs-mpc320"), ("spd", "s15-spd"),
        ("lcd", "s15-lcd"), ("epc", "oz-epc-400"), ("dd100", "oz-dd-100-mc"), ("psd", "mpd-psd"),
        ("mtd415t", "thorlabs-mtd415t"), ("ell14", "thorlabs-ell14"), ("ell3", "thorlabs-ell3"),
        ("ticc", "tapr-ticc-2020"),
    ]
    /// The addresses of the units on a line that several share; other lines have one unit.
    private static let addresses: [String: [UInt8]] = [
        "thorlabs-ell14": [2, 3, 8], "thorlabs-ell3": [10],
    ]

    private let profile: DeviceProfile

    /// The instrument with a short name or the identifier of a profile with a serial port.
    ///
    /// - Throws: `BenchServeError` when there is none.
    public init(_ name: String, catalog: ProfileCatalog) throws(BenchServeError) {
        let id = Self.shortNames.first { $0.name == name }?.profile ?? name
        guard let profile = catalog[id], profile.serialPort != nil else {
            let serial = catalog.profiles.filter { $0.serialPort != nil }.map(\.id)
            let known = Self.shortNames.map(\.name) + serial
            throw BenchServeError(
                expected: "an instrument with a serial port: \(known.joined(separator: ", "))",
                found: "'\(name)'")
        }
        self.profile = profile
    }

    /// Serves the instrument until `isStopped` or `seconds` have passed.
    ///
    /// - Parameters:
    ///   - link: a symbolic link to create for the node.
    ///   - seed: decides everything random.
    ///   - onReady: called with the path of the node once a client may open it.
    /// - Throws: when the profile lacks a fact or the system refuses a pseudo-terminal.
    public func serve(
        link: String?, seed: UInt64, seconds: Double?, onReady: (String) -> Void,
        isStopped: @escaping @Sendable () -> Bool
    ) async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let bench = EmulatedBench(reactor: reactor, seed: seed)
        let name = profile.emulation?.serial ?? "unit-1"
        let addresses = Self.addresses[profile.id] ?? []
        let connection = try BenchConnection.standIn(
            for: profile, name: name, context: bench.context, gpio: bench.gpio,
            units: max(1, addresses.count))
        try bench.add(
            BenchEntry(
                profile: profile, serial: name, connection: connection, addresses: addresses,
                cable: .line))
        guard let port = bench.serialPort(of: name) else {
            throw MissingProfileField(profile: profile.id, path: "an emulated serial model")
        }
        let terminal = try PseudoTerminal(link: link, reactor: reactor)
        let end = seconds.map { reactor.now + .nanoseconds(Int64($0 * 1e9)) }
        let isOver: @Sendable () -> Bool = {
            isStopped() || end.map { MonotonicTime.now >= $0 } ?? false
        }
        let front = SerialFront(port: port, reactor: reactor, isStopped: isOver)
        let serving = reactor.start { await front.serve(terminal) }
        onReady(terminal.path)
        while !isOver() {
            bench.keepPace()
            try await reactor.sleep(for: .milliseconds(20))
        }
        await terminal.stream.close()
        await serving.value
    }
}
