import HostIO
import OpticalBench
import Quantities

// Feedback: several small commands in one packet (U3 user's guide, section 5.2.5).
extension U3Unit {
    /// Runs the IOTypes in their order up to the first that fails.
    func feedback(_ data: [UInt8], at now: HostInstant) -> [UInt8] {
        let echo = data.first ?? 0
        var rest = data.dropFirst()
        var result: [UInt8] = []
        var frame: UInt8 = 0
        while let number = rest.popFirst() {
            // Fills the last word.
            if number == 0, rest.isEmpty { break }
            frame += 1
            do throws(Failure) {
                guard let part = parts[number] else { throw .ioTypeNotValid }
                guard rest.count >= part.argumentBytes else { throw .ioTypeSynchronization }
                let arguments = Array(rest.prefix(part.argumentBytes))
                rest = rest.dropFirst(part.argumentBytes)
                result += try run(part.name, arguments, at: now)
            } catch { return [error.rawValue, frame, echo] }
        }
        applyLines()
        return [0, 0, echo] + result
    }

    private func run(
        _ name: String, _ arguments: [UInt8], at now: HostInstant
    ) throws(Failure) -> [UInt8] {
        switch name {
        case "io_ain":
            let code = try reading(arguments[0] & 0x1F, against: arguments[1], at: now)
            return [UInt8(code & 0xFF), UInt8(code >> 8)]
        case "io_bit_state_read":
            return [level(line: try digital(arguments[0])) ? 1 : 0]
        case "io_bit_state_write":
            let line = try digital(arguments[0])
            state.setDirection(line: line, isOutput: true)
            state.set(line: line, arguments[0] & 0x80 != 0)
        case "io_bit_dir_read":
            return [state.isOutput(line: try digital(arguments[0])) ? 1 : 0]
        case "io_bit_dir_write":
            state.setDirection(
                line: try digital(arguments[0]), isOutput: arguments[0] & 0x80 != 0)
        case "io_port_state_read": return port { level(line: $0) }
        case "io_port_dir_read": return port { state.isOutput(line: $0) }
        case "io_port_state_write":
            forEachLine(arguments) { state.set(line: $0, $1) }
        case "io_port_dir_write":
            forEachLine(arguments) { state.setDirection(line: $0, isOutput: $1) }
        case "io_dac0_8": setOutput(0, UInt16(arguments[0]) << 8, at: now)
        case "io_dac1_8": setOutput(1, UInt16(arguments[0]) << 8, at: now)
        case "io_dac0": setOutput(0, UInt16(arguments[0]) | UInt16(arguments[1]) << 8, at: now)
        case "io_dac1": setOutput(1, UInt16(arguments[0]) | UInt16(arguments[1]) << 8, at: now)
        // The LED, and waiting, which takes no time here.
        default: break
        }
        return []
    }

    // MARK: - Digital lines

    private func digital(_ argument: UInt8) throws(Failure) -> UInt8 {
        let line = argument & 0x1F
        if line > 19 { throw .invalidPin }
        if state.isAnalog(line: line) { throw .pinConfiguredForAnalog }
        return line
    }

    /// Three bytes for FIO, EIO and CIO; analog lines read as zero.
    private func port(_ bit: (UInt8) -> Bool) -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 0]
        for line in UInt8(0)..<20 where !state.isAnalog(line: line) && bit(line) {
            bytes[Int(line) / 8] |= 1 << (line % 8)
        }
        return bytes
    }

    /// The digital lines whose bit of the mask, the first three bytes, is set.
    private func forEachLine(_ arguments: [UInt8], _ body: (UInt8, Bool) -> Void) {
        for line in UInt8(0)..<20 where !state.isAnalog(line: line) {
            let (byte, bit) = (Int(line) / 8, UInt8(1) << (line % 8))
            if arguments[byte] & bit != 0 { body(line, arguments[3 + byte] & bit != 0) }
        }
    }

    // MARK: - Voltages

    private func setOutput(_ output: Int, _ code: UInt16, at now: HostInstant) {
        state.outputs[output] = code
        drive(output, at: now)
    }

    /// The converter takes the upper ten bits; the amplifier does not quite reach ground.
    func voltage(ofOutput output: Int) -> Volts {
        let (slope, offset) = (memory.constants[4 + 2 * output], memory.constants[5 + 2 * output])
        let code = Double(state.outputs[output] & 0xFFC0) / 256
        return Volts(max(0.04, (code - offset) / slope))
    }

    /// The code of a reading: twelve bits at the upper end of sixteen.
    private func reading(
        _ positive: UInt8, against negative: UInt8, at now: HostInstant
    ) throws(Failure) -> UInt16 {
        let constants = memory.constants
        let isHigh = hasHighVoltage && positive < 4
        let code: Double
        switch (positive, negative) {
        case (30, 31):
            // The internal sensor, at 35 °C.
            code = 308.15 / constants[8]
        case (31, _): code = (3.3 - constants[1]) / constants[0]
        case (0..<16, 31):
            let volts = try voltage(positive, at: now)
            let line = isHigh ? (12 + Int(positive), 16 + Int(positive)) : (0, 1)
            code = (volts - constants[line.1]) / constants[line.0]
        case (0..<16, 30):
            // Against the reference: 0 to 3.6 V, or on a high-voltage input −10 to 20 V.
            let volts = try voltage(positive, at: now)
            let ratio = isHigh ? constants[12 + Int(positive)] / constants[0] : 1
            let offset = isHigh ? constants[16 + Int(positive)] : 0
            let slope = constants[2] * ratio
            code = (volts - (constants[3] + constants[9]) * ratio - offset) / slope
        case (0..<16, 0..<16) where !isHigh && !(hasHighVoltage && negative < 4):
            let volts = try voltage(positive, at: now) - (try voltage(negative, at: now))
            code = (volts - constants[3]) / constants[2]
        default: throw .invalidPin
        }
        return UInt16(min(max(code.rounded(), 0), 65_535)) & 0xFFF0
    }

    private func voltage(_ channel: UInt8, at now: HostInstant) throws(Failure) -> Double {
        guard state.isAnalog(line: channel) else { throw .pinConfiguredForDigital }
        return terminals.voltage(input: Int(channel), at: context.benchTime(at: now)).rawValue
    }
}
