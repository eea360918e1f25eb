// ID Quantique ID120 single-photon detector: free-running silicon or visible-range avalanche diode
// with bias supply, discriminator, dead time, cooler and counter, SCPI-like text over the USB test
// and measurement class.
//
// Source: the ID120 driver of Instrumental (spad/id120.py): every command, unit, limit and step, and
// that replies to numeric queries are plain numbers. No vendor document of the commands is public.
//
// The module reports no refusals, so every setting is read back. What is not published and is taken
// for granted here is marked `assumed` in the profile: the unit of the dead time, that REG:RUN
// switches the temperature regulation, and that the counter shows the last complete window.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the ID120.
public actor ID120Driver: SinglePhotonDetector, DetectorBiasing, DetectorCooling,
    DetectorDiscriminating, PulseCounting
{
    private let profile: DeviceProfile
    private let host: any USBHost
    private let summary: USBDeviceSummary
    private let reactor: any Reactor
    private let wire: ID120Wire
    /// Who the module is; the serial number comes from its descriptor.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good
    private var link: SCPILink?
    private var biasToArmWith: Double?
    private var isArmed = false
    private var armingNumber: UInt64 = 0
    private let counters = TurnQueue()

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The bias supply.
    public var biasing: (any DetectorBiasing)? { self }
    /// The cooler.
    public var cooling: (any DetectorCooling)? { self }
    /// Threshold and dead time.
    public var discriminating: (any DetectorDiscriminating)? { self }
    /// The module runs free.
    public var gating: (any DetectorGating)? { nil }
    /// The module's counter.
    public var counting: (any PulseCounting)? { self }

    /// How far the sensor may be from its temperature to be biased, in kelvin.
    private static let temperatureTolerance = 1.0
    private static let temperaturePollMilliseconds = 500.0

    /// A driver of the module described by `summary`.
    ///
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, host: any USBHost, device summary: USBDeviceSummary,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.host = host
        self.summary = summary
        self.reactor = reactor
        do throws(MissingProfileField) { wire = try ID120Wire(profile) } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        biasToArmWith = wire.bias.limit.standard
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model,
            serial: summary.serial ?? "", firmware: "", profile: profile.id,
            provenance: summary.isEmulated ? .emulated : .device)
    }

    private var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Claims the module, checks its identification and removes the bias.
    public func open() async throws(DriverError) {
        guard link == nil else { return }
        let opened = try await SCPILink.open(
            profile, on: host, summary, instrument: name, reactor: reactor)
        do throws(DriverError) {
            let reply = try await opened.query("identify", operation: "open")
            let expected = profile.identification?.expect
            guard expected?.matches(reply) ?? true else {
                throw failure(
                    .wrongIdentity(found: reply, expected: expected?.description ?? ""), "open")
            }
            identity.firmware = try await opened.query("firmware", operation: "open")
            link = opened
            try await apply(wire.bias, 0, operation: "open")
            health = .good
        } catch {
            link = nil
            await opened.close()
            throw error
        }
        isArmed = false
    }

    /// Removes the bias and closes the port; the cooler keeps its last setting.
    public func close() async {
        guard let link else { return }
        try? await disarm()
        self.link = nil
        await link.close()
    }

    /// Asks for identification, temperature, bias and the state of the bias supply.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        let link = try openLink(operation)
        let identification = try await link.query("identify", operation: operation)
        let temperature = try await sensorTemperature(operation)
        let bias = try await read(wire.bias, operation: operation)
        let hasError = try await link.flag("bias_error", operation: operation)
        return SelfTestReport(checks: [
            .init(name: "identification", passed: true, detail: identification),
            .init(name: "temperature", passed: true, detail: "\(temperature) °C"),
            .init(
                name: "bias", passed: isArmed || bias <= wire.bias.tolerance,
                detail: "\(bias) V while \(isArmed ? "armed" : "disarmed")"),
            .init(
                name: "bias supply", passed: !hasError, detail: hasError ? "error" : "no error"),
        ])
    }

    // MARK: Commands

    private func openLink(_ operation: String) throws(DriverError) -> SCPILink {
        if let link { return link }
        throw failure(.closed, operation)
    }

    private func failure(_ error: ID120Error, _ operation: String) -> DriverError {
        error.driverError(instrument: name, operation: operation)
    }

    private func check(
        _ setting: ID120Wire.Setting, _ value: Double, operation: String
    ) throws(DriverError) {
        guard setting.limit.allows(value) else {
            throw failure(
                .outOfRange(
                    quantity: setting.name, value: value, low: setting.limit.min ?? -.infinity,
                    high: setting.limit.max ?? .infinity, unit: setting.limit.unit.rawValue),
                operation)
        }
    }

    /// Sets the value on the module's grid that is closest, and reads it back.
    private func apply(
        _ setting: ID120Wire.Setting, _ value: Double, operation: String
    ) async throws(DriverError) {
        let link = try openLink(operation)
        try check(setting, value, operation: operation)
        let wanted = setting.deviceValue(value)
        try await link.send("set_\(setting.name)", [wanted], operation: operation)
        let found = try await read(setting, operation: operation)
        guard abs(found - setting.physicalValue(wanted)) <= setting.tolerance else {
            throw failure(
                .notTaken(
                    quantity: setting.name, wanted: setting.physicalValue(wanted), found: found),
                operation)
        }
    }

    private func read(
        _ setting: ID120Wire.Setting, operation: String
    ) async throws(DriverError) -> Double {
        let value = try await openLink(operation).value(setting.name, operation: operation)
        return setting.physicalValue(value)
    }

    private func sensorTemperature(_ operation: String) async throws(DriverError) -> Double {
        let value = try await openLink(operation).value(
            "sensor_temperature", operation: operation)
        return wire.temperature.physicalValue(value)
    }

    // MARK: Arming

    /// Switches the temperature regulation on, waits until the sensor is cold, then applies the bias.
    ///
    /// - Throws: `deviceFault` when the sensor does not get cold or the bias does not come up; the
    ///   bias is then off. `wrongState` when no bias voltage was ever set.
    public func arm() async throws(DriverError) {
        let operation = "arm"
        let link = try openLink(operation)
        guard let bias = biasToArmWith else { throw failure(.noBias, operation) }
        try check(wire.bias, bias, operation: operation)
        armingNumber += 1
        let number = armingNumber
        do throws(DriverError) {
            try await link.send("start_regulation", operation: operation)
            try await waitUntilCold(link, operation)
            try checkStillArming(number, operation)
            try await apply(wire.bias, bias, operation: operation)
            guard try await !link.flag("bias_error", operation: operation) else {
                throw failure(.biasError, operation)
            }
            try checkStillArming(number, operation)
        } catch {
            isArmed = false
            // In a task of its own, because this one may be cancelled.
            await reactor.start { await self.removeBias() }.value
            throw error
        }
        isArmed = true
        health = .good
    }

    /// Waiting for the cooler takes minutes; who disarms meanwhile must win.
    private func checkStillArming(_ number: UInt64, _ operation: String) throws(DriverError) {
        if number != armingNumber { throw failure(.disarmed, operation) }
    }

    private func removeBias() async { try? await apply(wire.bias, 0, operation: "disarm") }

    private func waitUntilCold(_ link: SCPILink, _ operation: String) async throws(DriverError) {
        let target = try await read(wire.temperature, operation: operation)
        let patience = profile.timing["temperature_settle_ms"] ?? 60000
        let deadline = reactor.now + .nanoseconds(Int64(patience * 1e6))
        while true {
            let found = try await sensorTemperature(operation)
            if abs(found - target) <= Self.temperatureTolerance { return }
            guard reactor.now < deadline else {
                throw failure(.notCold(wanted: target, found: found), operation)
            }
            try await link.pause(
                milliseconds: Self.temperaturePollMilliseconds, operation: operation)
        }
    }

    /// Removes the bias and checks that it is gone.
    public func disarm() async throws(DriverError) {
        isArmed = false
        armingNumber += 1
        try await apply(wire.bias, 0, operation: "disarm")
    }

    /// Temperature, bias and the state of the bias supply, as the module reads them.
    public func status() async throws(DriverError) -> DetectorStatus {
        let operation = "status"
        let temperature = try await sensorTemperature(operation)
        let bias = try await read(wire.bias, operation: operation)
        let hasError = try await openLink(operation).flag("bias_error", operation: operation)
        health = hasError ? .failed("the bias supply reports an error") : .good
        return DetectorStatus(
            isCounting: isArmed && !hasError && bias > wire.bias.tolerance, hasFault: hasError,
            temperature: Celsius(temperature), bias: Volts(bias))
    }
}

