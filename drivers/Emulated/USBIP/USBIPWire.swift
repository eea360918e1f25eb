import HostIO

/// The messages of USB/IP 1.1.1 as the server reads and writes them.
///
/// Source: Linux, Documentation/usb/usbip_protocol.rst; status codes of the import reply from
/// tools/usb/usbip/libsrc/usbip_common.h; transfer flags from include/uapi/linux/usbip.h. Numbers
/// are big-endian; only the eight bytes of a setup stage keep USB's little-endian order.
enum USBIPWire {
    /// The protocol version, 1.1.1 in binary-coded decimal.
    static let version: UInt16 = 0x0111
    /// The length of the header of an operation.
    static let operationLength = 8
    /// The length of a bus identifier in an import request.
    static let busIDLength = 32
    /// The length of the header of a command.
    static let commandLength = 48
    /// The length of the description of one isochronous packet.
    static let isochronousPacketLength = 16

    /// The requests a client may begin with.
    enum Operation: UInt16 {
        case deviceList = 0x8005
        case importDevice = 0x8003
    }

    /// The status of the reply to an import request.
    enum ImportStatus: UInt32 {
        case done = 0
        case notAvailable = 1
        case busy = 2
        case noDevice = 4
    }

    /// A command of the transfer phase.
    enum Command: Hashable {
        case submit(Submit)
        case unlink(number: UInt32, victim: UInt32)
    }

    /// The header of a submission; the bytes of an OUT transfer follow it on the wire.
    struct Submit: Hashable {
        var number: UInt32
        /// The endpoint number, 0 to 15, with bit 7 set towards the host.
        var endpoint: UInt8
        var flags: UInt32
        var length: Int
        /// As sent: 0 or 0xFFFFFFFF for transfers that are not isochronous.
        var packetCount: UInt32
        var setup: USBControlRequest
        /// wLength of the setup stage.
        var setupLength: Int

        var isIn: Bool { endpoint & 0x80 != 0 }
        var shortIsError: Bool { flags & 0x0001 != 0 }
        var endsWithEmptyPacket: Bool { flags & 0x0040 != 0 }
    }

    // MARK: - Requests

    /// The code of an operation's header.
    static func operation(_ header: [UInt8]) throws(USBIPError) -> Operation {
        let version = UInt16(number(header, 0, 2))
        guard version == Self.version else {
            throw .version(found: version)
        }
        let code = UInt16(number(header, 2, 2))
        guard let operation = Operation(rawValue: code) else { throw .operation(code) }
        return operation
    }

