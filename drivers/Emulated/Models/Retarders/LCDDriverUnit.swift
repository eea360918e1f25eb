import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The S-Fifteen Instruments quad LCD driver behind a virtual serial port.
///
/// Commands follow `S15lib/instruments/lcr_driver.py` of PyPI S15lib 0.3.0, and the state after a reset
/// its stand-in there: outputs off, amplitudes zero. Not published and this model's own: the texts of
/// identification and help, the decimals of a readback, and that what is out of range is ignored.
public final class LCDDriverUnit: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private let context: EmulationContext
    private let profile: DeviceProfile
    private let retarders: any VoltageRetarders
    private let count: Int
    private var dialect: TextDialect
    private var identity: String
    private var output: [UInt8] = []
    private var commandsToIgnore = 0
    /// The amplitudes that are set, in volts; they reach the retarders while the outputs are on.
    public private(set) var amplitudes: [Double]
    /// Whether the outputs are on.
    public private(set) var isOn = false
    /// Whether the light on the front shines.
    public private(set) var isLit = true
    /// The frequency of the outputs in hertz.
    public private(set) var frequency = LCDDriverUnit.startFrequency

    /// What it starts with; an assumption.
    private static let startFrequency = 1000.0

    /// A unit that drives `retarders`, switched on a moment ago.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a unit.
    public init(
        profile: DeviceProfile, context: EmulationContext, retarders: any VoltageRetarders
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        self.retarders = retarders
        count = min(profile.channels.count, retarders.retarderCount)
        identity = profile.emulation?.identityReply ?? profile.identity.model
        dialect = try TextDialect(profile: profile)
        amplitudes = Array(repeating: 0, count: count)
        drive(at: context.now)
    }

    // MARK: - Serial port

    /// Bytes from the host.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        for command in dialect.receive(bytes) {
            guard let name = command.name else { continue }
            if commandsToIgnore > 0 {
                commandsToIgnore -= 1
            } else {
                perform(name, command.arguments, at: now)
            }
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

    // MARK: - Commands

    private func perform(_ name: String, _ words: [String], at now: HostInstant) {
        switch name {
        case "identify": send(identity)
        case "help":
            send("LCD cell driver emulated; the help text of the real unit is not published.")
            for (_, command) in profile.dialect?.commands.entries ?? [] {
                if let template = command.template { send(template) }
            }
        case "reset": restart(at: now)
        case "outputs_on": isOn = true
        case "light_off": isLit = false
        case "set_frequency":
            guard let value = number(words, 0, of: name, "frequency") else { return }
            frequency = value
        case "amplitude":
            guard let channel = number(words, 0, of: name, "channel"), Int(channel) <= count else {
                return
            }
            send(decimal(amplitudes[Int(channel) - 1], places: 3))
        case "set_amplitude":
            guard let channel = number(words, 0, of: name, "channel"), Int(channel) <= count,
                let value = number(words, 1, of: name, "amplitude")
            else { return }
            amplitudes[Int(channel) - 1] = value
        default: break
        }
        drive(at: now)
    }

    /// The number that is word `index`, if it is one that the profile allows as that argument.
    private func number(
        _ words: [String], _ index: Int, of command: String, _ argument: String
    ) -> Double? {
        guard index < words.count, let value = Double(words[index]),
            let allowed = profile.dialect?.commands[command]?.arguments[argument],
            value >= allowed.min, value <= allowed.max
        else { return nil }
        guard allowed.encoding == .integer else { return value }
        return value == value.rounded() ? value : nil
    }

    private func drive(at now: HostInstant) {
        let time = context.benchTime(at: now)
        for channel in 0..<count {
            retarders.setDrive(
                Volts(isOn ? amplitudes[channel] : 0), retarder: channel, at: time)
        }
    }

    private func restart(at now: HostInstant) {
        amplitudes = Array(repeating: 0, count: count)
        isOn = false
        isLit = true
        frequency = Self.startFrequency
        drive(at: now)
    }

    private func send(_ text: String) { output += dialect.line(text) }

    /// The faults of the unit.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        switch fault.kind {
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        case .wrongFirmware: identity = "S15 emulated"
        case .reboot:
            output = []
            restart(at: now)
        default: return false
        }
        return true
    }
}
