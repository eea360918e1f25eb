import DeviceProfiles
import Emulated
import HostIO
import LinkService
import LinuxIO
import OpticalBench
import Quantities

/// Pulses at equal distances, one input after the other: a stream in which nothing can be missing,
/// doubled or out of order without being seen.
final class RoundRobinPulses: TaggerInputs {
    private let period: Int64
    private var next: Int64 = 0

    /// - Parameter period: from one pulse to the next, in picoseconds.
    init(period: Picoseconds) { self.period = period.rawValue }

    func takePulses(through time: Picoseconds) -> [InputPulse] {
        var pulses: [InputPulse] = []
        while next * period <= time.rawValue {
            pulses.append(
                InputPulse(time: Picoseconds(next * period), input: UInt8(next % 4)))
            next += 1
        }
        return pulses
    }
}

/// The USB instruments of a BB84 bench, on emulated ports that this machine's virtual host
/// controller mirrors.
final class USBBench {
    static let card = "CQT-1"
    static let tagger = "TDC1-0019"
    static let controller = "38000001"
    static let detectors = ["SPD-0001", "SPD-0002"]

    /// The distance of the pulses at the time stamp card.
    static let cardPeriod = Picoseconds(20_000_000)
    /// The distance of the pulses at the TDC1.
    static let taggerPeriod = Picoseconds(500_000_000)

    let bench: EmulatedBench
    let service: USBIPService
    private let catalog: ProfileCatalog
    private var plates = RecordingWaveplates(plateCount: 3)

    init(catalog: ProfileCatalog, reactor: EpollReactor) throws {
        self.catalog = catalog
        bench = EmulatedBench(reactor: reactor, seed: 11)
        service = USBIPService(bench: bench, reactor: reactor)
        for serial in [Self.card, Self.tagger, Self.controller] + Self.detectors {
            try bench.add(try entry(serial))
        }
    }

    /// Pulls an instrument out.
    func unplug(_ serial: String) {
        if let path = bench.usbPath(of: serial) { bench.usb.detach(path: path) }
    }

    /// Pulls an instrument out at `instant`.
    func unplug(_ serial: String, at instant: HostInstant) {
        if let path = bench.usbPath(of: serial) { bench.usb.detach(path: path, at: instant) }
    }

    /// Plugs an instrument in again where it was; it has been without power.
    func plugIn(_ serial: String) throws {
        var entry = try entry(serial)
        entry.path = bench.usbPath(of: serial)
        try bench.add(entry)
    }

    /// Makes a fault happen in an instrument now.
    func inject(_ fault: EmulatedFault, into serial: String) {
        if let path = bench.usbPath(of: serial) { bench.usb.inject(fault, path: path) }
    }

    /// Where the paddles of the polarization controller really are, in degrees.
    var paddles: [Double] { bench.context.exclusively { plates.angles.map(\.degrees) } }

    private func entry(_ serial: String) throws -> BenchEntry {
        let (id, connection): (String, BenchConnection) =
            switch serial {
            case Self.card:
                (
                    "cqt-timestamp-usb",
                    .timeTagger(
                        inputs: RoundRobinPulses(period: Self.cardPeriod),
                        oscillator: ConstantOscillator())
                )
            case Self.tagger:
                (
                    "s15-tdc1",
                    .timeTagger(
                        inputs: RoundRobinPulses(period: Self.taggerPeriod),
                        oscillator: ConstantOscillator())
                )
            case Self.controller:
                ("thorlabs-mpc320", .polarizationController(newPlates()))
            default:
                (
                    "s15-spd",
                    .detector(
                        SimpleDetector(
                            breakdown: Volts(100), rate: Hertz(1000),
                            generator: bench.context.generator(serial)))
                )
            }
        guard let profile = catalog[id] else { throw CheckFailure("no profile \(id)") }
        return BenchEntry(profile: profile, serial: serial, connection: connection)
    }

    private func newPlates() -> RecordingWaveplates {
        plates = RecordingWaveplates(plateCount: 3)
        return plates
    }
}
