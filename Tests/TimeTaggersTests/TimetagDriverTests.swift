import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities
import Synchronization
import TestSupport
import Testing
import TimeTaggers

/// The driver on scripted hardware that answers registers as `reg_manager.v` does.
struct TimetagDriverTests {
    private final class Registers: Sendable {
        let values = Mutex<[UInt16: UInt32]>([1: 6, 2: 128_000_000])
        func answer(_ packet: [UInt8]) -> [UInt8]? {
            guard packet.count == 8, packet[0] == 0xAA else { return nil }
            let address = UInt16(packet[2]) | UInt16(packet[3]) << 8
            let value = packet[4...7].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return values.withLock { values in
                if packet[1] == 1, address > 2 {
                    values[address] = address == 6 || address == 7 ? 0 : value
                }
                let held = values[address] ?? 0
                return (0..<4).map { UInt8(truncatingIfNeeded: held >> (8 * UInt32($0))) }
            }
        }
    }

    private struct Bench: Sendable {
        let reactor = VirtualReactor()
        let device: ScriptedUSBDevice
        let driver: TimetagDriver
        let registers = Registers()

        init(endpoints: [UInt8] = [0x81, 0x02, 0x86, 0x88]) throws {
            let summary = USBDeviceSummary(
                id: USBDeviceID(path: "1-1", address: 3), vendorID: 0x04B4, productID: 0x1004,
                bcdDevice: 1, classTriple: [255, 255, 255], speed: .high, manufacturer: nil,
                product: nil, serial: nil,
                interfaces: [
                    USBInterface(
                        number: 0, alternate: 0, classTriple: [255, 255, 255],
                        endpoints: endpoints.map {
                            USBEndpoint(
                                address: $0, kind: .bulk, maxPacketSize: $0 == 0x81 ? 64 : 512)
                        })
                ], access: .available, isEmulated: false)
            device = ScriptedUSBDevice(summary, reactor: reactor)
            driver = try TimetagDriver(
                profile: try #require(try FirmwareProfiles.catalog()["umass-timetag-fpga"]),
                host: ScriptedUSBHost([device]), device: summary, reactor: reactor)
            device.answer(from: 0x88) { [registers] _, packet in registers.answer(packet) }
        }

        func counters(records: UInt32, lost: UInt32 = 0) {
            registers.values.withLock {
                $0[6] = records
                $0[7] = lost
            }
        }
    }

    private static func write(_ address: UInt8, _ value: UInt8) -> [UInt8] {
        [0xAA, 1, address, 0, value, 0, 0, 0]
    }

