import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The S-Fifteen Instruments TDC1, a four-channel time tagger behind a virtual serial port.
///
/// Follows what its public clients rely on: `S15lib/instruments/usb_counter_fpga.py` of
/// github.com/s-fifteen-instruments/pyS15 and `readevents4a.c`. Texts that no source quotes
/// (identification beyond the name, help, level) are this model's own and say so.
public final class TDC1Unit: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The pulses that its cables carry.
    public enum SignalStandard: Hashable, Sendable {
        /// Negative pulses of −0.8 V.
        case nim
        /// Positive pulses of 3 V.
        case ttl
    }

    private enum Mode: String {
        case singles = "mode_singles"
        case pairs = "mode_pairs"
        case timestamp = "mode_timestamp"
    }

    private let context: EmulationContext
    private let profile: DeviceProfile
    private let signals: SignalStandard
    private let overflowBit: Int
    private var dialect: TextDialect
    private var engine: TDC1EventEngine
    private var identity: String

    private var mode = Mode.singles
    private var gateMilliseconds: UInt16 = 1000
    private var level = -0.5
    private var reference = 0
    private var wait = Duration.microseconds(125)
    private var recentWords: (count: UInt64, time: HostInstant)
    private var commandsToIgnore = 0

    /// A unit with the cables `inputs`, run from `oscillator`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a unit.
    public init(
        profile: DeviceProfile, context: EmulationContext, inputs: any TaggerInputs,
        oscillator: any LocalOscillator, signals: SignalStandard = .nim
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        self.signals = signals
        overflowBit = try profile.statusBit("fifo_overflow")
        dialect = try TextDialect(profile: profile)
        engine = try TDC1EventEngine(profile: profile, inputs: inputs, oscillator: oscillator)
        identity = profile.emulation?.identityReply ?? profile.identity.model
        recentWords = (0, context.now)
    }

    /// The words made since power-up, dummies included.
    public var wordCount: UInt64 { engine.wordCount }

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
    public func takeOutput(upTo limit: Int) -> [UInt8] { engine.take(upTo: limit) }

    /// Lets pulses arrive and gates end.
    public func advance(to now: HostInstant) {
        let time = context.benchTime(at: now)
        switch engine.activity {
        case .counting(let end?, let pairs) where end <= time:
            engine.pull(through: end)
            engine.stop(at: end)
            answerCounts(pairs: pairs)
        case .streaming(let end?) where end <= time:
            engine.stop(at: end)
        case .streaming:
            engine.pull(through: time)
        case .idle, .counting: break
        }
        let words = engine.wordCount - recentWords.count
        let elapsed = now - recentWords.time
        guard elapsed > .microseconds(50) else { return }
        recentWords = (engine.wordCount, now)
        // About one packet at the present rate, growing slowly so that a burst is not missed.
        let perPacket = words > 0 ? elapsed * 128 / Int(clamping: words) : .milliseconds(10)
        wait = min(.milliseconds(10), wait * 2, max(.microseconds(125), perPacket))
    }

    /// The end of the gate, or the next look at the stream.
    public func nextWake(after now: HostInstant) -> HostInstant? {
        switch engine.activity {
        case .idle, .counting(nil, _): return nil
        case .counting(let end?, _): return context.hostInstant(at: end)
        case .streaming(let end):
            let next = now + wait
            return end.map { min(next, context.hostInstant(at: $0)) } ?? next
        }
    }

    // MARK: - Commands

    private func perform(_ name: String, _ command: TextDialect.Received, at now: HostInstant) {
        let time = context.benchTime(at: now)
        switch name {
        case "identify": send(identity)
        case "help": for line in helpText { send(line) }
        case "reset": powerUp()
        case "mode_singles", "mode_pairs", "mode_timestamp": mode = Mode(rawValue: name) ?? mode
        case "mode": send("\((try? profile.constant(mode.rawValue)) ?? 0)")
        case "set_time":
            if let value = command.number, (0...65535).contains(value) {
                gateMilliseconds = UInt16(value)
            }
        case "time": send("\(Int16(bitPattern: gateMilliseconds))")
        case "counts": start(at: time)
        case "abort": abort(at: time)
        case "level_nim": setLevel(-0.5)
        case "level_ttl": setLevel(1.0)
        case "set_threshold_negative", "set_threshold_positive":
            if let value = command.number {
                setLevel(name == "set_threshold_negative" ? -abs(value) : abs(value))
            }
        case "level": send("\(decimal(level, places: 3)) V (emulated)")
        case "set_reference":
            if let value = command.number, (0...2).contains(value) { reference = Int(value) }
        case "reference": send("\(reference)")
        case "external_clock": send("0")
        case "flush":
            engine.pull(through: time)
            engine.commit()
        case "status": send(statusText)
        default: break
        }
    }

    private func send(_ text: String) { engine.reply(dialect.line(text)) }

    /// Four hexadecimal digits and a space: with the line end exactly seven bytes.
    private var statusText: String {
        let status = engine.hasOverflow ? 1 << overflowBit : 0
        let digits = String(status, radix: 16, uppercase: true)
        return String(repeating: "0", count: 4 - digits.count) + digits + " "
    }

    private var helpText: [String] {
        ["TDC1 emulated; the help text of the real unit is not published. Commands:"]
            + (profile.dialect?.commands.entries ?? []).compactMap(\.value.template)
    }

    private func setLevel(_ volts: Double) {
        level = volts
        switch signals {
        case .nim: engine.isLevelGood = volts > -0.8 && volts < -0.02
        case .ttl: engine.isLevelGood = volts > 0.05 && volts < 3
        }
    }

    private func start(at time: Picoseconds) {
        let gate =
            gateMilliseconds == 0
            ? nil : Picoseconds(Int64(gateMilliseconds) * 1_000_000_000)
        switch mode {
        case .singles, .pairs:
            engine.startCounting(pairs: mode == .pairs, gate: gate, at: time)
        case .timestamp:
            wait = .microseconds(125)
            engine.startStream(gate: gate, at: time)
        }
    }

    /// A gate without end answers when it is aborted.
    private func abort(at time: Picoseconds) {
        let activity = engine.activity
        engine.stop(at: time)
        if case .counting(nil, let pairs) = activity { answerCounts(pairs: pairs) }
    }

    private func answerCounts(pairs: Bool) {
        let numbers = pairs ? engine.singles + engine.pairs : engine.singles
        send(numbers.map(String.init).joined(separator: " "))
    }

    private func powerUp() {
        engine.reset()
        mode = .singles
        gateMilliseconds = 1000
        reference = 0
        setLevel(-0.5)
    }

    /// The faults of the unit.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        let time = context.benchTime(at: now)
        let end = context.benchTime(at: now + (fault.duration ?? .milliseconds(10)))
        switch fault.kind {
        case .wordSlip: engine.slipWord()
        case .overflow: engine.forceOverflow(until: end)
        case .stuckBit: engine.stuckBits = 1 << UInt32((fault.detail ?? 5) & 31)
        case .clockLoss: engine.stopClock(at: time, until: end)
        case .clockStep: engine.stepClock(by: fault.clockStep, at: time)
        case .wrongFirmware: identity = "TDC0 emulated"
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        case .reboot: powerUp()
        default: return false
        }
        return true
    }
}
