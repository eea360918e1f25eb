import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities
import TestSupport
import Testing
import TimeTaggers

private func cardSummary(
    endpoints: [UInt8] = [0x01, 0x81, 0x82], release: UInt16 = 0x0201
) -> USBDeviceSummary {
    let descriptors = endpoints.map { USBEndpoint(address: $0, kind: .bulk, maxPacketSize: 512) }
    return USBDeviceSummary(
        id: USBDeviceID(path: "1-1", address: 7), vendorID: 0x04B4, productID: 0x1234,
        bcdDevice: release, classTriple: [0xFF, 0xFF, 0xFF], speed: .high,
        manufacturer: "Centre for Quantum Technologies",
        product: "Timestamp Card Rev 2 / 4k FIFO (3.3V)", serial: "xx",
        interfaces: [
            USBInterface(
                number: 0, alternate: 0, classTriple: [0xFF, 0xFF, 0xFF], endpoints: []),
            USBInterface(
                number: 0, alternate: 1, classTriple: [0xFF, 0xFF, 0xFF], endpoints: descriptors),
        ], access: .available, isEmulated: false)
}

/// A card, its driver, and what a test needs to play the hardware.
private struct Bench: Sendable {
    let reactor = VirtualReactor()
    let device: ScriptedUSBDevice
    let driver: CQTTimestampDriver

    init(_ summary: USBDeviceSummary = cardSummary(), unit: CQTTimestampUnit = .init()) throws {
        device = ScriptedUSBDevice(summary, reactor: reactor)
        let profile = try #require(try FirmwareProfiles.catalog()["cqt-timestamp-usb"])
        driver = try CQTTimestampDriver(
            profile: profile, host: ScriptedUSBHost([device]), device: summary, reactor: reactor,
            unit: unit)
        answer(overflow: 0)
    }

    func answer(overflow: UInt8) {
        device.answer { endpoint, packet in
            guard endpoint == 0x01, packet.count == 4, packet[1] == 16 else { return nil }
            return packet[2] == 8 ? [overflow] : [0x80]
        }
    }

    /// The time the card's counter shows, with a card that agrees with the host's clock.
    var ticks: UInt64 { UInt64(reactor.now.nanoseconds) * 8 }

