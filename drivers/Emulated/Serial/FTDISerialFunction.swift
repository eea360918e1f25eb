import DeviceProfiles
import HostIO
import Quantities

/// The device side of an FTDI FT232R or FT-X bridge with an instrument behind it.
///
/// Follows FTDI's "D2XX Programmer's Guide" and application notes AN232B-04 (latency timer) and
/// AN232B-05 (baud rates); request numbers and status bits as in pyftdi 0.57. Every IN packet
/// begins with two status bytes. With nothing received, one such packet goes out per latency
/// period.
public final class FTDISerialFunction: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The descriptors.
    public let descriptors: USBDescriptorSet
    private let line: SerialLine
    private let inEndpoint: UInt8
    private let outEndpoint: UInt8
    private var packetSize = 64
    private var latency: Duration
    private let defaultLatency: Duration
    private var lastPacket = HostInstant.zero
    private var modemLines = (dtr: false, rts: false)
    private var hasHardwareFlowControl = false
    private var hasOverrun = false
    private var lineData: UInt16 = 8
    private var eeprom = [UInt16](repeating: 0xFFFF, count: 64)
    private var statusChanged = false

    /// What the chip holds for the line when the host does not take it (FT232R data sheet, 4.1).
    private static let transmitBuffer = 128
    private static let receiveBuffer = 256

    /// A bridge with the descriptors, endpoints and line of `profile`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe an FTDI bridge.
    public init(
        profile: DeviceProfile, serial: String, device: any EmulatedSerialDevice
    ) throws(MissingProfileField) {
        if profile.identity.transport == .serialLine {
            inEndpoint = 0x81
            outEndpoint = 0x02
            descriptors = .serialAdapter(
                serial: serial, showing: profile.emulation, input: 0x81, output: 0x02)
        } else {
            let reply = try profile.endpoint("reply")
            let command = try profile.endpoint("command")
            inEndpoint = reply.address
            outEndpoint = command.address
            descriptors = try USBDescriptorSet(
                profile: profile, serial: serial,
                interfaces: { speed in
                    [
                        USBInterface(
                            number: 0, alternate: 0, classTriple: [0xFF, 0xFF, 0xFF],
                            endpoints: [reply, command].map { $0.usbEndpoint(at: speed) })
                    ]
                })
        }
        line = SerialLine(device: device, baud: profile.serialPort?.baud)
        line.isClearToSend = profile.serialPort?.flowControl != .rtsCTS
        defaultLatency = .milliseconds(profile.serialPort?.latencyTimerMilliseconds ?? 16)
        latency = defaultLatency
        let numbers = descriptors.full.device
        for word in 1...3 {
            eeprom[word] = UInt16(numbers[6 + 2 * word]) | UInt16(numbers[7 + 2 * word]) << 8
        }
    }

    /// A bus reset.
    public func busReset(speed: USBSpeed, at now: HostInstant) {
        packetSize =
            USBDescriptorSet.interfaces(in: descriptors.variant(at: speed).configuration)
            .flatMap(\.endpoints).first { $0.address == inEndpoint }?.maxPacketSize ?? 64
        latency = defaultLatency
        lastPacket = now
    }

    /// There is one setting only.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {}

    // MARK: - Requests

    /// The vendor requests of the chip; 0x40 towards the device, 0xC0 towards the host.
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        switch (request.requestType, request.request) {
        case (0x40, 0): reset(request.value, at: now)
        case (0x40, 1): setModemLines(request.value, at: now)
        case (0x40, 2):
            hasHardwareFlowControl = request.index & 0x0100 != 0
            updateFlow(at: now)
        case (0x40, 3):
            line.advance(to: now)
            line.setHostBaud(Self.baud(value: request.value, index: request.index))
        case (0x40, 4): lineData = request.value
        case (0x40, 6), (0x40, 7), (0x40, 0x0B): break
        case (0x40, 9):
            guard (1...255).contains(request.value) else { return .stall }
            latency = .milliseconds(Int(request.value))
        case (0xC0, 5): return .data(statusBytes())
        case (0xC0, 0x0A): return .data([UInt8(latency.wholeNanoseconds / 1_000_000)])
        case (0xC0, 0x0C): return .data([0])
        case (0xC0, 0x90):
            let word = eeprom[Int(request.index) % eeprom.count]
            return .data([UInt8(truncatingIfNeeded: word), UInt8(truncatingIfNeeded: word >> 8)])
        case (0x40, 0x91): eeprom[Int(request.index) % eeprom.count] = request.value
        case (0x40, 0x92): eeprom = eeprom.map { _ in 0xFFFF }
        default: return .stall
        }
        return .done
    }

    private func reset(_ what: UInt16, at now: HostInstant) {
        line.advance(to: now)
        switch what {
        case 1: line.discardToHost()
        case 2: line.discardToDevice()
        default:
            line.discardToHost()
            line.discardToDevice()
            hasHardwareFlowControl = false
            hasOverrun = false
            updateFlow(at: now)
        }
    }

    /// Low byte: levels of DTR and RTS; high byte: which of them to change.
    private func setModemLines(_ value: UInt16, at now: HostInstant) {
        if value & 0x100 != 0 { modemLines.dtr = value & 1 != 0 }
        if value & 0x200 != 0 { modemLines.rts = value & 2 != 0 }
        updateFlow(at: now)
        line.device.modemLinesChanged(dtr: modemLines.dtr, rts: modemLines.rts, at: now)
        statusChanged = true
    }

    /// The instrument sends while it sees our RTS; with hardware flow control the chip raises it.
    private func updateFlow(at now: HostInstant) {
        line.advance(to: now)
        line.isClearToSend = modemLines.rts || hasHardwareFlowControl
    }

    /// The rate a divisor word stands for: 3 MHz divided by eighths (AN232B-05).
    package static func baud(value: UInt16, index: UInt16) -> Double {
        let eighths: [Double] = [0, 4, 2, 1, 3, 5, 6, 7]
        let code = Int(value >> 14) | Int(index & 1) << 2
        let divisor = Double(value & 0x3FFF)
        switch (divisor, code) {
        case (0, 0): return 3_000_000
        case (1, 0): return 2_000_000
        default: return 3_000_000 / max(0.125, divisor + eighths[code] / 8)
        }
    }

    // MARK: - Data

    /// Bytes for the instrument; NAK while the chip's buffer is full.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        guard endpoint == outEndpoint else { return .stall }
        line.advance(to: now)
        guard line.hostBacklog + packet.count <= Self.transmitBuffer || line.hostBacklog == 0
        else { return .nak }
        line.hostWrite(Array(packet), at: now)
        return .ack
    }

    /// Two status bytes and what has arrived.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        guard endpoint == inEndpoint else { return .stall }
        line.advance(to: now)
        let payload = min(packetSize, buffer.count) - 2
        let isDue = now >= lastPacket + latency || statusChanged
        guard line.toHost.available(at: now) >= payload || isDue else { return .nak }
        lastPacket = now
        statusChanged = false
        buffer.copyBytes(from: statusBytes())
        hasOverrun = false
        let bytes = line.hostRead(upTo: payload, at: now)
        if !bytes.isEmpty {
            UnsafeMutableRawBufferPointer(rebasing: buffer[2...]).copyBytes(from: bytes)
        }
        return .data(count: 2 + bytes.count)
    }

    /// Modem status (bit 0 always set, bit 4 CTS, bit 5 DSR) and line status (bit 1 overrun, bit 3
    /// framing, bits 5 and 6 transmitter empty).
    private func statusBytes() -> [UInt8] {
        var status: UInt8 = line.hostBacklog == 0 ? 0x60 : 0
        if hasOverrun { status |= 0x02 }
        if line.takeFramingError() { status |= 0x08 }
        return [0x11, status]
    }

    /// Lets the instrument act; without flow control, what overflows the chip's buffer is lost.
    public func advance(to now: HostInstant) {
        line.advance(to: now)
        let excess = line.toHost.available(at: now) - Self.receiveBuffer
        guard excess > 0, !hasHardwareFlowControl else { return }
        _ = line.hostRead(upTo: excess, at: now)
        hasOverrun = true
    }

    /// The next packet that is due, or the next act of the instrument.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        var candidates = [line.nextWake(after: now)].compactMap { $0 }
        if polled.contains(inEndpoint) {
            candidates.append(lastPacket + latency)
            if let full = line.toHost.arrival(of: packetSize - 2) { candidates.append(full) }
        }
        return candidates.min().map {
            max($0, HostInstant(nanoseconds: now.nanoseconds + 1))
        }
    }

    /// Faults of the line here, others in the instrument.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        guard fault.kind == .byteSlip else { return line.device.inject(fault, at: now) }
        line.slipByte()
        return true
    }
}
