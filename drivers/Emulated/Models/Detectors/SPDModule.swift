import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The S-Fifteen Instruments single-photon detector module behind a virtual serial port.
///
/// Commands follow `S15lib/instruments/single_photon_detector.py` of
/// github.com/s-fifteen-instruments/pyS15. The module runs free: its gate is always open. The
/// shape of numbers in replies, the speed of the supply and the plant of the cooler are not
/// published and are this model's own.
public final class SPDModule: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private struct Settings: Hashable {
        var bias = 0.0
        var threshold = 0.1
        var coolerDrive = 0.0
        var temperature = -10.0
        var proportional = 1.0
        var integral = 0.2
        var isLoopOn = false
        var gateMilliseconds = 1000.0
        var delay = 0.0
    }

    private let context: EmulationContext
    private let profile: DeviceProfile
    private let detector: any DetectorElement
    private var identity: String
    private var dialect: TextDialect
    private var settings = Settings()
    private var saved = Settings()
    private var output: [UInt8] = []
    private var bias = 0.0
    private var cooler: CoolerLoop
    private var clock: HostInstant
    private var gateEnd: HostInstant?
    private var commandsToIgnore = 0

    /// Volts per second of the bias supply.
    private static let ramp = 4000.0
    private static let rampStep = Duration.milliseconds(1)
    private static let loopStep = Duration.milliseconds(100)

    /// A module around `detector`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a module.
    public init(
        profile: DeviceProfile, context: EmulationContext, detector: any DetectorElement
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        self.detector = detector
        identity = profile.emulation?.identityReply ?? profile.identity.model
        dialect = try TextDialect(profile: profile)
        settings.temperature = profile.limits["temperature"]?.standard ?? -10
        saved = settings
        clock = context.now
        let time = context.benchTime(at: context.now)
        cooler = CoolerLoop(temperature: detector.temperature(at: time).rawValue)
        detector.setGateEnabled(true, at: time)
        detector.setBias(Volts(0), at: time)
    }

    /// The bias voltage at the diode.
    public var presentBias: Volts { Volts(bias) }

    // MARK: - Serial port

    /// Bytes from the host.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        for command in dialect.receive(bytes) {
            guard let name = command.name else { continue }
            if commandsToIgnore > 0 {
                commandsToIgnore -= 1
            } else {
                perform(name, command, at: now)
            }
        }
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] {
        let count = min(limit, output.count)
        defer { output.removeFirst(count) }
        return Array(output.prefix(count))
    }

    /// Lets the supply ramp, the cooler settle and the gate end.
    public func advance(to now: HostInstant) {
        if let end = gateEnd, end <= now {
            gateEnd = nil
            step(through: end)
            send("\(detector.takeCounts(through: context.benchTime(at: end)))")
        }
        step(through: now)
    }

    private func step(through end: HostInstant) {
        while clock < end, bias != settings.bias || !cooler.isSettled {
            let grid = bias != settings.bias ? Self.rampStep : Self.loopStep
            let next = min(end, clock + grid)
            let elapsed = (next - clock).inSeconds
            clock = next
            let time = context.benchTime(at: clock)
            if bias != settings.bias {
                let distance = settings.bias - bias
                let step = Self.ramp * elapsed
                bias = abs(distance) <= step ? settings.bias : bias + (distance < 0 ? -step : step)
                detector.setBias(Volts(bias), at: time)
            }
            if !cooler.isSettled {
                cooler.step(
                    by: elapsed, target: settings.isLoopOn ? settings.temperature : nil,
                    manualDrive: settings.coolerDrive, proportional: settings.proportional,
                    integral: settings.integral)
                detector.setTemperatureSetpoint(Celsius(cooler.temperature), at: time)
            }
        }
        clock = max(clock, end)
    }

    /// The next step of the supply or the cooler, or the end of the gate.
    public func nextWake(after now: HostInstant) -> HostInstant? {
        var next = gateEnd
        if bias != settings.bias {
            next = min(next ?? clock + Self.rampStep, clock + Self.rampStep)
        } else if !cooler.isSettled {
            next = min(next ?? clock + Self.loopStep, clock + Self.loopStep)
        }
        return next
    }

    // MARK: - Commands

    private func perform(_ name: String, _ command: TextDialect.Received, at now: HostInstant) {
        switch name {
        case "identify": send(identity)
        case "help": for line in helpText { send(line) }
        case "save":
            saved = settings
            send("saved (emulated)")
        case "bias": send(decimal(bias, places: 2))
        case "threshold": send(decimal(settings.threshold, places: 3))
        case "cooler_drive": send(decimal(driveNow, places: 3))
        case "temperature_setting": send(decimal(settings.temperature, places: 2))
        case "temperature":
            send(decimal(detector.temperature(at: context.benchTime(at: now)).rawValue, places: 2))
        case "proportional_gain": send(decimal(settings.proportional, places: 3))
        case "integral_gain": send(decimal(settings.integral, places: 3))
        case "loop": send(settings.isLoopOn ? "1" : "0")
        case "time": send(decimal(settings.gateMilliseconds, places: 0))
        case "delay": send(decimal(settings.delay, places: 0))
        case "counts":
            _ = detector.takeCounts(through: context.benchTime(at: now))
            gateEnd = now + .microseconds(Int64(settings.gateMilliseconds * 1000))
        default: set(name, command)
        }
    }

    /// Settings outside the profile's range are ignored; the module reports no errors.
    private func set(_ name: String, _ command: TextDialect.Received) {
        guard let value = command.number,
            let argument = profile.dialect?.commands[name]?.arguments.entries.first?.value,
            value >= argument.min, value <= argument.max
        else { return }
        switch name {
        case "set_bias": settings.bias = value
        case "set_threshold": settings.threshold = value
        case "set_cooler_drive": settings.coolerDrive = value
        case "set_temperature": settings.temperature = value
        case "set_proportional_gain": settings.proportional = value
        case "set_integral_gain": settings.integral = value
        case "set_loop": settings.isLoopOn = value != 0
        case "set_time": settings.gateMilliseconds = value
        case "set_delay": settings.delay = value
        default: return
        }
        cooler.disturb()
    }

    private var driveNow: Double { settings.isLoopOn ? cooler.drive : settings.coolerDrive }

    private func send(_ text: String) { output += dialect.line(text) }

    private var helpText: [String] {
        ["SPD emulated; the help text of the real module is not published. Commands:"]
            + (profile.dialect?.commands.entries ?? []).compactMap(\.value.template)
    }

    /// The faults of the module; too much light makes it drop its bias.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        switch fault.kind {
        case .overLight:
            settings.bias = 0
        case .reboot:
            settings = saved
            settings.bias = 0
            gateEnd = nil
            output = []
            cooler.disturb()
        case .wrongFirmware: identity = "S15 emulated"
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        default: return false
        }
        return true
    }
}

