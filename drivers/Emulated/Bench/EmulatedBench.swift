import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// What an emulated instrument is connected to.
public enum BenchConnection {
    /// A time tagger: its cables and its oscillator.
    case timeTagger(inputs: any TaggerInputs, oscillator: any LocalOscillator)
    /// A polarization controller that turns plates.
    case polarizationController(any RotatableWaveplates)
    /// A polarization controller that drives retarders by voltage.
    case retarders(any VoltageRetarders)
    /// A detector module with a serial port.
    case detector(any DetectorElement)
    /// A detector module wired to GPIO lines, by the role of each line.
    case gatedDetector(any DetectorElement, lines: [String: GPIOLineID], nominalBias: Volts? = nil)
    /// A power meter: the light on its sensor.
    case powerMeter(any PowerProbe)
    /// An attenuator in the beam.
    case attenuator(any AttenuatingElement)
    /// A delay generator: the pulses it shifts.
    case delayGenerator(any PulseDelay)
    /// A temperature controller: its cooler and sensor.
    case temperatureController(any ThermalStage)
    /// An instrument with voltage outputs and inputs.
    case analogIO(any AnalogTerminals)
    /// An adapter with digital lines: the bench's line that each pin, by number, is wired to.
    case digitalIO(pins: [Int: GPIOLineID])
}

/// How an instrument with a serial port reaches its host.
public enum SerialCable: Hashable, Sendable {
    /// Behind the USB bridge that its profile names, on the bus of the bench.
    case usb
    /// On a line of its own, for a pseudo-terminal or a TCP port.
    case line
}

/// One emulated instrument of a bench.
public struct BenchEntry {
    /// The profile that describes it.
    public var profile: DeviceProfile
    /// Its serial number; also the name under which faults are planned.
    public var serial: String
    /// What it is connected to.
    public var connection: BenchConnection
    /// The USB port; nil gives it the next free one.
    public var path: String?
    /// The speed of its USB connection.
    public var speed: USBSpeed
    /// The addresses of the units on a line that several share, in the order the light passes them;
    /// empty gives as many units as the connection has room for the addresses from 0 on.
    public var addresses: [UInt8]
    /// Whether it is a bare chip that waits for firmware each time it gets power (`FX2Chip`). Else its
    /// firmware is in a boot memory.
    public var startsCold: Bool
    /// The bench's line that each digital pin of an instrument with analog terminals is wired to.
    public var pins: [Int: GPIOLineID]
    /// How it reaches its host, when it has a serial port.
    public var cable: SerialCable

    /// An instrument of the model in `profile`.
    public init(
        profile: DeviceProfile, serial: String, connection: BenchConnection, path: String? = nil,
        speed: USBSpeed = .high, addresses: [UInt8] = [], startsCold: Bool = false,
        pins: [Int: GPIOLineID] = [:], cable: SerialCable = .usb
    ) {
        self.profile = profile
        self.serial = serial
        self.connection = connection
        self.path = path
        self.speed = speed
        self.addresses = addresses
        self.startsCold = startsCold
        self.pins = pins
        self.cable = cable
    }
}

/// Why an instrument can not be added to a bench.
public enum BenchEntryError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The profile lacks a fact, or does not go together with the connection.
    case missing(MissingProfileField)
    /// The bench is certified, and the profile contains guesses.
    case uncertified(UncertifiedProfile)

    /// The reason, with the paths of the fields.
    public var description: String {
        switch self {
        case .missing(let error): error.description
        case .uncertified(let error): error.description
        }
    }
}

/// Emulated instruments on emulated hosts, connected to an optical bench.
public final class EmulatedBench: @unchecked Sendable {
    // @unchecked: immutable after init but for the table of targets, which the context's lock guards.

