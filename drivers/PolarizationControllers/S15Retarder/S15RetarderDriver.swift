// S-Fifteen Instruments quad LCD driver: four liquid-crystal retarders, text behind a
// communications-class serial port.
//
// Sources: PyPI S15lib 0.3.0, S15lib/instruments/lcr_driver.py and serial_connection.py;
// github.com/s-fifteen-instruments/QKDServer at a5e4a26, S15qkd/lcvr_callibration.csv (retardance) and
// polarization_compensation.py (useful range of voltages).
//
// Deviations: opening leaves the amplitudes as they are, because a restart of the service must not
// disturb a link that is aligned. Settings are not answered, so every one is read back. The unit can
// not be asked whether its outputs are on; they are switched on again ahead of every setting, in case
// it restarted.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the S-Fifteen quad LCD driver.
public actor S15RetarderDriver: PolarizationController {
    private let profile: DeviceProfile
    private let source: StreamSource
    private let reactor: any Reactor
    private let wire: S15RetarderWire
    private let turns = TurnQueue()
    /// Whole operations take turns as well: a readback of all axes must not straddle a setting.
    private let operations = TurnQueue()
    /// Who the unit is; the serial number comes from its port.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good
    private var stream: InstrumentStream?
    private var link: TextLink?
    /// A conversation broke off; what is left of it must not be taken for the next reply.
    private var isOutOfStep = false
    /// The amplitudes as last read, in volts; nil where a command went astray.
    private var known: [Double?] = []

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The retarders, first the one the light passes first; range and step in volts of amplitude.
    public let axes: [PolarizationAxis]
    /// The retardance in radians against the amplitude in volts; the same table for all axes.
    public nonisolated let response: ResponseCurve

    /// How far a readback may be from the setting, in volts.
    private static let tolerance = 0.002
    private static let quiet = Duration.milliseconds(20)

    /// A driver of the unit behind `source`.
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
            wire = try S15RetarderWire(profile)
            limit = try profile.limit("amplitude")
            response = try profile.curve("retardance")
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        // Outside the preferred range a voltage changes nothing, or nobody has measured what.
        let preferred = profile.limits["amplitude_preferred"] ?? limit
        let low = max(limit.min ?? 0, preferred.min ?? 0)
        let high = min(limit.max ?? .infinity, preferred.max ?? .infinity)
        let axis = PolarizationAxis(
            kind: .variableRetarder, range: low...max(low, high), resolution: limit.step ?? 0.001)
        axes = profile.channels.filter { $0.kind == .retarder }.map { _ in axis }
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    private var name: String { identity.shortName }

    private func failure(_ error: S15RetarderError, _ operation: String) -> DriverError {
        error.driverError(instrument: name, operation: operation)
    }

    // MARK: Opening and closing

    /// Opens the port, checks the identification, switches the outputs on and reads the amplitudes,
    /// which stay as they are.
    public func open() async throws(DriverError) {
        guard stream == nil else { return }
        let operation = "open"
        let opened: InstrumentStream
        do throws(ByteStreamError) { opened = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        if opened.bytes.isEmulated { identity.provenance = .emulated }
        stream = opened
        link = TextLink(opened, reactor: reactor, instrument: name)
        isOutOfStep = true
        do throws(DriverError) {
            try await checkIdentity(operation)
            try await initialize(operation)
            known = []
            _ = try await readAmplitudes(operation)
            health = .good
        } catch {
            stream = nil
            link = nil
            await opened.bytes.close()
            throw error
        }
    }

    private func checkIdentity(_ operation: String) async throws(DriverError) {
        let reply = try await ask("identify", operation: operation)
        guard let expected = profile.identification?.expect else { return }
        guard expected.matches(reply) else {
            throw failure(.wrongIdentity(expected: "\(expected)", found: reply), operation)
        }
    }

    private func initialize(_ operation: String) async throws(DriverError) {
        for case .command(let command, let values) in profile.sequences["initialize"] ?? [] {
            try await tell(command, values, operation: operation)
        }
    }

    /// Closes the port; the outputs stay as they are.
    public func close() async {
        guard let stream else { return }
        self.stream = nil
        link = nil
        await stream.bytes.close()
    }

    /// Asks for identification and amplitudes; nothing changes.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        try await checkIdentity(operation)
        let found = try await operations.turn { () async throws(DriverError) -> [Double] in
            try await readAmplitudes(operation)
        }
        return SelfTestReport(
            checks: [.init(name: "identification", passed: true, detail: name)]
                + found.enumerated().map { axis, volts in
                    .init(name: "retarder \(axis + 1)", passed: true, detail: "\(volts) V")
                })
    }

    // MARK: Conversation

    private func openLink(_ operation: String) throws(DriverError) -> TextLink {
        if let link { return link }
        throw failure(.closed, operation)
    }

    private func text(
        _ command: String, _ values: [Double], _ operation: String
    ) throws(DriverError) -> String {
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        do throws(CommandEncodingError) { return try wire.text(entry, values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    /// Sends a setting, which is not answered.
    private func tell(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) {
        let text = try text(command, values, operation)
        try await turns.turn { () async throws(DriverError) in
            try await openLink(operation).send(text, operation: operation)
        }
    }

    /// Sends a query and returns the line that answers it.
    private func ask(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) -> String {
        let text = try text(command, values, operation)
        let milliseconds = profile.dialect?.replyTimeoutMilliseconds ?? 100
        let timeout = Duration.nanoseconds(Int64(milliseconds * 1e6))
        return try await turns.turn { () async throws(DriverError) -> String in
            let link = try openLink(operation)
            do throws(DriverError) {
                if isOutOfStep {
                    try await link.send("\r\n", operation: operation)
                    _ = try await link.drain(
                        quiet: Self.quiet, longest: .seconds(1), operation: operation)
                    isOutOfStep = false
                }
                try await link.send(text, operation: operation)
                return try await link.line(timeout: timeout, operation: operation)
            } catch {
                isOutOfStep = true
                throw error
            }
        }
    }

    // MARK: Amplitudes

    /// Reads all amplitudes, in volts, and compares those that were known.
    private func readAmplitudes(_ operation: String) async throws(DriverError) -> [Double] {
        var found: [Double] = []
        for axis in axes.indices {
            let reply = try await ask("amplitude", [Double(axis + 1)], operation: operation)
            guard let volts = S15RetarderWire.volts(reply) else {
                isOutOfStep = true
                throw failure(.notANumber(reply), operation)
            }
            found.append(volts)
        }
        let before = known
        known = found
        for (axis, known) in before.enumerated() {
            guard let known, abs(known - found[axis]) > Self.tolerance else { continue }
            throw failure(
                .changedByItself(axis: axis, known: known, found: found[axis]), operation)
        }
        return found
    }

    private func volts(
        for setting: ActuatorSetting, axis: Int, operation: String
    ) throws(DriverError) -> Double {
        guard axes.indices.contains(axis) else {
            throw failure(.noAxis(axis, count: axes.count), operation)
        }
        guard case .voltage(let voltage) = setting else { throw failure(.notAVoltage, operation) }
        guard axes[axis].range.contains(voltage.rawValue) else {
            throw failure(
                .outOfRange(volts: voltage.rawValue, allowed: axes[axis].range), operation)
        }
        let step = axes[axis].resolution
        return (voltage.rawValue / step).rounded() * step
    }

    /// Sets one retarder and waits until it has settled.
    ///
    /// - Throws: `outOfRange` before anything is sent; `deviceFault` when the unit reads back another
    ///   amplitude, or another axis has changed by itself.
    public func move(
        _ axis: Int, to setting: ActuatorSetting
    ) async throws(DriverError) -> MotionReport {
        let reports = try await move([axis: setting])
        return reports[0]
    }

    /// Sets several retarders, which settle together.
    public func move(
        _ settings: [Int: ActuatorSetting]
    ) async throws(DriverError) -> [MotionReport] {
        let operation = "move"
        _ = try openLink(operation)
        var targets: [Target] = []
        for (axis, setting) in settings.sorted(by: { $0.key < $1.key }) {
            let volts = try volts(for: setting, axis: axis, operation: operation)
            targets.append(Target(axis: axis, setting: setting, volts: volts))
        }
        return try await operations.turn { () async throws(DriverError) -> [MotionReport] in
            try await reach(targets, operation: operation)
        }
    }

    private struct Target {
        var axis: Int
        var setting: ActuatorSetting
        var volts: Double
    }

    private func reach(
        _ targets: [Target], operation: String
    ) async throws(DriverError) -> [MotionReport] {
        let started = reactor.now
        try await initialize(operation)
        for target in targets {
            // Until it is read back, either amplitude may be the present one.
            known[target.axis] = nil
            try await tell(
                "set_amplitude", [Double(target.axis + 1), target.volts], operation: operation)
        }
        try await settle(operation)
        let found = try await readAmplitudes(operation)
        let finished = reactor.now
        var reports: [MotionReport] = []
        for target in targets {
            let reached = found[target.axis]
            guard abs(reached - target.volts) <= Self.tolerance else {
                throw failure(
                    .notTaken(axis: target.axis, wanted: target.volts, found: reached), operation)
            }
            reports.append(
                MotionReport(
                    axis: target.axis, requested: target.setting,
                    reached: .voltage(Volts(reached)), started: started, finished: finished))
        }
        return reports
    }

    private func settle(_ operation: String) async throws(DriverError) {
        guard let wait = profile.dialect?.commands["set_amplitude"]?.settleMilliseconds else {
            return
        }
        do { try await reactor.sleep(for: .nanoseconds(Int64(wait * 1e6))) } catch {
            throw DriverError(.cancelled, instrument: name, operation: operation)
        }
    }

    /// Does nothing but check that the unit is open: a retarder stays where it was set.
    public func halt() async throws(DriverError) { _ = try openLink("halt") }

    /// The amplitudes as the unit reports them.
    ///
    /// - Throws: `deviceFault` when one has changed by itself.
    public func settings() async throws(DriverError) -> [ActuatorSetting] {
        try await operations.turn { () async throws(DriverError) -> [ActuatorSetting] in
            try await readAmplitudes("settings").map { .voltage(Volts($0)) }
        }
    }

    // MARK: Retardance

    /// The retardance at an amplitude by the table of the profile, straight between its points; nil
    /// outside the table.
    public nonisolated func retardance(at amplitude: Volts) -> Radians? {
        response.curve.output(at: amplitude.rawValue).map { Radians($0) }
    }

    /// The amplitude that gives a retardance by the table of the profile.
    ///
    /// - Throws: `outOfRange` for a retardance that no amplitude of the table gives.
    public nonisolated func amplitude(for retardance: Radians) throws(DriverError) -> Volts {
        guard let volts = response.curve.input(for: retardance.rawValue) else {
            throw S15RetarderError.noSuchRetardance(
                retardance.rawValue, allowed: response.curve.outputRange
            ).driverError(instrument: profile.identity.model, operation: "find the amplitude")
        }
        return Volts(volts)
    }
}
