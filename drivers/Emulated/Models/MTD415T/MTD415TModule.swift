import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The Thorlabs MTD415T temperature controller, regulating a plate with sensor and cooler.
///
/// Commands, ranges and the shares computed from critical gain and period follow the MTD415T Data
/// Sheet Rev. 1.0, sections 6 and 7; answers to settings are those recorded in
/// github.com/Artem-Gulyaev/thorlabs-mtd415t at 37be1de. The settings before the first save, the
/// answers to `c` and `M`, the voltage, the texts of ranges other than the current limit's, and how
/// often a good command is misunderstood are this model's own. The enable pin is set.
public final class MTD415TModule: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private let context: EmulationContext
    private let profile: DeviceProfile
    private let stage: any ThermalStage
    private let bits: NamedTable<Int>
    private let uniqueIdentifier: String
    private var identity: String
    private var dialect: CompactDialect
    /// By the name of the command that sets it.
    private var settings: [String: Int]
    private var saved: [String: Int]
    private var errors = 0
    private var loop = CurrentLoop()
    private var isCoolerConnected = true
    private var output: [UInt8] = []
    private var clock: HostInstant
    private var commandsToIgnore = 0
    private var commandCount = 0

    /// One query in so many is misunderstood.
    private static let misunderstoodPeriod = 97
    private static let ohms = 2.0
    private static let factory: [String: Int] = [
        "set_window": 100, "set_window_delay": 1, "set_critical_gain": 2000,
        "set_critical_period": 3200, "set_proportional": 1200, "set_integral": 250,
        "set_differential": 0, "set_cycle_time": 50,
    ]

    /// A module that regulates `stage`.
    ///
    /// - Parameter serial: tells its unique identifier from that of other units.
    /// - Throws: `MissingProfileField` when the profile does not describe such a module.
    public init(
        profile: DeviceProfile, context: EmulationContext, stage: any ThermalStage, serial: String
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        self.stage = stage
        bits = try profile.requireDialect().statusBits
        identity = profile.emulation?.identityReply ?? profile.identity.model
        var generator = SeededGenerator(seed: 415, label: serial)
        uniqueIdentifier = (0..<4).map { _ in
            Self.hexadecimal(UInt32(truncatingIfNeeded: generator.next()))
        }.joined()
        dialect = try CompactDialect(profile: profile)
        var settings = Self.factory
        let temperature = try profile.scale("temperature")
        settings["set_temperature"] = Int(
            temperature.deviceValue(try profile.limit("temperature").standard ?? 25))
        settings["set_current_limit"] = Int(try profile.limit("current_limit").standard ?? 200)
        settings["set_safety_mask"] = Int(try profile.limit("safety_mask").standard ?? 255)
        self.settings = settings
        saved = settings
        clock = context.now
    }

    private static func hexadecimal(_ word: UInt32) -> String {
        let digits = String(word, radix: 16, uppercase: true)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    /// Sets bits of the error register, as a broken wire or a hot module does.
    public func setErrors(_ names: [String]) {
        for name in names { raise(name) }
    }

    private func raise(_ name: String) {
        if let bit = bits[name] { errors |= 1 << bit }
    }

    // MARK: - Serial port

    /// Bytes from the host.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        for command in dialect.receive(bytes) {
            commandCount += 1
            if commandsToIgnore > 0 {
                commandsToIgnore -= 1
            } else if command.argument == nil, commandCount % Self.misunderstoodPeriod == 0 {
                raise("invalid_command")
                send("unknown command")
            } else {
                perform(command, at: now)
            }
        }
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] {
        let count = min(limit, output.count)
        defer { output.removeFirst(count) }
        return Array(output.prefix(count))
    }

    private func send(_ text: String) { output += Array(text.utf8) + [0x0A] }

    // MARK: - Commands

    private func perform(_ command: CompactDialect.Received, at now: HostInstant) {
        switch command.name {
        case "identify": send(identity)
        case "unique_identifier": send(uniqueIdentifier)
        case "errors": send("\(errors)")
        case "clear_errors":
            errors = 0
            send("0")
        case "save":
            saved = settings
            send("0")
        case "current": send("\(Int(presentCurrent.rounded()))")
        case "voltage": send("\(Int((presentCurrent * Self.ohms).rounded()))")
        case "temperature": send("\(Int((temperature(at: now) * 1000).rounded()))")
        case "temperature_setting": send("\(value("set_temperature"))")
        case let name?:
            if name.hasPrefix("set_") {
                set(name, command.argument ?? 0)
            } else {
                send("\(value("set_" + name))")
            }
        case nil:
            raise("invalid_command")
            send("unknown command")
        }
    }

    private func value(_ name: String) -> Int { settings[name] ?? 0 }

    private func set(_ name: String, _ wanted: Double) {
        guard let argument = profile.dialect?.commands[name]?.arguments.entries.first?.value else {
            return
        }
        guard wanted == wanted.rounded(), wanted >= argument.min, wanted <= argument.max else {
            raise("value_out_of_range")
            let unit = argument.unit == .milliamperes ? " mA" : ""
            send("value out of range (\(Int(argument.min))...\(Int(argument.max))\(unit))")
            return
        }
        settings[name] = Int(wanted)
        if name == "set_critical_gain" || name == "set_critical_period" { computeShares() }
        send("\(Int(wanted))")
    }

    /// Shares and cycle time from critical gain in mA/K and critical period in ms (data sheet,
    /// section 7: 2250 and 5580 give 1350, 161, 941 and 87).
    private func computeShares() {
        let gain = value("set_critical_gain")
        let period = value("set_critical_period")
        // 0.6 of the critical gain; a reset time of one and a half critical periods, a rate time of
        // an eighth of one.
        settings["set_proportional"] = gain * 3 / 5
        settings["set_integral"] = 400 * gain / period
        settings["set_differential"] = gain * 3 * period / 40_000
        settings["set_cycle_time"] = max(1, period / 64)
    }

    // MARK: - Regulation

    private func temperature(at now: HostInstant) -> Double {
        stage.temperature(at: context.benchTime(at: now)).rawValue
    }

    /// Errors that the safety mask lets through switch the cooler off.
    private var isDriving: Bool { errors & value("set_safety_mask") == 0 && isCoolerConnected }

    private var presentCurrent: Double { isDriving ? loop.current : 0 }

    private var cycle: Duration { .milliseconds(max(1, value("set_cycle_time"))) }

    /// Lets the loop run its cycles.
    public func advance(to now: HostInstant) {
        while clock + cycle <= now {
            let length = cycle
            clock = clock + length
            let time = context.benchTime(at: clock)
            let found = stage.temperature(at: time).rawValue
            if isDriving {
                loop.step(
                    error: found - Double(value("set_temperature")) / 1000,
                    by: length.inSeconds, proportional: Double(value("set_proportional")),
                    integral: Double(value("set_integral")),
                    differential: Double(value("set_differential")),
                    limit: Double(value("set_current_limit")))
            } else {
                loop = CurrentLoop()
            }
            stage.setCoolerCurrent(presentCurrent, at: time)
        }
    }

    /// The next cycle of the loop.
    public func nextWake(after now: HostInstant) -> HostInstant? { max(clock, now) + cycle }

    /// The faults of the module. `stuckMotion` is a cooler whose wire is broken.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        switch fault.kind {
        case .reboot:
            settings = saved
            errors = isCoolerConnected ? 0 : errors
            loop = CurrentLoop()
            output = []
        case .wrongFirmware: identity = "MTD1020T FW0.6.8"
        case .stuckMotion:
            isCoolerConnected = false
            raise("no_cooler")
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        default: return false
        }
        return true
    }
}

/// A proportional, integral and differential controller whose output is a limited current.
struct CurrentLoop {
    /// The current in milliamperes; positive currents cool.
    private(set) var current = 0.0
    private var sum = 0.0
    private var lastError: Double?

    /// One cycle; `error` is the temperature above the setting in kelvin.
    mutating func step(
        error: Double, by seconds: Double, proportional: Double, integral: Double,
        differential: Double, limit: Double
    ) {
        let slope = lastError.map { (error - $0) / seconds } ?? 0
        lastError = error
        let grown = sum + error * seconds
        let unlimited = proportional * error + integral * grown + differential * slope
        current = max(-limit, min(limit, unlimited))
        // The integral does not wind up while the current is at its limit.
        if current == unlimited { sum = grown }
    }
}
