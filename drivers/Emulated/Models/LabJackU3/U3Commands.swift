import HostIO
import Quantities

// The commands of a U3 and their replies (U3 user's guide, sections 5.1 and 5.2).
extension U3Unit {
    /// Low-level error numbers, as LabJackPython lists them.
    enum Failure: UInt8, Error {
        case functionInvalid = 5
        case watchdogTimeInvalid = 6
        case invalidBlock = 26
        case streamNotRunning = 52
        case streamConfigInvalid = 50
        case invalidPin = 96
        case pinConfiguredForAnalog = 97
        case pinConfiguredForDigital = 98
        case ioTypeSynchronization = 99
        case ioTypeNotValid = 101
        case flashLocked = 25
    }

    /// The reply to a command with a check sum that is wrong.
    private static let damagedReply: [UInt8] = [0xB8, 0xB8]

    /// Carries out a packet and returns the reply, or nothing.
    func perform(_ packet: [UInt8], at now: HostInstant) -> [UInt8] {
        guard packet.count >= 2 else { return Self.damagedReply }
        guard packet[1] & 0x78 == 0x78 else { return performNormal(packet, at: now) }
        guard packet.count >= 6, packet.count == 6 + 2 * Int(packet[2]),
            packet[0] == Self.sum8(packet[1..<6]),
            Self.sum16(packet[6...]) == UInt16(packet[4]) | UInt16(packet[5]) << 8
        else { return Self.damagedReply }
        let data = Array(packet[6...])
        let number = packet[3]
        switch number {
        case opcodes["feedback"]: return Self.packet(number, feedback(data, at: now))
        case opcodes["config_u3"] where data.count == 20:
            return Self.packet(number, configure(data))
        case opcodes["config_io"] where data.count == 6:
            return Self.packet(number, configureLines(data))
        case opcodes["watchdog"] where data.count == 10:
            return Self.packet(number, setWatchdog(data, at: now))
        case 0x0A where data.count == 4: return Self.packet(number, [0, 0, data[2], data[3]])
        case 0x2A, opcodes["read_calibration"]:
            return Self.packet(number, readMemory(data, isUser: number == 0x2A))
        case 0x28, 0x29: return Self.packet(number, changeMemory(number, data))
        // Calibration is changed by the maker alone here.
        case 0x2B, 0x2C: return Self.packet(number, [Failure.flashLocked.rawValue, 0])
        default: return Self.packet(number, [Failure.functionInvalid.rawValue, 0])
        }
    }

    /// Commands of one word of command and up to seven of data.
    private func performNormal(_ packet: [UInt8], at now: HostInstant) -> [UInt8] {
        guard packet[0] == Self.sum8(packet[1...]) else { return Self.damagedReply }
        func reply(_ number: UInt8, _ failure: Failure?) -> [UInt8] {
            let body: [UInt8] = [number, failure?.rawValue ?? 0, 0]
            return [Self.sum8(body[...])] + body
        }
        switch packet[1] {
        case 0x99 where packet.count == 4:
            // Bit 1 resets the processor, bit 0 sets its variables anew.
            if packet[2] & 2 != 0 {
                scheduleReset(at: now)
                return reply(0x99, nil)
            }
            state = U3State(memory.powerUp)
            for output in state.outputs.indices { drive(output, at: now) }
            applyLines()
            return reply(0x99, nil)
        case 0xA8: return reply(0xA9, .streamConfigInvalid)
        case 0xB0: return reply(0xB1, .streamNotRunning)
        default: return Self.damagedReply
        }
    }

    // MARK: - Packets

    private static func packet(_ number: UInt8, _ data: [UInt8]) -> [UInt8] {
        let data = data.count % 2 == 0 ? data : data + [0]
        let sum = sum16(data[...])
        let header: [UInt8] = [
            0xF8, UInt8(data.count / 2), number, UInt8(sum & 0xFF), UInt8(sum >> 8),
        ]
        return [sum8(header[...])] + header + data
    }

