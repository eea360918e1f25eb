import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The OZ Optics EPC-400 fibre squeezer behind its serial line.
///
/// Commands and ranges follow the EPC drivers of PyPI pylablib 1.4.5 and qmi 0.54.2; the texts of
/// replies are those quoted in the tests of github.com/QuTech-Delft/QMI at 847abfb. Not published
/// and this model's own: what is in the flash memory when the unit is new, that an empty line is
/// not answered, and that AC mode swings over the whole range about zero.
public final class EPCController: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private struct Settings: Hashable {
        var millivolts: [Int]
        var hertz: [Int]
        var isAlternating = false
        var isTriangle = false
        var mayHold = false
        var isHeld: [Bool]
    }

    private let context: EmulationContext
    private let profile: DeviceProfile
    private let retarders: any VoltageRetarders
    private let count: Int
    private let voltage: ClosedRange<Int>
    private var language: SqueezerLanguage
    private var settings: Settings
    private var saved: Settings
    private var output: [UInt8] = []
    private var commandsToIgnore = 0
    private var swingStart = Picoseconds(0)
    private var nextSwing: HostInstant?
    /// Whether it sends every command back, as some units do.
    public var echoes: Bool

    /// While it scrambles, the squeezers are driven this often.
    private static let swingStep = Duration.milliseconds(1)

    /// A controller that drives `retarders`, with all voltages at zero.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a controller.
    public init(
        profile: DeviceProfile, context: EmulationContext, retarders: any VoltageRetarders
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        self.retarders = retarders
        count = min(profile.channels.count, retarders.retarderCount)
        language = try SqueezerLanguage(profile: profile)
        echoes = profile.hasQuirk("echoes_commands")
        let limit = try profile.limit("voltage")
        let scale = try profile.scale("voltage")
        voltage =
            Int(scale.deviceValue(limit.min ?? 0))...Int(scale.deviceValue(limit.max ?? 0))
        // The frequencies are those of the published example of a reply.
        settings = Settings(
            millivolts: Array(repeating: 0, count: count),
            hertz: Array([7, 17, 37, 71].prefix(count)),
            isHeld: Array(repeating: true, count: count))
        saved = settings
        drive(at: context.now)
    }

    /// The voltages that are set, in millivolts.
    public var millivolts: [Int] { settings.millivolts }

    /// Whether it scrambles.
    public var isAlternating: Bool { settings.isAlternating }

    // MARK: - Serial line

    /// Bytes from the host.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        for command in language.receive(bytes) {
            if commandsToIgnore > 0 {
                commandsToIgnore -= 1
                continue
            }
            if echoes { send(command.text) }
            let isDone = command.name.map { perform($0, command.numbers, at: now) } ?? false
            send(isDone ? profile.dialect?.completionReply ?? "Done" : "Error!")
        }
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] {
        let count = min(limit, output.count)
        defer { output.removeFirst(count) }
        return Array(output.prefix(count))
    }

    /// Lets the squeezers swing while it scrambles.
    public func advance(to now: HostInstant) {
        while let due = nextSwing, due <= now {
            drive(at: due)
            nextSwing = due + Self.swingStep
        }
    }

    /// The next step of the swing.
    public func nextWake(after now: HostInstant) -> HostInstant? { nextSwing }

    private func send(_ text: String) {
        output += Array((text + (profile.dialect?.replyTerminator ?? "\r\n")).utf8)
    }

    // MARK: - Commands

    /// Carries a command out and says so; false when it can not.
    private func perform(_ name: String, _ numbers: [Int], at now: HostInstant) -> Bool {
        switch name {
        case "voltages":
            send("Voltage(mV): " + channels(" ") { signed(settings.millivolts[$0]) })
        case "frequencies":
            send("Frequency(Hz): " + channels("  ") { padded(settings.hertz[$0]) })
        case "mode":
            let form = settings.isTriangle ? "Triangle" : "Sine"
            send("Work Mode: " + (settings.isAlternating ? "AC(\(form))" : "DC"))
        case "waveform": send("AC Waveform: " + (settings.isTriangle ? "Triangle" : "Sine"))
        case "held_channels":
            send(
                "Hz<->Volt at AC Mode is \(settings.mayHold ? "enabled" : "disabled"): "
                    + (0..<count).map { "CH\($0 + 1)-\(settings.isHeld[$0] ? "V" : "F")" }
                    .joined(separator: ","))
        case "set_mode_dc", "set_mode_ac": setMode(isAlternating: name == "set_mode_ac", at: now)
        case "set_waveform":
            guard numbers == [1] || numbers == [2] else { return false }
            settings.isTriangle = numbers == [2]
            send("Set AC Waveform at: " + (settings.isTriangle ? "Triangle" : "Sine"))
        case "set_holding":
            guard numbers == [0] || numbers == [1] else { return false }
            settings.mayHold = numbers == [1]
            send((settings.mayHold ? "Enable" : "Disable") + " DC Voltage Output at AC Mode")
        case "save":
            saved = settings
            send("Write Setting to Flash memory")
        default: return performOnChannel(name, numbers, at: now)
        }
        drive(at: now)
        return true
    }

    private func performOnChannel(_ name: String, _ numbers: [Int], at now: HostInstant) -> Bool {
        guard let number = numbers.first, (1...max(1, count)).contains(number) else { return false }
        let channel = number - 1
        switch name {
        case "set_voltage": return setVoltage(channel, numbers[1], at: now)
        case "set_highest": return setVoltage(channel, voltage.upperBound, at: now)
        case "set_lowest": return setVoltage(channel, voltage.lowerBound, at: now)
        case "set_zero": return setVoltage(channel, 0, at: now)
        case "set_frequency":
            let limit = profile.limits["frequency"]
            guard limit?.allows(Double(numbers[1])) ?? false else { return false }
            settings.hertz[channel] = numbers[1]
            send("Set CH\(number) AC Frequency at: \(numbers[1])Hz")
        case "toggle_held":
            settings.isHeld[channel].toggle()
            send(
                "Set CH\(number) output to: \(settings.isHeld[channel] ? "Volt" : "Hz")"
                    + " (if possible)")
        default: return false
        }
        drive(at: now)
        return true
    }

    private func setVoltage(_ channel: Int, _ value: Int, at now: HostInstant) -> Bool {
        guard voltage.contains(value) else { return false }
        settings.millivolts[channel] = value
        drive(at: now)
        send("Set CH\(channel + 1) DC Voltage at: \(value)mV")
        return true
    }

    private func setMode(isAlternating: Bool, at now: HostInstant) {
        settings.isAlternating = isAlternating
        swing(from: now)
        send("Set To \(isAlternating ? "AC" : "DC") Mode")
    }

    private func swing(from now: HostInstant) {
        swingStart = context.benchTime(at: now)
        nextSwing = settings.isAlternating ? now + Self.swingStep : nil
    }

    // MARK: - Outputs

    private func drive(at now: HostInstant) {
        let time = context.benchTime(at: now)
        for channel in 0..<count {
            let millivolts = present(channel, at: time)
            retarders.setDrive(Volts(millivolts / 1000), retarder: channel, at: time)
        }
    }

    private func present(_ channel: Int, at time: Picoseconds) -> Double {
        let isConstant =
            !settings.isAlternating || settings.mayHold && settings.isHeld[channel]
        if isConstant { return Double(settings.millivolts[channel]) }
        let turns = (time - swingStart).seconds * Double(settings.hertz[channel])
        let phase = turns - turns.rounded(.down)
        let middle = Double(voltage.lowerBound + voltage.upperBound) / 2
        let half = Double(voltage.upperBound - voltage.lowerBound) / 2
        if settings.isTriangle {
            // From the middle up, down through the middle, and up again.
            let height = phase < 0.25 ? 4 * phase : phase < 0.75 ? 2 - 4 * phase : 4 * phase - 4
            return middle + half * height
        }
        return middle + half * sine(2 * .pi * phase)
    }

    // MARK: - Texts

    private func channels(_ gap: String, _ value: (Int) -> String) -> String {
        (0..<count).map { "CH\($0 + 1) " + value($0) }.joined(separator: gap)
    }

    private func signed(_ value: Int) -> String { (value < 0 ? "" : "+") + "\(value)" }

    private func padded(_ value: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, 3 - digits.count)) + digits
    }

    /// The faults of the controller; a restart brings back what is in the flash memory.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        switch fault.kind {
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        case .reboot:
            settings = saved
            output = []
            swing(from: now)
            drive(at: now)
        default: return false
        }
        return true
    }
}
