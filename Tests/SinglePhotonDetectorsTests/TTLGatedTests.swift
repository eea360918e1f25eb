import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import SinglePhotonDetectors
import TestSupport
import Testing

private func place(_ offset: UInt32) -> GPIOLineID { GPIOLineID(chip: "gpiochip0", offset: offset) }

private let wiring: LineAssignment = [
    .gateEnable: place(0), .biasEnable: place(1), .fault: place(2), .overLight: place(3),
    .interlock: place(4), .shutterCommand: place(5), .shutterClosed: place(6),
    .shutterOpen: place(7), .pulsePerSecond: place(8),
]

struct TTLGatedTests {
    let reactor = VirtualReactor()
    let gpio: ScriptedGPIO
    let driver: TTLGatedDriver
    private let gate = place(0)
    private let bias = place(1)
    private let fault = place(2)
    private let overLight = place(3)
    private let interlock = place(4)
    private let shutter = place(5)

    init() throws {
        gpio = ScriptedGPIO(reactor: reactor)
        driver = try TTLGatedDriver(
            profile: try #require(try FirmwareProfiles.catalog()["ttl-gated-spad"]), name: "h",
            wiring: wiring, host: gpio, reactor: reactor)
        gpio.preset(interlock, true)
        gpio.preset(place(7), true)
    }

    private func run(_ body: @escaping @Sendable (TTLGatedTests) async throws -> Void) throws {
        try reactor.run { [self] in
            try await driver.open()
            try await body(self)
            await driver.close()
        }
        // However a test ends, nothing stays on.
        #expect(gpio.level(gate) == false)
        #expect(gpio.level(bias) == false)
        #expect(gpio.level(shutter) == false)
    }

    private func isCounting() async throws -> Bool { try await driver.status().isCounting }

    @Test func asksForTheLinesAsTheProfileSays() throws {
        try run { test in
            // Outputs first, at their safe levels, before any input is asked for.
            #expect(test.gpio.drives.map(\.level) == [false, false, false])
            #expect(test.gpio.options(test.fault)?.isActiveLow == true)
            #expect(test.gpio.options(test.overLight)?.isActiveLow == true)
            #expect(test.gpio.options(test.interlock)?.isActiveLow == false)
            #expect(test.gpio.options(test.gate)?.isActiveLow == false)
        }
    }

