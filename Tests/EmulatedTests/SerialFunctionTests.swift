import DeviceProfiles
import Emulated
import HostIO
import Quantities
import TestSupport
import Testing

/// The bridges between USB and a serial line, with an instrument that echoes.
struct SerialFunctionTests {
    /// Sends back what it receives.
    final class Echo: EmulatedSerialDevice, @unchecked Sendable {
        var output: [UInt8] = []
        var lines: [(Bool, Bool)] = []
        func receive(_ bytes: [UInt8], at now: HostInstant) { output += bytes }
        func advance(to now: HostInstant) {}
        func nextWake(after now: HostInstant) -> HostInstant? { nil }
        func takeOutput(upTo limit: Int) -> [UInt8] {
            let count = min(limit, output.count)
            defer { output.removeFirst(count) }
            return Array(output.prefix(count))
        }
        func modemLinesChanged(dtr: Bool, rts: Bool, at now: HostInstant) {
            lines.append((dtr, rts))
        }
        func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool { false }
    }

    private static func ftdi(
        _ reactor: VirtualReactor, flowControl: Bool = true
    ) async throws -> any USBDevice {
        let host = EmulatedUSBHost(context: EmulationContext(reactor: reactor, seed: 1))
        let function = try FTDISerialFunction(
            profile: try profile("thorlabs-mpc320"), serial: "38000001", device: Echo())
        let device = try await host.open(host.attach(function, path: "1-1", speed: .full))
        try await device.claim(interface: 0, alternate: 0)
        try await vendor(device, 3, value: 0x001A)
        if flowControl { try await vendor(device, 2, value: 0, index: 0x0100) }
        return device
    }

    private static func vendor(
        _ device: any USBDevice, _ request: UInt8, value: UInt16, index: UInt16 = 0
    ) async throws {
        try await device.controlOut(
            USBControlRequest(requestType: 0x40, request: request, value: value, index: index),
            data: [], timeout: .seconds(1))
    }

    /// Reads until `count` bytes of payload have come; returns the packets.
    private static func packets(
        _ device: any USBDevice, payload count: Int
    ) async throws -> [[UInt8]] {
        var packets: [[UInt8]] = []
        var received = 0
        while received < count {
            let bytes = try await device.read(from: 0x81, upTo: 64, timeout: .seconds(1))
            packets.append(bytes)
            received += bytes.count - 2
        }
        return packets
    }

    @Test("an idle bridge sends two status bytes per latency period")
    func idlePackets() throws {
        try onVirtualTime { reactor in
            let device = try await Self.ftdi(reactor)
            var times: [HostInstant] = []
            for _ in 0..<4 {
                let bytes = try await device.read(from: 0x81, upTo: 512, timeout: .seconds(1))
                #expect(bytes == [0x11, 0x60])
                times.append(reactor.now)
            }
            for (before, after) in zip(times, times.dropFirst()).dropFirst() {
                #expect((15.9...17.1).contains((after - before).inSeconds * 1000))
            }
            try await Self.vendor(device, 9, value: 2)
            let get = USBControlRequest(requestType: 0xC0, request: 0x0A, value: 0, index: 0)
            #expect(try await device.controlIn(get, length: 1, timeout: .seconds(1)) == [2])
        }
    }

    @Test("every packet carries its own status bytes, and bytes take their time on the line")
    func statusPerPacket() throws {
        try onVirtualTime { reactor in
            let device = try await Self.ftdi(reactor)
            let sent = (0..<100).map { UInt8($0) }
            let start = reactor.now
            try await device.write(sent, to: 0x02, timeout: .seconds(1))
            let packets = try await Self.packets(device, payload: 100)
            #expect(packets.allSatisfy { $0[0] == 0x11 })
            #expect(packets.flatMap { $0.dropFirst(2) } == sent)
            #expect(packets.contains { $0.count == 64 })
            // 100 bytes out and the last one back, at ten bits each.
            #expect((reactor.now - start).inSeconds > 101 * 10 / 115_200.0)
        }
    }

    @Test(
        "divisor words",
        arguments: [
            (0x4138, 9600.0), (0x809C, 19200), (0xC04E, 38400), (0xC034, 57600),
            (0x001A, 115_384.6),
            (0x000D, 230_769.2), (0x0000, 3_000_000), (0x0001, 2_000_000),
        ])
    func divisors(word: Int, baud: Double) {
        #expect(abs(FTDISerialFunction.baud(value: UInt16(word), index: 0) / baud - 1) < 1e-3)
    }

