// LabJack U3, hardware 1.30 (U3-LV and U3-HV): two voltage outputs and sixteen inputs.
//
// Sources: LabJackPython 2.3.0 (PyPI, MIT), u3.py — packets, IOTypes, calibration blocks, error
// codes; github.com/labjack/exodriver at 63f089a — liblabjackusb (endpoints, time-out of 1 s),
// examples/U3/u3.c (check sums, use of the constants); LabJack U3 user's guide 2.7 (outputs),
// 5.2.2 (ConfigU3), 5.2.3 (ConfigIO), 5.2.5 (Feedback), 5.2.14 (Watchdog).
//
// Deviations, all on purpose:
// - The outputs are made safe before anything else is done, and the unit is left with a watchdog
//   that restarts it when its host falls silent. A restart is all the U3 has to drop its outputs:
//   they then take the levels stored in its flash, so those are set to the safe ones. Both are
//   written only when they differ, because the flash wears.
// - Output codes have ten significant bits, so codes between are never sent; LabJack's own programs
//   send all sixteen and leave the rounding to the unit.
// - A reading at the end of the range is an error, not a voltage.

import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

/// Driver of the LabJack U3.
public actor LabJackU3Driver: AnalogIO {
    let profile: DeviceProfile
    let host: any USBHost
    let summary: USBDeviceSummary
    let facts: LabJackFacts
    let wire = LabJackWire()
    let reactor: any Reactor
    let commands = TurnQueue()
    /// Who the unit is; serial number and firmware are known once it is open.
    public internal(set) var identity: InstrumentIdentity
    /// How it is doing.
    public internal(set) var health = InstrumentHealth.good
    var device: (any USBDevice)?
    var calibration: LabJackCalibration?
    /// Why the unit must be opened again, once it must.
    var failure: DriverError?
    /// The lines as set at open; other settings mean that the unit has restarted.
    var lineSetting: [Int64]?
    var usesWatchdog = false
    var isHighVoltage = false
    /// Whether a late reply may wait in the unit.
    var needsDraining = true
    var echo: UInt8 = 0
    /// Counts openings, so that the background work of an earlier one ends.
    var opening = 0

    /// The reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }
    /// DAC0 and DAC1: what the unit's own constants allow of the range of the profile; complete
    /// after `open`.
    public private(set) var outputRanges: [ClosedRange<Volts>]
    /// Sixteen: FIO0 to FIO7 and EIO0 to EIO7, each against ground.
    public nonisolated let inputCount: Int

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
        do throws(MissingProfileField) { facts = try LabJackFacts(profile) } catch {
            throw DriverError(
                error, instrument: profile.identity.model, operation: "read the profile")
        }
        inputCount = profile.channels.count { $0.kind == .voltageInput }
        outputRanges = Array(repeating: facts.outputRange, count: facts.outputCommands.count)
        identity = InstrumentIdentity(
            vendor: profile.identity.vendor, model: profile.identity.model, serial: "",
            firmware: "", profile: profile.id,
            provenance: summary.isEmulated ? .emulated : .device)
    }

    nonisolated var model: String { profile.identity.model }
    var name: String { identity.shortName }

    // MARK: Opening and closing

    /// Claims the unit, checks what it is, drives its outputs to their safe level, reads its
    /// calibration, sets its lines, and arms its watchdog.
    public func open() async throws(DriverError) {
        guard device == nil else { return }
        let opened: any USBDevice
        do throws(USBTransferError) { opened = try await host.open(summary.id) } catch {
            throw DriverError(error, instrument: name, operation: "open")
        }
        do throws(DriverError) {
            do throws(USBTransferError) {
                try await opened.claim(
                    interface: UInt8(facts.usb.interface),
                    alternate: UInt8(facts.usb.alternateSetting))
            } catch { throw DriverError(error, instrument: name, operation: "claim") }
            device = opened
            failure = nil
            needsDraining = true
            try await bringUp()
            health = .good
        } catch {
            device = nil
            await opened.close()
            throw error
        }
        opening += 1
        startKeepAlive()
    }

    /// Drives the outputs to their safe level, takes the watchdog back and gives the unit back.
    public func close() async {
        guard let device else { return }
        opening += 1
        if failure?.code != .disconnected {
            try? await perform("safe", operation: "close")
            if usesWatchdog { try? await setWatchdog(.off, operation: "close") }
        }
        self.device = nil
        await device.close()
    }

    private func bringUp() async throws(DriverError) {
        let operation = "open"
        let state = try await exchange("config_u3", [0, 0, 0, 0], operation: operation)
        try identify(state)
        try await perform("safe", operation: operation)
        let calibration = try await readCalibration(operation: operation)
        self.calibration = calibration
        outputRanges = calibration.outputs.map { facts.range(of: $0) }
        try await perform("initialize", operation: operation)
        lineSetting = try await lines(operation: operation)
        try await storeSafeLevels(state, operation: operation)
        try await setWatchdog(facts.watchdog, operation: operation)
        usesWatchdog = facts.watchdog != .off
    }

    /// Checks that the unit is one the profile covers, and notes who it is.
    private func identify(_ state: LabJackReply) throws(DriverError) {
        func check(_ isRight: Bool, _ expected: String, _ found: String) throws(DriverError) {
            guard !isRight else { return }
            throw LabJackError.wrongUnit(expected: expected, found: found)
                .driverError(profile, instrument: name, operation: "open")
        }
        let product = state["product_id"]
        try check(product == facts.productID, "product \(facts.productID)", "\(product)")
        let hardware = (state["hardware_major"], state["hardware_minor"])
        try check(
            hardware.0 == facts.hardware.major && hardware.1 >= facts.hardware.minor,
            "hardware \(facts.hardware.major).\(facts.hardware.minor) or later",
            "\(hardware.0).\(hardware.1)")
        // LabJack writes two digits after the point.
        let (major, minor) = (state["firmware_major"], state["firmware_minor"])
        let text = "\(major)." + (minor < 10 ? "0" : "") + "\(minor)"
        let version = FirmwareVersion("\(major).\(minor)")
        try check(
            version.map(profile.firmware.contains) == true,
            "firmware \(profile.firmware.from.map(String.init(describing:)) ?? "0") or later", text)
        if let version, let reason = profile.firmware.reasonAgainst(version) {
            try check(false, "another firmware: \(reason)", text)
        }
        isHighVoltage = state["version_info"] & facts.highVoltageBits == facts.highVoltageBits
        identity.model = model + (isHighVoltage ? "-HV" : "-LV")
        identity.serial = String(state["serial"])
        identity.firmware = text
    }

    // MARK: Outputs and inputs

    /// Sets an output to the nearest code; settles within `timing.output_settle_ms`.
    ///
    /// - Throws: `outOfRange` before a byte is sent; `deviceFault` when the unit has restarted.
    public func setOutput(
        _ output: Int, _ voltage: Volts
    ) async throws(DriverError) -> Volts {
        let operation = "set output \(output)"
        let calibration = try ready(operation)
        try check(output, below: outputRanges.count, "output", operation)
        guard outputRanges[output].contains(voltage) else {
            let range = outputRanges[output]
            throw DriverError(
                code: .outOfRange, instrument: name, operation: operation,
                expected: "\(range.lowerBound) to \(range.upperBound)", found: "\(voltage)",
                advice: "choose a voltage inside the range of the output")
        }
        let line = calibration.outputs[output]
        let code = facts.code(of: voltage.rawValue, line)
        _ = try await feedback(
            [(facts.outputCommands[output], [Double(code)])], operation: operation)
        return Volts(facts.voltage(ofCode: code, line))
    }

    /// Reads an input once, against ground.
    ///
    /// - Throws: `outOfRange` for an input that does not exist; `deviceFault` for a voltage at the
    ///   end of the range, or when the unit has restarted.
    public func input(_ input: Int) async throws(DriverError) -> Volts {
        let operation = "read input \(input)"
        let calibration = try ready(operation)
        try check(input, below: inputCount, "input", operation)
        let code = try await reading(input, operation: operation)
        let isHigh = isHighVoltage && input < min(facts.highInputs, calibration.highVoltage.count)
        // Low-voltage inputs rest at code 0 when they are grounded; that is not an overload.
        if code >= facts.topInputCode || isHigh && code == 0 {
            throw LabJackError.overloaded(
                input: input, range: isHigh ? facts.highRange : facts.lowRange
            ).driverError(profile, instrument: name, operation: operation)
        }
        let line = isHigh ? calibration.highVoltage[input] : calibration.lowVoltage
        return Volts(Double(code) * line.slope + line.offset)
    }

    private func check(
        _ number: Int, below count: Int, _ what: String, _ operation: String
    ) throws(DriverError) {
        guard number < 0 || number >= count else { return }
        throw DriverError(
            code: .outOfRange, instrument: name, operation: operation,
            expected: "\(what) 0 to \(count - 1)", found: "\(number)",
            advice: "choose one the unit has")
    }

    // MARK: Self-test

    /// Asks who the unit is, whether it still has its settings, and how warm it is; does not touch
    /// outputs or lines.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        let operation = "self-test"
        let calibration = try ready(operation)
        let state = try await exchange("config_u3", [0, 0, 0, 0], operation: operation)
        let serial = String(state["serial"])
        let setting = try await lines(operation: operation)
        let watchdog = try await watchdog(operation: operation)
        let code = try await reading(Self.temperatureChannel, operation: operation)
        let celsius = Double(code) * calibration.temperatureSlope - 273.15
        return SelfTestReport(checks: [
            .init(name: "serial number", passed: serial == identity.serial, detail: serial),
            .init(
                name: "line settings", passed: setting == lineSetting,
                detail: "\(setting)"),
            .init(
                name: "watchdog", passed: !usesWatchdog || watchdog == facts.watchdog,
                detail: "\(watchdog)"),
            .init(
                name: "internal temperature", passed: (-40...85).contains(celsius),
                detail: "\((celsius * 10).rounded() / 10) °C"),
        ])
    }

    /// The channel of the internal temperature sensor (U3 user's guide, section 2.6).
    private static let temperatureChannel = 30
}