    /// The text of a bus identifier, which a zero ends.
    static func busID(_ field: [UInt8]) throws(USBIPError) -> String {
        let text = field.prefix { $0 != 0 }
        guard text.count < busIDLength, text.allSatisfy({ $0 > 32 && $0 < 127 }) else {
            throw .malformed("a bus identifier of printable ASCII ended by a zero")
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// A command's header; `deviceID` is what the import reply said.
    static func command(
        _ header: [UInt8], deviceID: UInt32, longest: Int
    ) throws(USBIPError) -> Command {
        let device = number(header, 8, 4)
        guard device == deviceID else {
            throw .malformed("requests for device \(deviceID), not \(device)")
        }
        let request = number(header, 4, 4)
        switch number(header, 0, 4) {
        case 1: return .submit(try submit(header, request, longest: longest))
        case 2: return .unlink(number: request, victim: number(header, 20, 4))
        case let code: throw .malformed("command 1 or 2, not \(code)")
        }
    }

    private static func submit(
        _ header: [UInt8], _ request: UInt32, longest: Int
    ) throws(USBIPError) -> Submit {
        let (direction, endpoint) = (number(header, 12, 4), number(header, 16, 4))
        guard direction < 2 else { throw .malformed("direction 0 or 1, not \(direction)") }
        guard endpoint < 16 else { throw .malformed("an endpoint below 16, not \(endpoint)") }
        let length = Int(number(header, 24, 4))
        guard length <= longest else {
            throw .malformed("a transfer of at most \(longest) bytes, not \(length)")
        }
        return Submit(
            number: request, endpoint: UInt8(endpoint) | (direction == 1 ? 0x80 : 0),
            flags: number(header, 20, 4), length: length, packetCount: number(header, 32, 4),
            setup: USBControlRequest(
                requestType: header[40], request: header[41], value: littleEndian(header, 42),
                index: littleEndian(header, 44)),
            setupLength: Int(littleEndian(header, 46)))
    }

    // MARK: - Replies

    /// The list of devices.
    static func deviceList(_ devices: [USBExportIdentity]) -> [UInt8] {
        var reply = bytes(version) + bytes(UInt16(0x0005)) + bytes(UInt32(0))
        reply += bytes(UInt32(devices.count))
        for device in devices {
            reply += description(of: device)
            for triple in device.interfaces { reply += triple + [0] }
        }
        return reply
    }

    /// The reply to an import request, with the device if it is granted.
    static func importReply(_ status: ImportStatus, _ device: USBExportIdentity?) -> [UInt8] {
        bytes(version) + bytes(UInt16(0x0003)) + bytes(status.rawValue)
            + (device.map(description) ?? [])
    }

    private static func description(of device: USBExportIdentity) -> [UInt8] {
        let path = "/sys/devices/platform/berek-bench/usb\(device.bus)/\(device.busID)"
        var block = padded(path, to: 256) + padded(device.busID, to: busIDLength)
        block += bytes(UInt32(device.bus)) + bytes(UInt32(device.device))
        block += bytes(speedCode(device.speed))
        block += bytes(device.vendorID) + bytes(device.productID) + bytes(device.bcdDevice)
        block += device.classTriple
        return block + [device.configuration, 1, UInt8(device.interfaces.count)]
    }

    /// The speed as `enum usb_device_speed` of Linux has it.
    static func speedCode(_ speed: USBSpeed) -> UInt32 {
        switch speed {
        case .low: 1
        case .full: 2
        case .high: 3
        case .superSpeed: 5
        }
    }

    /// The end of a submission.
    static func submitReply(_ submit: Submit, _ result: USBRequestResult) -> [UInt8] {
        var reply: [UInt8] = []
        reply.reserveCapacity(commandLength + result.data.count)
        reply += bytes(UInt32(3)) + bytes(submit.number) + [UInt8](repeating: 0, count: 12)
        reply += bytes(UInt32(bitPattern: errorNumber(result.status)))
        reply += bytes(UInt32(result.moved)) + bytes(UInt32(0))
        // What was not isochronous returns the number it came with; no packets follow.
        reply += bytes(submit.packetCount == 0xFFFF_FFFF ? submit.packetCount : 0)
        reply += [UInt8](repeating: 0, count: 12)
        return reply + result.data
    }

    /// The end of an unlink request: whether it took its victim back.
    static func unlinkReply(_ number: UInt32, isUnlinked: Bool) -> [UInt8] {
        bytes(UInt32(4)) + bytes(number) + [UInt8](repeating: 0, count: 12)
            + bytes(UInt32(bitPattern: isUnlinked ? errorNumber(.withdrawn) : 0))
            + [UInt8](repeating: 0, count: 24)
    }

    /// The status as a negative error number of Linux (Documentation/driver-api/usb/error-codes).
    private static func errorNumber(_ status: USBRequestStatus) -> Int32 {
        switch status {
        case .done: 0
        case .short: -121  // EREMOTEIO
        case .stall: -32  // EPIPE
        case .overflow: -75  // EOVERFLOW
        case .withdrawn: -104  // ECONNRESET
        case .shutDown: -108  // ESHUTDOWN
        case .noAnswer: -71  // EPROTO
        case .refused: -22  // EINVAL
        case .exhausted: -12  // ENOMEM
        }
    }

    // MARK: - Numbers

    private static func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt32 {
        bytes[offset..<offset + count].reduce(0) { $0 << 8 | UInt32($1) }
    }

    private static func littleEndian(_ bytes: [UInt8], _ offset: Int) -> UInt16 {
        UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8
    }

    private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    private static func padded(_ text: String, to count: Int) -> [UInt8] {
        let text = Array(text.utf8.prefix(count - 1))
        return text + [UInt8](repeating: 0, count: count - text.count)
    }
}
