import DeviceProfiles
import HostIO
import Instruments
import Quantities

/// The data of a reply with the places of its fields.
struct LabJackReply: Sendable {
    let data: [UInt8]
    let fields: NamedFields

    /// The number in the field `name`; the caller has made sure that it exists.
    subscript(name: String) -> Int64 { fields[name]?.number(in: data) ?? 0 }
}

// The conversation with the unit: one command, one reply.
extension LabJackU3Driver {
    /// The most late replies that are passed over in front of the right one.
    private static let mostStale = 4
    /// How long a late reply may take to arrive when the endpoint is emptied.
    private static let drainTimeout = Duration.milliseconds(20)

    // MARK: State

    func openDevice(_ operation: String) throws(DriverError) -> any USBDevice {
        if let device { return device }
        throw DriverError(
            code: .wrongState, instrument: name, operation: operation,
            expected: "an open instrument", found: "a closed one", advice: "open it first")
    }

    /// The constants of an open unit that still has its settings.
    func ready(_ operation: String) throws(DriverError) -> LabJackCalibration {
        _ = try openDevice(operation)
        if let failure { throw failure }
        guard let calibration else {
            throw DriverError(
                code: .wrongState, instrument: name, operation: operation,
                expected: "an open instrument", found: "one that is being opened",
                advice: "wait until it is open")
        }
        return calibration
    }

    private func profileError(_ error: MissingProfileField) -> DriverError {
        DriverError(error, instrument: name, operation: "read the profile")
    }

    private func command(_ name: String) throws(DriverError) -> Command {
        do throws(MissingProfileField) { return try profile.command(name) } catch {
            throw profileError(error)
        }
    }

    // MARK: Exchanges

    /// Sends an extended command and returns its reply.
    func exchange(
        _ name: String, _ values: [Double], operation: String
    ) async throws(DriverError) -> LabJackReply {
        let command = try command(name)
        guard let message = command.reply.message.flatMap({ profile.dialect?.messages[$0] }) else {
            throw profileError(
                MissingProfileField(
                    profile: profile.id, path: "dialect.commands.\(name).reply.message"))
        }
        let packet: [UInt8]
        do throws(CommandEncodingError) { packet = try wire.packet(command, values) } catch {
            throw DriverError(error, instrument: self.name, operation: operation)
        }
        let wire = wire
        let data = try await commands.turn { () async throws(DriverError) -> [UInt8] in
            try await transact(packet, operation: operation) { bytes throws(LabJackError) in
                let data = try wire.reply(bytes, to: command)
                guard data.count == message.dataBytes else {
                    throw .malformed("\(data.count) bytes of data")
                }
                return data
            }
        }
        return LabJackReply(data: data, fields: message.fields)
    }

    /// Runs IOTypes in one packet and returns what they return.
    func feedback(
        _ parts: [(command: String, values: [Double])], operation: String
    ) async throws(DriverError) -> [UInt8] {
        let command = try command("feedback")
        var bytes: [[UInt8]] = []
        var count = 0
        for part in parts {
            let entry = try self.command(part.command)
            do throws(CommandEncodingError) {
                bytes.append(try wire.part(entry, part.values))
            } catch { throw DriverError(error, instrument: name, operation: operation) }
            count += entry.reply.bytes ?? 0
        }
        let (wire, expected, sent) = (wire, count, bytes)
        return try await commands.turn { () async throws(DriverError) -> [UInt8] in
            echo &+= 1
            let echo = echo
            let packet = wire.feedback(command, echo: echo, parts: sent)
            return try await transact(packet, operation: operation) { bytes throws(LabJackError) in
                try wire.feedbackReply(bytes, to: command, echo: echo, count: expected)
            }
        }
    }

    /// One packet out, one packet in. After a failure the reply may still come, so the endpoint is
    /// emptied before the next command.
    private func transact(
        _ packet: [UInt8], operation: String,
        _ decode: ([UInt8]) throws(LabJackError) -> [UInt8]
    ) async throws(DriverError) -> [UInt8] {
        let device = try openDevice(operation)
        if needsDraining { try await drain(device, operation: operation) }
        needsDraining = true
        do throws(USBTransferError) {
            try await device.write(packet, to: facts.commandEndpoint, timeout: replyTimeout)
        } catch { throw DriverError(error, instrument: name, operation: operation) }
        var passedOver = 0
        while true {
            let bytes: [UInt8]
            do throws(USBTransferError) {
                bytes = try await device.read(
                    from: facts.replyEndpoint, upTo: LabJackWire.maxPacket, timeout: replyTimeout)
            } catch { throw DriverError(error, instrument: name, operation: operation) }
            do throws(LabJackError) {
                let data = try decode(bytes)
                needsDraining = false
                return data
            } catch {
                passedOver += 1
                if error.isStale, passedOver <= Self.mostStale { continue }
                if case .refused = error { needsDraining = false }
                throw error.driverError(profile, instrument: name, operation: operation)
            }
        }
    }

    /// Takes and drops what waits in the unit: replies that an earlier user did not fetch.
    private func drain(_ device: any USBDevice, operation: String) async throws(DriverError) {
        for _ in 0...Self.mostStale {
            do throws(USBTransferError) {
                _ = try await device.read(
                    from: facts.replyEndpoint, upTo: LabJackWire.maxPacket,
                    timeout: Self.drainTimeout)
            } catch {
                if case .timedOut = error { return }
                throw DriverError(error, instrument: name, operation: operation)
            }
        }
    }

    private var replyTimeout: Duration {
        .nanoseconds(Int64((profile.dialect?.replyTimeoutMilliseconds ?? 1000) * 1e6))
    }

    // MARK: Parts of opening

