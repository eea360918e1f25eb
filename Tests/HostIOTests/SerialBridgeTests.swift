import HostIO
import Quantities
import TestSupport
import Testing

private func ftdiSummary(packet: Int = 64) -> USBDeviceSummary {
    USBDeviceSummary(
        id: USBDeviceID(path: "1-1", address: 1), vendorID: 0x0403, productID: 0xFAF0,
        bcdDevice: 0x0600, classTriple: [0, 0, 0], speed: .full, manufacturer: "Thorlabs",
        product: "Polarization Controller", serial: "38418404",
        interfaces: [
            USBInterface(
                number: 0, alternate: 0, classTriple: [0xFF, 0xFF, 0xFF],
                endpoints: [
                    USBEndpoint(address: 0x81, kind: .bulk, maxPacketSize: packet),
                    USBEndpoint(address: 0x02, kind: .bulk, maxPacketSize: packet),
                ])
        ], access: .available, isEmulated: false)
}

private func cdcSummary() -> USBDeviceSummary {
    USBDeviceSummary(
        id: USBDeviceID(path: "1-2", address: 2), vendorID: 0x1209, productID: 1,
        bcdDevice: 0x0100, classTriple: [0xEF, 2, 1], speed: .high, manufacturer: nil,
        product: nil, serial: nil,
        interfaces: [
            USBInterface(
                number: 2, alternate: 0, classTriple: [2, 2, 1],
                endpoints: [USBEndpoint(address: 0x83, kind: .interrupt, maxPacketSize: 8)]),
            USBInterface(
                number: 3, alternate: 0, classTriple: [0x0A, 0, 0],
                endpoints: [
                    USBEndpoint(address: 0x84, kind: .bulk, maxPacketSize: 512),
                    USBEndpoint(address: 0x05, kind: .bulk, maxPacketSize: 512),
                ]),
        ], access: .available, isEmulated: true)
}

@Suite struct FTDIBridgeTests {
    let reactor = VirtualReactor()

    private func open(_ device: ScriptedUSBDevice) async throws -> FTDIBridge {
        try await FTDIBridge.open(
            device, settings: SerialSettings(baud: 115_200, flowControl: .rtsCTS),
            latencyTimer: 16, reactor: reactor)
    }

    @Test func opensWithTheExpectedRequests() throws {
        let device = ScriptedUSBDevice(ftdiSummary(), reactor: reactor)
        try reactor.run { [self] in
            let bridge = try await open(device)
            await bridge.close()
        }
        func control(_ request: UInt8, _ value: UInt16, _ index: UInt16)
            -> ScriptedUSBDevice.Operation
        {
            .controlOut(
                USBControlRequest(requestType: 0x40, request: request, value: value, index: index),
                [])
        }
        #expect(
            device.operations == [
                .claim(interface: 0, alternate: 0),
                control(0, 0, 0),  // reset
                control(3, 0x001A, 0),  // 115200 baud
                control(4, 0x0008, 0),  // eight bits, no parity, one stop bit
                control(2, 0, 0x0100),  // RTS/CTS
                control(9, 16, 0),  // latency timer
                control(0, 1, 0), control(0, 2, 0),  // purge receive, transmit
                control(1, 0x0303, 0),  // DTR and RTS high
                .openQueue(0x81, count: 4, size: 4096),
                .cancelQueue(0x81),
                .release(interface: 0),
                .close,
            ])
    }

    @Test func deliversPayloadAndPassesOverIdlePackets() throws {
        let device = ScriptedUSBDevice(ftdiSummary(), reactor: reactor)
        let received = try reactor.run { [self] () -> [UInt8] in
            let bridge = try await open(device)
            let queue = try #require(device.queue(0x81))
            queue.send([0x01, 0x60])
            queue.send([0x01, 0x60, 1, 2, 3])
            queue.send([0x01, 0x60] + Array(repeating: 9, count: 62) + [0x01, 0x60, 8])
            var bytes: [UInt8] = []
            while bytes.count < 66 {
                bytes += try await bridge.read(upTo: 10, timeout: .seconds(1))
            }
            try await bridge.write([7, 7], timeout: .seconds(1))
            await bridge.close()
            return bytes
        }
        #expect(received == [1, 2, 3] + Array(repeating: 9, count: 62) + [8])
        #expect(device.writes(to: 0x02) == [[7, 7]])
    }

    @Test func lineErrorsKeepTheirPlace() throws {
        let device = ScriptedUSBDevice(ftdiSummary(), reactor: reactor)
        try reactor.run { [self] in
            let bridge = try await open(device)
            let queue = try #require(device.queue(0x81))
            queue.send([0x01, 0x60, 1, 2])
            queue.send([0x01, 0x68, 3, 4])
            #expect(try await bridge.read(upTo: 1, timeout: .seconds(1)) == [1])
            #expect(try await bridge.read(upTo: 10, timeout: .seconds(1)) == [2])
            await #expect(throws: ByteStreamError.lineError("framing")) {
                try await bridge.read(upTo: 10, timeout: .seconds(1))
            }
            #expect(try await bridge.read(upTo: 10, timeout: .seconds(1)) == [3, 4])
            await bridge.close()
        }
    }

    @Test func timesOutAndReportsUnplugging() throws {
        let device = ScriptedUSBDevice(ftdiSummary(), reactor: reactor)
        try reactor.run { [self] in
            let bridge = try await open(device)
            let start = reactor.now
            await #expect(throws: ByteStreamError.timedOut) {
                try await bridge.read(upTo: 1, timeout: .milliseconds(250))
            }
            #expect(reactor.now - start == .milliseconds(250))
            try #require(device.queue(0x81)).send([0x01, 0x60, 5])
            try #require(device.queue(0x81)).disconnect()
            #expect(try await bridge.read(upTo: 1, timeout: .seconds(1)) == [5])
            await #expect(throws: ByteStreamError.usb(.disconnected)) {
                try await bridge.read(upTo: 1, timeout: .seconds(1))
            }
            await bridge.close()
            await bridge.close()
        }
    }

    @Test func stopsHandingBuffersBackWhenNobodyReads() throws {
        let device = ScriptedUSBDevice(ftdiSummary(packet: 512), reactor: reactor)
        try reactor.run { [self] in
            let bridge = try await open(device)
            let queue = try #require(device.queue(0x81))
            let packet = [0x01, 0x60] + Array(repeating: UInt8(3), count: 510)
            for _ in 0..<1000 { queue.send(packet) }
            try await reactor.sleep(for: .seconds(1))
            #expect(queue.heldBack > 400)
            var count = 0
            while count < 510_000 {
                count += try await bridge.read(upTo: 4096, timeout: .seconds(1)).count
            }
            #expect(count == 510_000)
            #expect(queue.heldBack == 0)
            await bridge.close()
        }
    }

    @Test func closesTheDeviceWhenOpeningFails() throws {
        let device = ScriptedUSBDevice(ftdiSummary(), reactor: reactor)
        device.failControl(.stall)
        try reactor.run { [self] () -> Void in
            await #expect(throws: ByteStreamError.usb(.stall)) { try await open(device) }
        }
        #expect(device.operations.last == .close)
    }

    @Test func refusesRatesTheChipCanNotMake() throws {
        let device = ScriptedUSBDevice(ftdiSummary(), reactor: reactor)
        try reactor.run { [self] () -> Void in
            await #expect(throws: ByteStreamError.self) {
                try await FTDIBridge.open(
                    device, settings: SerialSettings(baud: 2_500_000), latencyTimer: 16,
                    reactor: reactor)
            }
        }
    }
}

