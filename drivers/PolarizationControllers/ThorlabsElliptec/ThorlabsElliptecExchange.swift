import DeviceProfiles
import HostIO
import Instruments
import Quantities

// Questions and answers of the Elliptec driver. Whoever calls these has the turn on the line.

extension ThorlabsElliptecDriver {
    /// The status of a module that moves.
    static let busy = 9
    /// How long to leave a busy module alone.
    static let busyPause = Duration.milliseconds(100)

    func timeout(of command: String) -> Duration {
        let milliseconds =
            profile.dialect?.commands[command]?.timeoutMilliseconds
            ?? profile.dialect?.replyTimeoutMilliseconds ?? 1000
        return .nanoseconds(Int64(milliseconds * 1e6))
    }

    func rest(_ duration: Duration, operation: String) async throws(DriverError) {
        do { try await reactor.sleep(for: duration) } catch {
            throw DriverError(.cancelled, instrument: name, operation: operation)
        }
    }

    /// Sends a command and waits for the message the profile names as its reply.
    ///
    /// - Throws: `timedOut`, `malformedReply`, `wrongDevice` when another address answers,
    ///   `deviceFault` for a status with a fault in place of the reply.
    func exchange(
        _ command: String, _ values: [Double] = [], unit: Int, operation: String
    ) async throws(DriverError) -> ElliptecFrame {
        let bus = try openBus(operation)
        let address = units[unit].address
        let expected = profile.dialect?.commands[command]?.reply.message ?? "status"
        let busyEnd = reactor.now + timeout(of: "move_absolute")
        while true {
            bus.forgetArrivals()
            try await bus.send(command, values, to: address, operation: operation)
            let frame = try await reply(
                to: command, named: expected, unit: unit, bus, operation: operation)
            guard expected != "status", wire.name(of: frame) == "status" else { return frame }
            let code = Int(wire.number("code", in: frame) ?? 0)
            guard code == Self.busy else {
                throw await faultRead(code, unit, operation: operation)
            }
            guard reactor.now < busyEnd else {
                throw ElliptecError.stillMoving(address: address)
                    .driverError(instrument: name, operation: operation)
            }
            try await rest(Self.busyPause, operation: operation)
        }
    }

    /// The next message of the module that is the expected one or a status.
    private func reply(
        to command: String, named expected: String, unit: Int, _ bus: ElliptecBus,
        operation: String
    ) async throws(DriverError) -> ElliptecFrame {
        let address = units[unit].address
        let deadline = reactor.now + timeout(of: command)
        while let arrival = try await bus.next(until: deadline, operation: operation) {
            switch arrival {
            case .garbled(let text):
                throw ElliptecError.garbled(address: address, command: command, text: text)
                    .driverError(instrument: name, operation: operation)
            case .frame(let frame):
                try checkSender(frame, expected: address, operation: operation)
                guard frame.address == address else { continue }
                let message = wire.name(of: frame)
                if message == expected { return frame }
                // Anything but trouble is a late answer to a command that was given up.
                if message == "status", wire.number("code", in: frame) != 0 { return frame }
            }
        }
        throw ElliptecError.noReply(address: address, command: command)
            .driverError(instrument: name, operation: operation)
    }

    /// A unit that was not declared must not be on the line: it would answer to what is not meant for
    /// it as soon as somebody changes an address.
    func checkSender(
        _ frame: ElliptecFrame, expected: UInt8, operation: String
    ) throws(DriverError) {
        guard !units.contains(where: { $0.address == frame.address }) else { return }
        throw ElliptecError.wrongAddress(expected: expected, found: frame.address)
            .driverError(instrument: name, operation: operation)
    }

    /// The status code of a module; reading it clears a fault.
    func status(_ unit: Int, operation: String) async throws(DriverError) -> Int {
        let frame = try await exchange("status", unit: unit, operation: operation)
        return Int(wire.number("code", in: frame) ?? 0)
    }

    /// The error of a status code.
    func moduleFault(_ code: Int, _ unit: Int, operation: String) -> DriverError {
        let entry = profile.faults.reported.entries.first {
            $0.value.source == .statusValue && $0.value.code == code
        }
        return ElliptecError.fault(
            address: units[unit].address, code: code, name: entry?.name ?? "not listed",
            recovery: entry?.value.recovery ?? "switch the supply off and on"
        ).driverError(instrument: name, operation: operation)
    }

    /// The error of a status code that came as an answer. The module would report it once more, so it
    /// is read away.
    func faultRead(_ code: Int, _ unit: Int, operation: String) async -> DriverError {
        if profile.hasQuirk("fault_is_latched"), let bus {
            bus.forgetArrivals()
            try? await bus.send("status", to: units[unit].address, operation: operation)
            _ = try? await reply(
                to: "status", named: "status", unit: unit, bus, operation: operation)
        }
        return moduleFault(code, unit, operation: operation)
    }

    /// Where an axis stands, in counts.
    func position(_ axis: Int, operation: String) async throws(DriverError) -> Int {
        let words = words[axis]
        let frame = try await exchange(words.query, unit: words.unit, operation: operation)
        return Int(wire.number("position", in: frame) ?? 0)
    }
}