// MARK: - Settings

extension ID120Driver {
    /// Sets the bias voltage to arm with, and applies it at once while armed; rounded to 80 mV.
    public func setBias(_ bias: Volts) async throws(DriverError) {
        try check(wire.bias, bias.rawValue, operation: "set bias")
        if isArmed { try await apply(wire.bias, bias.rawValue, operation: "set bias") }
        biasToArmWith = bias.rawValue
    }

    /// The bias voltage.
    public func bias() async throws(DriverError) -> Volts {
        Volts(try await read(wire.bias, operation: "read bias"))
    }

    /// Sets the temperature to regulate to, rounded to 1 K; takes effect while armed, or when armed.
    public func setTemperature(_ temperature: Celsius) async throws(DriverError) {
        try await apply(wire.temperature, temperature.rawValue, operation: "set temperature")
    }

    /// The sensor temperature.
    public func temperature() async throws(DriverError) -> Celsius {
        Celsius(try await sensorTemperature("read temperature"))
    }

    /// Sets the discriminator threshold, rounded to 0.5 mV.
    public func setThreshold(_ threshold: Volts) async throws(DriverError) {
        try await apply(wire.threshold, threshold.rawValue, operation: "set threshold")
    }

    /// The discriminator threshold.
    public func threshold() async throws(DriverError) -> Volts {
        Volts(try await read(wire.threshold, operation: "read threshold"))
    }

