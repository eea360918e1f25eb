// Thorlabs MTD415T: a temperature controller module for a thermo-electric cooler and a thermistor,
// on a serial line.
//
// Sources: Thorlabs, MTD415T Data Sheet Rev. 1.0 (2016), sections 6 and 7; the clients
// github.com/nelsond/thorlabs-mtd415t at c53ec5c and github.com/Artem-Gulyaev/thorlabs-mtd415t at
// 37be1de.
//
// Deviations: nothing is written to the flash memory unless `save` is called, because it wears out.
// The line has no check sum, so a reading counts once a second one agrees.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the MTD415T.
///
/// The module regulates by itself, within its own current limit, from the moment its enable pin is
/// set; no command switches it on or off. Its safe state is therefore to go on as it is: opening
/// and closing change neither setpoint nor limit, as a jump in temperature is what harms a laser.
public actor MTD415TDriver: TemperatureController {
    private let profile: DeviceProfile
    private let source: StreamSource
    private let reactor: any Reactor
    private let wire: MTD415TWire
    private let scale: Scale
    private let turns = TurnQueue()
    /// Who the unit is; the serial number is the name of its wiring, as long as it is known.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing, by its error register when that was last read.
    public private(set) var health = InstrumentHealth.good
    private var stream: InstrumentStream?
    private var exchange: TextExchange?
    private var uniqueIdentifier: String?

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// 5 °C to 45 °C.
    public let temperatureRange: ClosedRange<Celsius>

    private static let mostReadings = 4
    private static let mostAttempts = 4
    /// How far two readings in a row may be apart, in kelvin.
    private static let steadiness = 1.0

    /// A driver of the unit behind `source`.
    ///
    /// - Parameter serial: the name of the wiring; empty to use the unique identifier of the unit.
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, source: StreamSource, serial: String, isEmulated: Bool,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.source = source
        self.reactor = reactor
        do throws(MissingProfileField) {
            wire = try MTD415TWire(profile)
            scale = try profile.scale("temperature")
            let limit = try profile.limit("temperature")
            temperatureRange = Celsius(limit.min ?? 0)...Celsius(limit.max ?? 0)
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    private var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port and checks who answers; the regulation goes on undisturbed.
    ///
    /// - Throws: `wrongDevice` for another model, and for another unit than at the first opening.
    public func open() async throws(DriverError) {
        guard stream == nil else { return }
        let opened: InstrumentStream
        do throws(ByteStreamError) { opened = try await source.open() } catch {
            throw DriverError(error, instrument: name, operation: "open \(source.name)")
        }
        if opened.bytes.isEmulated { identity.provenance = .emulated }
        stream = opened
        exchange = TextExchange(opened, reactor: reactor, instrument: name)
        do throws(DriverError) {
            try await identify()
            try await clearCommandErrors()
        } catch {
            stream = nil
            exchange = nil
            await opened.bytes.close()
            throw error
        }
    }

    private func identify() async throws(DriverError) {
        let operation = "open"
        let found = try await string("identify", operation: operation)
        guard profile.identification?.expect?.matches(found) ?? true else {
            throw failure(.wrongIdentity(found: found), operation)
        }
        let unit = try await string("unique_identifier", operation: operation)
        guard MTD415TWire.isUniqueIdentifier(unit) else {
            throw failure(.unexpected(expected: "32 hexadecimal digits", found: unit), operation)
        }
        if let uniqueIdentifier, uniqueIdentifier != unit {
            throw failure(.otherUnit(expected: uniqueIdentifier, found: unit), operation)
        }
        uniqueIdentifier = unit
        identity.firmware = MTD415TWire.firmware(found)
        if identity.serial.isEmpty { identity.serial = unit }
    }

    /// Refused commands of another program stay in the register for ever; they say nothing about
    /// the regulation and are cleared.
    private func clearCommandErrors() async throws(DriverError) {
        let faults = try await readErrors(operation: "open")
        if faults.contains(where: { $0.severity == .notice }) {
            _ = try await string("clear_errors", operation: "open")
            _ = try await readErrors(operation: "open")
        }
    }

    /// Closes the port; the unit goes on regulating.
    public func close() async {
        guard let stream else { return }
        self.stream = nil
        exchange = nil
        await stream.bytes.close()
    }

    /// Reads identification, error register, temperature, current and its limit.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        return try await turns.turn { () async throws(DriverError) -> SelfTestReport in
            let identification = try await string("identify", operation: operation)
            let faults = try await readErrors(operation: operation)
            let temperature = try await steadyTemperature(operation: operation)
            let limit = try await integer("current_limit", operation: operation)
            let current = try await integer("current", operation: operation)
            return SelfTestReport(checks: [
                .init(
                    name: "identification",
                    passed: profile.identification?.expect?.matches(identification) ?? true,
                    detail: "\(identification), unit \(uniqueIdentifier ?? "unknown")"),
                .init(
                    // A command that was misunderstood says nothing about the regulation.
                    name: "error register", passed: faults.allSatisfy { $0.severity == .notice },
                    detail: faults.isEmpty
                        ? "clear" : faults.map(\.meaning).joined(separator: "; ")),
                .init(name: "temperature", passed: true, detail: "\(temperature)"),
                .init(
                    name: "cooler current", passed: abs(current) <= limit,
                    detail: "\(current) mA of \(limit) mA"),
            ])
        }
    }

    // MARK: Commands

    private func failure(_ error: MTD415TError, _ operation: String) -> DriverError {
        error.driverError(instrument: name, operation: operation)
    }

    /// The text of `command`, checked against the ranges of the profile.
    private func text(
        of command: String, _ values: [Double], _ operation: String
    ) throws(DriverError) -> String {
        let entry: Command
        do throws(MissingProfileField) { entry = try profile.command(command) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        do throws(CommandEncodingError) { return try wire.text(entry, values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    /// Sends a command; "unknown command" is followed by another attempt after a pause.
    private func ask(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) -> MTD415TWire.Reply {
        guard let exchange else { throw failure(.closed, operation) }
        let text = try text(of: command, values, operation)
        let timeout = profile.dialect?.replyTimeoutMilliseconds ?? 1000
        for _ in 0..<Self.mostAttempts {
            let reply = try await exchange.exchange(
                text, timeout: .nanoseconds(Int64(timeout * 1e6)), operation: operation
            ) { bytes, _ in MTD415TWire.reply(bytes) }
            if reply != .unknownCommand { return reply }
            try await pause(milliseconds: profile.timing["retry_ms"] ?? 100, operation)
        }
        throw failure(.misunderstood(command: String(text.dropLast())), operation)
    }

    private func pause(milliseconds: Double, _ operation: String) async throws(DriverError) {
        do { try await reactor.sleep(for: .nanoseconds(Int64(milliseconds * 1e6))) } catch {
            throw DriverError(.cancelled, instrument: name, operation: operation)
        }
    }

    private func string(_ command: String, operation: String) async throws(DriverError) -> String {
        switch try await ask(command, operation: operation) {
        case .text(let text): return text
        case .value(let value): return String(value)
        case .unknownCommand: return ""
        }
    }

    private func integer(_ command: String, operation: String) async throws(DriverError) -> Int {
        switch try await ask(command, operation: operation) {
        case .value(let value): return value
        case .text(let found):
            throw failure(.unexpected(expected: "a whole number", found: found), operation)
        case .unknownCommand: throw failure(.misunderstood(command: command), operation)
        }
    }

    /// Sets a quantity; the unit answers with the value it took, or says why it did not.
    private func set(
        _ command: String, _ value: Double, operation: String
    ) async throws(DriverError) {
        guard exchange != nil else { throw failure(.closed, operation) }
        try await turns.turn { () async throws(DriverError) in
            let reply = try await ask(command, [value], operation: operation)
            guard reply == .value(Int(value.rounded())) else {
                let found =
                    switch reply {
                    case .value(let value): "\(value)"
                    case .text(let text): text
                    case .unknownCommand: "unknown command"
                    }
                throw failure(
                    .notTaken(command: "\(command) \(Int(value.rounded()))", found: found),
                    operation)
            }
        }
    }

    /// Reads the error register until two readings agree, and keeps the health.
    private func readErrors(operation: String) async throws(DriverError) -> [DeviceFault] {
        var readings: [Int] = []
        while readings.count < Self.mostReadings {
            let reading = try await integer("errors", operation: operation)
            if readings.last == reading {
                let faults = MTD415TErrorRegister(reading).faults(profile)
                keepHealth(faults)
                return faults
            }
            readings.append(reading)
        }
        throw failure(.unsteady("error register \(readings)"), operation)
    }

    private func keepHealth(_ faults: [DeviceFault]) {
        let text = faults.map(\.meaning).joined(separator: "; ")
        if faults.contains(where: { $0.severity == .critical || $0.severity == .error }) {
            health = .failed(text)
        } else if faults.contains(where: { $0.severity == .warning }) {
            health = .degraded(text)
        } else {
            health = .good
        }
    }

    /// - Throws: `deviceFault` while the unit can not regulate or measure.
    private func checkFaults(operation: String) async throws(DriverError) {
        let faults = try await readErrors(operation: operation)
        if let worst = faults.first(where: { $0.severity == .critical || $0.severity == .error }) {
            throw failure(.fault(meaning: worst.meaning, recovery: worst.recovery), operation)
        }
    }

    // MARK: Temperature

    /// Sets the temperature to regulate to.
    ///
    /// - Throws: `outOfRange` before a byte is sent; `deviceFault` when the unit does not take it
    ///   or can not regulate.
    public func setTemperature(_ temperature: Celsius) async throws(DriverError) {
        let operation = "set temperature"
        guard exchange != nil else { throw failure(.closed, operation) }
        // Not-a-number is in no range.
        guard temperatureRange.contains(temperature) else {
            throw failure(
                .outOfRange(
                    quantity: "temperature", value: "\(temperature)",
                    range: "\(temperatureRange.lowerBound) to \(temperatureRange.upperBound)"),
                operation)
        }
        try await set(
            "set_temperature", scale.deviceValue(temperature.rawValue).rounded(),
            operation: operation)
        try await turns.turn { () async throws(DriverError) in
            try await checkFaults(operation: operation)
        }
    }

    /// The temperature of the sensor.
    ///
    /// - Throws: `deviceFault` while the unit has no sensor to read.
    public func temperature() async throws(DriverError) -> Celsius {
        let operation = "read temperature"
        return try await turns.turn { () async throws(DriverError) -> Celsius in
            try await checkFaults(operation: operation)
            return try await steadyTemperature(operation: operation)
        }
    }

    private func steadyTemperature(operation: String) async throws(DriverError) -> Celsius {
        var readings: [Double] = []
        while readings.count < Self.mostReadings {
            let reading = scale.physicalValue(
                Double(try await integer("temperature", operation: operation)))
            if let last = readings.last, abs(last - reading) <= Self.steadiness {
                return Celsius(reading)
            }
            readings.append(reading)
        }
        throw failure(.unsteady("\(readings) °C"), operation)
    }

    /// The temperature that is regulated to.
    public func setpoint() async throws(DriverError) -> Celsius {
        try await turns.turn { () async throws(DriverError) -> Celsius in
            let value = try await integer("temperature_setting", operation: "read setpoint")
            return Celsius(scale.physicalValue(Double(value)))
        }
    }

    // MARK: Cooler and loop

    /// Limits the current of the cooler, 200 to 2000 mA.
    public func setCurrentLimit(milliamperes: Int) async throws(DriverError) {
        try await set(
            "set_current_limit", Double(milliamperes), operation: "set current limit")
    }

    /// The current of the cooler in milliamperes; positive currents cool.
    public func current() async throws(DriverError) -> Int {
        try await turns.turn { () async throws(DriverError) -> Int in
            try await integer("current", operation: "read current")
        }
    }

    /// Sets the shares of the loop: proportional in mA/K, integral in mA/(K s), differential in
    /// mA s/K; each from 0 to 100000.
    public func setShares(
        proportional: Int, integral: Int, differential: Int
    ) async throws(DriverError) {
        let operation = "set loop"
        try await set("set_proportional", Double(proportional), operation: operation)
        try await set("set_integral", Double(integral), operation: operation)
        try await set("set_differential", Double(differential), operation: operation)
    }

    /// Writes all settings to the flash memory, which stands a limited number of writes.
    public func save() async throws(DriverError) {
        try await turns.turn { () async throws(DriverError) in
            _ = try await ask("save", operation: "save")
        }
    }
}
