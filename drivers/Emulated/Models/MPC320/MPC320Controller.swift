import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The Thorlabs MPC320 motorised fibre polarization controller behind its serial line.
///
/// Messages follow Thorlabs, APT Communications Protocol, Issue 37; behaviour beyond it follows the
/// public clients named in the profile: the enable command replaces the whole mask, one paddle moves
/// at a time, a move of a disabled paddle waits until it is enabled and then runs at full speed,
/// completion messages are headers alone, status updates stop without acknowledgement, the position
/// counter has another zero than the status.
public final class MPC320Controller: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private struct Parameters: Hashable {
        var velocity: UInt16
        var home: UInt16
        var jogs: [UInt16]
    }

    private let context: EmulationContext
    private let profile: DeviceProfile
    private let serial: UInt32
    private let hostAddress: UInt8
    private let deviceAddress: UInt8
    private let dataFollows: UInt8
    private let commandNames: [UInt16: String]
    private let messageIDs: [String: UInt16]
    private let countsPerSecondAtFullSpeed: Double
    private let updateInterval: Duration
    private let updateLease: Duration

    private var receiver: APTReceiver
    private var drive: PaddleDrive
    private var parameters: Parameters
    private var savedParameters: Parameters
    private var output: [UInt8] = []
    private var updates: (next: HostInstant, leaseEnd: HostInstant)?
    private var reportsWrongFirmware = false
    private var commandsToIgnore = 0
    /// How often the unit was asked to flash its light.
    public private(set) var identifyCount = 0

    /// What the factory sets: half speed, middle of the travel, jogs of about 3°. The speed is an
    /// assumption; the rest is what clients report.
    private static let factory = Parameters(velocity: 50, home: 685, jogs: [25, 25, 25])

    /// A controller that turns `plates`, with all paddles at the home position.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a controller.
    public init(
        profile: DeviceProfile, context: EmulationContext, plates: any RotatableWaveplates,
        serial: String
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        self.serial = UInt32(serial) ?? 38_000_001
        hostAddress = UInt8(try profile.constant("host_address"))
        deviceAddress = UInt8(try profile.constant("device_address"))
        dataFollows = UInt8(try profile.constant("data_follows"))
        let dialect = try profile.requireDialect()
        var names: [UInt16: String] = [:]
        var lengths: [UInt16: Int] = [:]
        for (name, command) in dialect.commands.entries {
            guard let id = command.opcode else { continue }
            names[id] = name
            lengths[id] = command.dataBytes
        }
        commandNames = names
        var messages: [String: UInt16] = [:]
        for (name, message) in dialect.messages.entries { messages[name] = message.opcode }
        messageIDs = messages
        receiver = APTReceiver(
            deviceAddress: deviceAddress, hostAddress: hostAddress, dataFollows: dataFollows,
            known: lengths)
        let scale = try profile.scale("position")
        let speed = try profile.scale("velocity")
        countsPerSecondAtFullSpeed = scale.deviceValue(speed.physicalValue(100))
        updateInterval = try profile.duration("update_interval_ms")
        updateLease = try profile.duration("update_lease_ms")
        let travel = scale.deviceValue(try profile.limit("position").max ?? 170)
        drive = PaddleDrive(
            plates: plates, count: min(profile.channels.count, plates.plateCount), travel: travel,
            radiansPerCount: Radians(degrees: scale.physicalValue(1)).rawValue,
            start: Double(Self.factory.home),
            generator: context.generator("polarization controller " + serial),
            at: context.benchTime(at: context.now))
        parameters = Self.factory
        savedParameters = Self.factory
    }

    /// What the encoders of the paddles show, in counts.
    public var encoders: [Int] { drive.paddles.indices.map(drive.encoder) }

    /// Which paddles are enabled, as the mask of the protocol.
    public var enabledMask: Int {
        drive.paddles.indices.reduce(0) { $0 | (drive.paddles[$1].isEnabled ? 1 << $1 : 0) }
    }

    /// Whether a paddle moves.
    public var isMoving: Bool { drive.isMoving }

    // MARK: - Serial line

    /// Bytes from the host.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        for message in receiver.receive(bytes) {
            guard let name = commandNames[message.id] else { continue }
            if commandsToIgnore > 0 {
                commandsToIgnore -= 1
            } else {
                perform(name, message, at: now)
            }
        }
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] {
        let count = min(limit, output.count)
        defer { output.removeFirst(count) }
        return Array(output.prefix(count))
    }

    /// Lets paddles move and updates go out.
    public func advance(to now: HostInstant) {
        for arrival in drive.advance(to: context.benchTime(at: now)) {
            send(
                arrival.purpose == .home ? "homed" : "move_completed",
                UInt8(1 << arrival.paddle), 0)
        }
        while let due = updates, due.next <= now {
            if due.next >= due.leaseEnd {
                updates = nil
                break
            }
            for paddle in drive.paddles.indices { sendStatus(paddle) }
            updates = (due.next + updateInterval, due.leaseEnd)
        }
    }

    /// The next step of a motion or the next update.
    public func nextWake(after now: HostInstant) -> HostInstant? {
        let step = drive.nextStep.map {
            max(context.hostInstant(at: $0), HostInstant(nanoseconds: now.nanoseconds &+ 1))
        }
        return [step, updates?.next].compactMap { $0 }.min()
    }

    // MARK: - Commands

    private func perform(_ name: String, _ message: APTMessage, at now: HostInstant) {
        switch name {
        case "request_info": sendInfo()
        case "disconnect", "stop_updates": updates = nil
        case "start_updates": updates = (now + updateInterval, now + updateLease)
        case "acknowledge_status":
            if let running = updates { updates = (running.next, now + updateLease) }
        case "identify": identifyCount += 1
        case "set_enabled": setEnabled(message.parameters.0, message.parameters.1)
        case "request_enabled": sendEnabled(message.parameters.0)
        case "request_position_counter":
            withPaddle(message.parameters.0, message.id) { paddle in
                let offset = profile.integerQuirk("position_counter_offset") ?? 0
                send(
                    "position_counter",
                    data: little(1 << paddle, 2) + little(drive.encoder(paddle) + offset, 4))
            }
        case "request_status": withPaddle(message.parameters.0, message.id, sendStatus)
        case "home":
            withPaddle(message.parameters.0, message.id) {
                begin($0, .home, Double(parameters.home))
            }
        case "move_absolute": moveAbsolute(message)
        case "jog": jog(message)
        case "stop":
            withPaddle(message.parameters.0, message.id) { paddle in
                drive.stop(paddle)
                send("stopped", UInt8(1 << paddle), 0)
            }
        case "set_parameters": setParameters(message)
        case "request_parameters": sendParameters()
        case "save_parameters":
            let saved = message.number(at: 2, width: 2).map { UInt16($0) }
            if saved == profile.dialect?.commands["set_parameters"]?.opcode {
                savedParameters = parameters
            }
        default: break
        }
    }

    /// Runs `body` with the paddle that `mask` names, or reports a fault.
    private func withPaddle(_ mask: UInt8, _ message: UInt16, _ body: (Int) -> Void) {
        let paddle = drive.paddles.indices.first { Int(mask) == 1 << $0 }
        guard let paddle else { return refuse(message, "channel not supported") }
        body(paddle)
    }

    private func setEnabled(_ mask: UInt8, _ state: UInt8) {
        let isEnabling = Int(state) == (try? profile.constant("state_enabled"))
        let new = isEnabling ? Int(mask) : enabledMask & ~Int(mask)
        for (paddle, target) in drive.enable(mask: new) {
            drive.start(paddle, .move, to: target, speed: countsPerSecondAtFullSpeed)
        }
    }

    private func begin(_ paddle: Int, _ purpose: PaddleDrive.Purpose, _ target: Double) {
        guard drive.paddles[paddle].isEnabled else { return drive.store(paddle, target) }
        drive.start(
            paddle, purpose, to: target,
            speed: countsPerSecondAtFullSpeed * Double(parameters.velocity) / 100)
    }

    private func moveAbsolute(_ message: APTMessage) {
        guard let mask = message.number(at: 0, width: 2),
            let raw = message.number(at: 2, width: 4)
        else { return }
        let target = Double(Int32(bitPattern: raw))
        withPaddle(UInt8(truncatingIfNeeded: mask), message.id) { paddle in
            guard mask < 256, (0...drive.travel).contains(target) else {
                return refuse(message.id, "position out of range")
            }
            begin(paddle, .move, target)
        }
    }

    private func jog(_ message: APTMessage) {
        withPaddle(message.parameters.0, message.id) { paddle in
            let isForward = Int(message.parameters.1) == (try? profile.constant("jog_forward"))
            let step = Double(parameters.jogs[paddle])
            let target = drive.reference(paddle) + (isForward ? step : -step)
            begin(paddle, .jog, max(0, min(drive.travel, target)))
        }
    }

    private func setParameters(_ message: APTMessage) {
        let words = (1...5).compactMap { message.number(at: 2 * $0, width: 2) }.map { UInt16($0) }
        guard words.count == 5 else { return }
        guard (10...100).contains(words[0]), words[1...].allSatisfy({ Double($0) <= drive.travel })
        else { return refuse(message.id, "parameter out of range") }
        parameters = Parameters(velocity: words[0], home: words[1], jogs: Array(words[2...]))
    }

    // MARK: - Replies

    private func send(_ name: String, _ first: UInt8, _ second: UInt8) {
        guard let id = messageIDs[name] else { return }
        output += little(Int(id), 2) + [first, second, hostAddress, deviceAddress]
    }

    private func send(_ name: String, data: [UInt8]) {
        guard let id = messageIDs[name] else { return }
        output += little(Int(id), 2) + little(data.count, 2)
        output += [hostAddress | dataFollows, deviceAddress] + data
    }

    /// Why a command was not carried out. The codes of the real controller are not published.
    private func refuse(_ message: UInt16, _ reason: String) {
        let text = Array(reason.utf8.prefix(63))
        send(
            "rich_response",
            data: little(Int(message), 2) + little(1, 2) + text
                + [UInt8](repeating: 0, count: 64 - text.count))
    }

    private func sendInfo() {
        let version = (profile.emulation?.firmware?.parts ?? [1, 0, 0]) + [0, 0, 0]
        let shown = reportsWrongFirmware ? [0, 0, 1] : version
        let model = Array(profile.identity.model.utf8.prefix(8))
        var data = little(Int(serial), 4) + model + [UInt8](repeating: 0, count: 8 - model.count)
        // Type 44 is a brushless controller in the manual's sample; the real value is not known.
        data += little(44, 2) + [UInt8(shown[2]), UInt8(shown[1]), UInt8(shown[0]), 0]
        data += [UInt8](repeating: 0, count: 60) + little(1, 2) + little(0, 2)
        send("info", data: data + little(drive.paddles.count, 2))
    }

    private func sendEnabled(_ mask: UInt8) {
        let isEnabled = enabledMask & Int(mask) != 0
        let state = try? profile.constant(isEnabled ? "state_enabled" : "state_disabled")
        send("enabled", mask, UInt8(state ?? 0))
        if profile.hasQuirk("stray_zero_after_enabled") { output.append(0) }
    }

    private func sendParameters() {
        let words = [0, parameters.velocity, parameters.home] + parameters.jogs
        send("parameters", data: words.flatMap { little(Int($0), 2) })
    }

    private func sendStatus(_ paddle: Int) {
        let motion = drive.motion(of: paddle)
        send(
            "status",
            data: little(1 << paddle, 2) + little(drive.encoder(paddle), 4)
                + little(Int((motion?.speed ?? 0).rounded()), 2)
                + little(motion == nil ? 0 : 180, 2) + little(Int(statusBits(paddle)), 4))
    }

    private func statusBits(_ paddle: Int) -> UInt32 {
        let state = drive.paddles[paddle]
        let position = drive.encoder(paddle)
        var names = ["connected", "power_ok"]
        if state.isEnabled { names += ["enabled", "tracking"] }
        if state.isHomed { names.append("homed") }
        if position <= 0 { names.append("hard_limit_ccw") }
        if Double(position) >= drive.travel { names.append("hard_limit_cw") }
        if let (purpose, speed) = drive.motion(of: paddle) {
            names += ["active", speed >= 0 ? "moving_cw" : "moving_ccw"]
            if purpose == .home { names.append("homing") }
            if purpose == .jog { names.append(speed >= 0 ? "jogging_cw" : "jogging_ccw") }
        } else if !drive.hasMotion(paddle) {
            names.append("settled")
        }
        return names.reduce(0) { bits, name in
            guard let bit = try? profile.statusBit(name) else { return bits }
            return bits | 1 << UInt32(bit)
        }
    }

    /// `value` in two's complement, low byte first.
    private func little(_ value: Int, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// The faults of the controller.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        switch fault.kind {
        case .stuckMotion: drive.isStuck = true
        case .oscillatingMotion: drive.hunting = Double(max(1, abs(fault.detail ?? 8) % 200))
        case .wrongFirmware: reportsWrongFirmware = true
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        case .reboot:
            drive.stopAll()
            drive.isStuck = false
            drive.hunting = nil
            _ = drive.enable(mask: 0)
            parameters = savedParameters
            updates = nil
            output = []
        default: return false
        }
        return true
    }
}