    /// The sum of bytes with the carries added in again.
    private static func sum8(_ bytes: ArraySlice<UInt8>) -> UInt8 {
        var sum: UInt8 = 0
        for byte in bytes {
            let (partial, overflow) = sum.addingReportingOverflow(byte)
            sum = partial &+ (overflow ? 1 : 0)
        }
        return sum
    }

    private static func sum16(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        bytes.reduce(0) { $0 &+ UInt16($1) }
    }

    // MARK: - Settings

    /// ConfigU3: writes what the unit starts with, and tells who it is.
    private func configure(_ data: [UInt8]) -> [UInt8] {
        let mask = data[0]
        if mask & 0x01 != 0 { memory.powerUp.timerCounterConfig = data[3] }
        if mask & 0x02 != 0 {
            memory.powerUp.lines = Array(data[4..<12])
            if hasHighVoltage { memory.powerUp.lines[0] |= 0x0F }
        }
        if mask & 0x04 != 0 { memory.powerUp.outputs = Array(data[13..<15]) }
        if mask & 0x08 != 0 { memory.powerUp.localID = data[2] }
        if mask & 0x10 != 0 { memory.powerUp.timerClock = Array(data[15..<17]) }
        if mask & 0x20 != 0 { memory.powerUp.compatibility = data[17] }
        if mask != 0 { memory.writes += 1 }
        let powerUp = memory.powerUp
        let number = (0..<4).map { UInt8(truncatingIfNeeded: serial >> UInt32(8 * $0)) }
        return [0, 0, 0, firmware.minor, firmware.major, 27, 0, hardware.minor, hardware.major]
            + number + [3, 0, powerUp.localID, powerUp.timerCounterConfig] + powerUp.lines
            + [1] + powerUp.outputs + powerUp.timerClock + [powerUp.compatibility, versionInfo]
    }

    /// ConfigIO: sets and tells what the lines do now. DAC1 is always on.
    private func configureLines(_ data: [UInt8]) -> [UInt8] {
        let mask = data[0]
        if mask & 0x01 != 0 { state.timerCounterConfig = data[2] }
        if mask & 0x04 != 0 { state.analog[0] = data[4] | (hasHighVoltage ? 0x0F : 0) }
        if mask & 0x08 != 0 { state.analog[1] = data[5] }
        applyLines()
        return [0, 0, state.timerCounterConfig, 1] + state.analog
    }

    private func setWatchdog(_ data: [UInt8], at now: HostInstant) -> [UInt8] {
        if data[0] & 1 != 0 {
            let wanted = U3WatchdogSettings(
                options: data[1], seconds: UInt16(data[2]) | UInt16(data[3]) << 8, line: data[4])
            guard wanted.options == 0 || wanted.seconds > 0 else {
                return [Failure.watchdogTimeInvalid.rawValue] + [UInt8](repeating: 0, count: 9)
            }
            memory.watchdog = wanted
            memory.writes += 1
            restartWatchdog(at: now)
        }
        let settings = memory.watchdog
        return [
            0, settings.options, UInt8(settings.seconds & 0xFF), UInt8(settings.seconds >> 8),
            settings.line, 0, 0, 0, 0, 0,
        ]
    }

    // MARK: - Memory

    private func readMemory(_ data: [UInt8], isUser: Bool) -> [UInt8] {
        let blocks = isUser ? memory.user : memory.calibration
        guard data.count == 2, Int(data[1]) < blocks.count else {
            return [Failure.invalidBlock.rawValue]
                + [UInt8](repeating: 0, count: 1 + U3Memory.blockBytes)
        }
        return [0, 0] + blocks[Int(data[1])]
    }

    /// Erasing sets every bit; writing can only clear bits.
    private func changeMemory(_ number: UInt8, _ data: [UInt8]) -> [UInt8] {
        memory.writes += 1
        if number == 0x29 {
            memory.user = memory.user.map { $0.map { _ in 0xFF } }
            return [0, 0]
        }
        guard data.count == 2 + U3Memory.blockBytes, Int(data[1]) < memory.user.count else {
            return [Failure.invalidBlock.rawValue, 0]
        }
        let block = Int(data[1])
        memory.user[block] = zip(memory.user[block], data[2...]).map { $0 & $1 }
        return [0, 0]
    }
}
