// Thorlabs MPC320: three motorised fibre paddles, APT protocol behind an FTDI bridge.
//
// Sources: Thorlabs "APT Communications Protocol" Issue 37 (22 May 2023), motor and polarization
// controller messages; PyPI qmi 0.54.2 mpc320.py (enable mask, polling interval), pylablib 1.4.5
// kinesis.py (scaling, stray bytes), github.com/moonshot-nagayama-pj/PnPQ at ca31e0f (completion
// messages without data), github.com/s-fifteen-instruments/QKDServer at a5e4a26 (sequential motion,
// range), PyPI thorlabs-apt-device 0.3.8 (keep-alive).
//
// Deviations: positions are read from status messages only, because clients disagree about the zero
// of the position counter. Opening does not move a paddle that has been homed: a restart of the
// service must not disturb a link that is aligned.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the Thorlabs MPC320 and its siblings with fewer paddles.
public actor ThorlabsMPC320Driver: PolarizationController {
    let profile: DeviceProfile
    let source: StreamSource
    let reactor: any Reactor
    let wire: APTWire
    let masks: [UInt16]
    let countsPerDegree: Double
    let stopMode: Double
    /// Who the controller is; complete after `open`.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing, by the status messages it sends.
    public internal(set) var health = InstrumentHealth.good
    var session: APTSession?

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The paddles, first the one the light passes first; range and step in radians.
    public let axes: [PolarizationAxis]

    /// Counts by which a paddle may miss its target before that is an error.
    static let tolerance = 8

    /// A driver of the controller behind `source`.
    ///
    /// - Parameter serial: the serial number known from the port; empty if unknown.
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, source: StreamSource, serial: String, isEmulated: Bool,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.source = source
        self.reactor = reactor
        let limit: Limit
        do throws(MissingProfileField) {
            wire = try APTWire(profile)
            limit = try profile.limit("position")
            let scale = try profile.scale("position")
            countsPerDegree = scale.deviceValue(1)
            stopMode = Double(try profile.constant("stop_immediate"))
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        let paddles = profile.channels.filter { $0.kind == .paddle }
        masks = paddles.map { UInt16(truncatingIfNeeded: $0.mask ?? 0) }
        let preferred = profile.limits["position_preferred"] ?? limit
        let low = max(limit.min ?? 0, preferred.min ?? 0)
        let high = min(limit.max ?? 360, preferred.max ?? 360)
        let axis = PolarizationAxis(
            kind: .rotatablePlate,
            range: Radians(degrees: low).rawValue...Radians(degrees: high).rawValue,
            resolution: Radians(degrees: 1 / countsPerDegree).rawValue)
        axes = paddles.map { _ in axis }
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port, checks the model, enables all paddles and homes those that were never homed.
    public func open() async throws(DriverError) {
        guard session == nil else { return }
        let stream: InstrumentStream
        do throws(ByteStreamError) { stream = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        if stream.bytes.isEmulated { identity.provenance = .emulated }
        do throws(DriverError) {
            try await settle(stream)
            let session = APTSession(
                stream, profile: profile, wire: wire, reactor: reactor, instrument: name)
            self.session = session
            reactor.start { await self.read() }
            try await initialize()
            health = .good
        } catch {
            session?.end(error)
            session = nil
            await stream.bytes.close()
            throw error
        }
        reactor.start { await self.keepAlive() }
    }

    /// The maker's order of bringing up the line: wait, empty the buffers, wait, then RTS.
    func settle(_ stream: InstrumentStream) async throws(DriverError) {
        guard let port = stream.port else { return }
        do throws(ByteStreamError) {
            try await pause("open_settle_ms")
            try await port.discardBuffers()
            try await pause("open_settle_ms")
            try await port.setModemLines(dtr: true, rts: true)
        } catch { throw DriverError(error, instrument: name, operation: "open") }
    }

    func pause(_ timing: String) async throws(ByteStreamError) {
        guard let milliseconds = profile.timing[timing] else { return }
        do { try await reactor.sleep(for: .nanoseconds(Int64(milliseconds * 1e6))) } catch {
            throw .usb(.cancelled)
        }
    }

    func initialize() async throws(DriverError) {
        let operation = "open"
        let session = try openSession(operation)
        let steps = profile.sequences["initialize"] ?? []
        for case .command(let command, let values) in steps {
            if command == "request_info" {
                try await readIdentity(operation)
            } else if profile.dialect?.commands[command]?.reply.message != nil {
                _ = try await exchange(command, values, operation: operation)
            } else {
                try await session.send(command, values, operation: operation)
            }
        }
        let homed = try bit("homed", operation)
        for axis in masks.indices {
            let status = try await status(of: axis, operation: operation)
            try check(status, operation: operation)
            if status.bits >> homed & 1 == 0 {
                _ = try await exchange("home", [Double(masks[axis])], operation: operation)
            }
        }
        try await session.send("start_updates", operation: operation)
    }

    func readIdentity(_ operation: String) async throws(DriverError) {
        let frame = try await exchange("request_info", operation: operation)
        let data = frame.data ?? []
        guard let fields = profile.identification?.fields, let serial = fields["serial"],
            let model = fields["model"]?.string(in: data), let number = serial.number(in: data)
        else {
            throw ThorlabsMPC320Error.shortMessage(name: "info", bytes: data.count)
                .driverError(instrument: name, operation: operation)
        }
        guard model.isEmpty || model.hasPrefix(profile.identity.model) else {
            throw ThorlabsMPC320Error.wrongModel(expected: profile.identity.model, found: model)
                .driverError(instrument: name, operation: operation)
        }
        identity.serial = String(number)
        let parts = ["firmware_major", "firmware_interim", "firmware_minor"].compactMap {
            fields[$0]?.number(in: data)
        }
        identity.firmware = parts.map(String.init).joined(separator: ".")
        if let version = FirmwareVersion(identity.firmware), !profile.firmware.contains(version) {
            throw DriverError(
                code: .wrongDevice, instrument: name, operation: operation,
                expected: "firmware the profile covers", found: identity.firmware,
                advice: "add a profile for this firmware, or update the controller")
        }
    }

    /// Stops all motion and gives the controller back; the paddles stay where they are.
    public func close() async {
        guard let session else { return }
        try? await halt()
        let steps = profile.sequences["shutdown"] ?? []
        for case .command(let command, let values) in steps {
            try? await session.send(command, values, operation: "close")
        }
        session.end(
            ThorlabsMPC320Error.closed.driverError(instrument: name, operation: "close"))
        self.session = nil
        await session.stream.bytes.close()
    }

    func openSession(_ operation: String) throws(DriverError) -> APTSession {
        if let session { return session }
        throw ThorlabsMPC320Error.closed.driverError(instrument: name, operation: operation)
    }

    func bit(_ status: String, _ operation: String) throws(DriverError) -> UInt32 {
        do throws(MissingProfileField) { return UInt32(try profile.statusBit(status)) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    // MARK: Background work

    func read() async {
        guard let session else { return }
        while await session.readOnce() { updateHealth(session) }
        if let failure = session.failure, failure.code != .wrongState {
            health = .failed(failure.description)
        }
    }

    /// Without this message the controller stops its updates after about a second.
    func keepAlive() async {
        guard let interval = profile.dialect?.keepaliveMilliseconds,
            let command = profile.dialect?.keepaliveCommand, let session
        else { return }
        while !session.isEnded {
            try? await session.send(command, operation: "keep alive")
            guard
                (try? await reactor.sleep(for: .nanoseconds(Int64(interval * 1e6)))) != nil
            else { return }
        }
    }

    func updateHealth(_ session: APTSession) {
        if case .failed = health { return }
        let found = masks.compactMap { session.latestStatus[$0] }.flatMap { faults(in: $0) }
        health = found.isEmpty ? .good : .degraded(found.map(\.name).joined(separator: ", "))
    }

    // MARK: Exchanges

    /// Sends a command and waits for the message the profile names as its reply.
    func exchange(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) -> APTFrame {
        let session = try openSession(operation)
        guard let entry = profile.dialect?.commands[command], let reply = entry.reply.message else {
            throw DriverError(
                MissingProfileField(
                    profile: profile.id, path: "dialect.commands.\(command).reply.message"),
                instrument: name, operation: operation)
        }
        // The first argument of a command about one paddle is its bit; a set of paddles has more.
        let mask = values.first.flatMap { value in
            entry.arguments.names.first == "mask" && value.rounded() == value
                ? masks.first { Double($0) == value } : nil
        }
        let ticket = try session.expect([reply], mask: mask, operation: operation)
        do throws(DriverError) {
            try await session.send(command, values, operation: operation)
        } catch {
            session.forget(ticket)
            throw error
        }
        return try await session.frame(
            for: ticket, timeout: timeout(of: entry), operation: operation)
    }

    func timeout(of command: Command) -> Duration {
        let milliseconds =
            command.timeoutMilliseconds ?? profile.dialect?.replyTimeoutMilliseconds ?? 500
        return .nanoseconds(Int64(milliseconds * 1e6))
    }

    func status(of axis: Int, operation: String) async throws(DriverError) -> APTStatus {
        let frame = try await exchange(
            "request_status", [Double(masks[axis])], operation: operation)
        guard let fields = profile.dialect?.messages["status"]?.fields,
            let status = APTStatus(frame.data ?? [], fields: fields)
        else {
            throw ThorlabsMPC320Error.shortMessage(name: "status", bytes: frame.data?.count ?? 0)
                .driverError(instrument: name, operation: operation)
        }
        return status
    }

    func faults(in status: APTStatus) -> [(name: String, fault: DeviceFault)] {
        profile.faults.reported.entries.filter { entry in
            guard entry.value.source == .statusBit, let bit = entry.value.code else { return false }
            return status.bits >> UInt32(bit) & 1 == 1
        }.map { (name: $0.name, fault: $0.value) }
    }

    func check(_ status: APTStatus, operation: String) throws(DriverError) {
        let faults = faults(in: status)
        guard let first = faults.first else { return }
        throw ThorlabsMPC320Error.faultBits(
            names: faults.map(\.name), recovery: first.fault.recovery
        ).driverError(instrument: name, operation: operation)
    }
}
