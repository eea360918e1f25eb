import DeviceProfiles
import HostIO
import Instruments
import Quantities

// Motion of the MPC320: moves, stops, readback.

extension ThorlabsMPC320Driver {
    /// Moves one paddle and waits until it stands.
    ///
    /// - Throws: `outOfRange` before anything is sent when the angle is not allowed; `cancelled` when
    ///   `halt` or the cancellation of the task ended the motion; `deviceFault` when the controller
    ///   reports a fault or the paddle stands elsewhere.
    public func move(
        _ axis: Int, to setting: ActuatorSetting
    ) async throws(DriverError) -> MotionReport {
        let reports = try await move([axis: setting])
        return reports[0]
    }

    /// Moves several paddles; all commands are sent at once, and the controller works them off.
    public func move(
        _ settings: [Int: ActuatorSetting]
    ) async throws(DriverError) -> [MotionReport] {
        let operation = "move"
        let session = try openSession(operation)
        var targets: [(axis: Int, setting: ActuatorSetting, counts: Int)] = []
        for (axis, setting) in settings.sorted(by: { $0.key < $1.key }) {
            targets.append((axis, setting, try counts(for: setting, axis: axis)))
        }
        var tickets: [APTSession.Ticket] = []
        defer { for ticket in tickets { session.forget(ticket) } }
        var started: [HostInstant] = []
        for target in targets {
            tickets.append(
                try session.expect(
                    ["move_completed", "stopped"], mask: masks[target.axis], operation: operation))
            try await session.send(
                "move_absolute", [Double(masks[target.axis]), Double(target.counts)],
                operation: operation)
            started.append(reactor.now)
        }
        var reports: [MotionReport] = []
        for (index, target) in targets.enumerated() {
            let finished = try await completion(tickets[index], axis: target.axis, session)
            let status = try await status(of: target.axis, operation: operation)
            try check(status, operation: operation)
            guard abs(Int(status.position) - target.counts) <= Self.tolerance else {
                throw ThorlabsMPC320Error.missedTarget(
                    axis: target.axis, wanted: target.counts, reached: Int(status.position)
                ).driverError(instrument: name, operation: operation)
            }
            reports.append(
                MotionReport(
                    axis: target.axis, requested: target.setting,
                    reached: .angle(angle(of: status)), started: started[index],
                    finished: finished))
        }
        return reports
    }

    private func completion(
        _ ticket: APTSession.Ticket, axis: Int, _ session: APTSession
    ) async throws(DriverError) -> HostInstant {
        let timeout =
            profile.dialect?.commands["move_absolute"].map { self.timeout(of: $0) } ?? .seconds(30)
        let frame: APTFrame
        do throws(DriverError) {
            frame = try await session.frame(for: ticket, timeout: timeout, operation: "move")
        } catch {
            // Whoever gave up must not leave a paddle moving that nobody watches; the stop goes out
            // in a task of its own, because this one may be cancelled.
            if error.code == .cancelled || error.code == .timedOut {
                await reactor.start { try? await self.halt() }.value
            }
            throw error
        }
        guard session.name(of: frame) == "move_completed" else {
            throw ThorlabsMPC320Error.halted(axis: axis)
                .driverError(instrument: name, operation: "move")
        }
        return reactor.now
    }

    private func counts(
        for setting: ActuatorSetting, axis: Int
    ) throws(DriverError) -> Int {
        let operation = "move"
        guard axes.indices.contains(axis) else {
            throw ThorlabsMPC320Error.noAxis(axis, count: axes.count)
                .driverError(instrument: name, operation: operation)
        }
        guard case .angle(let angle) = setting else {
            throw ThorlabsMPC320Error.notAnAngle.driverError(instrument: name, operation: operation)
        }
        let range = axes[axis].range
        let slack = axes[axis].resolution / 2
        guard angle.rawValue >= range.lowerBound - slack, angle.rawValue <= range.upperBound + slack
        else {
            throw ThorlabsMPC320Error.outOfRange(
                degrees: angle.degrees,
                allowed: Radians(range.lowerBound).degrees...Radians(range.upperBound).degrees
            ).driverError(instrument: name, operation: operation)
        }
        return Int((angle.degrees * countsPerDegree).rounded())
    }

    private func angle(of status: APTStatus) -> Radians {
        Radians(degrees: Double(status.position) / countsPerDegree)
    }

    /// Stops every paddle at once, ahead of anything that waits to be sent.
    ///
    /// Returns when the controller has confirmed, or after the reply time when it does not: a paddle
    /// that stood still need not confirm. A confirmation that is still under way would otherwise end
    /// the next move.
    public func halt() async throws(DriverError) {
        let operation = "halt"
        let session = try openSession(operation)
        var tickets: [APTSession.Ticket] = []
        defer { for ticket in tickets { session.forget(ticket) } }
        for mask in masks {
            tickets.append(try session.expect(["stopped"], mask: mask, operation: operation))
            try await session.send(
                "stop", [Double(mask), stopMode], isUrgent: true, operation: operation)
        }
        let milliseconds = profile.dialect?.replyTimeoutMilliseconds ?? 500
        let deadline = reactor.now + .nanoseconds(Int64(milliseconds * 1e6))
        for ticket in tickets {
            let left = max(deadline - reactor.now, .zero)
            _ = try? await session.frame(for: ticket, timeout: left, operation: operation)
        }
    }

    /// Where the paddles are, by their status messages.
    public func settings() async throws(DriverError) -> [ActuatorSetting] {
        var settings: [ActuatorSetting] = []
        for axis in masks.indices {
            settings.append(.angle(angle(of: try await status(of: axis, operation: "settings"))))
        }
        return settings
    }

    /// Sets the velocity of all paddles in per cent of the greatest, 10 to 100; keeps the other
    /// parameters.
    public func setVelocity(percent: Double) async throws(DriverError) {
        let operation = "set velocity"
        let frame = try await exchange("request_parameters", operation: operation)
        let fields = profile.dialect?.messages["parameters"]?.fields
        let data = frame.data ?? []
        var values: [Double] = []
        for name in fields?.names ?? [] {
            guard let value = fields?[name]?.number(in: data) else {
                throw ThorlabsMPC320Error.shortMessage(name: "parameters", bytes: data.count)
                    .driverError(instrument: self.name, operation: operation)
            }
            values.append(name == "velocity" ? percent : Double(value))
        }
        try await openSession(operation).send("set_parameters", values, operation: operation)
    }

    /// Asks for identity and status; nothing moves.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        try await readIdentity(operation)
        var checks = [
            SelfTestReport.Check(
                name: "identity", passed: true,
                detail: "\(identity.shortName), firmware \(identity.firmware)")
        ]
        for axis in masks.indices {
            let status = try await status(of: axis, operation: operation)
            let names = faults(in: status).map(\.name)
            let degrees = angle(of: status).degrees
            checks.append(
                .init(
                    name: "paddle \(axis + 1)", passed: names.isEmpty,
                    detail: names.isEmpty
                        ? "at \((degrees * 100).rounded() / 100)°"
                        : names.joined(separator: ", ")))
        }
        return SelfTestReport(checks: checks)
    }
}
