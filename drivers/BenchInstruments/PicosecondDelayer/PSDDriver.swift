// Micro Photon Devices Picosecond Delayer ($PSD-065-A-MOD): one input, NIM and TTL outputs, 0 to 50
// ns in steps of 10 ps, on a serial line.
//
// Sources: github.com/python-microscopy/python-microscopy, pull request 1232,
// PYME/Acquire/Hardware/mpd_picosecond_delayer.py (commands, echo mode, errors); MPD, Picosecond
// Delayer User Manual 6.0.1, January 2015, introduction (ranges).
//
// Deviations: the divider can be set but not read, because no source shows the query. The line has
// no check sum, so the echo is always kept on, and a reading counts once a second one agrees.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the Picosecond Delayer.
///
/// Its safe state is outputs off, at open and at close: a gate that does not come opens no
/// detector.
public actor PicosecondDelayerDriver: DelayGenerator {
    private let profile: DeviceProfile
    private let source: StreamSource
    private let reactor: any Reactor
    private let wire: PSDWire
    private let delayLimit: Limit
    private let turns = TurnQueue()
    /// Who the unit is; it has no identification, so the serial number is the one of its wiring.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public private(set) var health = InstrumentHealth.good
    private var stream: InstrumentStream?
    private var exchange: TextExchange?
    private var greatestDelay: Picoseconds?
    private var lastSet: Picoseconds?
    private static let mostReadings = 4

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// From no delay to the greatest, which the unit reports; before it was opened, the usual one.
    public var delayRange: ClosedRange<Picoseconds> {
        let usual = Picoseconds(Int64(delayLimit.max ?? 0))
        return Picoseconds(Int64(delayLimit.min ?? 0))...(greatestDelay ?? usual)
    }
    /// 10 ps.
    public let delayResolution: Picoseconds

    /// A driver of the unit behind `source`.
    ///
    /// - Parameter serial: the name of the wiring, as the unit tells no serial number.
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, source: StreamSource, serial: String, isEmulated: Bool,
        reactor: any Reactor
    ) throws(DriverError) {
        self.profile = profile
        self.source = source
        self.reactor = reactor
        do throws(MissingProfileField) {
            wire = try PSDWire(profile)
            delayLimit = try profile.limit("delay")
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        delayResolution = Picoseconds(Int64(delayLimit.step ?? 1))
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id, provenance: isEmulated ? .emulated : .device)
    }

    private var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Opens the port, switches the echo on, reads the greatest delay, and switches the outputs
    /// off.
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
            try await switchEchoOn()
            greatestDelay = Picoseconds(Int64(try await read("max_delay", operation: "open")))
            try await switchOutput(on: false, operation: "open")
            lastSet = nil
            health = .good
        } catch {
            stream = nil
            exchange = nil
            await opened.bytes.close()
            throw error
        }
    }

    /// Another program may have left the echo off; the reply then comes with or without one.
    private func switchEchoOn() async throws(DriverError) {
        let command = try text(of: "set_echo", [1], "open")
        switch try await reply(to: command, operation: "open") {
        case .value(1, _): return
        case .value(let value, _): throw failure(.unexpected("\(value)"), "open")
        case .refusal(let number): throw failure(.refused(number, profile), "open")
        case .unexpected(let found): throw failure(.unexpected(found), "open")
        }
    }

    /// Switches the outputs off and closes the port; the delay keeps its setting.
    public func close() async {
        guard let stream else { return }
        try? await setOutputEnabled(false)
        self.stream = nil
        exchange = nil
        await stream.bytes.close()
    }

    /// Reads delay, pulse width, threshold, output and the temperature of the delay chips.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        let present = try await delay()
        let temperature = try await temperature()
        let (width, threshold, output) = try await turns.turn {
            () async throws(DriverError) -> (Double, Double, Double) in
            (
                try await read("width", operation: operation),
                try await read("threshold", operation: operation),
                try await read("output", operation: operation)
            )
        }
        return SelfTestReport(checks: [
            .init(
                name: "delay", passed: delayRange.contains(present),
                detail: "\(present) of \(delayRange.upperBound)"),
            .init(name: "pulse width", passed: width >= 1, detail: "\(width) ns"),
            .init(
                name: "threshold", passed: abs(threshold) <= 2000, detail: "\(threshold) mV"),
            .init(
                name: "output", passed: output == 0 || output == 1,
                detail: output == 1 ? "on" : "off"),
            // The delay drifts until the oven has settled, which takes a while after power-up.
            .init(
                name: "temperature", passed: temperature > Celsius(0),
                detail: "\(temperature), settles near 55 °C"),
        ])
    }

    // MARK: Commands

    private func failure(_ error: PSDError, _ operation: String) -> DriverError {
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
        do throws(CommandEncodingError) { return try entry.text(values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
    }

    private func reply(
        to command: String, operation: String
    ) async throws(DriverError) -> PSDWire.Reply {
        guard let exchange else { throw failure(.closed, operation) }
        let timeout = profile.dialect?.replyTimeoutMilliseconds ?? 1000
        return try await exchange.exchange(
            wire.command(command), timeout: .nanoseconds(Int64(timeout * 1e6)),
            operation: operation
        ) { PSDWire.reply($0, to: command, isLast: $1) }
    }

    /// Sends `command` and returns the value of its reply, echo checked.
    private func ask(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) -> Double {
        let text = try text(of: command, values, operation)
        switch try await reply(to: text, operation: operation) {
        case .value(let value, isEchoed: true): return value
        case .value: throw failure(.noEcho(text), operation)
        case .refusal(let number): throw failure(.refused(number, profile), operation)
        case .unexpected(let found): throw failure(.unexpected(found), operation)
        }
    }

    /// Reads until two readings in a row agree; a digit lost on the line is not noticed otherwise.
    private func read(_ command: String, operation: String) async throws(DriverError) -> Double {
        var readings: [Double] = []
        while readings.count < Self.mostReadings {
            let reading = try await ask(command, operation: operation)
            if readings.last == reading { return reading }
            readings.append(reading)
        }
        throw failure(
            .unsteady(readings.map { "\($0)" }.joined(separator: ", ")), operation)
    }

    /// Sets a quantity; the reply is the value that the unit took.
    private func set(
        _ command: String, _ value: Double, operation: String
    ) async throws(DriverError) -> Double {
        guard exchange != nil else { throw failure(.closed, operation) }
        return try await turns.turn { () async throws(DriverError) -> Double in
            try await ask(command, [value], operation: operation)
        }
    }

    private func switchOutput(
        on isEnabled: Bool, operation: String
    ) async throws(DriverError) {
        let wanted = isEnabled ? 1.0 : 0.0
        _ = try await ask("set_output", [wanted], operation: operation)
        let found = try await read("output", operation: operation)
        guard found == wanted else {
            throw failure(
                .notTaken(
                    quantity: "the output", wanted: isEnabled ? "on" : "off", found: "\(found)"),
                operation)
        }
    }

    // MARK: Delay and output

    /// Sets the delay, rounded to 10 ps; returns what the unit reports.
    ///
    /// - Throws: `outOfRange` before a byte is sent; `deviceFault` when the unit refuses, as it
    ///   does while it is in local mode, or does not take the delay.
    public func setDelay(_ delay: Picoseconds) async throws(DriverError) -> Picoseconds {
        let operation = "set delay"
        guard exchange != nil else { throw failure(.closed, operation) }
        guard delayRange.contains(delay) else {
            throw failure(
                .outOfRange(
                    quantity: "delay", value: "\(delay)",
                    range: "\(delayRange.lowerBound) to \(delayRange.upperBound)"), operation)
        }
        let step = delayResolution.rawValue
        let wanted = min(
            (delay.rawValue + step / 2) / step * step, delayRange.upperBound.rawValue)
        let found = try await set("set_delay", Double(wanted), operation: operation)
        guard found == Double(wanted) else {
            throw failure(
                .notTaken(quantity: "delay", wanted: "\(wanted) ps", found: "\(found) ps"),
                operation)
        }
        lastSet = Picoseconds(wanted)
        health = .good
        return Picoseconds(wanted)
    }

    /// The present delay; when it is not the one set last, the health says so, because the unit has
    /// restarted or somebody has turned its knob.
    public func delay() async throws(DriverError) -> Picoseconds {
        let found = try await turns.turn { () async throws(DriverError) -> Double in
            try await read("delay", operation: "read delay")
        }
        let delay = Picoseconds(Int64(found.rounded()))
        if let lastSet, lastSet != delay {
            health = .degraded("the delay is \(delay), but \(lastSet) was set")
        }
        return delay
    }

    /// Switches the outputs on or off, and reads back that they are.
    public func setOutputEnabled(_ isEnabled: Bool) async throws(DriverError) {
        let operation = isEnabled ? "switch outputs on" : "switch outputs off"
        try await turns.turn { () async throws(DriverError) in
            try await switchOutput(on: isEnabled, operation: operation)
        }
    }

    // MARK: Pulses and trigger

    /// Sets the width of the output pulses, 1 to 250 ns; returns the nearest width the unit has.
    public func setPulseWidth(nanoseconds: Int) async throws(DriverError) -> Int {
        let found = try await set(
            "set_width", Double(nanoseconds), operation: "set pulse width")
        return Int(found.rounded())
    }

    /// Sets the trigger threshold, −2 V to 2 V; returns what the unit took, a multiple of 10 mV.
    public func setThreshold(_ threshold: Volts) async throws(DriverError) -> Volts {
        let found = try await set(
            "set_threshold", (threshold.rawValue * 1000).rounded(), operation: "set threshold")
        return Volts(found / 1000)
    }

    /// Lets every `divisor`-th trigger through, 1 to 999.
    public func setDivider(_ divisor: Int) async throws(DriverError) {
        _ = try await set("set_divider", Double(divisor), operation: "set divider")
    }

    /// Triggers on rising or on falling edges.
    public func setTriggerEdge(rising: Bool) async throws(DriverError) {
        _ = try await set("set_edge", rising ? 1 : 0, operation: "set trigger edge")
    }

    /// The temperature of the delay chips; it settles near 55 °C.
    public func temperature() async throws(DriverError) -> Celsius {
        try await turns.turn { () async throws(DriverError) -> Celsius in
            Celsius(try await ask("temperature", operation: "read temperature"))
        }
    }
}
