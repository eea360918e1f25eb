import DeviceProfiles
import Quantities

/// The settings of the watchdog of a U3.
enum LabJackWatchdog: Hashable, Sendable, CustomStringConvertible {
    /// It does nothing.
    case off
    /// The unit restarts after so many seconds without a word from its host.
    case restart(seconds: Int)
    /// Something else, set by another program.
    case other(options: Int)

    /// The settings in words.
    var description: String {
        switch self {
        case .off: "off"
        case .restart(let seconds): "restarts after \(seconds) s"
        case .other(let options): "options 0x" + String(options, radix: 16)
        }
    }
}

/// What the driver of the U3 takes from the profile, looked up once.
struct LabJackFacts: Sendable {
    let usb: USBIdentity
    let commandEndpoint: UInt8
    let replyEndpoint: UInt8
    let outputCommands: [String]
    let productID: Int64
    let hardware: (major: Int64, minor: Int64)
    let highVoltageBits: Int64
    let highInputs: Int
    let singleEnded: Int
    let calibrationBlocks: Int
    let outputRange: ClosedRange<Volts>
    let lowRange: ClosedRange<Double>
    let highRange: ClosedRange<Double>
    let watchdog: LabJackWatchdog
    let watchdogReset: Int
    let writePowerUp: Int
    /// The levels to start with, in codes of eight bits.
    let powerUpCodes: [UInt8]
    private let outputBits: Int
    private let inputBits: Int

    init(_ profile: DeviceProfile) throws(MissingProfileField) {
        usb = try profile.requireUSB()
        commandEndpoint = try profile.endpoint("command").address
        replyEndpoint = try profile.endpoint("reply").address
        productID = Int64(try profile.constant("product_id"))
        hardware = (
            Int64(try profile.constant("hardware_major")),
            Int64(try profile.constant("hardware_minor_min"))
        )
        highVoltageBits = Int64(try profile.constant("version_info_hv"))
        highInputs = try profile.constant("high_voltage_inputs")
        singleEnded = try profile.constant("single_ended")
        calibrationBlocks = try profile.constant("calibration_blocks")
        watchdogReset = try profile.constant("watchdog_reset")
        writePowerUp = try profile.constant("write_power_up_outputs")
        outputBits = try profile.constant("dac_bits")
        inputBits = try profile.constant("input_bits")
        let output = try Self.range(profile, "output")
        outputRange = Volts(output.lowerBound)...Volts(output.upperBound)
        lowRange = try Self.range(profile, "low_voltage_input")
        highRange = try Self.range(profile, "high_voltage_input")
        let outputs = profile.channels.count { $0.kind == .voltageOutput }
        outputCommands = (0..<outputs).map { "io_dac\($0)" }
        powerUpCodes = try Self.powerUpCodes(profile, outputCommands)
        let seconds = (profile.timing["watchdog_ms"] ?? 0) / 1000
        watchdog = seconds >= 1 ? .restart(seconds: Int(min(seconds, 65_535).rounded())) : .off
    }

    private static func range(
        _ profile: DeviceProfile, _ limit: String
    ) throws(MissingProfileField) -> ClosedRange<Double> {
        let found = try profile.limit(limit)
        guard let min = found.min, let max = found.max else {
            throw MissingProfileField(profile: profile.id, path: "limits.\(limit).min and max")
        }
        return min...max
    }

    /// The safe codes of all outputs; a unit can start only with codes that eight bits can hold.
    private static func powerUpCodes(
        _ profile: DeviceProfile, _ commands: [String]
    ) throws(MissingProfileField) -> [UInt8] {
        let steps = try profile.sequence("safe")
        var codes: [UInt8] = []
        for command in commands {
            for case .command(command, let values) in steps where values.count == 1 {
                let code = Int(values[0])
                guard code >= 0, code <= 0xFF00, code & 0xFF == 0 else { continue }
                codes.append(UInt8(code >> 8))
            }
        }
        guard codes.count == commands.count else {
            throw MissingProfileField(
                profile: profile.id, path: "sequences.safe: each output once, in whole steps of 256"
            )
        }
        return codes
    }

    // MARK: Codes

    /// The 16-bit code nearest to a voltage; bits the converter does not have are zero.
    func code(of volts: Double, _ line: LabJackCalibration.Line) -> UInt16 {
        let steps = Double(1 << (outputBits - 8))
        let code = ((volts * line.slope + line.offset) * steps).rounded()
        let top = Double(1 << outputBits - 1)
        return UInt16(min(max(code, 0), top)) << UInt16(16 - outputBits)
    }

    /// The voltage of a 16-bit code.
    func voltage(ofCode code: UInt16, _ line: LabJackCalibration.Line) -> Double {
        (Double(code) / 256 - line.offset) / line.slope
    }

    /// What an output with these constants can give within the range of the profile.
    func range(of line: LabJackCalibration.Line) -> ClosedRange<Volts> {
        let top = UInt16(1 << outputBits - 1) << UInt16(16 - outputBits)
        let low = max(outputRange.lowerBound, Volts(voltage(ofCode: 0, line)))
        let high = min(outputRange.upperBound, Volts(voltage(ofCode: top, line)))
        return low...max(low, high)
    }

    /// The code of a reading at the upper end of the range.
    var topInputCode: UInt16 { ~0 << UInt16(16 - inputBits) }
}