    /// Unjam, version and clock, then the reset procedure of `docs/registers` with everything off.
    @Test func openLeavesTheTaggerSafe() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            let writes = bench.device.writes(to: 0x02)
            #expect(writes.first == Self.write(0, 0))
            let wanted: [(UInt8, UInt8)] = [
                (3, 0), (4, 0), (5, 0), (0x28, 0), (0x30, 0), (0x38, 0), (0x40, 0), (0x20, 2),
                (0x20, 0), (3, 4), (3, 0), (8, 1), (8, 0), (6, 0), (7, 0),
            ]
            #expect(Array(writes.suffix(wanted.count)) == wanted.map { Self.write($0.0, $0.1) })
            #expect(await bench.driver.identity.firmware == "6")
            #expect(try await bench.driver.selfTest().passed)
            await bench.driver.close()
            await bench.driver.close()
            #expect(bench.device.operations.last == .close)
        }
    }

    @Test(arguments: [
        ([1: 7, 2: 128_000_000] as [UInt16: UInt32], DriverErrorCode.wrongDevice),
        ([1: 6, 2: 100_000_000], .malformedReply),
    ])
    func anotherFPGAIsRefused(values: [UInt16: UInt32], code: DriverErrorCode) throws {
        let bench = try Bench()
        bench.registers.values.withLock { $0 = values }
        try bench.reactor.run { () -> Void in
            let error = await #expect(throws: DriverError.self) { try await bench.driver.open() }
            #expect(error?.code == code)
            #expect(bench.device.operations.last == .close)
        }
    }

    @Test func otherEndpointsAndSilenceAreRefused() throws {
        let other = try Bench(endpoints: [0x81, 0x02, 0x86])
        try other.reactor.run { () -> Void in
            let error = await #expect(throws: DriverError.self) { try await other.driver.open() }
            #expect(error?.code == .wrongDevice && error?.found == "0x81, 0x2, 0x86")
        }
        let silent = try Bench()
        silent.device.answer(from: 0x88) { _, _ in nil }
        try silent.reactor.run { () -> Void in
            let error = await #expect(throws: DriverError.self) { try await silent.driver.open() }
            #expect(error?.code == .timedOut)
        }
    }

    /// What the tagger does not have is refused before a byte is sent.
    @Test func refusals() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            let closed = await #expect(throws: DriverError.self) {
                try await bench.driver.start(AcquisitionPlan())
            }
            #expect(closed?.code == .wrongState)
            try await bench.driver.open()
            let before = bench.device.operations.count
            for plan in [
                AcquisitionPlan(thresholds: [0: Volts(1)]),
                AcquisitionPlan(usesExternalReference: true),
            ] {
                let error = await #expect(throws: DriverError.self) {
                    try await bench.driver.start(plan)
                }
                #expect(error?.code == .notSupported)
            }
            #expect(bench.device.operations.count == before)
            await bench.driver.close()
        }
    }

    /// A silent source lets the promise move, because the counters say that nothing is missing; and a
    /// loss that no record tells of is marked.
    @Test func theCountersMoveThePromise() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            let source = try await bench.driver.start(
                AcquisitionPlan(flushInterval: .milliseconds(100)))
            let queue = try #require(bench.device.queue(0x86))
            bench.counters(records: 2)
            // The second record is of 10 ms after the start.
            try await bench.reactor.sleep(for: .milliseconds(15))
            queue.send(ReferenceTimetag.record(0) + ReferenceTimetag.record(1_280_000, 1))
            try await bench.reactor.sleep(for: .seconds(2))
            bench.counters(records: 2, lost: 5)
            try await bench.reactor.sleep(for: .milliseconds(200))
            try await bench.driver.stop()
            var blocks: [TagBlock] = []
            while let block = try await source.next() { blocks.append(block) }
            #expect(blocks.flatMap(\.tags) == [TimeTag(ticks: 1_280_000, channel: 0)])
            let promise = try #require(blocks.last?.completeThrough.rawValue)
            #expect(promise > 250_000_000 && promise < 290_000_000, "\(promise)")
            let losses = blocks.flatMap(\.losses)
            #expect(losses.map(\.reason) == [.deviceOverflow])
            #expect((losses.first?.start.rawValue ?? 0) > 240_000_000)
            guard case .degraded = await bench.driver.health else {
                Issue.record("an overflow is not shown")
                return
            }
            await bench.driver.close()
        }
    }

    /// Records that were made and never came are marked, although no transfer failed.
    @Test func recordsThatDoNotArriveAreMarked() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            let queue = try #require(bench.device.queue(0x86))
            bench.counters(records: 9)
            // The second record is of 10 ms after the start.
            try await bench.reactor.sleep(for: .milliseconds(15))
            queue.send(ReferenceTimetag.record(0) + ReferenceTimetag.record(1_280_000, 1))
            try await bench.reactor.sleep(for: .seconds(1))
            try await bench.driver.stop()
            var losses: [LossMark<DeviceTicks>] = []
            while let block = try await source.next() { losses += block.losses }
            #expect(losses.map(\.reason) == [.transferFailure])
            await bench.driver.close()
        }
    }

    @Test(arguments: [
        (USBTransferError.disconnected, DriverErrorCode.disconnected, LossReason.disconnected),
        (.stall, .transport, .transferFailure),
    ])
    func aTransferThatEndsTheRun(
        error: USBTransferError, code: DriverErrorCode, reason: LossReason
    ) throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            let queue = try #require(bench.device.queue(0x86))
            bench.counters(records: 2)
            // The second record is of 10 ms after the start.
            try await bench.reactor.sleep(for: .milliseconds(15))
            queue.send(ReferenceTimetag.record(0) + ReferenceTimetag.record(1_280_000, 1))
            try await bench.reactor.sleep(for: .milliseconds(30))
            queue.send([], error: error)
            var losses: [LossMark<DeviceTicks>] = []
            let thrown = await #expect(throws: DriverError.self) {
                while let block = try await source.next() { losses += block.losses }
            }
            #expect(thrown?.code == code)
            #expect(losses.map(\.reason) == [reason])
            await bench.driver.close()
        }
    }

    /// The length of packets follows the rate: small while little comes.
    @Test func packetsShrinkWhenLittleComes() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            _ = try await bench.driver.start(AcquisitionPlan())
            try await bench.reactor.sleep(for: .milliseconds(200))
            let lengths = bench.device.operations.compactMap { operation -> UInt16? in
                guard case .controlOut(let request, _) = operation, request.request == 1 else {
                    return nil
                }
                return request.value
            }
            #expect(lengths == [510, 6])
            await bench.driver.close()
        }
    }
}
