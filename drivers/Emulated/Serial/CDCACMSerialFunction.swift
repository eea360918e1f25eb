import DeviceProfiles
import HostIO
import Quantities

/// The device side of a communications-class serial port (USB CDC PSTN 1.2, abstract control model)
/// with an instrument behind it.
///
/// The port is virtual: its rate is remembered and has no effect.
public final class CDCACMSerialFunction: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The descriptors.
    public let descriptors: USBDescriptorSet
    private let line: SerialLine
    private var packetSize = 64
    private var lastPacketWasFull = false
    // 115200 baud, one stop bit, no parity, eight data bits.
    private var lineCoding: [UInt8] = [0x00, 0xC2, 0x01, 0x00, 0, 0, 8]

    private static let notify: UInt8 = 0x81
    private static let dataIn: UInt8 = 0x82
    private static let dataOut: UInt8 = 0x02

    /// A port with the identity of `profile`.
    ///
    /// - Throws: `MissingProfileField` when the profile states no USB numbers.
    public init(
        profile: DeviceProfile, serial: String, device: any EmulatedSerialDevice
    ) throws(MissingProfileField) {
        descriptors = try USBDescriptorSet(
            profile: profile, serial: serial, highSpeed: true, functional: [0: Self.functional],
            deviceClass: [2, 0, 0], interfaces: Self.interfaces)
        line = SerialLine(device: device, baud: nil)
    }

    /// Header, call management, abstract control management and union descriptors (CDC 1.2, 5.2.3).
    private static let functional: [UInt8] =
        [5, 0x24, 0, 0x10, 0x01] + [5, 0x24, 1, 0, 1] + [4, 0x24, 2, 2] + [5, 0x24, 6, 0, 1]

    private static func interfaces(_ speed: USBSpeed) -> [USBInterface] {
        let size = speed == .high ? 512 : 64
        return [
            USBInterface(
                number: 0, alternate: 0, classTriple: [2, 2, 1],
                endpoints: [USBEndpoint(address: notify, kind: .interrupt, maxPacketSize: 10)]),
            USBInterface(
                number: 1, alternate: 0, classTriple: [0x0A, 0, 0],
                endpoints: [
                    USBEndpoint(address: dataOut, kind: .bulk, maxPacketSize: size),
                    USBEndpoint(address: dataIn, kind: .bulk, maxPacketSize: size),
                ]),
        ]
    }

    /// A bus reset.
    public func busReset(speed: USBSpeed, at now: HostInstant) {
        packetSize = speed == .high ? 512 : 64
        lastPacketWasFull = false
    }

    /// There is one setting of each interface only.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {}

    /// Line coding and control lines (CDC PSTN 1.2, section 6.3).
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        switch (request.requestType, request.request) {
        case (0x21, 0x20) where data.count == 7: lineCoding = data
        case (0xA1, 0x21): return .data(lineCoding)
        case (0x21, 0x22):
            line.device.modemLinesChanged(
                dtr: request.value & 1 != 0, rts: request.value & 2 != 0, at: now)
        case (0x21, 0x23): break
        default: return .stall
        }
        return .done
    }

    /// Bytes for the instrument.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        guard endpoint == Self.dataOut else { return .stall }
        line.hostWrite(Array(packet), at: now)
        return .ack
    }

    /// What the instrument has sent; an empty packet ends a run of full ones.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        guard endpoint != Self.notify else { return .nak }
        guard endpoint == Self.dataIn else { return .stall }
        line.advance(to: now)
        let bytes = line.hostRead(upTo: min(packetSize, buffer.count), at: now)
        guard !bytes.isEmpty || lastPacketWasFull else { return .nak }
        buffer.copyBytes(from: bytes)
        lastPacketWasFull = bytes.count == packetSize
        return .data(count: bytes.count)
    }

    /// Lets the instrument act.
    public func advance(to now: HostInstant) { line.advance(to: now) }

    /// The next act of the instrument.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        line.nextWake(after: now)
    }

    /// Faults of the line here, others in the instrument.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        guard fault.kind == .byteSlip else { return line.device.inject(fault, at: now) }
        line.slipByte()
        return true
    }
}