    /// Sets the dead time, rounded to the profile's step.
    public func setDeadTime(_ deadTime: Picoseconds) async throws(DriverError) {
        try await apply(wire.deadTime, Double(deadTime.rawValue), operation: "set dead time")
    }

    /// The dead time.
    public func deadTime() async throws(DriverError) -> Picoseconds {
        let value = try await read(wire.deadTime, operation: "read dead time")
        return Picoseconds(Int64(value.rounded()))
    }

    /// Counts for `duration`; one number.
    ///
    /// The counter repeats windows of the time set and shows the last complete one. Whether a setting
    /// starts a new window is not known, so the answer is fetched after two: the window it tells of
    /// then began after the call.
    ///
    /// - Throws: `outOfRange` unless `duration` is a multiple of the counter's step in its range.
    public func counts(for duration: Duration) async throws(DriverError) -> [UInt64] {
        let operation = "count"
        let milliseconds = duration.inSeconds * 1000
        let time = wire.integrationTime
        _ = try openLink(operation)
        try check(time, milliseconds, operation: operation)
        if let step = time.limit.step,
            abs((milliseconds / step).rounded() * step - milliseconds) > 1e-6
        {
            throw failure(.unevenTime(milliseconds: milliseconds, step: step), operation)
        }
        return try await counters.turn { () async throws(DriverError) -> [UInt64] in
            try await apply(time, milliseconds, operation: operation)
            let link = try openLink(operation)
            let margin = profile.timing["counts_margin_ms"] ?? 0
            try await link.pause(milliseconds: 2 * milliseconds + margin, operation: operation)
            let reply = try await link.query("counts", operation: operation)
            guard let count = SCPI.count(reply) else {
                throw failure(.notACount(reply), operation)
            }
            return [count]
        }
    }
}
