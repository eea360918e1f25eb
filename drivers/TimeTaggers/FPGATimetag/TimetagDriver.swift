// FPGA time tagger of the Goldner group, University of Massachusetts: four inputs, 7.8125 ns, KNJN
// Xylo-EM board with a Cypress FX2LP and a Cyclone FPGA.
//
// Sources: github.com/bgamari/timetag-fpga at 1ffb766 (Verilog, docs/registers, docs/timetag-format);
// github.com/bgamari/timetag-fx2 at 7497617, bulkloop.c (endpoints, vendor requests);
// github.com/bgamari/timetag-tools at 6170e07, timetagger.cpp (order of commands).
//
// Deviations from the published client, all on purpose:
// - A wrap of the counter is 2^36 ticks; record.cpp adds one less.
// - Transfers are 512 bytes long. The client's 510 fail when a packet is full.
// - Counters of the FPGA are polled: they tell when records were made, and that none is missing.
// - The length of packets follows the rate, because nothing is ever sent for reasons of time. The
//   firmware sends what it holds whenever the length is set, which is also how the last records are
//   got out.
// - Delta inputs are off: a change of a pattern output would hide a click in the same tick.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the UMass FPGA time tagger with its firmware loaded; `FX2Loader` gets it there.
public actor TimetagDriver: TimeTagger {
    let profile: DeviceProfile
    let host: any USBHost
    let summary: USBDeviceSummary
    let wire: TimetagWire
    let reactor: any Reactor
    let commands = TurnQueue()
    /// Who the tagger is; it has no serial number of its own.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public internal(set) var health = InstrumentHealth.good
    var device: (any USBDevice)?
    var run: TimetagAcquisition?
    var runCount: UInt64 = 0
    /// Whether a reply is missing, so that the next may belong to an earlier command.
    private var isOutOfStep = false

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The length of a tick: 7.8125 ns.
    public let tickPeriod: TickPeriod
    /// Four inputs, as channels 0 to 3.
    public let channelCount: Int
    /// The tagger counts records, not pulses.
    public var counting: (any PulseCounting)? { nil }

    private static let drainTimeout = Duration.milliseconds(10)
    private static let drainReads = 64

    /// A driver of the device described by `summary`.
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
        do throws(MissingProfileField) {
            wire = try TimetagWire(profile)
            tickPeriod = try profile.requireTimeBase().tick
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        channelCount = profile.channels.count
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model,
            serial: summary.serial ?? "", firmware: "", profile: profile.id,
            provenance: summary.isEmulated ? .emulated : .device)
    }

    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Claims the tagger, brings its command channel into step, checks version and clock, and leaves
    /// it with capture and inputs off and its pattern outputs low.
    public func open() async throws(DriverError) {
        guard device == nil else { return }
        if let range = profile.usb?.deviceRelease, !range.contains(summary.bcdDevice) {
            throw TimetagError.wrongRelease(
                found: String(summary.bcdDevice, radix: 16),
                supported: String(range.lowerBound, radix: 16) + " to "
                    + String(range.upperBound, radix: 16)
            ).driverError(instrument: name, operation: "open")
        }
        let opened: any USBDevice
        do throws(USBTransferError) { opened = try await host.open(summary.id) } catch {
            throw DriverError(error, instrument: name, operation: "open")
        }
        do throws(DriverError) {
            try checkEndpoints(of: opened.summary)
            let usb = try required { () throws(MissingProfileField) in try profile.requireUSB() }
            do throws(USBTransferError) {
                try await opened.claim(
                    interface: UInt8(usb.interface), alternate: UInt8(usb.alternateSetting))
            } catch { throw DriverError(error, instrument: name, operation: "claim") }
            device = opened
            // Whoever used it before may have left half a command behind.
            isOutOfStep = true
            try await checkHardware()
            try await perform("initialize", operation: "open")
            health = .good
        } catch {
            device = nil
            await opened.close()
            throw error
        }
    }

    /// Stops an acquisition and gives the tagger back.
    public func close() async {
        guard let device else { return }
        try? await stop()
        self.device = nil
        await device.close()
    }

    private func checkEndpoints(of summary: USBDeviceSummary) throws(DriverError) {
        let wanted = try required { () throws(MissingProfileField) in
            [
                try profile.endpoint("command"), try profile.endpoint("events"),
                try profile.endpoint("reply"),
            ].map(\.address)
        }
        let found = summary.interfaces.flatMap(\.endpoints).filter { $0.kind == .bulk }
            .map(\.address)
        guard wanted.allSatisfy(found.contains) else {
            let list = found.map { "0x" + String($0, radix: 16) }.joined(separator: ", ")
            throw TimetagError.wrongEndpoints(found: list.isEmpty ? "none" : list)
                .driverError(instrument: name, operation: "open")
        }
    }

    private func checkHardware() async throws(DriverError) {
        let version = try await read("register_version", operation: "open")
        let clock = try await read("register_clock", operation: "open")
        for (register, found, constant) in [
            ("version", version, "hardware_version"), ("clock rate", clock, "clock_hz"),
        ] {
            let expected = try self.constant(constant)
            guard Int(found) == expected else {
                throw TimetagError.wrongHardware(
                    register: register, expected: "\(expected)", found: found
                ).driverError(instrument: name, operation: "open")
            }
        }
        identity.firmware = "\(version)"
    }

    // MARK: Registers

    func required<Value>(
        _ read: () throws(MissingProfileField) -> Value
    ) throws(DriverError) -> Value {
        do throws(MissingProfileField) { return try read() } catch {
            throw DriverError(error, instrument: name, operation: "read the profile")
        }
    }

    func constant(_ name: String) throws(DriverError) -> Int {
        try required { () throws(MissingProfileField) in try profile.constant(name) }
    }

    func openDevice(_ operation: String) throws(DriverError) -> any USBDevice {
        if let device { return device }
        throw DriverError(
            code: .wrongState, instrument: name, operation: operation,
            expected: "an open instrument", found: "a closed one", advice: "open it first")
    }

    var replyTimeout: Duration {
        .milliseconds(Int64((profile.dialect?.replyTimeoutMilliseconds ?? 500).rounded()))
    }

    /// The value of a register, by the name of the constant that holds its address.
    func read(_ register: String, operation: String) async throws(DriverError) -> UInt32 {
        let address = try constant(register)
        return try await exchange("read_register", [Double(address)], operation: operation)
    }

    func write(
        _ address: Int, _ value: UInt32, operation: String
    ) async throws(DriverError) {
        let echo = try await exchange(
            "write_register", [Double(address), Double(value)], operation: operation)
        guard echo == value else {
            throw TimetagError.notWritten(address: address, value: value, found: echo)
                .driverError(instrument: name, operation: operation)
        }
    }

    /// Sends a command and waits for its reply; once more, with the channel cleared, when none comes.
    /// Every command may be repeated: reading changes nothing, and writing is absolute.
    private func exchange(
        _ command: String, _ values: [Double], operation: String
    ) async throws(DriverError) -> UInt32 {
        _ = try openDevice(operation)
        return try await commands.turn { () async throws(DriverError) -> UInt32 in
            do throws(DriverError) {
                try await bringIntoStep(operation)
                return try await attempt(command, values, operation)
            } catch {
                guard error.code == .timedOut else { throw error }
                isOutOfStep = true
            }
            try await bringIntoStep(operation)
            return try await attempt(command, values, operation)
        }
    }

    private func attempt(
        _ command: String, _ values: [Double], _ operation: String
    ) async throws(DriverError) -> UInt32 {
        let device = try openDevice(operation)
        let (entry, output, input) = try required { () throws(MissingProfileField) in
            (
                try profile.command(command), try profile.endpoint("command").address,
                try profile.endpoint("reply").address
            )
        }
        let packet: [UInt8]
        do throws(CommandEncodingError) { packet = try wire.packet(entry, values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        let reply: [UInt8]
        do throws(USBTransferError) {
            try await device.write(packet, to: output, timeout: replyTimeout)
            reply = try await device.read(from: input, upTo: 512, timeout: replyTimeout)
        } catch {
            isOutOfStep = true
            throw DriverError(error, instrument: name, operation: operation)
        }
        guard let value = wire.value(of: reply) else {
            isOutOfStep = true
            throw TimetagError.replyLength(reply.count)
                .driverError(instrument: name, operation: operation)
        }
        return value
    }

    /// Completes a command that was cut off, and throws away replies that nobody waited for.
    private func bringIntoStep(_ operation: String) async throws(DriverError) {
        guard isOutOfStep else { return }
        let unjam = try constant("register_unjam")
        let expected = UInt32(truncatingIfNeeded: try constant("hardware_version"))
        try await drain("reply", operation)
        // A write to a register that does not exist is harmless, also if it only ends another.
        _ = try await attempt("write_register", [Double(unjam), 0], operation)
        try await drain("reply", operation)
        // The version tells whether a reply belongs to its command; another version is told later.
        let version = try await attempt(
            "read_register", [Double(try constant("register_version"))], operation)
        let clock = try await attempt(
            "read_register", [Double(try constant("register_clock"))], operation)
        guard version != clock, Int(clock) == (try constant("clock_hz")) else {
            throw TimetagError.outOfStep(expected: expected, found: version)
                .driverError(instrument: name, operation: operation)
        }
        isOutOfStep = false
    }

    /// Reads an endpoint until nothing comes.
    func drain(_ endpoint: String, _ operation: String) async throws(DriverError) {
        let device = try openDevice(operation)
        let address = try required { () throws(MissingProfileField) in
            try profile.endpoint(endpoint).address
        }
        for _ in 0..<Self.drainReads {
            do throws(USBTransferError) {
                _ = try await device.read(from: address, upTo: 512, timeout: Self.drainTimeout)
            } catch .timedOut {
                return
            } catch {
                throw DriverError(error, instrument: name, operation: operation)
            }
        }
    }

    /// A vendor request without data.
    func request(
        _ request: String, value: Int = 0, operation: String
    ) async throws(DriverError) {
        let device = try openDevice(operation)
        let number = try constant(request)
        do throws(USBTransferError) {
            try await device.controlOut(
                USBControlRequest(
                    requestType: 0x40, request: UInt8(truncatingIfNeeded: number),
                    value: UInt16(truncatingIfNeeded: value), index: 0),
                data: [], timeout: replyTimeout)
        } catch { throw DriverError(error, instrument: name, operation: operation) }
    }

    /// Runs a sequence of the profile.
    func perform(_ sequence: String, operation: String) async throws(DriverError) {
        let steps = try required { () throws(MissingProfileField) in
            try profile.sequence(sequence)
        }
        for step in steps {
            switch step {
            case .command(let command, let values) where command == "write_register":
                try await write(Int(values[0]), UInt32(values[1]), operation: operation)
            case .command(let command, let values):
                _ = try await exchange(command, values, operation: operation)
            case .wait(let milliseconds):
                let pause = Duration.nanoseconds(Int64((milliseconds * 1e6).rounded()))
                do { try await reactor.sleep(for: pause) } catch {
                    throw DriverError(.cancelled, instrument: name, operation: operation)
                }
            case .startReading: try startReading(operation: operation)
            case .stopReading: await stopReading()
            case .line: continue
            }
        }
    }

    // MARK: Self-test

    /// Reads version, clock and counters; does not touch the event stream.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let version = try await read("register_version", operation: "self-test")
        let clock = try await read("register_clock", operation: "self-test")
        let capture = try await read("register_capture", operation: "self-test")
        let lost = try await read("register_lost", operation: "self-test")
        let isCapturing = capture >> UInt32(try constant("capture_bit")) & 1 == 1
        return SelfTestReport(checks: [
            .init(
                name: "register reply", passed: Int(version) == (try constant("hardware_version")),
                detail: "version \(version)"),
            .init(
                name: "clock", passed: Int(clock) == (try constant("clock_hz")),
                detail: "\(clock) Hz"),
            .init(
                name: "capture", passed: isCapturing == (run != nil),
                detail: isCapturing ? "running" : "off"),
            .init(
                name: "event FIFO", passed: lost == 0, detail: "\(lost) records lost"),
        ])
    }
}
