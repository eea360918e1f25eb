import DeviceProfiles
import HostIO
import Instruments
import Quantities

// Motion of Elliptec modules: moves, homing, stops, readback.

extension ThorlabsElliptecDriver {
    /// One motion that was commanded and has not ended.
    private struct Motion {
        var unit: Int
        /// The axis; for homing, the first of the module.
        var axis: Int
        /// The command that started it and the message that ends it.
        var command: String
        var message: String
        /// What asks for that message.
        var query: String
        /// Where it is to end, in counts.
        var target: Int
        var isHoming: Bool
        var started = HostInstant.zero
        var deadline = HostInstant.zero
        /// When to ask how it stands, because nothing was heard.
        var nextQuestion = HostInstant.zero
        /// Whether it was asked, so that a position may be no more than the answer.
        var wasAsked = false
        /// Whether the module has shown that it moves or moved.
        var hasMoved = false
        /// A position away from the target, before the status has told whether it is final.
        var doubtful: Int?
    }

    /// Where a motion ended and when it was heard of.
    private struct Arrival {
        var counts: Int
        var started: HostInstant
        var finished: HostInstant
    }

    /// A motion of which nothing was heard for this long is asked about; the longest turn takes less.
    private static let silence = Duration.seconds(1)
    /// A line on which nothing came for this long has said all it had to.
    private static let quietTime = Duration.milliseconds(100)

    // MARK: Port

    /// Moves one axis and waits until it stands.
    ///
    /// - Throws: `outOfRange` before anything is sent when the angle is not allowed; `cancelled` when
    ///   `halt` or the cancellation of the task ended the motion; `deviceFault` when a module reports
    ///   a fault or stands elsewhere; `timedOut` when it is silent.
    public func move(
        _ axis: Int, to setting: ActuatorSetting
    ) async throws(DriverError) -> MotionReport {
        try await move([axis: setting])[0]
    }

    /// Moves several axes; modules move at once, the paddles of one module one after the other.
    public func move(
        _ settings: [Int: ActuatorSetting]
    ) async throws(DriverError) -> [MotionReport] {
        let operation = "move"
        _ = try openBus(operation)
        var waiting: [(axis: Int, setting: ActuatorSetting, counts: Int)] = []
        for (axis, setting) in settings.sorted(by: { $0.key < $1.key }) {
            waiting.append((axis, setting, try counts(for: setting, axis: axis)))
        }
        let stops = stopCount
        return try await turns.turn { () async throws(DriverError) in
            var reports: [Int: MotionReport] = [:]
            while !waiting.isEmpty {
                var motions: [Motion] = []
                var rest: [(axis: Int, setting: ActuatorSetting, counts: Int)] = []
                for target in waiting {
                    let words = words[target.axis]
                    if motions.contains(where: { $0.unit == words.unit }) {
                        rest.append(target)
                        continue
                    }
                    motions.append(
                        Motion(
                            unit: words.unit, axis: target.axis, command: words.move,
                            message: words.message, query: words.query, target: target.counts,
                            isHoming: false))
                }
                let arrivals = try await perform(motions, stops: stops, operation: operation)
                for (target, arrival) in zip(motions, arrivals) {
                    let setting = settings[target.axis] ?? .angle(Radians(0))
                    reports[target.axis] = MotionReport(
                        axis: target.axis, requested: setting,
                        reached: .angle(angle(arrival.counts, unit: target.unit)),
                        started: arrival.started, finished: arrival.finished)
                }
                waiting = rest
            }
            return reports.sorted { $0.key < $1.key }.map(\.value)
        }
    }

    /// Stops every module at once, ahead of anything that waits to be sent, and returns when no motion
    /// is watched any more.
    ///
    /// Modules without a stop command, as their profile says, end the motion that runs by themselves;
    /// it is the last.
    public func halt() async throws(DriverError) {
        let operation = "halt"
        _ = try openBus(operation)
        stopCount += 1
        try await sendStops(operation)
        // Whoever moves sees the answers and ends.
        try await turns.turn { () async throws(DriverError) in try await quiet(operation) }
    }

    private var canStop: Bool { profile.dialect?.commands["stop"] != nil }

    /// Waits until the answers to stops have come, which would be taken for those to the next command.
    private func quiet(_ operation: String) async throws(DriverError) {
        guard canStop else { return }
        let bus = try openBus(operation)
        let end = reactor.now + .seconds(1)
        while reactor.now < end,
            try await bus.next(until: reactor.now + Self.quietTime, operation: operation) != nil
        {}
    }

    private func sendStops(_ operation: String) async throws(DriverError) {
        guard canStop else { return }
        for unit in units {
            try await openBus(operation).send(
                "stop", to: unit.address, isUrgent: true, operation: operation)
        }
    }