/// A thermo-electric cooler with a proportional-integral controller.
struct CoolerLoop {
    private static let ambient = 22.0
    private static let timeConstant = 8.0
    /// Degrees per second and volt; 5 V hold the diode 60 degrees below ambient.
    private static let gain = 1.5
    private static let highestDrive = 5.0

    /// The temperature of the cold plate in degrees Celsius.
    private(set) var temperature: Double
    /// The voltage at the cooler.
    private(set) var drive = 0.0
    private var sum = 0.0
    private var quietTime = 0.0

    init(temperature: Double) { self.temperature = temperature }

    /// Whether nothing has moved for a while, so that steps can be skipped.
    var isSettled: Bool { quietTime > 2 }

    /// A setting has changed.
    mutating func disturb() { quietTime = 0 }

    mutating func step(
        by time: Double, target: Double?, manualDrive: Double, proportional: Double,
        integral: Double
    ) {
        let before = temperature
        if let target {
            let error = temperature - target
            let unlimited = proportional * error + integral * (sum + error * time)
            drive = max(0, min(Self.highestDrive, unlimited))
            // The integral does not wind up while the drive is at its limit.
            if drive == unlimited { sum += error * time }
        } else {
            drive = manualDrive
            sum = 0
        }
        // The exact solution over the step, so that long steps stay stable.
        let final = Self.ambient - Self.gain * Self.timeConstant * drive
        temperature = final + (temperature - final) * exponential(-time / Self.timeConstant)
        let hasMoved = abs(temperature - before) > 1e-4 * max(time, 1e-3)
        quietTime = hasMoved ? 0 : quietTime + time
    }
}
