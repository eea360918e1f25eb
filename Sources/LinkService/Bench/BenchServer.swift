import DeviceProfiles
import Emulated
import EventPipeline
import Glibc
import HostIO
import LinuxIO
import Quantities

/// Which fronts a bench is served at.
public struct BenchFronts: Sendable {
    /// The TCP port of USB/IP on loopback; 0 lets the system choose one.
    public var usbip: UInt16?
    /// The folder for a link to the pseudo-terminal of each serial instrument.
    public var ptyFolder: String?
    /// Serial instruments served as a raw stream on a loopback TCP port, 0 for any.
    public var tcp: [(name: String, port: UInt16)] = []
    /// Whether all USB instruments are attached to this machine.
    public var attach = false
    /// The path of the control socket.
    public var control: String?
    /// No front.
    public init() {}
}

/// Why a bench can not be served as asked.
public struct BenchServeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was expected.
    public let expected: String
    /// What was found.
    public let found: String
    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String { "BRK-BEN-009" }
    /// `code: expected …, found …`.
    public var description: String { "\(code): expected \(expected), found \(found)" }
}

/// A bench in front of other programs: USB/IP, pseudo-terminals, TCP, and a control socket.
///
/// An instrument has one cable: one that is served on a pseudo-terminal or a TCP port is not on the
/// USB bus of the bench.
public final class BenchServer: Sendable {
    /// Something that a user should see, as a line of text.
    public typealias Announcement = @Sendable (String) -> Void

    private let served: ServedBench
    private let reactor: EpollReactor
    private let attaches: Bool
    private let usbip: USBIPService?
    private let usbipListener: TCPListener?
    private let terminals: [(name: String, terminal: PseudoTerminal)]
    private let listeners: [(name: String, listener: TCPListener)]
    private let control: UnixListener?
    private let announce: Announcement
    private let isOver = Flag()

    /// Brings the bench of `file` up and opens its fronts; its time starts now.
    ///
    /// - Throws: `BenchServeError` for a front that does not fit an instrument, `ByteStreamError` when
    ///   the system refuses one, and what `EmulatedLink` throws.
    public init(
        file: BenchFile, catalog: ProfileCatalog, clock: BenchClock, fronts: BenchFronts,
        certified: Bool = false, reactor: EpollReactor, announce: @escaping Announcement
    ) throws {
        let serial = file.devices.filter { catalog[$0.profile]?.serialPort != nil }.map(\.name)
        for (name, _) in fronts.tcp where !serial.contains(name) {
            throw BenchServeError(
                expected: "an instrument with a serial port: \(serial.joined(separator: ", "))",
                found: "'\(name)'")
        }
        if fronts.attach, clock == .virtual {
            throw BenchServeError(
                expected: "a clock that runs for --attach: the kernel does not wait for a device "
                    + "whose time stands still", found: "--clock virtual")
        }
        let overTCP = Set(fronts.tcp.map(\.name))
        let onLines = fronts.ptyFolder == nil ? overTCP : Set(serial)
        self.reactor = reactor
        self.announce = announce
        attaches = fronts.attach
        served = try ServedBench(
            file: file, catalog: catalog, clock: clock, certified: certified, reactor: reactor,
            cable: { onLines.contains($0) ? .line : .usb })
        terminals = try Self.openTerminals(
            serial.filter { !overTCP.contains($0) }, in: fronts.ptyFolder, reactor)
        listeners = try fronts.tcp.map { name, port in
            (name, try TCPListener(port: port, reactor: reactor))
        }
        let needsUSB = fronts.usbip != nil || fronts.attach
        usbip =
            needsUSB
            ? USBIPService(bench: served.link.devices, reactor: reactor) { announce("\($0)") }
            : nil
        usbipListener = try fronts.usbip.map { try TCPListener(port: $0, reactor: reactor) }
        control = try fronts.control.map { try UnixListener(path: $0, reactor: reactor) }
    }

    private static func openTerminals(
        _ names: [String], in folder: String?, _ reactor: EpollReactor
    ) throws -> [(name: String, terminal: PseudoTerminal)] {
        guard let folder else { return [] }
        guard mkdir(folder, 0o755) == 0 || errno == EEXIST else {
            throw BenchServeError(
                expected: "a folder for links to pseudo-terminals",
                found: "\(folder): \(String(cString: strerror(errno)))")
        }
        return try names.map { name in
            (name, try PseudoTerminal(link: "\(folder)/\(name)", reactor: reactor))
        }
    }