    /// What the devices share.
    public let context: EmulationContext
    /// The USB host they are plugged into.
    public let usb: EmulatedUSBHost
    /// The GPIO chips they are wired to.
    public let gpio: EmulatedGPIOHost
    /// Whether profiles with guesses are refused.
    public let isCertified: Bool
    private var plugs: [String: Plug] = [:]
    private var ports: [String: EmulatedSerialPort] = [:]
    private var modules: [String: any FaultTarget] = [:]
    private var wires: [String: [GPIOLineID]] = [:]
    private var nextPort = 1

    /// A USB instrument and where it is plugged in.
    private struct Plug {
        let function: any EmulatedUSBFunction
        let path: String
        let speed: USBSpeed
    }

    /// A bench without instruments; bench time starts at `origin`, by default now. A certified bench
    /// takes only instruments none of whose facts is a guess.
    public init(
        reactor: any Reactor, seed: UInt64, origin: HostInstant? = nil, certified: Bool = false
    ) {
        isCertified = certified
        context = EmulationContext(reactor: reactor, seed: seed, origin: origin)
        usb = EmulatedUSBHost(context: context)
        gpio = EmulatedGPIOHost(context: context)
    }

    /// A bench with `entries`.
    ///
    /// - Throws: `BenchEntryError` when a profile and a connection do not go together, or the bench
    ///   is certified and a profile is not.
    public convenience init(
        reactor: any Reactor, seed: UInt64, entries: [BenchEntry], certified: Bool = false
    ) throws(BenchEntryError) {
        self.init(reactor: reactor, seed: seed, certified: certified)
        for entry in entries { try add(entry) }
    }

    /// Adds an instrument and connects it to its host. GPIO chips are added to `gpio` before.
    ///
    /// - Throws: `BenchEntryError` when profile and connection do not go together, or the bench is
    ///   certified and the profile is not.
    public func add(_ entry: BenchEntry) throws(BenchEntryError) {
        if isCertified {
            do throws(UncertifiedProfile) { try entry.profile.certified() } catch {
                throw .uncertified(error)
            }
        }
        do throws(MissingProfileField) { try connect(entry) } catch { throw .missing(error) }
    }

    private func connect(_ entry: BenchEntry) throws(MissingProfileField) {
        guard
            let factory = BuiltInModels.factories.first(where: { $0.models(entry.profile) })
        else { throw MissingProfileField(profile: entry.profile.id, path: "an emulated model") }
        switch try factory.make(entry, context: context, gpio: gpio) {
        case .serial(let device) where entry.cable == .line:
            // A communications-class port has no line whose rate could pace it.
            let isVirtual = entry.profile.identity.transport == .usbCDCACM
            ports[entry.serial] = EmulatedSerialPort(
                context: context, device: device,
                baud: isVirtual ? nil : entry.profile.serialPort?.baud)
        case .serial(let device): try attach(device, entry)
        case .usb(let function):
            attach(
                entry.startsCold
                    ? try FX2Chip(profile: entry.profile, application: function) : function,
                entry)
        case .wired(let module):
            modules[entry.serial] = module
            if case .gatedDetector(_, let lines, _) = entry.connection {
                wires[entry.serial] = lines.sorted { $0.key < $1.key }.map(\.value)
            }
        }
    }

    /// Puts a serial instrument behind the bridge its profile names.
    private func attach(
        _ device: any EmulatedSerialDevice, _ entry: BenchEntry
    ) throws(MissingProfileField) {
        switch entry.profile.serialPort?.bridge {
        case .ftdi, .any:
            let function = try FTDISerialFunction(
                profile: entry.profile, serial: entry.serial, device: device)
            // The FT232 has no high speed.
            attach(function, entry, speed: .full)
        case .cdcACM:
            attach(
                try CDCACMSerialFunction(
                    profile: entry.profile, serial: entry.serial, device: device), entry)
        case nil: throw MissingProfileField(profile: entry.profile.id, path: "serial_port")
        }
    }

