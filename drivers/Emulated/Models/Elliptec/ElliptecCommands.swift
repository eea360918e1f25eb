import DeviceProfiles
import HostIO
import Quantities

// What Elliptec modules do with their commands, by the names the profile gives them.

extension ElliptecLine {
    private static let notSupported = 3
    private static let badValue = 4
    private static let outOfRange = 12
    /// How long a search of the resonances takes; the maker's software waits eight seconds for it.
    private static let searchTime = Duration.seconds(3)
    private static let longTask = Duration.seconds(30)

    func perform(_ name: String?, _ argument: UInt32?, _ index: Int, at now: HostInstant) {
        if let end = units[index].silentUntil {
            guard now >= end else { return }
            units[index].silentUntil = nil
        }
        guard let name, let argument else {
            units[index].latched = Self.notSupported
            return sendStatus(Self.notSupported, index)
        }
        if name == "stop" {
            stop(index)
            return sendStatus(0, index)
        }
        guard units[index].activity == nil else { return sendStatus(Self.busy, index) }
        if !answer(name, index), !set(name, argument, index, at: now) {
            move(name, argument, index, at: now)
        }
    }

    private func refuse(_ code: Int, _ index: Int) {
        units[index].latched = code
        sendStatus(code, index)
    }

    /// Questions; false for other commands.
    private func answer(_ name: String, _ index: Int) -> Bool {
        let settings = units[index].settings
        switch name {
        case "identify": sendIdentity(index)
        case "status":
            sendStatus(units[index].latched, index)
            units[index].latched = 0
        case "motor_1": sendMotor(0, index)
        case "motor_2": sendMotor(1, index)
        case "motor_3": sendMotor(2, index)
        case "position": sendPosition("position", index)
        case "paddle_1", "paddle_2", "paddle_3": sendPosition(name, index)
        case "home_offset": send(name, index, hexadecimal(Int(settings.homeOffset), 8))
        case "jog_step": send(name, index, hexadecimal(Int(settings.jogStep), 8))
        case "velocity": send(name, index, hexadecimal(settings.velocity, 2))
        default: return false
        }
        return true
    }

    /// The loop is on, the motor stands; the current and the ramps are those of the manual's example.
    private func sendMotor(_ motor: Int, _ index: Int) {
        let periods = units[index].settings.periods
        guard motor < periods.count else { return refuse(Self.notSupported, index) }
        send(
            "motor_\(motor + 1)", index,
            hexadecimal(0x10, 2) + hexadecimal(0x0428, 4) + hexadecimal(0xFFFF_FFFF, 8)
                + periods[motor].flatMap { hexadecimal($0, 4) })
    }

    /// Settings and tasks without motion; false for other commands.
    private func set(
        _ name: String, _ argument: UInt32, _ index: Int, at now: HostInstant
    ) -> Bool {
        switch name {
        case "save": units[index].saved = units[index].settings
        case "skip_search": break
        case "change_address": units[index].settings.address = UInt8(argument & 15)
        case "group_address": return group(UInt8(argument & 15), index)
        case "isolate":
            units[index].silentUntil = now + .seconds(60 * Int64(argument))
            return true
        case "set_home_offset": units[index].settings.homeOffset = Int32(bitPattern: argument)
        case "set_jog_step": units[index].settings.jogStep = Int32(bitPattern: argument)
        case "set_velocity":
            guard (1...100).contains(argument) else {
                refuse(Self.badValue, index)
                return true
            }
            units[index].settings.velocity = Int(argument)
        case "set_forward_period_1": return setPeriod(0, 0, argument, index)
        case "set_backward_period_1": return setPeriod(0, 1, argument, index)
        case "set_forward_period_2": return setPeriod(1, 0, argument, index)
        case "set_backward_period_2": return setPeriod(1, 1, argument, index)
        case "search_frequency_1", "search_frequency_2":
            units[index].activity = .init(end: now + Self.searchTime)
            return true
        case "optimize_motors", "clean_mechanics":
            units[index].activity = .init(end: now + Self.longTask)
            sendStatus(Self.busy, index)
            return true
        default: return false
        }
        sendStatus(0, index)
        return true
    }

    /// Answered from the new address, which holds until the next motion has ended.
    private func group(_ address: UInt8, _ index: Int) -> Bool {
        let own = units[index].settings.address
        units[index].settings.address = address
        sendStatus(0, index)
        units[index].settings.address = own
        units[index].group = address
        return true
    }