@Suite struct CDCACMBridgeTests {
    let reactor = VirtualReactor()

    @Test func findsBothInterfacesAndSetsTheLine() throws {
        let device = ScriptedUSBDevice(cdcSummary(), reactor: reactor)
        let received = try reactor.run { [self] () -> [UInt8] in
            let bridge = try await CDCACMBridge.open(
                device, settings: SerialSettings(baud: 115_200), reactor: reactor)
            #expect(bridge.isEmulated)
            try #require(device.queue(0x84)).send([1, 2, 3])
            try await bridge.write([4, 5], timeout: .seconds(1))
            let bytes = try await bridge.read(upTo: 16, timeout: .seconds(1))
            await bridge.close()
            return bytes
        }
        #expect(received == [1, 2, 3])
        #expect(
            Array(device.operations.prefix(5)) == [
                .claim(interface: 2, alternate: 0),
                .claim(interface: 3, alternate: 0),
                .controlOut(
                    USBControlRequest(requestType: 0x21, request: 0x20, value: 0, index: 2),
                    [0x00, 0xC2, 0x01, 0x00, 0, 0, 8]),
                .controlOut(
                    USBControlRequest(requestType: 0x21, request: 0x22, value: 3, index: 2), []),
                .openQueue(0x84, count: 16, size: 4096),
            ])
        #expect(device.writes(to: 0x05) == [[4, 5]])
    }

    @Test func refusesOtherDevicesAndFlowControl() throws {
        let other = ScriptedUSBDevice(ftdiSummary(), reactor: reactor)
        let device = ScriptedUSBDevice(cdcSummary(), reactor: reactor)
        try reactor.run { [self] in
            await #expect(throws: ByteStreamError.self) {
                try await CDCACMBridge.open(
                    other, settings: SerialSettings(baud: 9600), reactor: reactor)
            }
            await #expect(throws: ByteStreamError.self) {
                try await CDCACMBridge.open(
                    device, settings: SerialSettings(baud: 9600, flowControl: .rtsCTS),
                    reactor: reactor)
            }
        }
        #expect(other.operations == [.close])
        #expect(device.operations.last == .close)
    }
}

@Suite struct WakeUpTests {
    @Test func keepsOneWakeUpForTheNextWait() throws {
        let reactor = VirtualReactor()
        let outcomes = try reactor.run { () -> [WakeUp.Outcome] in
            let wakeUp = WakeUp(on: reactor)
            wakeUp.wake()
            wakeUp.wake()
            let first = await wakeUp.wait()
            let second = await wakeUp.wait(until: reactor.now + .seconds(1))
            return [first, second]
        }
        #expect(outcomes == [.woken, .timedOut])
        #expect(reactor.now == HostInstant(nanoseconds: 1_000_000_000))
    }

    @Test func cancellationEndsTheWaitBeforeAndAfterItBegins() throws {
        let reactor = VirtualReactor()
        let outcomes = try reactor.run { () -> [WakeUp.Outcome] in
            let wakeUp = WakeUp(on: reactor)
            let waiting = Task(executorPreference: reactor) { await wakeUp.wait() }
            try await reactor.sleep(for: .milliseconds(1))
            waiting.cancel()
            let early = Task(executorPreference: reactor) { await wakeUp.wait() }
            early.cancel()
            return [await waiting.value, await early.value]
        }
        #expect(outcomes == [.cancelled, .cancelled])
    }
}
