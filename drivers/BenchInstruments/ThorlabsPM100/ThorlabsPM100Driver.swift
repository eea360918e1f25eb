// Thorlabs optical power meters of the PM100 family: console with a plugged-in sensor, SCPI over the
// USB test and measurement class.
//
// Sources: Thorlabs PM100D Operation Manual, chapter 6 (commands, *IDN?, sensor flags); PM100USB
// Operation Manual, chapter 7 (one query at a time; MIN and MAX; terminators); QMI 0.54.2,
// instruments/thorlabs/pm100d.py (product numbers, SYST:ERR?); PyVISA-py pull request 241 (a PM101
// takes no command before REN_CONTROL).
//
// A setting is followed by a look into the error queue and read back, because a setting that is
// refused leaves no other trace. Not used: averaging, ranges, zeroing, energy sensors.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the Thorlabs PM100 power meters.
public actor ThorlabsPM100Driver: PowerMeter {
    private let profile: DeviceProfile
    private let host: any USBHost
    private let summary: USBDeviceSummary
    private let reactor: any Reactor
    private let wire: ThorlabsPM100Wire
    /// Who the console is, as it says itself.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good
    /// The wavelengths the sensor is calibrated for; complete after `open`.
    public private(set) var wavelengthRange = Nanometres(0)...Nanometres(0)
    private var link: SCPILink?
    private var sensor: ThorlabsPM100Wire.Sensor?

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// How far a wavelength read back may be from the setting, in nanometres: the consoles work with
    /// single precision and some show tenths.
    private static let wavelengthTolerance = 0.1

    /// A driver of the console described by `summary`.
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
        do throws(MissingProfileField) { wire = try ThorlabsPM100Wire(profile) } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model,
            serial: summary.serial ?? "", firmware: "", profile: profile.id,
            provenance: summary.isEmulated ? .emulated : .device)
    }

    private var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Claims the console, checks what it and its sensor are, and has it measure power in watts with
    /// automatic ranges. The wavelength stays as it is.
    public func open() async throws(DriverError) {
        guard link == nil else { return }
        let opened = try await SCPILink.open(
            profile, on: host, summary, instrument: name, reactor: reactor)
        do throws(DriverError) {
            try await identify(opened)
            try await opened.perform("initialize", operation: "open")
            try await checkQueue(opened, operation: "open")
            let low = try await opened.value("wavelength_min", operation: "open")
            let high = try await opened.value("wavelength_max", operation: "open")
            guard low > 0, low <= high else {
                throw failure(
                    .malformed(expected: "a range of wavelengths", found: "\(low) to \(high)"),
                    "open")
            }
            wavelengthRange = Nanometres(low)...Nanometres(high)
        } catch {
            await opened.close()
            throw error
        }
        link = opened
        health = .good
    }

    private func identify(_ link: SCPILink) async throws(DriverError) {
        let reply = try await link.query("identify", operation: "open")
        let expected = profile.identification?.expect
        guard expected?.matches(reply) ?? true, let console = ThorlabsPM100Wire.console(reply)
        else {
            throw failure(
                .wrongIdentity(found: reply, expected: expected?.description ?? "the profile's"),
                "open")
        }
        identity.serial = console.serial
        identity.firmware = console.firmware
        sensor = try await connectedSensor(link, operation: "open")
    }

    private func connectedSensor(
        _ link: SCPILink, operation: String
    ) async throws(DriverError) -> ThorlabsPM100Wire.Sensor {
        let reply = try await link.query("sensor", operation: operation)
        guard let sensor = wire.sensor(reply) else {
            throw failure(.malformed(expected: "six fields of a sensor", found: reply), operation)
        }
        guard sensor.measuresPower, sensor.hasWavelength else {
            throw failure(.unfitSensor(found: reply), operation)
        }
        return sensor
    }

    /// Gives the console back to its front panel.
    public func close() async {
        guard let link else { return }
        self.link = nil
        await link.close()
    }

    /// Asks for console and sensor and measures once.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        let link = try openLink(operation)
        let console = try await link.query("identify", operation: operation)
        let connected = try await connectedSensor(link, operation: operation)
        let queue = try await link.queuedErrors("next_error", operation: operation)
        let power = try await link.number("measure_power", operation: operation)
        return SelfTestReport(checks: [
            .init(name: "identification", passed: true, detail: console),
            .init(
                name: "sensor", passed: connected == sensor,
                detail: "\(connected.name) \(connected.serial)"),
            .init(
                name: "error queue", passed: queue.isEmpty,
                detail: queue.first.map { "\($0.code), \($0.message)" } ?? "empty"),
            .init(name: "reading", passed: power != .notANumber, detail: "\(power)"),
        ])
    }

    // MARK: Measuring

    /// Sets the wavelength the sensor's calibration is taken at.
    ///
    /// - Throws: `outOfRange` before a byte is sent; `deviceFault` when the console does not take it.
    public func setWavelength(_ wavelength: Nanometres) async throws(DriverError) {
        let operation = "set wavelength"
        let link = try openLink(operation)
        guard wavelengthRange.contains(wavelength) else {
            throw failure(
                .wavelengthOutOfRange(
                    wanted: wavelength.rawValue, low: wavelengthRange.lowerBound.rawValue,
                    high: wavelengthRange.upperBound.rawValue), operation)
        }
        try await link.send("set_wavelength", [wavelength.rawValue], operation: operation)
        try await checkQueue(link, operation: operation)
        let found = try await link.value("wavelength", operation: operation)
        guard abs(found - wavelength.rawValue) <= Self.wavelengthTolerance else {
            throw failure(
                .wavelengthNotTaken(wanted: wavelength.rawValue, found: found), operation)
        }
    }

    /// Measures once. The wavelength is asked for with every reading, because it can be changed at
    /// the console.
    ///
    /// - Throws: `deviceFault` when there is no reading, as without a sensor.
    public func measure() async throws(DriverError) -> PowerReading {
        let operation = "measure"
        let link = try openLink(operation)
        let number = try await link.number("measure_power", operation: operation)
        let time = reactor.now
        let wavelength = Nanometres(try await link.value("wavelength", operation: operation))
        switch number {
        case .value(let power):
            health = .good
            return PowerReading(power: Watts(power), wavelength: wavelength, time: time)
        case .outOfRange:
            health = .degraded("the light exceeds the range of the sensor")
            return PowerReading(power: nil, wavelength: wavelength, time: time)
        case .notANumber: throw failure(.noReading, operation)
        }
    }

    // MARK: Errors

    private func checkQueue(_ link: SCPILink, operation: String) async throws(DriverError) {
        if let first = try await link.queuedErrors("next_error", operation: operation).first {
            throw failure(.queued(code: first.code, message: first.message), operation)
        }
    }

    private func openLink(_ operation: String) throws(DriverError) -> SCPILink {
        if let link { return link }
        throw failure(.closed, operation)
    }

    private func failure(_ error: ThorlabsPM100Error, _ operation: String) -> DriverError {
        error.driverError(instrument: name, operation: operation)
    }
}
