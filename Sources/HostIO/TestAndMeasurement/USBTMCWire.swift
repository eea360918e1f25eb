/// The frames and requests of the USB test and measurement class. Pure encoding and decoding.
///
/// Source: Universal Serial Bus Test and Measurement Class Specification (USBTMC) 1.0, tables 1 to
/// 9 (bulk headers) and 15 to 37 (requests); USBTMC USB488 Subclass Specification 1.0, tables 1 to
/// 15.
package enum USBTMCWire {
    /// Class and subclass of the interface (table 43).
    package static let interfaceClass: [UInt8] = [0xFE, 0x03]
    /// Protocol of an interface that follows the USB488 subclass (table 44).
    package static let usb488Protocol: UInt8 = 1
    /// Bytes of every bulk header.
    package static let headerBytes = 12
    /// Bytes of the answer to GET_CAPABILITIES.
    package static let capabilityBytes = 24

    /// MsgID (table 2).
    package enum MessageID {
        package static let messageOut: UInt8 = 1
        package static let requestIn: UInt8 = 2
        package static let messageIn: UInt8 = 2
    }

    /// bRequest (table 15; USB488 table 9).
    package enum Request: UInt8, Hashable, Sendable {
        case initiateAbortBulkOut = 1
        case checkAbortBulkOut = 2
        case initiateAbortBulkIn = 3
        case checkAbortBulkIn = 4
        case initiateClear = 5
        case checkClear = 6
        case getCapabilities = 7
        case remoteEnable = 160
        case goToLocal = 161

        /// Requests 1 to 4 go to an endpoint, the others to the interface.
        package var requestType: UInt8 { rawValue <= 4 ? 0xA2 : 0xA1 }

        /// Bytes of the answer.
        package var replyBytes: Int {
            switch self {
            case .initiateAbortBulkOut, .initiateAbortBulkIn, .checkClear: 2
            case .checkAbortBulkOut, .checkAbortBulkIn: 8
            case .initiateClear, .remoteEnable, .goToLocal: 1
            case .getCapabilities: USBTMCWire.capabilityBytes
            }
        }

        /// The name in the specification.
        package var name: String {
            switch self {
            case .initiateAbortBulkOut: "INITIATE_ABORT_BULK_OUT"
            case .checkAbortBulkOut: "CHECK_ABORT_BULK_OUT_STATUS"
            case .initiateAbortBulkIn: "INITIATE_ABORT_BULK_IN"
            case .checkAbortBulkIn: "CHECK_ABORT_BULK_IN_STATUS"
            case .initiateClear: "INITIATE_CLEAR"
            case .checkClear: "CHECK_CLEAR_STATUS"
            case .getCapabilities: "GET_CAPABILITIES"
            case .remoteEnable: "REN_CONTROL"
            case .goToLocal: "GO_TO_LOCAL"
            }
        }
    }

    /// USBTMC_status (table 16).
    package enum Status {
        package static let success: UInt8 = 0x01
        package static let pending: UInt8 = 0x02
        package static let failed: UInt8 = 0x80
        package static let notInProgress: UInt8 = 0x81
    }

    // MARK: - Bulk-OUT

    /// The tag after `tag`: 1 to 255, never 0.
    package static func tag(after tag: UInt8) -> UInt8 { tag == 255 ? 1 : tag + 1 }

    private static func header(_ id: UInt8, tag: UInt8, size: Int, _ rest: [UInt8]) -> [UInt8] {
        let size = UInt32(size)
        return [id, tag, ~tag, 0] + (0..<4).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) }
            + rest
    }

    /// DEV_DEP_MSG_OUT: a part of a message, filled up to a multiple of four bytes.
    ///
    /// - Parameter isEnd: whether the last byte of the message is in this part.
    package static func messageOut(
        _ payload: some Collection<UInt8>, tag: UInt8, isEnd: Bool
    ) -> [UInt8] {
        precondition(!payload.isEmpty, "a transfer carries at least one byte")
        let padding = [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
        return header(
            MessageID.messageOut, tag: tag, size: payload.count, [isEnd ? 1 : 0, 0, 0, 0])
            + payload + padding
    }

    /// REQUEST_DEV_DEP_MSG_IN: asks for up to `size` bytes, without a termination character.
    package static func requestIn(size: Int, tag: UInt8) -> [UInt8] {
        precondition(size > 0, "an answer has at least one byte")
        return header(MessageID.requestIn, tag: tag, size: size, [0, 0, 0, 0])
    }

    // MARK: - Bulk-IN

    /// The header of DEV_DEP_MSG_IN.
    package struct Reply: Hashable, Sendable {
        /// Bytes of the message in this transfer.
        package var size: Int
        /// Whether the last of them ends the message.
        package var isEnd: Bool
    }

    /// What is wrong with a bulk header.
    package struct Malformed: Error, Hashable, Sendable {
        package var expected: String
        package var found: String
    }

    /// Reads the first twelve bytes of a Bulk-IN transfer.
    ///
    /// - Parameters:
    ///   - tag: the tag of the request that the transfer must answer.
    ///   - room: the number of bytes that was asked for.
    package static func reply(
        _ bytes: [UInt8], tag: UInt8, room: Int
    ) throws(Malformed) -> Reply {
        guard bytes.count >= headerBytes else {
            throw Malformed(
                expected: "a header of \(headerBytes) bytes", found: "\(bytes.count) bytes")
        }
        guard bytes[0] == MessageID.messageIn else {
            throw Malformed(
                expected: "message type \(MessageID.messageIn)", found: "type \(bytes[0])")
        }
        guard bytes[1] == tag, bytes[2] == ~tag else {
            throw Malformed(
                expected: "tag \(tag) and its inverse \(~tag)",
                found: "\(bytes[1]) and \(bytes[2])")
        }
        let size = (0..<4).reduce(0) { $0 | Int(bytes[4 + $1]) << (8 * $1) }
        guard size <= room else {
            throw Malformed(expected: "at most \(room) bytes", found: "\(size) announced")
        }
        return Reply(size: size, isEnd: bytes[8] & 1 == 1)
    }

    // MARK: - Capabilities

    /// What GET_CAPABILITIES tells (table 37; USB488 table 8).
    package struct Capabilities: Hashable, Sendable {
        /// The interface takes REN_CONTROL, GO_TO_LOCAL and LOCAL_LOCKOUT.
        package var takesRemoteRequests: Bool
        /// The device follows IEEE 488.2.
        package var isUSB488: Bool
    }

    /// Reads the answer to GET_CAPABILITIES; nil when it is too short.
    package static func capabilities(
        _ bytes: [UInt8], protocolCode: UInt8
    ) -> Capabilities? {
        guard bytes.count >= 16, bytes[0] == Status.success else { return nil }
        let is488 = protocolCode == usb488Protocol
        return Capabilities(
            takesRemoteRequests: is488 && bytes[14] & 0x02 != 0,
            isUSB488: is488 && bytes[14] & 0x04 != 0)
    }
}
