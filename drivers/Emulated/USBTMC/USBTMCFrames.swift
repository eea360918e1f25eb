import HostIO

/// The frames and requests of the USB test and measurement class as a device sees them.
///
/// Written from USBTMC 1.0, tables 1 to 9 and 15 to 37, and USB488 1.0, tables 1 to 15; shares
/// nothing with the host's codec.
enum USBTMCFrames {
    static let headerBytes = 12

    /// A Bulk-OUT header that makes sense.
    enum Command: Hashable {
        /// DEV_DEP_MSG_OUT.
        case message(size: Int, isEnd: Bool)
        /// REQUEST_DEV_DEP_MSG_IN.
        case request(size: Int, termination: UInt8?)
        /// TRIGGER.
        case trigger
    }

    /// Reads a Bulk-OUT header; nil for anything that must halt the endpoint (section 3.2.2, table
    /// 10): unknown type, a tag of zero, an inverse that is none, a size of zero.
    static func command(
        _ packet: UnsafeRawBufferPointer
    ) -> (tag: UInt8, command: Command)? {
        guard packet.count >= headerBytes, packet[1] != 0, packet[1] ^ packet[2] == 0xFF else {
            return nil
        }
        let size = Int(packet.loadUnaligned(fromByteOffset: 4, as: UInt32.self).littleEndian)
        let command: Command
        switch packet[0] {
        case 1 where size > 0: command = .message(size: size, isEnd: packet[8] & 1 != 0)
        case 2 where size > 0:
            command = .request(size: size, termination: packet[8] & 2 != 0 ? packet[9] : nil)
        case 128: command = .trigger
        default: return nil
        }
        return (packet[1], command)
    }

    /// A whole DEV_DEP_MSG_IN transfer, filled up to a multiple of four bytes.
    static func transfer(
        _ payload: ArraySlice<UInt8>, tag: UInt8, isEnd: Bool, isTerminated: Bool
    ) -> [UInt8] {
        var bytes: [UInt8] = [2, tag, ~tag, 0]
        bytes += littleEndian(payload.count)
        bytes += [(isEnd ? 1 : 0) | (isTerminated ? 2 : 0), 0, 0, 0]
        bytes += payload
        while bytes.count % 4 != 0 { bytes.append(0) }
        return bytes
    }

    static func littleEndian(_ value: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// USBTMC_status.
    enum Status {
        static let success: UInt8 = 0x01
        static let pending: UInt8 = 0x02
        static let interruptBusy: UInt8 = 0x20
        static let failed: UInt8 = 0x80
        static let notInProgress: UInt8 = 0x81
    }
}
