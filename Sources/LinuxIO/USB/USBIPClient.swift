import Glibc
import HostIO
import Quantities

/// A device that a USB/IP server has to give.
public struct USBIPRemoteDevice: Hashable, Sendable {
    /// Its name at the server, such as `1-1`.
    public var busID: String
    /// Bus and device number at the server, as requests carry them.
    public var deviceID: UInt32
    /// The speed, nil for one this program does not know.
    public var speed: USBSpeed?
    /// The vendor identifier.
    public var vendorID: UInt16
    /// The product identifier.
    public var productID: UInt16
    /// The device release number in binary-coded decimal.
    public var bcdDevice: UInt16
    /// Device class, subclass and protocol.
    public var classTriple: [UInt8]
    /// Class, subclass and protocol of each interface; empty in the answer to an import.
    public var interfaces: [[UInt8]]
}

/// A device that a server has given away, and the socket that now carries its transfers.
public struct USBIPImport: ~Copyable {
    /// The device.
    public let device: USBIPRemoteDevice
    /// The socket, to be handed to the kernel.
    public let socket: VHCISocket
}

/// The part of USB/IP that a client speaks before the kernel takes over: the list of devices and
/// the import.
///
/// Source: Linux, Documentation/usb/usbip_protocol.rst, version 1.1.1.
public enum USBIPClient {
    /// The port USB/IP servers listen on.
    public static let port: UInt16 = 3240

    private static let version: UInt16 = 0x0111
    private static let blockLength = 312
    /// More devices than any server has; a longer list is not one.
    private static let longestList = 4096

    /// The devices that the server at a numeric IPv4 address has to give.
    ///
    /// - Throws: `stream` when there is no server, `unexpectedAnswer` when it is another kind.
    public static func devices(
        at address: String, port: UInt16 = port, timeout: Duration, reactor: EpollReactor
    ) async throws(VHCIError) -> [USBIPRemoteDevice] {
        let stream = try await connect(address, port, timeout, reactor)
        do throws(VHCIError) {
            let devices = try await list(stream, until: reactor.now + timeout, reactor)
            await stream.close()
            return devices
        } catch {
            await stream.close()
            throw error
        }
    }

    /// Asks the server for the device `busID`; returns it with the socket that now belongs to it.
    ///
    /// - Throws: `importRefused` when the server keeps it, `stream`, `unexpectedAnswer`.
    public static func importDevice(
        _ busID: String, from address: String, port: UInt16 = port, timeout: Duration,
        reactor: EpollReactor
    ) async throws(VHCIError) -> USBIPImport {
        let name = Array(busID.utf8)
        guard name.count < 32, !name.contains(0) else {
            throw .importRefused(busID: busID, status: 4)
        }
        let stream = try await connect(address, port, timeout, reactor)
        do throws(VHCIError) {
            let deadline = reactor.now + timeout
            let field = name + [UInt8](repeating: 0, count: 32 - name.count)
            try await send([0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0] + field, stream, timeout)
            let status = try await answer(0x0003, stream, deadline, reactor)
            guard status == 0 else { throw .importRefused(busID: busID, status: status) }
            let block = try await read(blockLength, stream, deadline, reactor)
            let device = device(block)
            guard device.busID == busID else {
                throw .unexpectedAnswer(expected: "device \(busID)", found: device.busID)
            }
            guard let descriptor = await stream.takeDescriptor() else { throw .stream(.closed) }
            return USBIPImport(device: device, socket: VHCISocket(owning: descriptor))
        } catch {
            await stream.close()
            throw error
        }
    }

    // MARK: - Messages

    private static func connect(
        _ address: String, _ port: UInt16, _ timeout: Duration, _ reactor: EpollReactor
    ) async throws(VHCIError) -> DescriptorStream {
        do throws(ByteStreamError) {
            return try await TCP.connectSocket(
                to: address, port: port, timeout: timeout, reactor: reactor)
        } catch { throw .stream(error) }
    }

    private static func list(
        _ stream: DescriptorStream, until deadline: HostInstant, _ reactor: EpollReactor
    ) async throws(VHCIError) -> [USBIPRemoteDevice] {
        try await send([0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0], stream, deadline - reactor.now)
        let status = try await answer(0x0005, stream, deadline, reactor)
        guard status == 0 else {
            throw .unexpectedAnswer(expected: "a list of devices", found: "status \(status)")
        }
        let count = Int(number(try await read(4, stream, deadline, reactor), 0, 4))
        guard count <= longestList else {
            throw .unexpectedAnswer(
                expected: "a list of at most \(longestList) devices", found: "\(count)")
        }
        var devices: [USBIPRemoteDevice] = []
        for _ in 0..<count {
            let block = try await read(blockLength, stream, deadline, reactor)
            var device = device(block)
            let interfaces = try await read(4 * Int(block[311]), stream, deadline, reactor)
            device.interfaces = stride(from: 0, to: interfaces.count, by: 4).map {
                Array(interfaces[$0..<$0 + 3])
            }
            devices.append(device)
        }
        return devices
    }

    /// The status of an answer with the given code.
    private static func answer(
        _ code: UInt32, _ stream: DescriptorStream, _ deadline: HostInstant,
        _ reactor: EpollReactor
    ) async throws(VHCIError) -> UInt32 {
        let header = try await read(8, stream, deadline, reactor)
        let found = number(header, 0, 4)
        let expected = UInt32(version) << 16 | code
        guard found == expected else {
            throw .unexpectedAnswer(
                expected: "an answer \(String(expected, radix: 16))",
                found: String(found, radix: 16))
        }
        return number(header, 4, 4)
    }

    private static func send(
        _ bytes: [UInt8], _ stream: DescriptorStream, _ timeout: Duration
    ) async throws(VHCIError) {
        do throws(ByteStreamError) {
            try await stream.write(bytes, timeout: timeout)
        } catch { throw .stream(error) }
    }

    /// Exactly `count` bytes and not one more: what follows belongs to the kernel.
    private static func read(
        _ count: Int, _ stream: DescriptorStream, _ deadline: HostInstant, _ reactor: EpollReactor
    ) async throws(VHCIError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            do throws(ByteStreamError) {
                bytes += try await stream.read(
                    upTo: count - bytes.count, timeout: deadline - reactor.now)
            } catch { throw .stream(error) }
        }
        return bytes
    }

    private static func device(_ block: [UInt8]) -> USBIPRemoteDevice {
        let name = block[256..<288].prefix { $0 != 0 }
        let speeds: [UInt32: USBSpeed] = [1: .low, 2: .full, 3: .high, 5: .superSpeed]
        return USBIPRemoteDevice(
            busID: String(decoding: name, as: UTF8.self),
            deviceID: number(block, 288, 4) << 16 | number(block, 292, 4),
            speed: speeds[number(block, 296, 4)], vendorID: UInt16(number(block, 300, 2)),
            productID: UInt16(number(block, 302, 2)), bcdDevice: UInt16(number(block, 304, 2)),
            classTriple: Array(block[306..<309]), interfaces: [])
    }

    private static func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt32 {
        bytes[offset..<offset + count].reduce(0) { $0 << 8 | UInt32($1) }
    }
}