    @Test func refusesAWiringWithoutARequiredLine() throws {
        var incomplete = wiring
        incomplete[.overLight] = nil
        let profile = try #require(try FirmwareProfiles.catalog()["ttl-gated-spad"])
        let error = #expect(throws: DriverError.self) {
            try TTLGatedDriver(
                profile: profile, name: "h",
                wiring: incomplete, host: gpio, reactor: reactor)
        }
        #expect(error?.code == .wrongDevice)
    }

    @Test func armsBiasThenShutterThenGate() throws {
        try run { test in
            let before = test.gpio.drives.count
            try await test.driver.arm()
            let drives = test.gpio.drives.dropFirst(before)
            #expect(drives.map(\.line) == [test.bias, test.shutter, test.gate])
            #expect(drives.map(\.level) == [true, true, true])
            let times = drives.map(\.at)
            #expect(times[1] - times[0] >= .milliseconds(100))
            #expect(times[2] - times[1] >= .milliseconds(100))
            #expect(try await test.isCounting())
            try await test.driver.disarm()
            let off = test.gpio.drives.dropFirst(before + 3).filter { !$0.level }
            #expect(off.first?.line == test.gate)
            #expect(off.map(\.line).last == test.bias)
            #expect(try await !test.isCounting())
        }
    }

    @Test(arguments: [
        (UInt32(2), true, DetectorSafetyEvent.Cause.fault),
        (3, true, .overLight), (4, false, .interlockOpened),
    ])
    func aSafetyLineClosesTheGateAtOnce(
        offset: UInt32, level: Bool, cause: DetectorSafetyEvent.Cause
    ) throws {
        try run { test in
            try await test.driver.arm()
            try await test.reactor.sleep(for: .milliseconds(7))
            let before = test.gpio.drives.count
            let edge = test.reactor.now
            test.gpio.change(place(offset), to: level)
            let event = try await test.driver.nextSafetyEvent()
            #expect(event == DetectorSafetyEvent(cause: cause, time: edge))
            let drives = Array(test.gpio.drives.dropFirst(before))
            #expect(drives.first?.line == test.gate && drives.first?.level == false)
            #expect(drives.allSatisfy { !$0.level && $0.at == edge })
            #expect(Set(drives.map(\.line)) == [test.gate, test.shutter, test.bias])
            #expect(try await !test.isCounting())
            // It stays off, and arming is refused as long as the cause is there.
            let refused = await #expect(throws: DriverError.self) { try await test.driver.arm() }
            #expect(refused?.code == .interlock)
            let gate = await #expect(throws: DriverError.self) {
                try await test.driver.setGateEnabled(true)
            }
            #expect(gate?.code == .wrongState)
            test.gpio.change(place(offset), to: !level)
            try await test.driver.arm()
            #expect(try await test.isCounting())
            #expect(await test.driver.health == .good)
        }
    }

    /// Too much light for a moment: the line is quiet again when it is read, the event counts.
    @Test func aShortPulseTrips() throws {
        try run { test in
            try await test.driver.arm()
            test.gpio.report(
                test.overLight,
                GPIOEdge(time: test.reactor.now, isRising: true, lossPossible: true))
            _ = try await test.driver.nextSafetyEvent()
            #expect(test.gpio.level(test.gate) == false)
        }
    }

    /// uAPI v1 drops the newest edge when sixteen wait: the last edge that is seen says "quiet", the
    /// level says "fault".
    @Test func readsTheLevelAgainWhenEdgesMayBeLost() throws {
        try run { test in
            try await test.driver.arm()
            test.gpio.preset(test.fault, true)
            test.gpio.report(
                test.fault, GPIOEdge(time: test.reactor.now, isRising: false, lossPossible: true))
            #expect(try await test.driver.nextSafetyEvent().cause == .fault)
            #expect(test.gpio.level(test.gate) == false)
        }
    }

    @Test func aLostEdgeIsFoundByLookingAgain() throws {
        try run { test in
            try await test.driver.arm()
            let start = test.reactor.now
            test.gpio.change(test.interlock, to: false, isLost: true)
            #expect(try await test.driver.nextSafetyEvent().cause == .interlockOpened)
            #expect(test.reactor.now - start <= .milliseconds(100))
            #expect(test.gpio.level(test.gate) == false)
        }
    }

    @Test func anEdgeWhileArmingStopsIt() throws {
        try run { test in
            let arming = Task(executorPreference: test.reactor) { try await test.driver.arm() }
            try await test.reactor.sleep(for: .milliseconds(150))
            #expect(test.gpio.level(test.bias) == true)
            // Long enough to trip, gone before the next step looks at the level.
            test.gpio.change(test.overLight, to: true)
            test.gpio.change(test.overLight, to: false)
            let error = await #expect(throws: DriverError.self) { try await arming.value }
            #expect(error?.code == .interlock)
            #expect(!test.gpio.drives.contains { $0.line == test.gate && $0.level })
            #expect(test.gpio.level(test.bias) == false)
        }
    }

    @Test func aSafetyLineThatBreaksClosesTheGate() throws {
        try run { test in
            try await test.driver.arm()
            test.gpio.breakInput(test.overLight)
            #expect(try await test.driver.nextSafetyEvent().cause == .fault)
            #expect(test.gpio.level(test.gate) == false)
            guard case .failed = await test.driver.health else {
                Issue.record("a broken safety line is a failed detector")
                return
            }
            await #expect(throws: DriverError.self) { try await test.driver.arm() }
        }
    }

    @Test func aGateThatCanNotBeClosedIsReported() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            try await driver.arm()
            gpio.failOutput(gate)
            let error = await #expect(throws: DriverError.self) { try await driver.disarm() }
            #expect(error?.code == .deviceFault)
            guard case .failed = await driver.health else {
                Issue.record("a gate that stays open is a failed detector")
                return
            }
            await driver.close()
        }
    }

    @Test func gatesWhileArmedOnly() throws {
        try run { test in
            let early = await #expect(throws: DriverError.self) {
                try await test.driver.setGateEnabled(true)
            }
            #expect(early?.code == .wrongState)
            try await test.driver.arm()
            try await test.driver.setGateEnabled(false)
            #expect(test.gpio.level(test.gate) == false)
            #expect(test.gpio.level(test.bias) == true)
            try await test.driver.setGateEnabled(true)
            #expect(test.gpio.level(test.gate) == true)
        }
    }

    @Test func refusesAShutterWithBothEnds() throws {
        gpio.preset(place(6), true)
        try run { test in
            let error = await #expect(throws: DriverError.self) { try await test.driver.arm() }
            #expect(error?.code == .deviceFault)
            let report = try await test.driver.selfTest()
            #expect(!report.passed)
        }
    }

    @Test func singleLines() throws {
        try run { test in
            #expect(try await test.driver.level(.shutterOpen))
            let edge = Task(executorPreference: test.reactor) {
                try await test.driver.nextEdge(.pulsePerSecond)
            }
            try await test.reactor.sleep(for: .seconds(1))
            test.gpio.change(place(8), to: true)
            #expect(try await edge.value.time == HostInstant(nanoseconds: 1_000_000_000))
            let stolen = await #expect(throws: DriverError.self) {
                try await test.driver.nextEdge(.fault)
            }
            #expect(stolen?.code == .notSupported)
            try await test.driver.set(.shutterCommand, true)
            test.gpio.change(test.interlock, to: false)
            _ = try await test.driver.nextSafetyEvent()
            #expect(test.gpio.level(test.shutter) == false)
            let refused = await #expect(throws: DriverError.self) {
                try await test.driver.set(.shutterCommand, true)
            }
            #expect(refused?.code == .interlock)
            test.gpio.change(test.interlock, to: true)
        }
    }

    @Test func nothingIsLeftAfterClosing() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            try await driver.arm()
            let waiting = Task(executorPreference: reactor) { [driver] in
                try await driver.nextSafetyEvent()
            }
            try await reactor.sleep(for: .milliseconds(1))
            await driver.close()
            let error = await #expect(throws: DriverError.self) { try await waiting.value }
            #expect(error?.code == .wrongState)
            #expect(gpio.level(gate) == false)
            await driver.close()
        }
    }
}