    /// The highest bit must be set; all other bits bring back what the factory set.
    private func setPeriod(
        _ motor: Int, _ direction: Int, _ argument: UInt32, _ index: Int
    ) -> Bool {
        guard argument & 0x8000 != 0 else {
            refuse(Self.badValue, index)
            return true
        }
        let period = Int(argument & 0x0FFF)
        let clock = (try? profile.constant("period_clock_hz")) ?? 0
        let factory = clock / (direction == 0 ? 78_000 : 106_000)
        units[index].settings.periods[motor][direction] = period == 0x0FFF ? factory : period
        sendStatus(0, index)
        return true
    }

    // MARK: - Motion

    private func move(_ name: String, _ argument: UInt32, _ index: Int, at now: HostInstant) {
        if isPaddle { return movePaddles(name, argument, index, at: now) }
        let axis = units[index].firstAxis
        let zero = units[index].zero
        let present = drive.positions[axis]
        let jog = Double(units[index].settings.jogStep)
        switch name {
        case "home":
            let turns = present / pulses
            let target = (argument == 0 ? turns.rounded(.down) : turns.rounded(.up)) * pulses
            begin(index, [(axis, target)], reply: "position", isHoming: true, at: now)
        case "move_absolute":
            rotate(index, to: Double(Int32(bitPattern: argument)), at: now)
        case "move_relative":
            rotate(
                index, to: (present - zero).rounded() + Double(Int32(bitPattern: argument)),
                at: now)
        case "jog_forward", "jog_backward":
            let sign = name == "jog_forward" ? 1.0 : -1.0
            let isContinuous = jog == 0
            let way = isContinuous ? 1e9 : jog
            begin(
                index, [(axis, present + sign * way)], reply: "position",
                isContinuous: isContinuous, at: now)
        default: refuse(Self.notSupported, index)
        }
    }

    private func rotate(_ index: Int, to counter: Double, at now: HostInstant) {
        guard abs(counter) <= pulses else { return refuse(Self.outOfRange, index) }
        begin(
            index, [(units[index].firstAxis, counter + units[index].zero)], reply: "position",
            at: now)
    }

    private func movePaddles(
        _ name: String, _ argument: UInt32, _ index: Int, at now: HostInstant
    ) {
        let first = units[index].firstAxis
        let all = 0..<axesPerUnit
        func field(_ paddle: Int) -> Int { Int(argument >> UInt32(10 * paddle)) & 0x3FF }
        var targets: [(axis: Int, target: Double)] = []
        var reply = "position"
        switch name {
        case "home":
            for paddle in all where argument >> UInt32(paddle) & 1 == 1 {
                targets.append((first + paddle, pulses / 2))
            }
        case "move_absolute":
            targets = all.map { (first + $0, Double(field($0))) }
        case "move_relative":
            targets = all.map { paddle in
                let way = field(paddle) > 0x1FF ? field(paddle) - 0x400 : field(paddle)
                return (first + paddle, Double(counts(first + paddle) + way))
            }
        default:
            guard let (paddle, target) = single(name, argument, first) else {
                return refuse(Self.notSupported, index)
            }
            targets = [(first + paddle, target)]
            reply = "paddle_\(paddle + 1)"
        }
        guard targets.allSatisfy({ $0.target >= 0 && $0.target < pulses }) else {
            return refuse(Self.outOfRange, index)
        }
        begin(index, targets, reply: reply, at: now)
    }

    /// A command to one paddle: the paddle from 0, and where it is to go.
    private func single(
        _ name: String, _ argument: UInt32, _ first: Int
    ) -> (paddle: Int, target: Double)? {
        for paddle in 0..<axesPerUnit {
            let present = Double(counts(first + paddle))
            switch name {
            case "move_paddle_\(paddle + 1)": return (paddle, Double(argument))
            case "move_paddle_\(paddle + 1)_by":
                return (paddle, present + Double(Int16(truncatingIfNeeded: argument)))
            case "drive_paddle_\(paddle + 1)":
                let seconds = Double(argument & 0x1FFF) / 1000
                let way = seconds * fullSpeed * (argument & 0x8000 == 0 ? 1 : -1)
                // At the end of its travel the motor slips.
                return (paddle, max(0, min(pulses - 1, present + way)))
            default: continue
            }
        }
        return nil
    }
}
