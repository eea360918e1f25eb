import CSystemShims
import DeviceProfiles
import Glibc
import HostIO
import Quantities

/// A pseudo-terminal with an emulated instrument at its other end, for clients that expect a serial
/// port of the system. Runs in real time.
///
/// A pseudo-terminal has no modem lines and no rate; clients that set RTS on it get an error from
/// the kernel. For those the instrument has to be put on USB.
public final class PtyFront {
    /// The device node that a client opens.
    public let path: String
    private let line: SerialLine
    private let reactor: MonotonicReactor
    private let master: Int32
    private let slave: Int32
    private let link: String?
    private var outgoing: [UInt8] = []

    /// Opens a pseudo-terminal for `device`, whose context runs on `reactor`.
    ///
    /// - Parameters:
    ///   - baud: the rate at which bytes pass; nil lets them pass at once.
    ///   - link: a symbolic link to create for the node, replacing an earlier link.
    /// - Throws: `system` with the error of the call that failed.
    public init(
        device: any EmulatedSerialDevice, reactor: MonotonicReactor, baud: Int?, link: String? = nil
    ) throws(ByteStreamError) {
        line = SerialLine(device: device, baud: baud)
        self.reactor = reactor
        var name = [CChar](repeating: 0, count: 128)
        master = berek_pty_open(&name, name.count)
        guard master >= 0 else { throw Self.failure("posix_openpt") }
        path = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        // An open slave keeps the master usable between clients, and holds the raw settings.
        slave = Glibc.open(path, O_RDWR | O_NOCTTY)
        var settings = termios()
        guard slave >= 0, tcgetattr(slave, &settings) == 0 else {
            let error = Self.failure("open \(path)")
            Glibc.close(master)
            throw error
        }
        cfmakeraw(&settings)
        _ = tcsetattr(slave, TCSANOW, &settings)
        if let link {
            Self.removeLink(link)
            guard symlink(path, link) == 0 else {
                let error = Self.failure("symlink \(link)")
                Glibc.close(slave)
                Glibc.close(master)
                throw error
            }
        }
        // Last: once every property is set, a throwing initializer would run deinit as well.
        self.link = link
    }

    /// Removes a symbolic link and nothing else.
    private static func removeLink(_ path: String) {
        var target = [CChar](repeating: 0, count: 1)
        if readlink(path, &target, 1) >= 0 { unlink(path) }
    }

    deinit {
        if let link { Self.removeLink(link) }
        Glibc.close(slave)
        Glibc.close(master)
    }

    private static func failure(_ call: String) -> ByteStreamError {
        .system(code: errno, message: "\(call): \(String(cString: strerror(errno)))")
    }

    /// Serves the client until `isDone` says so; it is asked at least every 20 ms.
    public func serve(until isDone: () -> Bool) {
        while !isDone() {
            let timer = reactor.runDue()
            exchange(at: reactor.now)
            wait(for: timer)
        }
    }

    private func exchange(at now: HostInstant) {
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = Glibc.read(master, &chunk, chunk.count)
            guard count > 0 else { break }
            line.hostWrite(Array(chunk[..<count]), at: now)
        }
        line.advance(to: now)
        while true {
            if outgoing.isEmpty { outgoing = line.hostRead(upTo: 4096, at: now) }
            guard !outgoing.isEmpty else { return }
            let count = Glibc.write(master, outgoing, outgoing.count)
            guard count > 0 else { return }
            outgoing.removeFirst(count)
        }
    }

    private func wait(for timer: HostInstant?) {
        let now = reactor.now
        let arrival = outgoing.isEmpty ? line.toHost.arrival(of: 1) : nil
        let next = [timer, line.nextWake(after: now), arrival].compactMap { $0 }.min()
        let limit: Int64 = 20_000_000
        let nanoseconds = max(0, min(limit, next.map { $0.nanoseconds - now.nanoseconds } ?? limit))
        berek_wait_for_io(master, outgoing.isEmpty ? 0 : 1, nanoseconds)
    }
}

/// The instruments that can be served on a pseudo-terminal.
public enum PtyDevice: String, CaseIterable, Sendable {
    /// The time tagger of S-Fifteen Instruments.
    case tdc1
    /// The polarization controller of Thorlabs.
    case mpc320
    /// The detector module of S-Fifteen Instruments.
    case spd
    /// Three Elliptec rotation mounts of Thorlabs on one line, at the addresses 2, 3 and 8.
    case ell14
    /// Thorlabs' paddles on an Elliptec line, at address A.
    case ell3

    /// The profile that describes it.
    public var profileID: String {
        switch self {
        case .tdc1: "s15-tdc1"
        case .mpc320: "thorlabs-mpc320"
        case .spd: "s15-spd"
        case .ell14: "thorlabs-ell14"
        case .ell3: "thorlabs-ell3"
        }
    }
}

/// Why a device can not be served on a pseudo-terminal.
public enum PtyError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The profile lacks something.
    case profile(MissingProfileField)
    /// The system refused.
    case stream(ByteStreamError)

    /// What happened, as a phrase.
    public var description: String {
        switch self {
        case .profile(let error): error.description
        case .stream(let error): error.description
        }
    }
}

/// Serves an emulated instrument, without an optical bench behind it, on a pseudo-terminal.
///
/// The tagger sees Poisson pulses of 1000 to 4000 per second on inputs 1 to 4, the detector counts
/// 1000 per second and volt above 150 V.
///
/// - Parameters:
///   - device: which instrument.
///   - profile: the profile with `device.profileID`.
///   - link: a symbolic link to create for the node.
///   - seed: the seed of its random choices.
///   - onReady: called with the path of the node once a client may open it.
///   - isDone: asked at least every 20 ms whether to stop.
/// - Throws: `PtyError` when the profile or the system does not allow it.
public func serveOnPty(
    _ device: PtyDevice, profile: DeviceProfile, link: String? = nil, seed: UInt64,
    onReady: (String) -> Void, until isDone: () -> Bool
) throws(PtyError) {
    let reactor = MonotonicReactor()
    let context = EmulationContext(reactor: reactor, seed: seed)
    let model: any EmulatedSerialDevice
    do throws(MissingProfileField) {
        switch device {
        case .tdc1:
            model = try TDC1Unit(
                profile: profile, context: context,
                inputs: PoissonPulses(
                    rates: [1000, 2000, 3000, 4000].map { Hertz($0) },
                    generator: context.generator("pulses")),
                oscillator: ConstantOscillator())
        case .mpc320:
            model = try MPC320Controller(
                profile: profile, context: context, plates: RecordingWaveplates(plateCount: 3),
                serial: profile.emulation?.serial ?? "38000001")
        case .spd:
            model = try SPDModule(
                profile: profile, context: context,
                detector: SimpleDetector(
                    breakdown: Volts(150), rate: Hertz(1000),
                    generator: context.generator("detector")))
        case .ell14:
            model = try ElliptecLine(
                profile: profile, context: context, plates: RecordingWaveplates(plateCount: 3),
                addresses: [2, 3, 8])
        case .ell3:
            model = try ElliptecLine(
                profile: profile, context: context, plates: RecordingWaveplates(plateCount: 3),
                addresses: [10])
        }
    } catch { throw .profile(error) }
    do throws(ByteStreamError) {
        // Instruments behind a line of their own are as slow as it; a port without one is not.
        let isPaced = [.usbFTDI, .serialLine].contains(profile.identity.transport)
        let front = try PtyFront(
            device: model, reactor: reactor, baud: isPaced ? profile.serialPort?.baud : nil,
            link: link)
        onReady(front.path)
        front.serve(until: isDone)
    } catch { throw .stream(error) }
}
