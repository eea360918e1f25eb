// S-Fifteen Instruments single-photon detector module: bias, cooler, discriminator and counter behind
// a communications-class serial port.
//
// Source: github.com/s-fifteen-instruments/pyS15 at ba5faee, S15lib/instruments/
// single_photon_detector.py and serial_connection.py.
//
// The module reports neither limits nor errors. Limits are those of the profile, which marks them as
// assumed; every setting that could harm the sensor is read back.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the S-Fifteen detector module.
public actor S15DetectorDriver: SinglePhotonDetector, DetectorBiasing, DetectorCooling,
    PulseCounting
{
    private let profile: DeviceProfile
    private let source: StreamSource
    private let reactor: any Reactor
    private let wire: S15DetectorWire
    private let turns = TurnQueue()
    /// Who the module is; the serial number comes from its port.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good
    private var stream: InstrumentStream?
    private var link: TextLink?
    private var biasToArmWith: Double?
    private var isArmed = false
    private var armingNumber: UInt64 = 0

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The bias supply.
    public var biasing: (any DetectorBiasing)? { self }
    /// The cooler.
    public var cooling: (any DetectorCooling)? { self }
    /// The module has no gate input under our control.
    public var gating: (any DetectorGating)? { nil }
    /// The module's counter.
    public var counting: (any PulseCounting)? { self }

    /// How far the sensor may be from its temperature to be biased, in kelvin.
    private static let temperatureTolerance = 1.0
    /// How far a bias readback may be from the setting, in volts.
    private static let biasTolerance = 1.0
    private static let temperaturePoll = Duration.milliseconds(500)

    /// A driver of the module behind `source`.
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
        do throws(MissingProfileField) { wire = try S15DetectorWire(profile) } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        biasToArmWith = profile.limits["bias"]?.standard
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    private var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port, checks the identification and brings the module to its safe state: no bias.
    public func open() async throws(DriverError) {
        guard stream == nil else { return }
        let opened: InstrumentStream
        do throws(ByteStreamError) { opened = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        if opened.bytes.isEmulated { identity.provenance = .emulated }
        let link = TextLink(opened, reactor: reactor, instrument: name)
        stream = opened
        self.link = link
        do throws(DriverError) {
            try await link.send("\r\n", operation: "open")
            _ = try await link.drain(
                quiet: .milliseconds(50), longest: .seconds(2), operation: "open")
            let reply = try await line("identify", operation: "open")
            guard profile.identification?.expect?.matches(reply) ?? true else {
                throw S15DetectorError.wrongIdentity(found: reply)
                    .driverError(instrument: name, operation: "open")
            }
            try await perform("safe", operation: "open")
            health = .good
        } catch {
            stream = nil
            self.link = nil
            await opened.bytes.close()
            throw error
        }
    }

    /// Removes the bias and closes the port; the cooler keeps its last setting.
    public func close() async {
        guard let stream else { return }
        try? await disarm()
        self.stream = nil
        link = nil
        await stream.bytes.close()
    }

    /// Asks for identification, temperature and bias.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        let identification = try await turns.turn { () async throws(DriverError) -> String in
            try await line("identify", operation: operation)
        }
        let temperature = try await number("temperature", operation: operation)
        let bias = try await number("bias", operation: operation)
        let isSafe = isArmed || abs(bias) <= Self.biasTolerance
        return SelfTestReport(checks: [
            .init(name: "identification", passed: true, detail: identification),
            .init(name: "temperature", passed: true, detail: "\(temperature) °C"),
            .init(
                name: "bias", passed: isSafe,
                detail: "\(bias) V while \(isArmed ? "armed" : "disarmed")"),
        ])
    }

    // MARK: Commands

    private func openLink(_ operation: String) throws(DriverError) -> TextLink {
        if let link { return link }
        throw S15DetectorError.closed.driverError(instrument: name, operation: operation)
    }

    private func send(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) {
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        let text: String
        do throws(CommandEncodingError) { text = try wire.text(entry, values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        try await openLink(operation).send(text, operation: operation)
    }

    private func line(
        _ command: String, timeout: Duration? = nil, operation: String
    ) async throws(DriverError) -> String {
        try await send(command, operation: operation)
        let usual = profile.dialect?.replyTimeoutMilliseconds ?? 1000
        return try await openLink(operation).line(
            timeout: timeout ?? .nanoseconds(Int64(usual * 1e6)), operation: operation)
    }

    private func number(
        _ command: String, timeout: Duration? = nil, operation: String
    ) async throws(DriverError) -> Double {
        try await turns.turn { () async throws(DriverError) -> Double in
            let reply = try await line(command, timeout: timeout, operation: operation)
            guard let value = S15DetectorWire.number(reply) else {
                throw S15DetectorError.notANumber(reply)
                    .driverError(instrument: name, operation: operation)
            }
            return value
        }
    }

    private func set(
        _ command: String, _ value: Double, operation: String
    ) async throws(DriverError) {
        try await turns.turn { () async throws(DriverError) in
            try await send(command, [value], operation: operation)
            if let settle = profile.dialect?.commands[command]?.settleMilliseconds {
                try await pause(milliseconds: settle, operation: operation)
            }
        }
    }

    private func perform(_ sequence: String, operation: String) async throws(DriverError) {
        for step in profile.sequences[sequence] ?? [] {
            switch step {
            case .command(let command, let values):
                try await send(command, values, operation: operation)
            case .wait(let milliseconds):
                try await pause(milliseconds: milliseconds, operation: operation)
            case .startReading, .stopReading, .line: continue
            }
        }
    }

    private func pause(milliseconds: Double, operation: String) async throws(DriverError) {
        do { try await reactor.sleep(for: .nanoseconds(Int64(milliseconds * 1e6))) } catch {
            throw DriverError(.cancelled, instrument: name, operation: operation)
        }
    }

    private func check(
        _ value: Double, _ quantity: String, operation: String
    ) throws(DriverError) {
        let limit: Limit
        do throws(MissingProfileField) { limit = try profile.limit(quantity) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        guard limit.allows(value) else {
            throw S15DetectorError.outOfRange(
                quantity: quantity, value: value, low: limit.min ?? -.infinity,
                high: limit.max ?? .infinity
            ).driverError(instrument: name, operation: operation)
        }
    }

    // MARK: Arming

    /// Switches the temperature regulation on, waits until the sensor is cold, then applies the bias.
    ///
    /// - Throws: `deviceFault` when the sensor does not get cold or the bias does not come up; the
    ///   bias is then off. `wrongState` when no bias voltage was ever set.
    public func arm() async throws(DriverError) {
        let operation = "arm"
        _ = try openLink(operation)
        guard let bias = biasToArmWith else {
            throw S15DetectorError.noBias.driverError(instrument: name, operation: operation)
        }
        try check(bias, "bias", operation: operation)
        armingNumber += 1
        let number = armingNumber
        do throws(DriverError) {
            try await set("set_loop", 1, operation: operation)
            try await waitUntilCold(operation)
            try checkStillArming(number)
            try await applyBias(bias, operation: operation)
            try checkStillArming(number)
        } catch {
            isArmed = false
            // In a task of its own, because this one may be cancelled.
            await reactor.start { await self.removeBias() }.value
            throw error
        }
        isArmed = true
    }

    /// Waiting for the cooler takes minutes; who disarms meanwhile must win.
    private func checkStillArming(_ number: UInt64) throws(DriverError) {
        guard number != armingNumber else { return }
        throw DriverError(
            code: .cancelled, instrument: name, operation: "arm",
            expected: "nobody to disarm meanwhile", found: "a disarm", advice: "arm again")
    }

    private func removeBias() async { try? await set("set_bias", 0, operation: "disarm") }

    private func waitUntilCold(_ operation: String) async throws(DriverError) {
        let target = try await number("temperature_setting", operation: operation)
        let patience = profile.timing["temperature_settle_ms"] ?? 60000
        let deadline = reactor.now + .nanoseconds(Int64(patience * 1e6))
        while true {
            let found = try await number("temperature", operation: operation)
            if abs(found - target) <= Self.temperatureTolerance { return }
            guard reactor.now < deadline else {
                throw S15DetectorError.notCold(wanted: target, found: found)
                    .driverError(instrument: name, operation: operation)
            }
            try await pause(
                milliseconds: Self.temperaturePoll.inSeconds * 1000, operation: operation)
        }
    }

    private func applyBias(_ bias: Double, operation: String) async throws(DriverError) {
        try await set("set_bias", bias, operation: operation)
        let found = try await number("bias", operation: operation)
        guard abs(found - bias) <= Self.biasTolerance else {
            throw S15DetectorError.notTaken(quantity: "bias", wanted: bias, found: found)
                .driverError(instrument: name, operation: operation)
        }
    }

    /// Removes the bias and checks that it is gone.
    public func disarm() async throws(DriverError) {
        isArmed = false
        armingNumber += 1
        try await applyBias(0, operation: "disarm")
    }

    /// Temperature and bias as the module reads them.
    public func status() async throws(DriverError) -> DetectorStatus {
        let temperature = try await number("temperature", operation: "status")
        let bias = try await number("bias", operation: "status")
        return DetectorStatus(
            isCounting: isArmed && bias > Self.biasTolerance, temperature: Celsius(temperature),
            bias: Volts(bias))
    }

    // MARK: Settings

    /// Sets the bias voltage to arm with, and applies it at once while armed.
    public func setBias(_ bias: Volts) async throws(DriverError) {
        try check(bias.rawValue, "bias", operation: "set bias")
        if isArmed { try await applyBias(bias.rawValue, operation: "set bias") }
        biasToArmWith = bias.rawValue
    }

    /// The bias voltage as the module reads it.
    public func bias() async throws(DriverError) -> Volts {
        Volts(try await number("bias", operation: "read bias"))
    }

    /// Sets the temperature to regulate to, switches the regulation on, and reads the setting back.
    public func setTemperature(_ temperature: Celsius) async throws(DriverError) {
        let operation = "set temperature"
        try check(temperature.rawValue, "temperature", operation: operation)
        try await set("set_temperature", temperature.rawValue, operation: operation)
        let found = try await number("temperature_setting", operation: operation)
        guard abs(found - temperature.rawValue) <= Self.temperatureTolerance else {
            throw S15DetectorError.notTaken(
                quantity: "temperature", wanted: temperature.rawValue, found: found
            ).driverError(instrument: name, operation: operation)
        }
        try await set("set_loop", 1, operation: operation)
    }

    /// The sensor temperature.
    public func temperature() async throws(DriverError) -> Celsius {
        Celsius(try await number("temperature", operation: "read temperature"))
    }

    /// Counts for `duration`; one number.
    public func counts(for duration: Duration) async throws(DriverError) -> [UInt64] {
        let operation = "count"
        let milliseconds = duration.inSeconds * 1000
        try check(milliseconds, "gate_time", operation: operation)
        return try await turns.turn { () async throws(DriverError) -> [UInt64] in
            try await send("set_time", [milliseconds], operation: operation)
            let margin = profile.timing["counts_margin_ms"] ?? 100
            let usual = profile.dialect?.replyTimeoutMilliseconds ?? 100
            let reply = try await line(
                "counts", timeout: duration + .nanoseconds(Int64((margin + usual) * 1e6)),
                operation: operation)
            guard let count = S15DetectorWire.number(reply), count >= 0, count < 1e15,
                count == count.rounded()
            else {
                throw S15DetectorError.notANumber(reply)
                    .driverError(instrument: name, operation: operation)
            }
            return [UInt64(count)]
        }
    }
}
