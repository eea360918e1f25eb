import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The OZ Optics DD-100-MC attenuator: a motor that moves a blocker through the beam, and a
/// calibration from steps to decibels.
///
/// Commands and errors follow the list in github.com/COO-Utilities/ozoptics at 083469b, the shape
/// of replies qmi 0.54.2 and its tests. The calibration, the speed of the motor, that home is the
/// end with the least attenuation, and that a unit refuses to move before it was homed are this
/// model's own, as are all lines of the configuration but insertion loss and greatest attenuation.
public final class DD100Unit: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// A motion, and what is answered at its end.
    private struct Motion {
        var start: HostInstant
        var end: HostInstant
        var from: Double
        var to: Double
        var isHoming: Bool
    }

    private let context: EmulationContext
    private let element: any AttenuatingElement
    private let insertionLoss: Double
    private let greatest: Double
    private let lastStep: Double
    private let homing: Duration
    private let fullTravel: Duration
    private var dialect: CompactDialect
    private var queue: [CompactDialect.Received] = []
    private var output: [UInt8] = []
    /// Steps from home; where the motor is when it was switched on, nobody knows.
    private var position: Double
    private var isHomed = false
    private var motion: Motion?
    private var isEchoing = false
    private var isStuck = false
    private var isOtherModel = false
    private var commandsToIgnore = 0

    private static let motionStep = Duration.milliseconds(50)
    private static let longestQueue = 8

    /// A unit in the beam of `element`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a unit.
    public init(
        profile: DeviceProfile, context: EmulationContext, element: any AttenuatingElement
    ) throws(MissingProfileField) {
        self.context = context
        self.element = element
        insertionLoss = try profile.limit("insertion_loss").standard ?? 0
        greatest = try profile.limit("attenuation").max ?? 0
        lastStep = try profile.limit("position").max ?? 1
        homing = .nanoseconds(Int64((profile.timing["homing_ms"] ?? 8000) * 1e6))
        fullTravel = .nanoseconds(Int64((profile.timing["full_travel_ms"] ?? 4000) * 1e6))
        dialect = try CompactDialect(profile: profile)
        position = lastStep / 2
        apply(at: context.now)
    }

    // MARK: - Calibration

    private func decibels(at steps: Double) -> Double {
        let share = steps / lastStep
        return insertionLoss + (greatest - insertionLoss) * share * share
    }

    private func steps(for decibels: Double) -> Double {
        let share = (decibels - insertionLoss) / (greatest - insertionLoss)
        return (lastStep * max(0, min(1, share)).squareRoot()).rounded()
    }

    private func apply(at now: HostInstant) {
        element.setAttenuation(Decibels(decibels(at: position)), at: context.benchTime(at: now))
    }

    // MARK: - Serial port

    /// Bytes from the host. Commands that arrive during a motion wait for its end.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        if isEchoing { output += bytes }
        for command in dialect.receive(bytes) {
            if commandsToIgnore > 0 {
                commandsToIgnore -= 1
            } else if queue.count < Self.longestQueue {
                queue.append(command)
            } else {
                refuse(6)
            }
        }
        performQueued(at: now)
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] {
        let count = min(limit, output.count)
        defer { output.removeFirst(count) }
        return Array(output.prefix(count))
    }

    private func line(_ text: String) { output += Array((text + "\r\n").utf8) }

    private func finish(_ lines: [String]) {
        for text in lines { line(text) }
        line("Done")
        line("")
    }

    private func refuse(_ number: Int) {
        line("Error-\(number)")
        line("")
    }

    // MARK: - Motion

    /// Moves the motor and answers when it has arrived.
    public func advance(to now: HostInstant) {
        guard let motion else { return }
        let whole = (motion.end - motion.start).inSeconds
        let share = whole > 0 ? min(1, (now - motion.start).inSeconds / whole) : 1
        if !isStuck { position = motion.from + (motion.to - motion.from) * share }
        apply(at: now)
        guard now >= motion.end else { return }
        self.motion = nil
        if !motion.isHoming {
            finish(["Pos:\(Int(position.rounded()))"])
        } else if isStuck {
            refuse(5)
        } else {
            isHomed = true
            finish(["Diff=0"])
        }
        performQueued(at: now)
    }

    /// The next step of a motion, or its end.
    public func nextWake(after now: HostInstant) -> HostInstant? {
        motion.map { min($0.end, now + Self.motionStep) }
    }

    private func move(to target: Double, at now: HostInstant, isHoming: Bool = false) {
        let share = abs(target - position) / lastStep
        let time = isHoming ? homing : .nanoseconds(Int64(fullTravel.inSeconds * share * 1e9))
        motion = Motion(
            start: now, end: now + time, from: position, to: target, isHoming: isHoming)
        if time <= .zero { advance(to: now) }
    }

    // MARK: - Commands

    private func performQueued(at now: HostInstant) {
        while motion == nil, !queue.isEmpty { perform(queue.removeFirst(), at: now) }
    }

    private func perform(_ command: CompactDialect.Received, at now: HostInstant) {
        switch command.name {
        case "configuration": finish(configuration)
        case "status": finish(["DPos:\(Int(position.rounded()))", "ATTEN:" + attenuationText])
        case "attenuation": finish(["ATTEN:" + attenuationText])
        case "steps": finish(["Pos:\(Int(position.rounded()))"])
        case "home": move(to: 0, at: now, isHoming: true)
        case "set_attenuation":
            let wanted = command.argument ?? -1
            travel(wanted < insertionLoss || wanted > greatest ? nil : steps(for: wanted), now)
        case "set_steps": travel(command.argument, now)
        case "step_forward": travel(position + 1, now)
        case "step_backward": travel(position - 1, now)
        case "echo_on", "echo_off":
            isEchoing = command.name == "echo_on"
            finish([])
        case "restart":
            isHomed = false
            finish(configuration)
        default: refuse(2)
        }
    }

    private func travel(_ target: Double?, _ now: HostInstant) {
        guard isHomed, let target, target >= 0, target <= lastStep else { return refuse(2) }
        move(to: target.rounded(), at: now)
    }

    private var attenuationText: String {
        isHomed ? decimal(decibels(at: position.rounded()), places: 2) : "unknown"
    }

    private var configuration: [String] {
        if isOtherModel { return ["TF-100 emulated"] }
        return [
            "DD-100-MC emulated", "IL:" + decimal(insertionLoss, places: 2),
            "MAX ATTEN:" + decimal(greatest, places: 2),
        ]
    }

    /// The faults of the unit. `stuckMotion` is a motor that does not turn; a restart forgets where
    /// the motor is.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        switch fault.kind {
        case .reboot:
            motion = nil
            queue = []
            output = []
            isHomed = false
            isEchoing = false
        case .wrongFirmware: isOtherModel = true
        case .stuckMotion: isStuck = true
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        default: return false
        }
        return true
    }
}
