import HostIO
import Quantities
import TestSupport
import Testing

/// A USB/IP client, written from Documentation/usb/usbip_protocol.rst of Linux and not from the
/// server: it puts bytes together, and takes replies apart, by the offsets of the tables there.
final class USBIPTestClient: Sendable {
    let stream: MemoryStream
    private let patience = Duration.seconds(20)

    init(_ stream: MemoryStream) { self.stream = stream }

    static func big(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) }
    }
    static func number(_ bytes: [UInt8], at offset: Int) -> UInt32 {
        bytes[offset..<offset + 4].reduce(0) { $0 * 256 + UInt32($1) }
    }

    func send(_ bytes: [UInt8]) async throws { try await stream.write(bytes, timeout: patience) }

    func receive(_ count: Int) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            bytes += try await stream.read(upTo: count - bytes.count, timeout: patience)
        }
        return bytes
    }

    /// Whether the server has closed the connection, with nothing more to read.
    func isClosed() async -> Bool {
        do {
            _ = try await stream.read(upTo: 1, timeout: patience)
            return false
        } catch { return error == .closed }
    }

    // MARK: - Operations

    static let listRequest: [UInt8] = [0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0]

    static func importRequest(_ busID: String) -> [UInt8] {
        let text = Array(busID.utf8)
        return [0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0] + text
            + [UInt8](repeating: 0, count: 32 - text.count)
    }

    /// Imports a device: the device number of the reply, or nil when it was refused.
    func importDevice(_ busID: String) async throws -> UInt32? {
        try await send(Self.importRequest(busID))
        let header = try await receive(8)
        #expect(Array(header[..<4]) == [0x01, 0x11, 0x00, 0x03])
        guard Self.number(header, at: 4) == 0 else { return nil }
        let device = try await receive(312)
        #expect(String(decoding: device[256..<256 + busID.utf8.count], as: UTF8.self) == busID)
        return Self.number(device, at: 288) << 16 | Self.number(device, at: 292)
    }

    // MARK: - Requests

    struct Submit {
        var number: UInt32
        var device: UInt32
        var endpoint: UInt32
        var isIn: Bool
        var length: UInt32
        var flags: UInt32 = 0
        var setup = [UInt8](repeating: 0, count: 8)
        var data: [UInt8] = []

        var bytes: [UInt8] {
            let words: [UInt32] = [
                1, number, device, isIn ? 1 : 0, endpoint, flags, length, 0, 0xFFFF_FFFF, 0,
            ]
            return words.flatMap(USBIPTestClient.big) + setup + data
        }
    }

    static func unlink(_ number: UInt32, victim: UInt32, device: UInt32) -> [UInt8] {
        [2, number, device, 0, 0, victim].flatMap(big) + [UInt8](repeating: 0, count: 24)
    }

    /// A reply: to a submission (with its data when it was an IN transfer) or to an unlink.
    struct Reply: Equatable {
        var command: UInt32
        var number: UInt32
        var status: Int32
        var moved: UInt32
        var data: [UInt8] = []
    }

    /// The next reply.
    ///
    /// - Parameter isIn: whether the submission of that number was towards the host; only then does
    ///   data follow.
    func reply(_ isIn: (UInt32) -> Bool = { _ in true }) async throws -> Reply {
        let header = try await receive(48)
        var reply = Reply(
            command: Self.number(header, at: 0), number: Self.number(header, at: 4),
            status: Int32(bitPattern: Self.number(header, at: 20)),
            moved: Self.number(header, at: 24))
        if reply.command == 3, isIn(reply.number) {
            reply.data = try await receive(Int(reply.moved))
        }
        return reply
    }
}
