import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkService
import LinuxIO
import OpticalBench
import Quantities

/// Pulses at equal distances, one input after the other: a stream in which nothing can be missing,
/// doubled or out of order without being seen.
final class RoundRobinPulses: TaggerInputs {
    private let period: Int64
    private let isOn: () -> Bool
    private var next: Int64 = 0

    /// - Parameters:
    ///   - period: from one pulse to the next, in picoseconds.
    ///   - isOn: whether the pulses come at present. While nobody listens they only cost time.
    init(period: Picoseconds, isOn: @escaping () -> Bool = { true }) {
        self.period = period.rawValue
        self.isOn = isOn
    }

    func takePulses(through time: Picoseconds) -> [InputPulse] {
        let end = time.rawValue / period
        guard isOn() else {
            next = end + 1
            return []
        }
        var pulses: [InputPulse] = []
        while next <= end {
            pulses.append(InputPulse(time: Picoseconds(next * period), input: UInt8(next % 4)))
            next += 1
        }
        return pulses
    }
}

/// A switch that the bench reads under the lock of its context.
final class PulseSwitch: @unchecked Sendable {
    // @unchecked: touched only under the lock of the context.
    var isOn = false
}

/// One instrument of the bench: what it is, and what is to be known about it.
struct BenchUnit {
    /// Its serial number, or its name where the model has none.
    let serial: String
    /// The identifier of its profile.
    let profile: String
    /// The addresses of the units on its line.
    var addresses: [UInt8] = []
    /// Whether the operator has to declare its port, because the adapter tells nothing.
    var isDeclared = false
    /// Whether it waits for firmware at first.
    var startsCold = false
    /// The kernel driver that takes it and does not make a serial port of it.
    var kernelDriver: String?
}

/// The USB instruments of a BB84 bench, on emulated ports that this machine's virtual host
/// controller mirrors.
final class USBBench {
    static let card = "CQT-1"
    static let tagger = "TDC1-0019"
    static let controller = "38000001"
    static let detectors = ["SPD-0001", "SPD-0002"]

    /// The instruments of the link, which have checks of their own.
    static let link =
        [
            BenchUnit(serial: card, profile: "cqt-timestamp-usb"),
            BenchUnit(serial: tagger, profile: "s15-tdc1"),
            BenchUnit(serial: controller, profile: "thorlabs-mpc320"),
        ] + detectors.map { BenchUnit(serial: $0, profile: "s15-spd") }

    /// Every other kind of instrument, and every other way to be connected: `DeviceChecks`.
    static let others = [
        BenchUnit(
            serial: "002001", profile: "idq-id120", kernelDriver: "usbtmc"),
        BenchUnit(serial: "P0000001", profile: "thorlabs-pm100d", kernelDriver: "usbtmc"),
        BenchUnit(serial: "320012345", profile: "labjack-u3"),
        BenchUnit(serial: "0041BE72", profile: "silabs-cp2112", kernelDriver: "usbhid"),
        BenchUnit(serial: "timetag-1", profile: "umass-timetag-fpga", startsCold: true),
        BenchUnit(serial: "75330303035351F0A020", profile: "tapr-ticc-2020", isDeclared: true),
        BenchUnit(
            serial: "DK0ELL14", profile: "thorlabs-ell14", addresses: [2, 3, 8], isDeclared: true),
        BenchUnit(serial: "DD100-0001", profile: "oz-dd-100-mc", isDeclared: true),
        BenchUnit(serial: "MTD-0001", profile: "thorlabs-mtd415t", isDeclared: true),
        BenchUnit(serial: "PSD-0001", profile: "mpd-psd", isDeclared: true),
    ]

    /// The other models and firmware versions of the families above. With them the bench has more
    /// devices than one virtual host controller has ports of a speed.
    static let siblings = [
        BenchUnit(serial: "EPC-0001", profile: "oz-epc-400", isDeclared: true),
        BenchUnit(serial: "MPC220-0001", profile: "thorlabs-mpc220", isDeclared: true),
        BenchUnit(
            serial: "DK0ELL3", profile: "thorlabs-ell3", addresses: [10], isDeclared: true),
        BenchUnit(serial: "LCDD-001", profile: "s15-lcd"),
        BenchUnit(serial: "P1000001", profile: "thorlabs-pm100usb", kernelDriver: "usbtmc"),
        BenchUnit(serial: "P1600001", profile: "thorlabs-pm16-120", kernelDriver: "usbtmc"),
        BenchUnit(serial: "M0100001", profile: "thorlabs-pm101u", kernelDriver: "usbtmc"),
        BenchUnit(serial: "75330303035351F0A017", profile: "tapr-ticc-2017", isDeclared: true),
        BenchUnit(serial: "75330303035351F0A025", profile: "tapr-ticc-2025", isDeclared: true),
    ]

    /// All of them, in the order of their ports.
    static let units = link + others + siblings

    /// What the operator has declared.
    static let wiring = BenchWiring(
        serial: units.filter(\.isDeclared).map {
            SerialWiring(
                name: $0.serial, profile: $0.profile, location: .adapter(serial: $0.serial),
                addresses: $0.addresses)
        })

