// Silicon Labs CP2112, driven without the kernel's hid-cp2112: eight digital lines.
//
// Sources: Linux drivers/hid/hid-cp2112.c at torvalds/linux beb9d007 and raspberrypi/linux 094cde88
// — reports 0x02 to 0x05 and the rule that a level is taken only by a line that is an output already,
// which it cites from AN495, section 4.4; HID 1.11, section 7.2.
//
// Deviations, all on purpose:
// - A line becomes an output in three steps: as an open-drain output, which a high latch does not
//   drive; then its level; then push-pull. The kernel's driver makes it push-pull first, and for a
//   few milliseconds the line shows whatever the latch held.
// - Special functions are switched off at open; the kernel leaves them as they are.
// - An output that is given back stays driven at its safe level.
//
// Edges are found by polling, so a pulse shorter than the poll is not seen at all. Every edge says
// that others may have been lost, and its time is that of the poll: at most one interval late.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the CP2112 as an adapter with eight digital lines.
public actor CP2112Driver: DigitalLineAdapter {
    let profile: DeviceProfile
    let host: any USBHost
    let summary: USBDeviceSummary
    let wire: CP2112Wire
    let reactor: any Reactor
    let commands = TurnQueue()
    let pollInterval: Duration
    /// The name of the chip.
    nonisolated let chip: String
    /// Who the adapter is; the version is known once it is open.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing.
    public internal(set) var health = InstrumentHealth.good
    var device: (any USBDevice)?
    /// Direction, drive, special functions, clock divider, as they were last set.
    var config: [UInt8] = [0, 0, 0, 0]
    /// Who uses a line.
    var consumers: [UInt32: String] = [:]
    var outputs: [UInt32: CP2112Output] = [:]
    var inputs: [UInt32: CP2112Input] = [:]
    var isPolling = false
    var failedPolls = 0
    private let partNumber: UInt8

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// One chip with the lines of the adapter; its name is `cp2112-` and the serial number.
    public nonisolated var lines: any GPIOHost { CP2112Lines(self) }

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
            wire = try CP2112Wire(profile)
            partNumber = UInt8(truncatingIfNeeded: try profile.constant("part_number"))
            pollInterval = try profile.duration("poll_ms")
        } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        let serial = summary.serial ?? ""
        chip = "cp2112-" + (serial.isEmpty ? summary.id.path : serial)
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: serial,
            firmware: "", profile: profile.id,
            provenance: summary.isEmulated ? .emulated : .device)
    }

    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Claims the adapter, checks what it is, and makes every line an input.
    public func open() async throws(DriverError) {
        guard device == nil else { return }
        let opened: any USBDevice
        do throws(USBTransferError) { opened = try await host.open(summary.id) } catch {
            throw DriverError(error, instrument: name, operation: "open")
        }
        do throws(DriverError) {
            do throws(USBTransferError) {
                try await opened.claim(
                    interface: UInt8(profile.usb?.interface ?? 0),
                    alternate: UInt8(profile.usb?.alternateSetting ?? 0))
            } catch { throw DriverError(error, instrument: name, operation: "claim") }
            device = opened
            try await checkPart()
            try await configure([0, 0, 0, 0], operation: "open")
            try await checkConfiguration(operation: "open")
            health = .good
        } catch {
            device = nil
            await opened.close()
            throw error
        }
    }

    /// Drives every output to its safe level and gives the adapter back; lines in use are closed.
    public func close() async {
        guard let device else { return }
        for output in outputs.values.sorted(by: { $0.line.offset < $1.line.offset }) {
            try? await setLevel(
                output.line.offset, output.safeElectricalLevel, operation: "close")
        }
        self.device = nil
        forgetLines()
        await device.close()
    }

    func forgetLines() {
        for input in orderedInputs { input.shut() }
        inputs = [:]
        outputs = [:]
        consumers = [:]
    }

    private func checkPart() async throws(DriverError) {
        let version = try await query("version", operation: "open")
        func wrong(_ expected: String, _ found: String) -> DriverError {
            CP2112Error.wrongPart(expected: expected, found: found)
                .driverError(instrument: name, operation: "open")
        }
        guard version[0] == partNumber else {
            throw wrong("part number \(partNumber)", "\(version[0])")
        }
        guard let firmware = FirmwareVersion(String(version[1])),
            profile.firmware.contains(firmware)
        else { throw wrong("a version the profile covers", "\(version[1])") }
        identity.firmware = String(version[1])
    }

    // MARK: Reports

    func openDevice(_ operation: String) throws(DriverError) -> any USBDevice {
        if let device { return device }
        throw DriverError(
            code: .wrongState, instrument: name, operation: operation,
            expected: "an open instrument", found: "a closed one", advice: "open it first")
    }

    private func command(_ name: String) throws(DriverError) -> Command {
        do throws(MissingProfileField) { return try profile.command(name) } catch {
            throw DriverError(error, instrument: self.name, operation: "read the profile")
        }
    }

    private var timeout: Duration {
        .nanoseconds(Int64((profile.dialect?.replyTimeoutMilliseconds ?? 500) * 1e6))
    }

    /// Asks for a report and returns it without its number.
    func query(_ name: String, operation: String) async throws(DriverError) -> [UInt8] {
        let device = try openDevice(operation)
        let command = try command(name)
        let (request, length) = wire.query(command)
        let bytes: [UInt8]
        do throws(USBTransferError) {
            bytes = try await device.controlIn(request, length: length, timeout: timeout)
        } catch { throw DriverError(error, instrument: self.name, operation: operation) }
        do throws(CP2112Error) { return try wire.decode(bytes, of: command) } catch {
            throw error.driverError(instrument: self.name, operation: operation)
        }
    }

    /// Sends a report.
    func send(
        _ name: String, _ values: [UInt8], operation: String
    ) async throws(DriverError) {
        let device = try openDevice(operation)
        let command = try command(name)
        let (request, data): (USBControlRequest, [UInt8])
        do throws(CommandEncodingError) {
            (request, data) = try wire.report(command, values.map(Double.init))
        } catch { throw DriverError(error, instrument: self.name, operation: operation) }
        do throws(USBTransferError) {
            try await device.controlOut(request, data: data, timeout: timeout)
        } catch { throw DriverError(error, instrument: self.name, operation: operation) }
    }

    /// Sets direction and drive of the lines.
    func configure(_ wanted: [UInt8], operation: String) async throws(DriverError) {
        try await send("set_lines_config", wanted, operation: operation)
        config = wanted
    }

    /// Sets the level of one line that is an output.
    func setLevel(
        _ line: UInt32, _ level: Bool, operation: String
    ) async throws(DriverError) {
        let bit = UInt8(1) << UInt8(line)
        try await send("set_lines", [level ? bit : 0, bit], operation: operation)
    }

    /// The levels of all lines, and the edges that they mean.
    func readLevels(operation: String) async throws(DriverError) -> UInt8 {
        let levels = try await query("get_lines", operation: operation)[0]
        let now = reactor.now
        for input in orderedInputs { input.observe(levels, at: now) }
        return levels
    }

    func checkConfiguration(operation: String) async throws(DriverError) {
        let found = try await query("get_lines_config", operation: operation)
        guard found == config else {
            throw CP2112Error.changed(expected: config, found: found)
                .driverError(instrument: name, operation: operation)
        }
    }

    // MARK: Self-test

    /// Asks for version, settings and levels; does not touch the lines.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        _ = try openDevice(operation)
        return try await commands.turn { () async throws(DriverError) -> SelfTestReport in
            let version = try await query("version", operation: operation)
            let found = try await query("get_lines_config", operation: operation)
            let levels = try await readLevels(operation: operation)
            return SelfTestReport(checks: [
                .init(
                    name: "part", passed: version[0] == partNumber,
                    detail: "part \(version[0]), version \(version[1])"),
                .init(name: "line settings", passed: found == config, detail: "\(found)"),
                .init(
                    name: "line levels", passed: true,
                    detail: "0x" + String(levels, radix: 16)),
            ])
        }
    }
}