    func queue() throws -> ScriptedInQueue { try #require(device.queue(0x82)) }

    func send(_ times: [UInt64]) throws {
        let records = times.map { ReferenceCard.record(ticks: $0 / 16 * 16, mask: 8) }
        for start in stride(from: 0, to: records.count, by: 64) {
            try queue().send(Array(records[start..<min(start + 64, records.count)].joined()))
        }
    }

    /// Collects blocks until the source ends, and checks the promises of every one.
    func collect(_ source: any TagBlockSource) async throws -> [TagBlock] {
        var blocks: [TagBlock] = []
        var promise = DeviceTicks(0)
        var last: TimeTag?
        while let block = try await source.next() {
            #expect(block.completeThrough >= promise)
            for tag in block.tags {
                #expect(DeviceTicks(tag.ticks) >= promise)
                if let last { #expect(last <= tag) }
                last = tag
            }
            promise = block.completeThrough
            blocks.append(block)
        }
        return blocks
    }
}

struct CQTDriverTests {
    @Test func initialisesByteForByteAsTheReader() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            _ = try await bench.driver.start(AcquisitionPlan())
            try await bench.driver.stop()
            await bench.driver.close()
        }
        let initialize = [
            "030f12", "030104", "030306", "030407", "05020a0011", "0502021e27", "05020a2031",
            "0502d0370e", "0405010a", "03070a", "03090c", "031316", "030b0e",
        ]
        let expected =
            initialize + initialize + ["040d0112", "030e11", "03080b", "03070a", "030c0f"]
        #expect(bench.device.writes(to: 0x01).map(hex).filter { $0 != "0410081c" } == expected)
        #expect(bench.device.operations.first == .claim(interface: 0, alternate: 1))
        #expect(bench.device.operations.last == .close)
        // The transfers are there before the card starts, and go after it has stopped.
        let operations = bench.device.operations
        let opened = try #require(
            operations.firstIndex(of: .openQueue(0x82, count: 256, size: 512)))
        let started = try #require(operations.firstIndex(of: .write(0x01, [3, 14, 17])))
        let stopped = try #require(operations.firstIndex(of: .write(0x01, [3, 12, 15])))
        let cancelled = try #require(operations.firstIndex(of: .cancelQueue(0x82)))
        #expect(opened < started && started < stopped && stopped < cancelled)
    }

    @Test func usesTheCalibrationOfTheUnitAndThePlan() throws {
        let bench = try Bench(unit: CQTTimestampUnit(thresholdCode: 3000, skewCode: 100))
        try bench.reactor.run {
            try await bench.driver.open()
            _ = try await bench.driver.start(
                AcquisitionPlan(flushInterval: .milliseconds(300), usesExternalReference: true))
            await bench.driver.close()
        }
        let packets = bench.device.writes(to: 0x01).map(hex)
        #expect(packets.contains("0502b81bda"))  // 1 << 12 | 3000
        #expect(packets.contains("050264309b"))  // 3 << 12 | 100
        #expect(packets.contains("04050009"))
        #expect(packets.contains("040d0a1b"))  // ten periods: three of them are 300 ms
    }

    @Test(arguments: [[0x01, 0x81], [0x01, 0x81, 0x82, 0x02], [0x01, 0x81, 0x86], []])
    func refusesOtherEndpoints(endpoints: [UInt8]) throws {
        let bench = try Bench(cardSummary(endpoints: endpoints))
        try bench.reactor.run { () -> Void in
            let error = await #expect(throws: DriverError.self) { try await bench.driver.open() }
            #expect(error?.code == .wrongDevice)
        }
        #expect(bench.device.operations == [.close])
    }

    @Test func refusesOtherReleases() throws {
        let bench = try Bench(cardSummary(release: 0x0300))
        try bench.reactor.run { () -> Void in
            let error = await #expect(throws: DriverError.self) { try await bench.driver.open() }
            #expect(error?.code == .wrongDevice)
            #expect(error?.found == "300")
        }
        #expect(bench.device.operations.isEmpty)
    }

    @Test func refusesThresholdsItCanNotSet() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            for thresholds in [[0: Volts(-0.5), 1: Volts(-0.4)], [0: Volts(-0.3)]]
                as [[UInt8: Volts]]
            {
                let error = await #expect(throws: DriverError.self) {
                    try await bench.driver.start(AcquisitionPlan(thresholds: thresholds))
                }
                #expect(error?.code == .notSupported)
            }
            _ = try await bench.driver.start(AcquisitionPlan(thresholds: [2: Volts(-0.5)]))
            await bench.driver.close()
        }
    }

    @Test func deliversTagsAndPromises() throws {
        let bench = try Bench()
        let blocks = try bench.reactor.run { () -> [TagBlock] in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            for _ in 0..<50 {
                try await bench.reactor.sleep(for: .milliseconds(10))
                let now = bench.ticks
                try bench.send((0..<100).map { now - 50_000 + $0 * 160 })
            }
            try await bench.driver.stop()
            return try await bench.collect(source)
        }
        #expect(blocks.reduce(0) { $0 + $1.tags.count } == 5000)
        #expect(blocks.allSatisfy { $0.losses.isEmpty && $0.provenance == .device })
        // The promise follows the tags within the interval of the overflow poll.
        let lag = blocks.compactMap { block in
            block.tags.last.map { Int64($0.ticks) - Int64(block.completeThrough.rawValue) }
        }
        #expect(lag.dropFirst(8).allSatisfy { $0 < 8 * 80_000_000 })
        #expect(
            blocks.last?.completeThrough.rawValue
                == blocks.last { !$0.tags.isEmpty }?.tags.last?.ticks)
    }

    /// No clicks at all: the promise must still move, or everything downstream waits for ever.
    @Test func silenceMovesThePromise() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            try await bench.reactor.sleep(for: .seconds(5))
            var promise: UInt64 = 0
            var block = try await source.next()
            while let next = block, next.arrival <= bench.reactor.now {
                #expect(next.tags.isEmpty)
                promise = next.completeThrough.rawValue
                // Nothing may be promised that the card could still hold: a packet fills in 128
                // periods of its 10 ms timer in the worst case.
                #expect(promise < bench.ticks - 8 * 1_280_000_000)
                if promise > 8 * 3_000_000_000 { break }
                block = try await source.next()
            }
            #expect(promise > 8 * 3_000_000_000)
            // A trickle that the card was allowed to keep is not lost.
            try bench.send([bench.ticks - 8 * 1_200_000_000])
            try await bench.driver.stop()
            let rest = try await bench.collect(source)
            #expect(rest.flatMap(\.tags).count == 1)
            #expect(rest.flatMap(\.losses).isEmpty)
        }
    }

    @Test func overflowIsMarkedFromTheLastGoodPollOn() throws {
        let bench = try Bench()
        let (blocks, overflowed, recovered) = try bench.reactor.run {
            () -> ([TagBlock], UInt64, UInt64) in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            var overflowed: UInt64 = 0
            var recovered: UInt64 = 0
            for step in 0..<100 {
                try await bench.reactor.sleep(for: .milliseconds(10))
                if step == 40 {
                    overflowed = bench.ticks
                    bench.answer(overflow: 1)
                }
                if step == 60 {
                    recovered = bench.ticks
                    bench.answer(overflow: 0)
                }
                // Inhibited: nothing arrives.
                if !(40..<60).contains(step) { try bench.send([bench.ticks - 8000]) }
            }
            #expect(await bench.driver.health != .good)
            try await bench.driver.stop()
            return (try await bench.collect(source), overflowed, recovered)
        }
        let losses = blocks.flatMap(\.losses)
        #expect(losses.allSatisfy { $0.reason == .deviceOverflow })
        let start = try #require(losses.map(\.start.rawValue).min())
        let end = try #require(losses.map(\.end.rawValue).max())
        #expect(start <= overflowed && end >= recovered)
        // Not more than two polls around it.
        #expect(start + 8 * 120_000_000 > overflowed && end < recovered + 8 * 250_000_000)
        // The marks leave no hole.
        for (left, right) in zip(losses, losses.dropFirst()) { #expect(left.end == right.start) }
    }

    /// An overflow between two polls, at full rate: only the gap tells.
    @Test func aGapAtFullRateIsMarked() throws {
        let bench = try Bench()
        let gap: UInt64 = 8 * 100_000
        let (blocks, gapStart) = try bench.reactor.run { () -> ([TagBlock], UInt64) in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            let reading = Task(executorPreference: bench.reactor) {
                try await bench.collect(source)
            }
            var next: UInt64 = bench.ticks
            var gapStart: UInt64 = 0
            for step in 0..<300 {
                try await bench.reactor.sleep(for: .milliseconds(1))
                var times: [UInt64] = []
                while next < bench.ticks - 8000 {
                    times.append(next)
                    next += 4000  // two million tags a second
                }
                if step == 200 {
                    gapStart = (next - 4000) / 16 * 16
                    next += gap
                }
                try bench.send(times)
            }
            try await bench.driver.stop()
            return (try await reading.value, gapStart)
        }
        let losses = blocks.flatMap(\.losses)
        let loss = try #require(losses.first)
        #expect(losses.count == 1 && loss.reason == .deviceOverflow)
        #expect(loss.start == DeviceTicks(gapStart))
        #expect(loss.end >= DeviceTicks(gapStart + gap))
    }

    @Test func failedTransfersAreMarkedAndTheRunGoesOn() throws {
        let bench = try Bench()
        let blocks = try bench.reactor.run { () -> [TagBlock] in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            try await bench.reactor.sleep(for: .milliseconds(100))
            try bench.send([8 * 50_000_000])
            // Half a record came before the failure; it must not be joined with what follows.
            try bench.queue().send([1, 2, 3], error: .io)
            try await bench.reactor.sleep(for: .milliseconds(10))
            try bench.send([8 * 90_000_000])
            try await bench.reactor.sleep(for: .milliseconds(100))
            try await bench.driver.stop()
            return try await bench.collect(source)
        }
        #expect(blocks.flatMap(\.tags).map(\.ticks) == [400_000_000, 720_000_000])
        #expect(
            blocks.flatMap(\.losses) == [
                LossMark(
                    start: DeviceTicks(400_000_000), end: DeviceTicks(720_000_000), count: nil,
                    reason: .transferFailure)
            ])
    }

    @Test(arguments: [
        (USBTransferError.disconnected, DriverErrorCode.disconnected, LossReason.disconnected),
        (USBTransferError.stall, DriverErrorCode.transport, LossReason.transferFailure),
    ])
    func theEndOfTheDeviceEndsTheSource(
        error: USBTransferError, code: DriverErrorCode, reason: LossReason
    ) throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            try await bench.reactor.sleep(for: .milliseconds(100))
            try bench.send([8 * 50_000_000])
            try await bench.reactor.sleep(for: .milliseconds(5))
            try bench.queue().send([], error: error)
            if error == .disconnected {
                try bench.queue().disconnect()
                bench.device.failWrites(.disconnected)
            }
            var losses: [LossMark<DeviceTicks>] = []
            let thrown = await #expect(throws: DriverError.self) {
                while let block = try await source.next() { losses += block.losses }
            }
            #expect(thrown?.code == code)
            #expect(losses.map(\.reason) == [reason])
            #expect(losses.first?.start == DeviceTicks(400_000_000))
            guard case .failed = await bench.driver.health else {
                Issue.record("the driver does not report its failure")
                return
            }
            await bench.driver.close()
        }
        #expect(bench.device.operations.last == .close)
    }

    @Test func tooManyFailuresInARowEndTheRun() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            for _ in 0..<20 { try bench.queue().send([], error: .io) }
            let thrown = await #expect(throws: DriverError.self) {
                while try await source.next() != nil {}
            }
            #expect(thrown?.code == .transport)
            await bench.driver.close()
        }
    }

    @Test func aSilentStatusEndpointEndsTheRun() throws {
        let bench = try Bench()
        bench.device.answer { _, _ in nil }
        try bench.reactor.run { () -> Void in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            let thrown = await #expect(throws: DriverError.self) {
                while try await source.next() != nil {}
            }
            #expect(thrown?.code == .timedOut)
            await bench.driver.close()
        }
    }

    /// A consumer that does not read stops the transfers; nothing is dropped here.
    @Test func backPressureReachesTheDevice() throws {
        let bench = try Bench()
        let count = 600_000
        let (held, blocks) = try bench.reactor.run { () -> (Int, [TagBlock]) in
            try await bench.driver.open()
            let source = try await bench.driver.start(AcquisitionPlan())
            try await bench.reactor.sleep(for: .seconds(1))
            try bench.send((0..<UInt64(count)).map { 1_000_000 + $0 * 8000 })
            try await bench.reactor.sleep(for: .seconds(1))
            let held = try bench.queue().heldBack
            let reading = Task(executorPreference: bench.reactor) {
                try await bench.collect(source)
            }
            try await bench.reactor.sleep(for: .seconds(1))
            #expect(try bench.queue().heldBack == 0)
            try await bench.driver.stop()
            return (held, try await reading.value)
        }
        #expect(held > 4000, "packets stay in the device while nobody reads")
        #expect(blocks.reduce(0) { $0 + $1.tags.count } == count)
    }

    @Test func twoRunsAndWrongStates() throws {
        let bench = try Bench()
        try bench.reactor.run { () -> Void in
            let closed = await #expect(throws: DriverError.self) {
                try await bench.driver.start(AcquisitionPlan())
            }
            #expect(closed?.code == .wrongState)
            try await bench.driver.open()
            try await bench.driver.open()
            for _ in 0..<2 {
                let source = try await bench.driver.start(AcquisitionPlan())
                let second = await #expect(throws: DriverError.self) {
                    try await bench.driver.start(AcquisitionPlan())
                }
                #expect(second?.code == .wrongState)
                try await bench.driver.stop()
                try await bench.driver.stop()
                _ = try await bench.collect(source)
            }
            let report = try await bench.driver.selfTest()
            #expect(report.passed)
            await bench.driver.close()
            await bench.driver.close()
        }
    }
}