    @Test("a wrong rate garbles characters and reports framing errors")
    func wrongBaud() throws {
        try onVirtualTime { reactor in
            let device = try await Self.ftdi(reactor)
            try await Self.vendor(device, 3, value: 0x4138)
            try await device.write([1, 2, 3], to: 0x02, timeout: .seconds(1))
            let packets = try await Self.packets(device, payload: 3)
            #expect(packets.flatMap { $0.dropFirst(2) } != [1, 2, 3])
            #expect(packets.contains { $0[1] & 0x08 != 0 })
        }
    }

    @Test("the instrument waits for RTS")
    func readyToSend() throws {
        try onVirtualTime { reactor in
            let device = try await Self.ftdi(reactor, flowControl: false)
            try await device.write([42], to: 0x02, timeout: .seconds(1))
            for _ in 0..<3 {
                #expect(
                    try await device.read(from: 0x81, upTo: 64, timeout: .seconds(1)).count == 2)
            }
            try await Self.vendor(device, 1, value: 0x0202)
            let packets = try await Self.packets(device, payload: 1)
            #expect(packets.last?.last == 42)
        }
    }

    @Test("a communications-class port: line coding, control lines, data, final empty packet")
    func cdc() throws {
        let echo = Echo()
        try onVirtualTime { reactor in
            let host = EmulatedUSBHost(context: EmulationContext(reactor: reactor, seed: 1))
            let function = try CDCACMSerialFunction(
                profile: try profile("s15-tdc1"), serial: "TDC1-0019", device: echo)
            let device = try await host.open(host.attach(function, path: "1-1"))
            #expect(device.summary.manufacturer == "S-Fifteen Instruments")
            #expect(device.summary.product == "USB Counter")
            #expect(device.summary.serial == "TDC1-0019")
            #expect(device.summary.interfaces.map(\.classTriple) == [[2, 2, 1], [10, 0, 0]])
            try await device.claim(interface: 0, alternate: 0)
            try await device.claim(interface: 1, alternate: 0)
            let coding = bytes(hex: "80250000000008")
            try await device.controlOut(
                USBControlRequest(requestType: 0x21, request: 0x20, value: 0, index: 0),
                data: coding, timeout: .seconds(1))
            let get = USBControlRequest(requestType: 0xA1, request: 0x21, value: 0, index: 0)
            #expect(try await device.controlIn(get, length: 7, timeout: .seconds(1)) == coding)
            try await device.controlOut(
                USBControlRequest(requestType: 0x21, request: 0x22, value: 3, index: 0), data: [],
                timeout: .seconds(1))
            let sent = (0..<1024).map { UInt8(truncatingIfNeeded: $0) }
            try await device.write(sent, to: 0x02, timeout: .seconds(1))
            let received = try await device.read(from: 0x82, upTo: 4096, timeout: .seconds(1))
            #expect(received == sent)
        }
        #expect(echo.lines.count == 1 && echo.lines[0] == (true, true))
    }

    @Test("an in-process port: data, timeout, close, lost byte")
    func port() throws {
        try onVirtualTime { reactor in
            let context = EmulationContext(reactor: reactor, seed: 1)
            let port = EmulatedSerialPort(context: context, device: Echo(), baud: 9600)
            #expect(port.isEmulated)
            try await port.write([1, 2, 3], timeout: .seconds(1))
            let start = reactor.now
            var received: [UInt8] = []
            while received.count < 3 {
                received += try await port.read(upTo: 10, timeout: .seconds(1))
            }
            #expect(received == [1, 2, 3])
            #expect((reactor.now - start).inSeconds > 4 * 10 / 9600.0)
            let empty = await streamError {
                _ = try await port.read(upTo: 1, timeout: .milliseconds(20))
            }
            #expect(empty == .timedOut)
            port.inject(EmulatedFault(.byteSlip))
            try await port.write([1, 2, 3], timeout: .seconds(1))
            try await reactor.sleep(for: .milliseconds(50))
            #expect(try await port.read(upTo: 10, timeout: .seconds(1)) == [1, 3])
            await port.close()
            let closed = await streamError {
                _ = try await port.read(upTo: 1, timeout: .seconds(1))
            }
            #expect(closed == .closed)
        }
    }
}