    private func attach(
        _ function: any EmulatedUSBFunction, _ entry: BenchEntry, speed: USBSpeed? = nil
    ) {
        let path = entry.path ?? "1-\(nextPort)"
        nextPort += 1
        // A device without descriptors for high speed connects at full speed.
        let fastest = function.descriptors.high == nil ? USBSpeed.full : entry.speed
        plugs[entry.serial] = Plug(function: function, path: path, speed: speed ?? fastest)
        plugIn(entry.serial)
    }

    /// Plugs the instrument with `serial` back into its port. Returns false for an instrument that
    /// is neither on USB nor on a serial line.
    @discardableResult
    public func plugIn(_ serial: String) -> Bool {
        if let port = ports[serial] {
            port.plugIn()
            return true
        }
        guard let plug = plugs[serial] else { return false }
        usb.attach(plug.function, path: plug.path, speed: plug.speed)
        return true
    }

    /// Pulls the plug of the instrument with `serial`. Returns false for an instrument that is
    /// neither on USB nor on a serial line.
    @discardableResult
    public func unplug(_ serial: String) -> Bool {
        if let port = ports[serial] {
            port.unplug()
            return true
        }
        guard let plug = plugs[serial] else { return false }
        usb.detach(path: plug.path)
        return true
    }

    /// The USB port of the instrument with `serial`.
    public func usbPath(of serial: String) -> String? { plugs[serial]?.path }

    /// The line of the instrument with `serial`, if that is how it reaches its host.
    public func serialPort(of serial: String) -> EmulatedSerialPort? { ports[serial] }

    /// Whether there is an instrument with this serial number or name.
    public func contains(_ serial: String) -> Bool {
        plugs[serial] != nil || ports[serial] != nil || modules[serial] != nil
    }

    /// Lets the instruments catch up with the present, also those that nobody asks anything.
    ///
    /// Without it an instrument that was idle for an hour lives through that hour at the next
    /// question, longer than its host waits. Fronts call it now and then.
    public func keepPace() {
        usb.keepPace()
        for name in ports.keys.sorted() { ports[name]?.keepPace() }
    }

    /// The detector module named `serial`, for its fault and interlock lines.
    public func gatedDetector(_ serial: String) -> GatedDetectorModule? {
        modules[serial] as? GatedDetectorModule
    }

    /// Makes a fault happen now. Returns false when no instrument has this name or the instrument
    /// does not have this kind of fault.
    @discardableResult
    public func inject(_ fault: EmulatedFault, into serial: String) -> Bool {
        if let path = plugs[serial]?.path { return usb.inject(fault, path: path) }
        if let port = ports[serial] { return port.inject(fault) }
        guard let module = modules[serial] else { return false }
        if context.exclusively({ module.inject(fault, at: context.now) }) { return true }
        return injectIntoLines(fault, of: serial)
    }

    /// A fault of one of an instrument's lines, counted by `detail` in the order of their roles, or
    /// of the chip they are on.
    private func injectIntoLines(_ fault: EmulatedFault, of serial: String) -> Bool {
        guard let lines = wires[serial], !lines.isEmpty else { return false }
        if fault.kind == .disconnect {
            for chip in Set(lines.map(\.chip)).sorted() { gpio.removeChip(chip) }
            return true
        }
        var fault = fault
        let number = fault.detail ?? 0
        let line = lines[abs(number) % lines.count]
        fault.detail = number / lines.count
        return gpio.inject(fault, line: line)
    }

    /// Schedules faults. Returns those that name no instrument of the bench.
    @discardableResult
    public func schedule(_ faults: [PlannedFault]) -> [PlannedFault] {
        var unknown: [PlannedFault] = []
        for planned in faults {
            if contains(planned.device) {
                context.reactor.schedule(at: planned.time) { [weak self] in
                    self?.inject(planned.fault, into: planned.device)
                }
            } else {
                unknown.append(planned)
            }
        }
        return unknown
    }
}
