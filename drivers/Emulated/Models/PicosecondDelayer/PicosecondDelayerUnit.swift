import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The Micro Photon Devices Picosecond Delayer.
///
/// Commands, echo and errors follow the client of github.com/python-microscopy/python-microscopy,
/// pull request 1232; ranges the introduction of the User Manual 6.0.1. The settings after
/// power-up, the widths between 1 and 250 ns, the rounding of settings and the warming of the oven
/// are this model's own.
public final class PicosecondDelayerUnit: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private struct Settings: Hashable {
        var delay = 0
        var width = 50
        var threshold = 500
        var divider = 1
        var isRising = true
        var isOutputOn = false
        var isEchoing = true
        var isHighSpeed = false
    }

    private let context: EmulationContext
    private let pulses: any PulseDelay
    private let greatestDelay: Int
    private let ovenTemperature: Double
    private var dialect: CompactDialect
    private var settings = Settings()
    private var isLocal = false
    private var output: [UInt8] = []
    private var commandsToIgnore = 0
    private var poweredUp: HostInstant

    private static let delayStep = 10
    private static let thresholdStep = 10
    private static let widthStep = 3.3
    private static let ambient = 25.0
    private static let warmUp = 120.0

    /// A unit that shifts `pulses`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a unit.
    public init(
        profile: DeviceProfile, context: EmulationContext, pulses: any PulseDelay
    ) throws(MissingProfileField) {
        self.context = context
        self.pulses = pulses
        greatestDelay = Int(try profile.limit("delay").max ?? 0)
        ovenTemperature = try profile.limit("oven_temperature").standard ?? Self.ambient
        dialect = try CompactDialect(profile: profile)
        poweredUp = context.now
        apply(at: context.now)
    }

    /// Switches to local mode or back, as on the front panel.
    public func setLocal(_ isLocal: Bool) { self.isLocal = isLocal }

    // MARK: - Serial port

    /// Bytes from the host.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        for command in dialect.receive(bytes) {
            if commandsToIgnore > 0 {
                commandsToIgnore -= 1
                continue
            }
            // The answer to the command that switches the echo still follows the old setting.
            if settings.isEchoing { send(command.text) }
            send(answer(to: command, at: now))
        }
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] {
        let count = min(limit, output.count)
        defer { output.removeFirst(count) }
        return Array(output.prefix(count))
    }

    /// Nothing happens by itself.
    public func advance(to now: HostInstant) {}
    /// Nothing happens by itself.
    public func nextWake(after now: HostInstant) -> HostInstant? { nil }

    private func send(_ text: String) { output += Array(text.utf8) + [0x23] }

    // MARK: - Commands

    private func answer(to command: CompactDialect.Received, at now: HostInstant) -> String {
        switch command.name {
        case "delay": return "\(settings.delay)"
        case "max_delay": return "\(greatestDelay)"
        case "width": return "\(settings.width)"
        case "threshold": return "\(settings.threshold)"
        case "edge": return settings.isRising ? "1" : "0"
        case "output": return settings.isOutputOn ? "1" : "0"
        case "temperature": return decimal(temperature(at: now), places: 1)
        default: return set(command, at: now)
        }
    }

    /// Carries out a setting; its answer is the value that was taken.
    private func set(_ command: CompactDialect.Received, at now: HostInstant) -> String {
        guard let name = command.name, let argument = command.argument else { return "ERR1" }
        // Far beyond every range, and still a number that an integer holds.
        let value = Int(min(max(argument, -1e9), 1e9).rounded())
        switch name {
        case "set_echo": settings.isEchoing = value != 0
        case "set_high_speed": settings.isHighSpeed = value != 0
        default:
            if isLocal { return "ERR2" }
            if let error = setParameter(name, value) { return "ERR\(error)" }
            apply(at: now)
        }
        return taken(name)
    }

    /// Sets a parameter that the front panel has as well, or returns the number of the error.
    private func setParameter(_ name: String, _ value: Int) -> Int? {
        switch name {
        case "set_delay":
            if value > greatestDelay { return 7 }
            if value < 0 { return 8 }
            settings.delay = value / Self.delayStep * Self.delayStep
        case "set_width":
            if value > 250 { return 9 }
            if value < 1 { return 10 }
            let steps = (Double(value - 1) / Self.widthStep).rounded()
            settings.width = min(250, Int((1 + steps * Self.widthStep).rounded()))
        case "set_threshold":
            if value > 2000 { return 5 }
            if value < -2000 { return 6 }
            let steps = (Double(value) / Double(Self.thresholdStep)).rounded()
            settings.threshold = Int(steps) * Self.thresholdStep
        case "set_divider":
            if value > 999 { return 3 }
            if value < 1 { return 4 }
            settings.divider = value
        case "set_edge": settings.isRising = value != 0
        case "set_output": settings.isOutputOn = value != 0
        default: return 1
        }
        return nil
    }

    private func taken(_ name: String) -> String {
        switch name {
        case "set_delay": "\(settings.delay)"
        case "set_width": "\(settings.width)"
        case "set_threshold": "\(settings.threshold)"
        case "set_divider": "\(settings.divider)"
        case "set_edge": settings.isRising ? "1" : "0"
        case "set_output": settings.isOutputOn ? "1" : "0"
        case "set_echo": settings.isEchoing ? "1" : "0"
        default: settings.isHighSpeed ? "1" : "0"
        }
    }

    private func temperature(at now: HostInstant) -> Double {
        let share = exponential(-(now - poweredUp).inSeconds / Self.warmUp)
        return ovenTemperature + (Self.ambient - ovenTemperature) * share
    }

    private func apply(at now: HostInstant) {
        let time = context.benchTime(at: now)
        pulses.setDelay(Picoseconds(Int64(settings.delay)), at: time)
        pulses.setEnabled(settings.isOutputOn, at: time)
    }

    /// The faults of the unit; a restart loses every setting.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        switch fault.kind {
        case .reboot:
            settings = Settings()
            output = []
            poweredUp = now
            apply(at: now)
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        default: return false
        }
        return true
    }
}