    /// Runs a sequence of the profile: its IOTypes in one packet, then its commands.
    func perform(_ sequence: String, operation: String) async throws(DriverError) {
        let steps: [SequenceStep]
        do throws(MissingProfileField) { steps = try profile.sequence(sequence) } catch {
            throw profileError(error)
        }
        var parts: [(command: String, values: [Double])] = []
        var others: [(command: String, values: [Double])] = []
        for case .command(let name, let values) in steps {
            if try command(name).dataBytes == 0 {
                parts.append((name, values))
            } else {
                others.append((name, values))
            }
        }
        if !parts.isEmpty { _ = try await feedback(parts, operation: operation) }
        for (name, values) in others {
            _ = try await exchange(name, values, operation: operation)
        }
    }

    /// The unit's constants.
    func readCalibration(operation: String) async throws(DriverError) -> LabJackCalibration {
        var blocks: [[UInt8]] = []
        for block in 0..<facts.calibrationBlocks {
            let reply = try await exchange(
                "read_calibration", [Double(block)], operation: operation)
            blocks.append(Array(reply.data.dropFirst(2)))
        }
        guard let calibration = LabJackCalibration(blocks: blocks) else {
            throw LabJackError.malformed("\(blocks.count) blocks of calibration")
                .driverError(profile, instrument: name, operation: operation)
        }
        let wrong: (name: String, value: Double)?
        do throws(MissingProfileField) {
            wrong = try calibration.implausible(profile, hasHighVoltage: isHighVoltage)
        } catch { throw profileError(error) }
        if let wrong {
            throw LabJackError.calibration(name: wrong.name, value: wrong.value)
                .driverError(profile, instrument: name, operation: operation)
        }
        return calibration
    }

    /// The settings of the lines, as far as a restart would change them.
    func lines(operation: String) async throws(DriverError) -> [Int64] {
        let reply = try await exchange("config_io", [0, 0, 0, 0], operation: operation)
        return ["timer_counter_config", "fio_analog", "eio_analog"].map { reply[$0] }
    }

    /// Makes the unit start with the safe levels, if it does not already.
    func storeSafeLevels(_ state: LabJackReply, operation: String) async throws(DriverError) {
        let wanted = facts.powerUpCodes.map(Int64.init)
        let names = ["dac0", "dac1"].prefix(wanted.count)
        guard names.map({ state[$0] }) != wanted else { return }
        let codes = wanted.map(Double.init)
        let stored = try await exchange(
            "config_u3",
            [Double(facts.writePowerUp), Double(state["dac1_enable"])] + codes,
            operation: operation)
        let found = names.map { stored[$0] }
        guard found == wanted else {
            throw LabJackError.notTaken(setting: "power-up levels \(wanted)", found: "\(found)")
                .driverError(profile, instrument: name, operation: operation)
        }
    }

    /// The settings of the watchdog now.
    func watchdog(operation: String) async throws(DriverError) -> LabJackWatchdog {
        let reply = try await exchange("watchdog", [0, 0, 0, 0], operation: operation)
        return watchdog(in: reply)
    }

    private func watchdog(in reply: LabJackReply) -> LabJackWatchdog {
        switch Int(reply["options"]) {
        // 255 is a flash that was never written.
        case 0, 255: .off
        case facts.watchdogReset: .restart(seconds: Int(reply["timeout"]))
        case let options: .other(options: options)
        }
    }

    /// Sets the watchdog, if it is set otherwise.
    func setWatchdog(
        _ wanted: LabJackWatchdog, operation: String
    ) async throws(DriverError) {
        guard try await watchdog(operation: operation) != wanted else { return }
        var values = [1.0, 0, 0, 0]
        if case .restart(let seconds) = wanted {
            values = [1, Double(facts.watchdogReset), Double(seconds), 0]
        }
        let found = watchdog(
            in: try await exchange("watchdog", values, operation: operation))
        guard found == wanted else {
            throw LabJackError.notTaken(setting: "watchdog \(wanted)", found: "\(found)")
                .driverError(profile, instrument: name, operation: operation)
        }
    }

    /// The code of one single-ended reading.
    func reading(_ channel: Int, operation: String) async throws(DriverError) -> UInt16 {
        let bytes = try await feedback(
            [("io_ain", [Double(channel), Double(facts.singleEnded)])], operation: operation)
        return UInt16(bytes[0]) | UInt16(bytes[1]) << 8
    }

    // MARK: Keep-alive

    /// Talks to the unit while nobody else does, so that its watchdog sees a living host. The task
    /// does not hold the driver: one that was dropped without `close` leaves the watchdog to act.
    func startKeepAlive() {
        guard let milliseconds = profile.dialect?.keepaliveMilliseconds else { return }
        let interval = Duration.nanoseconds(Int64(milliseconds * 1e6))
        let (reactor, number) = (reactor, opening)
        reactor.start { [weak self] in
            while (try? await reactor.sleep(for: interval)) != nil {
                guard let isAlive = await self?.keepAlive(number), isAlive else { return }
            }
        }
    }

    /// One round: false once this opening is over.
    private func keepAlive(_ number: Int) async -> Bool {
        guard number == opening, device != nil, failure == nil else { return false }
        do throws(DriverError) {
            let setting = try await lines(operation: "keep alive")
            guard number == opening else { return false }
            if setting != lineSetting {
                let error = LabJackError.restarted
                    .driverError(profile, instrument: name, operation: "keep alive")
                failure = error
                health = .failed(error.description)
                return false
            }
            if case .degraded = health { health = .good }
        } catch {
            guard number == opening else { return false }
            guard error.code != .disconnected else {
                failure = error
                health = .failed(error.description)
                return false
            }
            health = .degraded(error.description)
        }
        return true
    }
}
