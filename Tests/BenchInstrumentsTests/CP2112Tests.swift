import BenchInstruments
import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import Synchronization
import TestSupport
import Testing

/// Reports as Linux hid-cp2112 sends them and expects them.
struct CP2112WireTests {
    private func profile() throws -> DeviceProfile {
        try #require(try FirmwareProfiles.catalog()["silabs-cp2112"])
    }

    /// cp2112_gpio_direction_output: report 2 with the bit of the line and 0xff for push-pull; then
    /// cp2112_gpio_set: report 4 with 0xff and the bit. SET_REPORT of a feature report, HID 1.11.
    @Test(arguments: [
        ("set_lines_config", [1.0, 0xFF, 0, 0], "02 01 ff 00 00", UInt16(0x0302)),
        ("set_lines", [0xFF, 8], "04 ff 08", 0x0304), ("set_lines", [0, 0x80], "04 00 80", 0x0304),
    ])
    func reports(name: String, values: [Double], expected: String, value: UInt16) throws {
        let wire = try CP2112Wire(try profile())
        let (request, data) = try wire.report(try profile().command(name), values)
        #expect(data == (bytes(hex: expected)))
        #expect(
            request == USBControlRequest(requestType: 0x21, request: 9, value: value, index: 0))
    }

    /// The lengths are those of the buffers and structures of hid-cp2112, number included.
    @Test(arguments: [
        ("get_lines_config", UInt16(0x0302), 5), ("get_lines", 0x0303, 2), ("version", 0x0305, 3),
        ("get_bus_config", 0x0306, 14), ("get_lock", 0x0320, 2), ("get_usb_config", 0x0321, 10),
    ])
    func queries(name: String, value: UInt16, length: Int) throws {
        let wire = try CP2112Wire(try profile())
        let query = wire.query(try profile().command(name))
        #expect(
            query.request
                == USBControlRequest(requestType: 0xA1, request: 1, value: value, index: 0))
        #expect(query.length == length)
    }

    @Test func damagedReportsNeverPass() throws {
        let profile = try profile()
        let wire = try CP2112Wire(profile)
        let version = try profile.command("version")
        let good = bytes(hex: "05 0c 02")
        #expect(try wire.decode(good, of: version) == [0x0C, 0x02])
        var generator = SeededGenerator(seed: 7, label: "cp2112 reports")
        for _ in 0..<2000 {
            let damaged = mutated(good, using: &generator)
            if let body = try? wire.decode(damaged, of: version) {
                #expect(body.count == 2 && damaged.count == 3 && damaged[0] == 5)
            }
        }
    }
}

/// The driver of the CP2112 against an adapter that a test scripts.
struct CP2112DriverTests {
    /// What the adapter holds, by AN495 as hid-cp2112 uses it.
    private final class Adapter: Sendable {
        struct State {
            var config: [UInt8] = [0x0F, 0x0F, 0x83, 4]
            var latch: UInt8 = 0xFF
            var pins: UInt8 = 0
            var version: [UInt8] = [0x0C, 2]
            /// What the outside sees of line 0 whenever something changes: nil when not driven.
            var history: [Bool?] = []
        }
        let state = Mutex(State())

        func answer(
            _ request: USBControlRequest, _ data: [UInt8]
        ) -> Result<[UInt8], USBTransferError> {
            state.withLock { state in
                switch (request.requestType, request.value) {
                case (0xA1, 0x0302): return .success([2] + state.config)
                case (0xA1, 0x0303):
                    let direction = state.config[0]
                    return .success([3, state.latch & direction | state.pins & ~direction])
                case (0xA1, 0x0305): return .success([5] + state.version)
                case (0x21, 0x0302): state.config = Array(data.dropFirst())
                case (0x21, 0x0304):
                    let mask = data[2] & state.config[0]
                    state.latch = state.latch & ~mask | data[1] & mask
                default: return .failure(.stall)
                }
                let (isOutput, isPushPull) = (
                    state.config[0] & 1 == 1, state.config[1] & 1 == 1
                )
                let level = state.latch & 1 == 1
                state.history.append(isOutput && (isPushPull || !level) ? level : nil)
                return .success([])
            }
        }
    }

