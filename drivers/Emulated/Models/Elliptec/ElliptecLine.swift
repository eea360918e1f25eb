import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// Thorlabs Elliptec modules on one line: rotation mounts (ELL14) or units of three fibre paddles (ELL3).
///
/// Commands, messages and status codes follow Thorlabs, "ELLx modules protocol manual", Issue 10,
/// October 2025; those of the paddles Thorlabs' ELLO_DLL, ELLPaddlePolariser.cs. A fault is held until
/// it is read, a motor stops after the time it may run, a module that is busy answers so to everything
/// but a stop, a rotator has lost its zero after power-up.
///
/// This model's own, as no source tells: how long searches take, that a motion longer than two seconds
/// is reported as busy once, errors of a count or two where a motion ends, what happens beyond one
/// turn from home (out of range), that paddles of one unit move one after the other. Left out: the
/// current curve (`c1`, `c2`), the search at power-up, and moves that go to zero because they follow
/// another too soon.
public final class ElliptecLine: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    let context: EmulationContext
    let profile: DeviceProfile
    let isPaddle: Bool
    let pulses: Double
    let fullSpeed: Double
    let driveLimit: Duration
    private let identityReply: [UInt8]
    private let messages: [String: [UInt8]]
    private var receiver: ElliptecReceiver
    private var generator: SeededGenerator
    private var output: [UInt8] = []
    private var commandsToIgnore = 0
    private var reportsWrongFirmware = false
    var drive: ElliptecDrive
    var units: [ElliptecUnit]

    static let busy = 9
    /// A motion that takes longer is reported once.
    private static let busyReport = Duration.seconds(2)

    /// The modules at `addresses` that turn `plates`; without addresses as many as there are plates
    /// for, from address 0 on.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such modules.
    public init(
        profile: DeviceProfile, context: EmulationContext, plates: any RotatableWaveplates,
        addresses: [UInt8]
    ) throws(MissingProfileField) {
        self.profile = profile
        self.context = context
        receiver = try ElliptecReceiver(profile: profile)
        generator = context.generator("elliptec line")
        pulses = Double(try profile.constant("pulses"))
        driveLimit = try profile.duration("drive_limit_ms")
        let scale = try profile.scale("position")
        fullSpeed = scale.deviceValue(try profile.scale("velocity").physicalValue(100))
        guard let reply = profile.emulation?.identityReply, reply.utf8.count == 30 else {
            throw MissingProfileField(profile: profile.id, path: "emulation.identity_reply")
        }
        identityReply = Array(reply.utf8)
        var messages: [String: [UInt8]] = [:]
        for (name, message) in try profile.requireDialect().messages.entries {
            messages[name] = [UInt8(message.opcode >> 8), UInt8(message.opcode & 0xFF)]
        }
        self.messages = messages
        isPaddle = profile.channels.contains { $0.kind == .paddle }
        let axes = profile.channels.count
        let room = axes == 0 ? 0 : plates.plateCount / axes
        let present =
            addresses.isEmpty
            ? (0..<min(16, room)).map { UInt8($0) } : Array(addresses.prefix(room))
        // 78 and 106 kHz, the manual's example.
        let clock = try profile.constant("period_clock_hz")
        let periods = [[clock / 78_000, clock / 106_000]]
        let jog = Int32(scale.deviceValue(5))
        units = present.enumerated().map { index, address in
            ElliptecUnit(
                index: index, firstAxis: index * axes,
                settings: .init(
                    address: address, jogStep: jog,
                    periods: (0..<max(2, axes)).flatMap { _ in periods }))
        }
        // Nobody knows where a mount stands when it is switched on.
        var positions: [Double] = []
        for _ in 0..<present.count * axes {
            positions.append(
                isPaddle
                    ? (pulses / 2).rounded() : Double(generator.next() % UInt64(max(1, pulses))))
        }
        drive = ElliptecDrive(
            plates: plates, radiansPerCount: Radians(degrees: scale.physicalValue(1)).rawValue,
            positions: positions, at: context.benchTime(at: context.now))
        for index in units.indices { loseZero(index) }
    }

    /// What the counter of an axis shows, counted along the line.
    public func counts(_ axis: Int) -> Int {
        let unit = units.first { $0.firstAxis <= axis && axis < $0.firstAxis + axesPerUnit }
        return Int((drive.positions[axis] - (unit?.zero ?? 0)).rounded())
    }

    /// The addresses the modules have now.
    public var addresses: [UInt8] { units.map(\.settings.address) }

    var axesPerUnit: Int { max(1, profile.channels.count) }

    private func loseZero(_ index: Int) {
        units[index].zero = isPaddle ? 0 : drive.positions[units[index].firstAxis].rounded()
    }

    // MARK: - Serial line

    /// Bytes from the host.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        for event in receiver.receive(bytes, at: now) {
            switch event {
            case .pause(let address):
                for index in units.indices where units[index].listens(to: address) {
                    units[index].latched = 1
                }
            case .command(let address, let name, let argument):
                if commandsToIgnore > 0 {
                    commandsToIgnore -= 1
                    continue
                }
                // The unit may take another address while it does what it is told.
                for index in units.indices.filter({ units[$0].listens(to: address) }) {
                    perform(name, argument, index, at: now)
                }
            }
        }
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] {
        let count = min(limit, output.count)
        defer { output.removeFirst(count) }
        return Array(output.prefix(count))
    }

    /// Lets modules move and finish what they do.
    public func advance(to now: HostInstant) {
        let time = context.benchTime(at: now)
        while true {
            let events = drive.advance(to: time)
            if events.isEmpty { break }
            for event in events { ended(event, at: now) }
        }
        for index in units.indices {
            if let tell = units[index].activity?.tell, tell <= now {
                units[index].activity?.tell = nil
                sendStatus(Self.busy, index)
            }
            if let end = units[index].activity?.end, end <= now {
                units[index].activity = nil
                sendStatus(0, index)
            }
        }
    }

    /// The next step of a motion, or the next thing a module says.
    public func nextWake(after now: HostInstant) -> HostInstant? {
        let step = drive.nextStep.map {
            max(context.hostInstant(at: $0), HostInstant(nanoseconds: now.nanoseconds &+ 1))
        }
        let times = units.flatMap { [$0.activity?.tell, $0.activity?.end] }.compactMap { $0 }
        return (times + [step].compactMap { $0 }).min()
    }

    // MARK: - Motion

    /// Sets axes of a module in motion, one after the other.
    func begin(
        _ index: Int, _ targets: [(axis: Int, target: Double)], reply: String?,
        isHoming: Bool = false, isContinuous: Bool = false, at now: HostInstant
    ) {
        units[index].activity = .init(
            reply: reply, queue: targets, isHoming: isHoming, isContinuous: isContinuous,
            tell: isContinuous ? nil : now + Self.busyReport)
        next(index, at: now)
    }

    private func next(_ index: Int, at now: HostInstant) {
        guard let first = units[index].activity?.queue.first else {
            return finish(index, at: now)
        }
        units[index].activity?.queue.removeFirst()
        let velocity = units[index].settings.velocity
        let allowed = profile.limits["continuous_velocity"]?.allows(Double(velocity)) ?? false
        let isEndless = units[index].activity?.isContinuous == true && allowed
        // A motor comes to rest within a count or two of where it is to stop.
        let error = max(-1.5, min(1.5, generator.gaussian() / 2))
        let target = isPaddle ? max(0, min(pulses - 1, first.target)) : first.target + error
        drive.start(
            first.axis, to: target, speed: fullSpeed * Double(velocity) / 100,
            limit: isEndless ? nil : Picoseconds(driveLimit.wholeNanoseconds * 1000))
    }

    private func ended(_ event: ElliptecDrive.Event, at now: HostInstant) {
        guard let index = units.indices.first(where: { event.axis / axesPerUnit == $0 }) else {
            return
        }
        guard event.end == .timedOut else { return next(index, at: now) }
        let activity = units[index].activity
        // A motor that ran on for too long is too hot; one that should have arrived is stuck.
        let code = activity?.isContinuous == true ? 8 : 2
        units[index].activity = nil
        units[index].group = nil
        units[index].latched = code
        send(activity?.reply == nil ? "button_status" : "status", index, hexadecimal(code, 2))
    }

    private func finish(_ index: Int, at now: HostInstant) {
        let activity = units[index].activity
        let axis = units[index].firstAxis
        if activity?.isHoming == true, !isPaddle {
            let rest = drive.positions[axis] - (drive.positions[axis] / pulses).rounded() * pulses
            drive.rename(axis, to: rest)
            units[index].zero = 0
        }
        units[index].activity = nil
        units[index].group = nil
        sendPosition(activity?.reply ?? "button_position", index)
    }

    /// Ends what a module does, without a word.
    func stop(_ index: Int) {
        for axis in units[index].firstAxis..<units[index].firstAxis + axesPerUnit {
            drive.stop(axis)
        }
        units[index].activity = nil
    }

    /// Somebody presses a button of the handset that is plugged into the module, counted along the
    /// line: it moves by its jog step.
    public func pressButton(forward: Bool, unit index: Int) {
        context.exclusively {
            let now = context.now
            advance(to: now)
            guard !isPaddle, units[index].activity == nil else { return }
            let axis = units[index].firstAxis
            let step = Double(units[index].settings.jogStep)
            begin(
                index, [(axis, drive.positions[axis] + (forward ? step : -step))], reply: nil,
                at: now)
            send("button_status", index, hexadecimal(Self.busy, 2))
        }
    }

    // MARK: - Messages

    func send(_ message: String, _ index: Int, _ data: [UInt8]) {
        guard let code = messages[message] else { return }
        output += hexadecimal(Int(units[index].settings.address), 1) + code + data + [0x0D, 0x0A]
    }

    func sendStatus(_ code: Int, _ index: Int) { send("status", index, hexadecimal(code, 2)) }

    /// The position of a module: of its rotator, of all paddles in ten bits each, or of one paddle.
    func sendPosition(_ message: String, _ index: Int) {
        let first = units[index].firstAxis
        guard isPaddle else { return send(message, index, hexadecimal(counts(first), 8)) }
        if let paddle = message.last?.wholeNumberValue {
            return send(message, index, hexadecimal(counts(first + paddle - 1), 4))
        }
        let packed = (0..<axesPerUnit).reduce(0) { $0 | (counts(first + $1) & 0x3FF) << (10 * $1) }
        send(message, index, hexadecimal(packed, 8))
    }

    func sendIdentity(_ index: Int) {
        var data = identityReply
        let serial = (Int(String(decoding: data[2..<10], as: UTF8.self)) ?? 0) + index
        let digits = Array(String(serial).utf8)
        data.replaceSubrange(
            2..<10, with: [UInt8](repeating: 0x30, count: max(0, 8 - digits.count)) + digits)
        if reportsWrongFirmware { data.replaceSubrange(14..<16, with: [0x46, 0x46]) }
        send("information", index, data)
    }

    /// The low `digits` digits of `value` in two's complement, in upper case.
    func hexadecimal(_ value: Int, _ digits: Int) -> [UInt8] {
        (0..<digits).reversed().map { place in
            let digit = UInt8(truncatingIfNeeded: value >> (4 * place)) & 15
            return digit < 10 ? 0x30 + digit : 0x37 + digit
        }
    }

    /// The faults of the modules; `detail` counts the module whose motor is stuck.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        switch fault.kind {
        case .stuckMotion:
            let index = abs(fault.detail ?? 0) % max(1, units.count)
            for axis in index * axesPerUnit..<(index + 1) * axesPerUnit { drive.stuck.insert(axis) }
        case .wrongFirmware: reportsWrongFirmware = true
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        case .reboot:
            for index in units.indices {
                stop(index)
                units[index].settings = units[index].saved
                units[index].group = nil
                units[index].latched = 0
                units[index].silentUntil = nil
                loseZero(index)
            }
            drive.stuck = []
            output = []
        default: return false
        }
        return true
    }
}
