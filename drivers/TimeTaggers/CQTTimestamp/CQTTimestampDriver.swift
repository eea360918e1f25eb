// CQT/NUS USB time stamp card: four inputs, 125 ps, Cypress FX2 with published firmware.
//
// Sources: github.com/kurtsiefer/qcrypto at 51222f0 — hardware/timestampfirmware/tp8.c (descriptors,
// commands, FIFO watermark, autoflush), usbtimetagdriver/driver/usbtimetag.c (which alternate
// setting, time-outs), timestamp3/readevents3.c and timetag_io2.c (order of initialisation, record).
//
// Deviations from the published reader, all on purpose:
// - Times are checked against the host's clock and their order instead of a window of two seconds.
// - The overflow status, which the reader never asks for, is polled; see `OverflowWatch`.
// - Transfers are one packet long, so that no full packet waits in a longer transfer.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// What one card needs beyond its profile, because it differs from unit to unit.
public struct CQTTimestampUnit: Hashable, Sendable {
    /// The phase table; nil for the profile's default.
    public var phaseTable: String?
    /// The code of the threshold converter, 0 to 4095; nil for the profile's default.
    public var thresholdCode: Int?
    /// The code of the clock skew converter, 0 to 4095; nil for the profile's default.
    public var skewCode: Int?
    /// The calibration of a unit; everything nil means the profile's defaults.
    public init(phaseTable: String? = nil, thresholdCode: Int? = nil, skewCode: Int? = nil) {
        self.phaseTable = phaseTable
        self.thresholdCode = thresholdCode
        self.skewCode = skewCode
    }
}