    private struct Bench: Sendable {
        let reactor = VirtualReactor()
        let adapter: Adapter
        let device: ScriptedReplyDevice
        let driver: CP2112Driver
        let chip = "cp2112-0041BE72"

        init() throws {
            let adapter = Adapter()
            self.adapter = adapter
            let summary = USBDeviceSummary(
                id: USBDeviceID(path: "1-1", address: 4), vendorID: 0x10C4, productID: 0xEA90,
                bcdDevice: 0, classTriple: [0, 0, 0], speed: .full, manufacturer: nil,
                product: nil, serial: "0041BE72", interfaces: [], access: .available,
                isEmulated: false)
            device = ScriptedReplyDevice(
                summary, reactor: reactor, onControl: { adapter.answer($0, $1) })
            let profile = try #require(try FirmwareProfiles.catalog()["silabs-cp2112"])
            driver = try CP2112Driver(
                profile: profile, host: ScriptedReplyHost(device), device: summary,
                reactor: reactor)
        }

        func line(_ offset: UInt32) -> GPIOLineID { GPIOLineID(chip: chip, offset: offset) }
        let options = GPIOLineOptions(consumer: "test")
        func setPins(_ pins: UInt8) { adapter.state.withLock { $0.pins = pins } }
    }

    @Test func opensWithEveryLineAnInput() throws {
        let bench = try Bench()
        try bench.reactor.run {
            #expect(try await bench.driver.lines.chips().isEmpty)
            try await bench.driver.open()
            #expect(bench.adapter.state.withLock { $0.config } == [0, 0, 0, 0])
            #expect(await bench.driver.identity.firmware == "2")
            let chip = try #require(try await bench.driver.lines.chips().first)
            #expect(chip.name == bench.chip && chip.lineNames.count == 8)
            #expect(chip.lineNames[7] == "gpio_7" && chip.consumers.allSatisfy { $0 == nil })
            #expect(try await bench.driver.selfTest().passed)
            await bench.driver.close()
            #expect(bench.device.isClosed)
        }
    }