    /// Where the axes are, by their own readback. A module at rest shows a few counts around zero
    /// after homing, below it as well.
    public func settings() async throws(DriverError) -> [ActuatorSetting] {
        let operation = "settings"
        _ = try openBus(operation)
        return try await turns.turn { () async throws(DriverError) in
            var settings: [ActuatorSetting] = []
            for axis in words.indices {
                let counts = try await position(axis, operation: operation)
                settings.append(.angle(angle(counts, unit: words[axis].unit)))
            }
            return settings
        }
    }

    /// Sets the drive of all modules in per cent of the greatest; below the limit of the profile a
    /// motor may stall.
    public func setVelocity(percent: Double) async throws(DriverError) {
        let operation = "set velocity"
        _ = try openBus(operation)
        if let limit = profile.limits["velocity"], !limit.allows(percent) {
            throw DriverError(
                code: .outOfRange, instrument: name, operation: operation,
                expected: "\(limit.min ?? 0) to \(limit.max ?? 100) %", found: "\(percent) %",
                advice: "choose a value inside the range of the profile")
        }
        try await turns.turn { () async throws(DriverError) in
            for unit in units.indices {
                let frame = try await exchange(
                    "set_velocity", [percent], unit: unit, operation: operation)
                let code = Int(wire.number("code", in: frame) ?? 0)
                if code != 0 { throw await faultRead(code, unit, operation: operation) }
            }
        }
    }