/// Driver of the CQT/NUS USB time stamp card.
public actor CQTTimestampDriver: TimeTagger {
    let profile: DeviceProfile
    let host: any USBHost
    let summary: USBDeviceSummary
    let unit: CQTTimestampUnit
    let wire: CQTTimestampWire
    let reactor: any Reactor
    let commands = TurnQueue()
    /// Who the card is; it has no serial number of its own.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public internal(set) var health = InstrumentHealth.good
    var device: (any USBDevice)?
    var run: CQTAcquisition?
    var runCount: UInt64 = 0

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// The length of a tick: 125 ps.
    public let tickPeriod: TickPeriod
    /// Four inputs, A to D, as channels 0 to 3.
    public let channelCount: Int
    /// The card does not count by itself.
    public var counting: (any PulseCounting)? { nil }

    /// A driver of the device described by `summary`.
    ///
    /// - Throws: `notSupported` when the profile lacks a fact the driver needs.
    public init(
        profile: DeviceProfile, host: any USBHost, device summary: USBDeviceSummary,
        reactor: any Reactor, unit: CQTTimestampUnit = CQTTimestampUnit()
    ) throws(DriverError) {
        self.profile = profile
        self.host = host
        self.summary = summary
        self.unit = unit
        self.reactor = reactor
        do throws(MissingProfileField) {
            wire = try CQTTimestampWire(profile, phaseTable: unit.phaseTable)
            tickPeriod = try profile.requireTimeBase().tick
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        channelCount = profile.channels.count
        // "xx" is in every card, so it names none of them.
        let isPlaceholder = summary.serial == profile.usb?.serial?.description
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model,
            serial: isPlaceholder ? "" : summary.serial ?? "",
            firmware: String(summary.bcdDevice >> 8, radix: 16) + "."
                + String(summary.bcdDevice & 0xFF, radix: 16),
            profile: profile.id, provenance: summary.isEmulated ? .emulated : .device)
    }

    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Claims the card and initialises it with its inputs inhibited.
    public func open() async throws(DriverError) {
        guard device == nil else { return }
        try checkRelease()
        let opened: any USBDevice
        do throws(USBTransferError) {
            opened = try await host.open(summary.id)
        } catch { throw DriverError(error, instrument: name, operation: "open") }
        do throws(DriverError) {
            try checkEndpoints(of: opened.summary)
            let usb = try required { () throws(MissingProfileField) in try profile.requireUSB() }
            do throws(USBTransferError) {
                try await opened.claim(
                    interface: UInt8(usb.interface), alternate: UInt8(usb.alternateSetting))
            } catch { throw DriverError(error, instrument: name, operation: "claim") }
            device = opened
            try await perform("initialize", operation: "open")
            health = .good
        } catch {
            device = nil
            await opened.close()
            throw error
        }
    }

    /// Stops an acquisition, inhibits the inputs and gives the card back.
    public func close() async {
        guard let device else { return }
        try? await stop()
        self.device = nil
        await device.close()
    }

    private func checkRelease() throws(DriverError) {
        guard let range = profile.usb?.deviceRelease, !range.contains(summary.bcdDevice) else {
            return
        }
        throw CQTTimestampError.wrongRelease(
            found: String(summary.bcdDevice, radix: 16),
            supported: String(range.lowerBound, radix: 16) + " to "
                + String(range.upperBound, radix: 16)
        ).driverError(instrument: name, operation: "open")
    }

    /// Refuses an alternate setting with other endpoints than the card's three.
    private func checkEndpoints(of summary: USBDeviceSummary) throws(DriverError) {
        let usb = try required { () throws(MissingProfileField) in try profile.requireUSB() }
        let setting = summary.interfaces.first {
            Int($0.number) == usb.interface && Int($0.alternate) == usb.alternateSetting
        }
        let found = setting?.endpoints ?? []
        let expected = usb.endpoints.entries.map(\.value.address).sorted()
        guard found.map(\.address).sorted() == expected, found.allSatisfy({ $0.kind == .bulk })
        else {
            let list = found.map { "0x" + String($0.address, radix: 16) + " \($0.kind)" }
            throw CQTTimestampError.wrongEndpoints(found: list.joined(separator: ", "))
                .driverError(instrument: name, operation: "open")
        }
    }

    // MARK: Commands

    func required<Value>(
        _ read: () throws(MissingProfileField) -> Value
    ) throws(DriverError) -> Value {
        do throws(MissingProfileField) { return try read() } catch {
            throw DriverError(error, instrument: name, operation: "read the profile")
        }
    }

    func openDevice(_ operation: String) throws(DriverError) -> any USBDevice {
        if let device { return device }
        throw DriverError(
            code: .wrongState, instrument: name, operation: operation,
            expected: "an open instrument", found: "a closed one", advice: "open it first")
    }

    var replyTimeout: Duration {
        .milliseconds(Int64((profile.dialect?.replyTimeoutMilliseconds ?? 100).rounded()))
    }

    /// Sends one command packet. The card never answers it and never refuses it.
    func send(
        _ command: String, _ values: [Double] = [], operation: String
    ) async throws(DriverError) {
        let device = try openDevice(operation)
        let (entry, endpoint) = try required { () throws(MissingProfileField) in
            (try profile.command(command), try profile.endpoint("command"))
        }
        let packet: [UInt8]
        do throws(CommandEncodingError) { packet = try wire.packet(entry, values) } catch {
            throw DriverError(error, instrument: name, operation: operation)
        }
        do throws(USBTransferError) {
            try await device.write(packet, to: endpoint.address, timeout: replyTimeout)
        } catch { throw DriverError(error, instrument: name, operation: operation) }
    }

    /// Asks for one byte of status.
    func status(_ selector: String, operation: String) async throws(DriverError) -> UInt8 {
        let (index, endpoint) = try required { () throws(MissingProfileField) in
            (try profile.constant(selector), try profile.endpoint("status"))
        }
        return try await commands.turn { () async throws(DriverError) -> UInt8 in
            try await send("request_status", [Double(index)], operation: operation)
            let device = try openDevice(operation)
            let reply: [UInt8]
            do throws(USBTransferError) {
                reply = try await device.read(
                    from: endpoint.address, upTo: endpoint.maxPacketFullSpeed,
                    timeout: replyTimeout)
            } catch { throw DriverError(error, instrument: name, operation: operation) }
            guard reply.count == 1 else {
                throw CQTTimestampError.statusLength(reply.count)
                    .driverError(instrument: name, operation: operation)
            }
            return reply[0]
        }
    }

    /// Runs a sequence of the profile, with the values this unit and plan need.
    func perform(
        _ sequence: String, plan: AcquisitionPlan? = nil, operation: String
    ) async throws(DriverError) {
        let steps = try required { () throws(MissingProfileField) in
            try profile.sequence(sequence)
        }
        for step in steps {
            switch step {
            case .command(let command, let values):
                let values = adjusted(command, values, plan)
                try await send(command, values, operation: operation)
                if command == "reset_card" { run?.counterReset(at: reactor.now) }
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

    private func adjusted(
        _ command: String, _ values: [Double], _ plan: AcquisitionPlan?
    ) -> [Double] {
        func constant(_ name: String) -> Double? {
            profile.dialect?.constants[name].map(Double.init)
        }
        if command == "send_dac", values.count == 2 {
            if values[0] == constant("dac_threshold"), let code = unit.thresholdCode {
                return [values[0], Double(code)]
            }
            if values[0] == constant("dac_skew"), let code = unit.skewCode {
                return [values[0], Double(code)]
            }
        }
        if command == "rf_reference", let external = plan?.usesExternalReference {
            return [external ? 0 : 1]
        }
        return values
    }

    // MARK: Self-test

    /// Asks the card for its status; does not touch the event stream.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let port = try await status("status_port", operation: "self-test")
        let revision = try await status("status_chip_revision", operation: "self-test")
        let overflow = try await status("status_overflow", operation: "self-test")
        let inhibitBit = try required { () throws(MissingProfileField) in
            try profile.constant("port_inhibit_bit")
        }
        let isInhibited = port >> UInt8(inhibitBit) & 1 == 1
        let isRunning = run != nil
        return SelfTestReport(checks: [
            .init(
                name: "status reply", passed: true,
                detail: "chip revision \(revision), port 0x\(String(port, radix: 16))"),
            .init(
                name: "inhibit line", passed: isInhibited != isRunning || overflow != 0,
                detail: isInhibited ? "inputs inhibited" : "inputs enabled"),
            .init(
                name: "event FIFO", passed: overflow == 0,
                detail: overflow == 0 ? "below its watermark" : "overflow"),
        ])
    }
}