    /// The distance of the pulses at the time stamp card.
    static let cardPeriod = Picoseconds(20_000_000)
    /// The distance of the pulses at the TDC1.
    static let taggerPeriod = Picoseconds(500_000_000)
    /// The distance of the pulses at the first input of the FPGA tagger.
    static let timetagPeriod = Picoseconds(250_000_000)
    /// The distance of the pulses at the first input of the TICC, which prints a line for each.
    static let counterPeriod = Picoseconds(20_000_000_000)

    let bench: EmulatedBench
    let service: USBIPService
    private let catalog: ProfileCatalog
    private var plates: [String: RecordingWaveplates] = [:]
    private var retarders: [String: RecordingRetarders] = [:]
    private let terminals = LoopedTerminals()
    private let cardPulses = PulseSwitch()

    /// The chip on the bench that the pins of the CP2112 are wired to.
    private static let pinChip = "bench pins"

    /// - Parameter units: those on the bench, by default all.
    init(
        catalog: ProfileCatalog, reactor: EpollReactor, units: [BenchUnit] = USBBench.units
    ) throws {
        self.catalog = catalog
        bench = EmulatedBench(reactor: reactor, seed: 11)
        service = USBIPService(bench: bench, reactor: reactor)
        bench.gpio.addChip(Self.pinChip, label: "bench", lineNames: ["pin 0", "pin 1"])
        for unit in units { try bench.add(try entry(unit)) }
        Self.keepPace(bench, on: reactor)
    }

    /// Lets instruments that nobody asks anything live on, so that their idle time is not made up for
    /// while a client waits.
    static func keepPace(_ bench: EmulatedBench, on reactor: EpollReactor) {
        reactor.schedule(at: reactor.now + .milliseconds(50)) { [weak bench] in
            guard let bench else { return }
            bench.keepPace()
            keepPace(bench, on: reactor)
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
        guard let unit = Self.units.first(where: { $0.serial == serial }) else {
            throw CheckFailure("no instrument \(serial) on the bench")
        }
        var entry = try entry(unit)
        entry.path = bench.usbPath(of: serial)
        try bench.add(entry)
    }

    /// Makes a fault happen in an instrument now.
    func inject(_ fault: EmulatedFault, into serial: String) {
        if let path = bench.usbPath(of: serial) { bench.usb.inject(fault, path: path) }
    }

    /// Switches the pulses at the time stamp card on or off; they are off at first.
    func sendCardPulses(_ isOn: Bool) {
        bench.context.exclusively { cardPulses.isOn = isOn }
    }

    // MARK: - What is true

    /// Where the axes of a polarization controller really are, in radians or volts.
    func settings(of serial: String) -> [Double] {
        bench.context.exclusively {
            plates[serial]?.angles.map(\.rawValue) ?? retarders[serial]?.drives.map(\.rawValue)
                ?? []
        }
    }

    /// Where the paddles of the polarization controller of the link really are, in degrees.
    var paddles: [Double] { settings(of: Self.controller).map { Radians($0).degrees } }

    /// The voltage at an output of the U3, which a wire leads to the input of the same number.
    func terminal(_ number: Int) -> Volts {
        let now = bench.context.benchTime(at: bench.context.now)
        return bench.context.exclusively { terminals.voltage(input: number, at: now) }
    }

    /// A wired pin of the CP2112, as the bench sees it.
    func pin(_ number: Int) -> GPIOLineID {
        GPIOLineID(chip: Self.pinChip, offset: UInt32(number))
    }

    // MARK: - What is connected

    private func entry(_ unit: BenchUnit) throws -> BenchEntry {
        guard let profile = catalog[unit.profile] else {
            throw CheckFailure("no profile \(unit.profile)")
        }
        return BenchEntry(
            profile: profile, serial: unit.serial, connection: try connection(unit, profile),
            addresses: unit.addresses, startsCold: unit.startsCold)
    }

    private func connection(
        _ unit: BenchUnit, _ profile: DeviceProfile
    ) throws -> BenchConnection {
        let inputs: (any TaggerInputs)? =
            switch profile.id {
            case "cqt-timestamp-usb":
                RoundRobinPulses(period: Self.cardPeriod) { [cardPulses] in cardPulses.isOn }
            case "s15-tdc1": RoundRobinPulses(period: Self.taggerPeriod)
            case "umass-timetag-fpga": PeriodicPulses(period: Self.timetagPeriod)
            case "tapr-ticc-2017", "tapr-ticc-2020", "tapr-ticc-2025":
                PeriodicPulses(period: Self.counterPeriod)
            default: nil
            }
        switch profile.id {
        case "s15-spd":
            return .detector(
                SimpleDetector(
                    breakdown: Volts(100), rate: Hertz(1000),
                    generator: bench.context.generator(unit.serial)))
        case "labjack-u3": return .analogIO(terminals)
        case "silabs-cp2112": return .digitalIO(pins: [0: pin(0), 1: pin(1)])
        default:
            let connection = try BenchConnection.standIn(
                for: profile, name: unit.serial, context: bench.context, gpio: bench.gpio,
                inputs: inputs, units: max(1, unit.addresses.count))
            remember(connection, of: unit)
            return connection
        }
    }

    /// Keeps what tells the truth about a polarization controller.
    private func remember(_ connection: BenchConnection, of unit: BenchUnit) {
        switch connection {
        case .polarizationController(let turned as RecordingWaveplates):
            plates[unit.serial] = turned
        case .retarders(let driven as RecordingRetarders): retarders[unit.serial] = driven
        default: break
        }
    }
}