    /// Serves until `stop` or a request to stop, then takes every front down.
    public func run() async {
        let isStopped: @Sendable () -> Bool = { [isOver] in isOver.isUp }
        var tasks: [Task<Void, Never>] = []
        for line in fronts { announce(line) }
        for (name, terminal) in terminals {
            guard let port = served.link.devices.serialPort(of: name) else { continue }
            let front = SerialFront(port: port, reactor: reactor, isStopped: isStopped)
            tasks.append(reactor.start { await front.serve(terminal) })
        }
        for (name, listener) in listeners {
            guard let port = served.link.devices.serialPort(of: name) else { continue }
            let front = SerialFront(port: port, reactor: reactor, isStopped: isStopped)
            tasks.append(reactor.start { await front.serve(listener) })
        }
        if let usbip, let usbipListener {
            tasks.append(reactor.start { try? await usbip.serve(on: usbipListener) })
        }
        if let usbip, attaches { tasks.append(reactor.start { await usbip.mirror() }) }
        if let control {
            let server = BenchControlServer(
                listener: control, reactor: reactor, isStopped: isStopped,
                perform: { [self] in await perform($0) })
            tasks.append(reactor.start { await server.serve() })
        }
        announce("ready")
        await served.run(isStopped: isStopped)
        // A writer that waits for a client to read ends with its stream.
        for (_, terminal) in terminals { await terminal.stream.close() }
        usbip?.stop()
        for task in tasks { await task.value }
    }

    /// Ends `run`.
    public func stop() { _ = isOver.raise() }

    private func perform(_ request: BenchRequest) async -> Result<JSONText, BenchControlError> {
        if request == .devices { return .success(devices) }
        do throws(BenchControlError) {
            let result = try await served.perform(request)
            if request == .stop {
                // The answer goes out first.
                reactor.schedule(at: reactor.now + .milliseconds(200)) { [self] in stop() }
            }
            return .success(result)
        } catch { return .failure(error) }
    }

    // MARK: - What is served where

    /// The instruments with the way to each, under names that stay.
    private var devices: JSONText {
        let exportable = Set(usbip?.busIDs ?? [])
        return .array(
            served.link.file.devices.map { device in
                let profile = served.link.catalog[device.profile]
                let path = served.link.devices.usbPath(of: device.name)
                let terminal = terminals.first { $0.name == device.name }?.terminal
                let listener = listeners.first { $0.name == device.name }?.listener
                return .object([
                    ("name", .string(device.name)), ("profile", .string(device.profile)),
                    ("kind", profile.map { .string($0.identity.kind.rawValue) } ?? .null),
                    ("wired_to", .string(device.terminal.rawValue)),
                    ("plugged_in", .bool(served.isPluggedIn(device.name))),
                    ("usb_port", path.map(JSONText.string) ?? .null),
                    (
                        "usbip",
                        usbipListener.flatMap { listener in
                            path == nil ? nil : .integer(Int64(listener.port))
                        } ?? .null
                    ),
                    ("free", path.map { .bool(exportable.contains($0)) } ?? .null),
                    ("pty", terminal.map { .string($0.path) } ?? .null),
                    ("tcp", listener.map { .integer(Int64($0.port)) } ?? .null),
                    ("lines", Self.lines(of: device)),
                ])
            })
    }

    private static func lines(of device: BenchDevice) -> JSONText {
        let wires =
            device.lines.map { (name: $0.key, line: $0.value) }
            + device.pins.map { (name: "pin \($0.key)", line: $0.value) }
        return .object(
            wires.sorted { ($0.line.chip, $0.line.offset) < ($1.line.chip, $1.line.offset) }
                .map { ($0.name, .string("\($0.line.chip)/\($0.line.offset)")) })
    }

    /// The fronts, one a line.
    private var fronts: [String] {
        var lines: [String] = []
        for device in served.link.file.devices {
            if let terminal = terminals.first(where: { $0.name == device.name })?.terminal {
                lines.append("\(device.name) pty \(terminal.path)")
            }
            if let listener = listeners.first(where: { $0.name == device.name })?.listener {
                lines.append("\(device.name) tcp 127.0.0.1:\(listener.port)")
            }
            if let usbipListener, let path = served.link.devices.usbPath(of: device.name) {
                lines.append("\(device.name) usbip 127.0.0.1:\(usbipListener.port) \(path)")
            }
        }
        if let control { lines.append("control \(control.path)") }
        return lines
    }
}
