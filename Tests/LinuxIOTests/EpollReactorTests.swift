import Glibc
import HostIO
import LinuxIO
import Quantities
import Testing

struct EpollReactorTests {
    @Test func sleepersWakeInOrder() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let start = reactor.now
        try await reactor.sleep(for: .milliseconds(5))
        #expect(reactor.now - start >= .milliseconds(5))
        let task = Task { try await reactor.sleep(for: .seconds(3600)) }
        task.cancel()
        let result = await task.result
        #expect(throws: CancellationError.self) { try result.get() }
    }

    @Test func bytesCrossALoopbackConnection() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let listener = try TCPListener(port: 0, reactor: reactor)
        async let accepted = listener.accept(timeout: .seconds(10))
        let client = try await TCP.connect(
            to: "127.0.0.1", port: listener.port, timeout: .seconds(10), reactor: reactor)
        let server = try await accepted
        // More than the socket buffers hold, so that writing has to wait for reading.
        let sent = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        async let writing: Void = client.write(sent, timeout: .seconds(30))
        var received: [UInt8] = []
        while received.count < sent.count {
            received += try await server.read(upTo: 65_536, timeout: .seconds(30))
        }
        try await writing
        #expect(received == sent)
        await client.close()
        await #expect(throws: ByteStreamError.closed) {
            _ = try await server.read(upTo: 1, timeout: .seconds(10))
        }
        await server.close()
    }

    /// Between two calls of `accept` the descriptor is watched anew while its last event may still be
    /// on its way.
    @Test func manyConnectionsAreAcceptedOneAfterTheOther() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let listener = try TCPListener(port: 0, reactor: reactor)
        let clients = reactor.start {
            for _ in 0..<50 {
                let client = try? await TCP.connect(
                    to: "127.0.0.1", port: listener.port, timeout: .seconds(3600), reactor: reactor)
                await client?.close()
            }
        }
        for _ in 0..<50 { await (try listener.accept(timeout: .seconds(3600))).close() }
        await clients.value
        await #expect(throws: ByteStreamError.timedOut) {
            _ = try await listener.accept(timeout: .milliseconds(1))
        }
    }

    @Test func aReadWithoutDataTimesOutAndCloseEndsAWaitingRead() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let listener = try TCPListener(port: 0, reactor: reactor)
        async let accepted = listener.accept(timeout: .seconds(10))
        let client = try await TCP.connect(
            to: "127.0.0.1", port: listener.port, timeout: .seconds(10), reactor: reactor)
        let server = try await accepted
        await #expect(throws: ByteStreamError.timedOut) {
            _ = try await client.read(upTo: 1, timeout: .milliseconds(20))
        }
        let reading = Task { try await client.read(upTo: 1, timeout: .seconds(3600)) }
        try await reactor.sleep(for: .milliseconds(20))
        await client.close()
        let result = await reading.result
        #expect(throws: ByteStreamError.closed) { _ = try result.get() }
        await server.close()
    }

    @Test func connectingToNobodyIsAnError() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let port = try TCPListener(port: 0, reactor: reactor).port
        await #expect(throws: ByteStreamError.self) {
            _ = try await TCP.connect(
                to: "127.0.0.1", port: port, timeout: .seconds(10), reactor: reactor)
        }
        await #expect(throws: ByteStreamError.notFound("the IPv4 address 'localhost.invalid'")) {
            _ = try await TCP.connect(
                to: "localhost.invalid", port: port, timeout: .seconds(1), reactor: reactor)
        }
    }

    @Test func aSerialPortSpeaksThroughAPseudoTerminal() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        var locked: Int32 = 0
        var number: Int32 = 0
        #expect(ioctl(master, UInt(0x4004_5431), &locked) == 0, "TIOCSPTLCK")
        #expect(ioctl(master, UInt(0x8004_5430), &number) == 0, "TIOCGPTN")
        let name = "/dev/pts/\(number)"
        let host = LinuxSerialHost(reactor: reactor)
        let port = try await host.open(path: name, settings: SerialSettings(baud: 115_200))
        try await port.write([0x0D, 0x0A, 0x00, 0xFF], timeout: .seconds(5))
        var buffer = [UInt8](repeating: 0, count: 8)
        #expect(read(master, &buffer, 8) == 4)
        #expect(Array(buffer[..<4]) == [0x0D, 0x0A, 0x00, 0xFF], "raw mode changes no byte")
        #expect(write(master, [1, 2] as [UInt8], 2) == 2)
        var received: [UInt8] = []
        while received.count < 2 { received += try await port.read(upTo: 8, timeout: .seconds(5)) }
        #expect(received == [1, 2])
        await #expect(throws: ByteStreamError.notSupported("a rate of 12345 baud on \(name)")) {
            try await port.configure(SerialSettings(baud: 12_345))
        }
        Glibc.close(master)
        await #expect(throws: ByteStreamError.closed) {
            _ = try await port.read(upTo: 1, timeout: .seconds(5))
        }
        await port.close()
    }

    @Test func missingDevicesAreNamed() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let host = LinuxSerialHost(reactor: reactor)
        await #expect(throws: ByteStreamError.notFound("/dev/ttyNONE")) {
            _ = try await host.open(path: "/dev/ttyNONE", settings: SerialSettings(baud: 9600))
        }
        let gpio = LinuxGPIOHost(reactor: reactor)
        await #expect(throws: GPIOError.notFound("GPIO chip gpiochip99")) {
            _ = try await gpio.output(
                GPIOLineID(chip: "gpiochip99", offset: 0), safeLevel: false,
                options: GPIOLineOptions(consumer: "test"))
        }
    }

    @Test func libusbListsDevicesWithoutOpeningThem() async throws {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let host = try await LibUSBHost(reactor: reactor)
        let devices = try await host.devices()
        #expect(devices.allSatisfy { !$0.isEmulated })
        await #expect(throws: USBTransferError.self) {
            _ = try await host.open(USBDeviceID(path: "no-such", address: 0))
        }
    }
}