    /// Asks for identity, status and positions; nothing moves.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        _ = try openBus(operation)
        return try await turns.turn { () async throws(DriverError) in
            var checks: [SelfTestReport.Check] = []
            for unit in units.indices {
                let found = try await information(unit, operation: operation)
                guard found.serial == units[unit].serial else {
                    throw ElliptecError.wrongUnit(
                        address: units[unit].address, expected: units[unit].serial,
                        found: found.serial
                    ).driverError(instrument: name, operation: operation)
                }
                let code = try await status(unit, operation: operation)
                let fault = code == 0 ? nil : moduleFault(code, unit, operation: operation)
                checks.append(
                    .init(
                        name: "address \(units[unit].address)", passed: fault == nil,
                        detail: fault?.found
                            ?? "\(found.serial), firmware \(found.firmware)"))
            }
            for axis in words.indices {
                let counts = try await position(axis, operation: operation)
                let degrees = angle(counts, unit: words[axis].unit).degrees
                checks.append(
                    .init(
                        name: "axis \(axis + 1)", passed: true,
                        detail: "at \((degrees * 100).rounded() / 100)°"))
            }
            return SelfTestReport(checks: checks)
        }
    }

    // MARK: Motions

    /// Homes a module. Called with the turn on the line.
    func home(_ unit: Int, _ values: [Double], operation: String) async throws(DriverError) {
        let axis = words.firstIndex { $0.unit == unit } ?? 0
        _ = try await perform(
            [
                Motion(
                    unit: unit, axis: axis, command: "home", message: "position",
                    query: "position", target: 0, isHoming: true)
            ], values: values, stops: stopCount, operation: operation)
    }

    /// Starts motions of different modules and waits until all have ended.
    private func perform(
        _ motions: [Motion], values: [Double]? = nil, stops: UInt64, operation: String
    ) async throws(DriverError) -> [Arrival] {
        let bus = try openBus(operation)
        var running = motions
        var arrivals: [Int: Arrival] = [:]
        do throws(DriverError) {
            for index in running.indices {
                try checkStops(stops, running[index])
                try await begin(
                    &running[index], values: values, bus, isFirst: index == 0,
                    operation: operation)
            }
            while arrivals.count < running.count {
                let open = running.indices.filter { arrivals[$0] == nil }
                if canStop { for index in open { try checkStops(stops, running[index]) } }
                let wake = open.map { min(running[$0].nextQuestion, running[$0].deadline) }.min()
                let arrival = try await bus.next(
                    until: wake ?? reactor.now, operation: operation)
                if case .frame(let frame)? = arrival {
                    guard
                        let index = open.first(where: {
                            units[running[$0].unit].address == frame.address
                        })
                    else {
                        try checkSender(
                            frame, expected: units[running[open[0]].unit].address,
                            operation: operation)
                        continue
                    }
                    arrivals[index] = try await take(frame, &running[index], operation: operation)
                } else if arrival == nil {
                    for index in open {
                        try await ask(&running[index], bus, operation: operation)
                    }
                } else {
                    // It may have been the message that is waited for.
                    for index in open { running[index].nextQuestion = reactor.now }
                }
            }
        } catch {
            await abandon(error)
            throw error
        }
        for motion in running { bus.movedByHand.remove(units[motion.unit].address) }
        return running.indices.compactMap { arrivals[$0] }
    }

    private func begin(
        _ motion: inout Motion, values: [Double]?, _ bus: ElliptecBus, isFirst: Bool,
        operation: String
    ) async throws(DriverError) {
        let pause = units[motion.unit].restUntil - reactor.now
        if pause > .zero { try await rest(pause, operation: operation) }
        if isFirst { bus.forgetArrivals() }
        try await bus.send(
            motion.command, values ?? [Double(motion.target)],
            to: units[motion.unit].address, operation: operation)
        motion.started = reactor.now
        motion.deadline = reactor.now + timeout(of: motion.command)
        motion.nextQuestion = reactor.now + Self.silence
    }

    private func checkStops(_ stops: UInt64, _ motion: Motion) throws(DriverError) {
        guard stopCount != stops else { return }
        throw ElliptecError.halted(axis: motion.axis)
            .driverError(instrument: name, operation: "move")
    }

    /// Takes a message of a module that moves. Returns where it ended, once it has.
    private func take(
        _ frame: ElliptecFrame, _ motion: inout Motion, operation: String
    ) async throws(DriverError) -> Arrival? {
        func end(at counts: Int) -> Arrival {
            let pause = profile.timing["before_move_ms"] ?? 0
            units[motion.unit].restUntil = reactor.now + .nanoseconds(Int64(pause * 1e6))
            return Arrival(counts: counts, started: motion.started, finished: reactor.now)
        }
        let message = wire.name(of: frame)
        if message == motion.message {
            let counts = Int(wire.number("position", in: frame) ?? 0)
            let isThere = motion.isHoming && isPaddle || abs(counts - motion.target) <= tolerance
            if isThere, !motion.isHoming || motion.hasMoved || !motion.wasAsked {
                return end(at: counts)
            }
            // It may still be under way: the status tells.
            motion.doubtful = counts
            motion.nextQuestion = reactor.now
            return nil
        }
        guard message == "status", let code = wire.number("code", in: frame) else { return nil }
        switch Int(code) {
        case Self.busy:
            motion.hasMoved = true
            motion.doubtful = nil
            motion.nextQuestion = reactor.now + Self.silence
        case 0:
            guard let counts = motion.doubtful else {
                motion.nextQuestion = reactor.now
                return nil
            }
            guard !motion.isHoming else {
                throw ElliptecError.noReply(
                    address: units[motion.unit].address, command: motion.command
                ).driverError(instrument: name, operation: operation)
            }
            throw ElliptecError.missedTarget(
                address: units[motion.unit].address, axis: motion.axis, wanted: motion.target,
                reached: counts
            ).driverError(instrument: name, operation: operation)
        default: throw await faultRead(Int(code), motion.unit, operation: operation)
        }
        return nil
    }

    /// Asks a module of which nothing was heard where it stands, or whether it moves.
    private func ask(
        _ motion: inout Motion, _ bus: ElliptecBus, operation: String
    ) async throws(DriverError) {
        let address = units[motion.unit].address
        if reactor.now >= motion.deadline {
            throw
                (motion.hasMoved
                ? ElliptecError.stillMoving(address: address)
                : .noReply(address: address, command: motion.command))
                .driverError(instrument: name, operation: operation)
        }
        guard reactor.now >= motion.nextQuestion else { return }
        motion.wasAsked = true
        motion.nextQuestion = reactor.now + Self.silence
        try await bus.send(
            motion.doubtful == nil ? motion.query : "status", to: address, operation: operation)
    }

    /// Whoever gives up must not leave an axis moving that nobody watches; the stops go out in a task
    /// of their own, because this one may be cancelled.
    private func abandon(_ error: DriverError) async {
        guard error.code != .disconnected, error.code != .wrongState else { return }
        await reactor.start {
            try? await self.sendStops("halt")
            try? await self.quiet("halt")
        }.value
        let pause = profile.timing["before_move_ms"] ?? 0
        for unit in units.indices {
            units[unit].restUntil = reactor.now + .nanoseconds(Int64(pause * 1e6))
        }
    }

    // MARK: Angles

    private func counts(
        for setting: ActuatorSetting, axis: Int
    ) throws(DriverError) -> Int {
        let operation = "move"
        guard axes.indices.contains(axis) else {
            throw ElliptecError.noAxis(axis, count: axes.count)
                .driverError(instrument: name, operation: operation)
        }
        guard case .angle(let angle) = setting else {
            throw ElliptecError.notAnAngle.driverError(instrument: name, operation: operation)
        }
        let range = axes[axis].range
        let slack = axes[axis].resolution / 2
        guard angle.rawValue >= range.lowerBound - slack, angle.rawValue <= range.upperBound + slack
        else {
            throw ElliptecError.outOfRange(
                degrees: angle.degrees,
                allowed: Radians(range.lowerBound).degrees...Radians(range.upperBound).degrees
            ).driverError(instrument: name, operation: operation)
        }
        return Int((angle.degrees * units[words[axis].unit].countsPerDegree).rounded())
    }

    private func angle(_ counts: Int, unit: Int) -> Radians {
        Radians(degrees: Double(counts) / units[unit].countsPerDegree)
    }
}