    /// From input to output and back to closed, the outside never sees the unsafe level.
    @Test(arguments: [false, true])
    func outputsAppearWithoutAGlitch(safe: Bool) throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            bench.adapter.state.withLock { $0.history = [] }
            let output = try await bench.driver.lines.output(
                bench.line(0), safeLevel: safe, options: bench.options)
            let history = bench.adapter.state.withLock { $0.history }
            #expect(history.last == .some(safe))
            #expect(history.allSatisfy { $0 == nil || $0 == safe }, "\(history)")
            try await output.set(!safe)
            #expect(bench.adapter.state.withLock { $0.history }.last == .some(!safe))
            await bench.driver.close()
            #expect(bench.adapter.state.withLock { $0.history }.last == .some(safe))
            let error = await #expect(throws: GPIOError.self) { try await output.set(true) }
            #expect(error == .closed(bench.line(0)))
        }
    }

    @Test func activeLowLines() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let low = GPIOLineOptions(consumer: "test", isActiveLow: true)
            let output = try await bench.driver.lines.output(
                bench.line(0), safeLevel: false, options: low)
            #expect(bench.adapter.state.withLock { $0.history }.last == .some(true))
            try await output.set(true)
            #expect(bench.adapter.state.withLock { $0.history }.last == .some(false))
            await output.release()
            #expect(bench.adapter.state.withLock { $0.history }.last == .some(true))
            let input = try await bench.driver.lines.input(bench.line(3), options: low)
            #expect(try await input.level())
            bench.setPins(8)
            #expect(try await input.nextEdge().isRising == false)
            await bench.driver.close()
        }
    }

    @Test func linesHaveOneUser() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let lines = bench.driver.lines
            let first = try await lines.input(bench.line(2), options: bench.options)
            let busy = await #expect(throws: GPIOError.self) {
                _ = try await lines.output(
                    bench.line(2), safeLevel: false, options: bench.options)
            }
            #expect(busy == .busy(bench.line(2), consumer: "test"))
            await first.release()
            await first.release()
            let second = try await lines.output(
                bench.line(2), safeLevel: false, options: bench.options)
            await second.release()
            for wrong in [bench.line(8), GPIOLineID(chip: "gpiochip0", offset: 0)] {
                let error = await #expect(throws: GPIOError.self) {
                    _ = try await lines.input(wrong, options: bench.options)
                }
                #expect(error == .notFound("line \(wrong)"))
            }
            await bench.driver.close()
            let closed = await #expect(throws: GPIOError.self) {
                _ = try await lines.input(bench.line(0), options: bench.options)
            }
            guard case .notFound = closed else {
                Issue.record("\(String(describing: closed))")
                return
            }
        }
    }

    /// Edges are found by the poll; a pulse between two polls is not, and every edge says so.
    @Test func edgesArePolled() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let input = try await bench.driver.lines.input(bench.line(5), options: bench.options)
            let start = bench.reactor.now
            bench.reactor.schedule(at: start + .milliseconds(33)) { bench.setPins(0x20) }
            let edge = try await input.nextEdge()
            #expect(edge.isRising && edge.lossPossible)
            #expect(edge.time > start + .milliseconds(33))
            #expect(edge.time <= start + .milliseconds(45))
            // Shorter than the poll.
            bench.reactor.schedule(at: edge.time + .milliseconds(2)) { bench.setPins(0) }
            bench.reactor.schedule(at: edge.time + .milliseconds(4)) { bench.setPins(0x20) }
            bench.reactor.schedule(at: edge.time + .milliseconds(100)) { bench.setPins(0) }
            let next = try await input.nextEdge()
            #expect(!next.isRising && next.time > edge.time + .milliseconds(99))
            // A line that nobody watches is not polled.
            await input.release()
            try await bench.reactor.sleep(for: .milliseconds(50))
            let before = bench.device.requests.count
            try await bench.reactor.sleep(for: .seconds(1))
            #expect(bench.device.requests.count == before)
            await bench.driver.close()
        }
    }

    @Test func anUnpluggedAdapterClosesItsLines() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let input = try await bench.driver.lines.input(bench.line(5), options: bench.options)
            let output = try await bench.driver.lines.output(
                bench.line(0), safeLevel: false, options: bench.options)
            bench.reactor.schedule(at: bench.reactor.now + .milliseconds(100)) {
                bench.device.fail(.disconnected)
            }
            let edge = await #expect(throws: GPIOError.self) { try await input.nextEdge() }
            #expect(edge == .closed(bench.line(5)))
            guard case .failed = await bench.driver.health else {
                Issue.record("health")
                return
            }
            let level = await #expect(throws: GPIOError.self) { try await output.set(true) }
            #expect(level == .closed(bench.line(0)))
            let test = await #expect(throws: DriverError.self) {
                try await bench.driver.selfTest()
            }
            #expect(test?.code == .disconnected)
            await bench.driver.close()
            bench.device.fail(nil)
            try await bench.driver.open()
            #expect(await bench.driver.health == .good)
            await bench.driver.close()
        }
    }

    /// A silent adapter is not waited for without end, and one that recovers goes on.
    @Test func failedPollsAreReported() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let input = try await bench.driver.lines.input(bench.line(5), options: bench.options)
            bench.device.fail(.timedOut(transferred: 0))
            try await bench.reactor.sleep(for: .milliseconds(25))
            guard case .degraded = await bench.driver.health else {
                Issue.record("one failed poll is not reported")
                return
            }
            bench.device.fail(nil)
            try await bench.reactor.sleep(for: .milliseconds(25))
            #expect(await bench.driver.health == .good)
            bench.device.fail(.io)
            let edge = await #expect(throws: GPIOError.self) { try await input.nextEdge() }
            #expect(edge == .closed(bench.line(5)))
            guard case .failed = await bench.driver.health else {
                Issue.record("health")
                return
            }
            await bench.driver.close()
        }
    }

    @Test func otherPartsAreRefused() throws {
        for version: [UInt8] in [[0x0B, 2], [0x0C, 0]] {
            let bench = try Bench()
            bench.adapter.state.withLock { $0.version = version }
            try bench.reactor.run {
                let error = await #expect(throws: DriverError.self) {
                    try await bench.driver.open()
                }
                #expect(error?.code == .wrongDevice)
                #expect(bench.device.isClosed)
                // Nothing was changed on a device that is not ours.
                #expect(bench.adapter.state.withLock { $0.config } == [0x0F, 0x0F, 0x83, 4])
            }
        }
    }
}
