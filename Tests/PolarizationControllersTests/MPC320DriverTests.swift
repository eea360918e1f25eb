import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import PolarizationControllers
import Quantities
import Synchronization
import TestSupport
import Testing

/// A controller with three paddles that moves one count a millisecond, one paddle after the other.
final class FakeMPC320: Sendable {
    struct State {
        var position: [UInt8: Int32] = [1: 100, 2: 200, 4: 300]
        var bits: UInt32 = 1 << 10 | 1 << 8
        var requests: [(message: UInt16, parameter: UInt8, at: HostInstant)] = []
        var frames: [String] = []
        var model = "MPC320"
        var busyUntil = HostInstant.zero
        var moveNumber = 0
        var ignored: Set<UInt16> = []
        var fault: [UInt8]?
        var reached: Int32?
    }
    let stream: ScriptedStream
    let reactor: VirtualReactor
    let state = Mutex(State())

    init(reactor: VirtualReactor) {
        self.reactor = reactor
        stream = ScriptedStream(reactor: reactor)
        stream.onWrite { [weak self] bytes in self?.take(bytes) }
    }
    func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }
    var requests: [(message: UInt16, parameter: UInt8, at: HostInstant)] {
        state.withLock { $0.requests }
    }
    var frames: [String] { state.withLock { $0.frames } }

    /// The driver writes one frame at a time.
    private func take(_ bytes: [UInt8]) {
        let message = UInt16(bytes[0]) | UInt16(bytes[1]) << 8
        let parameter = bytes.count > 6 ? bytes[6] : bytes[2]
        let isIgnored = state.withLock { state in
            state.requests.append((message, parameter, reactor.now))
            state.frames.append(hex(bytes))
            return state.ignored.contains(message)
        }
        if isIgnored { return }
        switch message {
        case 0x0005: stream.send(info(), after: .milliseconds(2))
        case 0x0211: stream.send(short(0x0212, 7, 1) + [0, 0], after: .milliseconds(2))
        case 0x0531:
            stream.send(
                [0x32, 0x05, 12, 0, 0x81, 0x50, 0, 0, 50, 0, 0xAD, 2, 25, 0, 25, 0, 25, 0],
                after: .milliseconds(2))
        case 0x0443: stream.send(short(0x0444, parameter, 0), after: .milliseconds(500))
        case 0x0453: move(parameter, to: Int32(bytes[8]) | Int32(bytes[9]) << 8)
        case 0x0465:
            set {
                $0.moveNumber += 1
                $0.busyUntil = .zero
            }
            stream.send(short(0x0466, parameter, 0), after: .milliseconds(2))
        case 0x0490: stream.send(status(parameter), after: .milliseconds(2))
        default: break
        }
    }

    private func move(_ mask: UInt8, to target: Int32) {
        let (done, number, fault) = state.withLock { state in
            let start = max(reactor.now, state.busyUntil)
            let distance = abs((state.position[mask] ?? 0) - target)
            state.busyUntil = start + .milliseconds(Int64(distance))
            return (state.busyUntil, state.moveNumber, state.fault)
        }
        if let fault {
            stream.send(fault, after: .milliseconds(2))
            return
        }
        reactor.schedule(at: done) { [self] in
            let isCurrent = state.withLock { state in
                guard state.moveNumber == number else { return false }
                state.position[mask] = state.reached ?? target
                return true
            }
            if isCurrent { stream.send(short(0x0464, mask, 0)) }
        }
    }

    func short(_ message: UInt16, _ first: UInt8, _ second: UInt8) -> [UInt8] {
        [UInt8(message & 255), UInt8(message >> 8), first, second, 0x01, 0x50]
    }
    func status(_ mask: UInt8) -> [UInt8] {
        let (position, bits) = state.withLock { ($0.position[mask] ?? 0, $0.bits) }
        let word = UInt32(bitPattern: position)
        return [0x91, 0x04, 14, 0, 0x81, 0x50, mask, 0]
            + (0..<4).map { UInt8(word >> (8 * $0) & 255) } + [0, 0, 0, 0]
            + (0..<4).map { UInt8(bits >> (8 * $0) & 255) }
    }
    private func info() -> [UInt8] {
        let model = Array(state.withLock { $0.model }.utf8.prefix(8))
        let padded = model + [UInt8](repeating: 0, count: 8 - model.count)
        return [0x06, 0x00, 84, 0, 0x81, 0x50, 0xA4, 0x38, 0x4A, 0x02] + padded
            + [44, 0, 3, 0, 1, 0] + [UInt8](repeating: 0, count: 60) + [1, 0, 0, 0, 3, 0]
    }
}

struct MPC320DriverTests {
    let reactor = VirtualReactor()
    private let device: FakeMPC320
    let driver: ThorlabsMPC320Driver

    init() throws {
        let device = FakeMPC320(reactor: reactor)
        self.device = device
        driver = try ThorlabsMPC320Driver(
            profile: try #require(try FirmwareProfiles.catalog()["thorlabs-mpc320"]),
            source: StreamSource(name: "test") { () async throws(ByteStreamError) in
                InstrumentStream(device.stream)
            }, serial: "38418404", isEmulated: false, reactor: reactor)
    }

    /// The angle of a count: 1370 counts are 170 degrees.
    private func angle(_ counts: Double) -> ActuatorSetting {
        .angle(Radians(degrees: counts * 170 / 1370))
    }

    @Test func opensWithoutMovingWhatWasHomed() throws {
        try reactor.run { [self] in
            try await driver.open()
            #expect(await driver.identity.serial == "38418596")
            #expect(await driver.identity.firmware == "1.0.3")
            #expect(await driver.health == .good)
            await driver.close()
        }
        #expect(device.stream.discards == 1)
        #expect(device.stream.modemLines.map(\.rts) == [true])
        let expected = [
            "120000005001", "050000005001", "100207015001", "310500005001", "900401005001",
            "900402005001", "900404005001", "110000005001",
        ]
        #expect(Array(device.frames.filter { $0 != "920400005001" }.prefix(8)) == expected)
        #expect(!device.frames.contains { $0.hasPrefix("4304") })
        #expect(!device.stream.isOpen)
    }

    @Test func homesWhatNeverWas() throws {
        device.set { $0.bits = 1 << 8 }
        try reactor.run { [self] in
            try await driver.open()
            await driver.close()
        }
        #expect(
            device.frames.filter { $0.hasPrefix("4304") }
                == ["430401005001", "430402005001", "430404005001"])
    }

    @Test func movesAndReportsTheReadback() throws {
        let report = try reactor.run { [self] () -> MotionReport in
            try await driver.open()
            device.set { $0.reached = 687 }
            let report = try await driver.move(2, to: angle(685))
            await driver.close()
            return report
        }
        #expect(device.frames.contains("53040600d0010400ad020000"))
        #expect(report.axis == 2)
        #expect(abs(report.reached.value - angle(687).value) < 1e-12)
        #expect(report.finished - report.started >= .milliseconds(385))
        #expect(report.finished - report.started < .milliseconds(400))
    }

    /// Small moves are made twenty times a second: command, completion, status.
    @Test func smallMovesAreQuick() throws {
        try reactor.run { [self] in
            try await driver.open()
            try await reactor.sleep(for: .milliseconds(20))
            let start = reactor.now
            for step in 0..<20 {
                _ = try await driver.move(0, to: angle(110 + Double(step % 2)))
            }
            let elapsed = reactor.now - start
            #expect(elapsed < .milliseconds(20 * 50), "\(elapsed)")
            await driver.close()
        }
        let sent = device.requests.filter { $0.message != 0x0465 }.map(\.at)
        for (left, right) in zip(sent, sent.dropFirst()) {
            #expect(right - left >= .milliseconds(10), "commands closer than the profile allows")
        }
    }

    @Test func movesSeveralAxesTogether() throws {
        let reports = try reactor.run { [self] () -> [MotionReport] in
            try await driver.open()
            let reports = try await driver.move([
                2: angle(310), 0: angle(120), 1: angle(230),
            ])
            await driver.close()
            return reports
        }
        #expect(reports.map(\.axis) == [0, 1, 2])
        let moves = device.requests.filter { $0.message == 0x0453 }
        #expect(moves.map(\.parameter) == [1, 2, 4])
        // All three are under way before the first has ended.
        #expect(moves[2].at - moves[0].at < .milliseconds(30))
    }

    @Test func refusesBeforeAnythingIsSent() throws {
        try reactor.run { [self] () -> Void in
            let closed = await #expect(throws: DriverError.self) {
                try await driver.move(0, to: angle(200))
            }
            #expect(closed?.code == .wrongState)
            try await driver.open()
            device.set { $0.frames = [] }
            let cases: [(Int, ActuatorSetting, DriverErrorCode)] = [
                (0, angle(1369), .outOfRange), (0, .angle(Radians(degrees: 0.5)), .outOfRange),
                (0, .angle(Radians(-1)), .outOfRange), (0, .angle(Radians(.nan)), .outOfRange),
                (3, angle(200), .outOfRange), (-1, angle(200), .outOfRange),
                (0, .voltage(Volts(1)), .notSupported),
            ]
            for (axis, setting, code) in cases {
                let error = await #expect(throws: DriverError.self) {
                    try await driver.move([1: angle(200), axis: setting])
                }
                #expect(error?.code == code)
            }
            #expect(!device.frames.contains { $0.hasPrefix("5304") })
            await driver.close()
        }
    }

    @Test func haltEndsAMotionAtOnce() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            let moving = Task(executorPreference: reactor) { [driver] in
                try await driver.move(0, to: angle(1200))
            }
            try await reactor.sleep(for: .milliseconds(100))
            let start = reactor.now
            try await driver.halt()
            let error = await #expect(throws: DriverError.self) { try await moving.value }
            #expect(error?.code == .cancelled)
            #expect(reactor.now - start < .milliseconds(20))
            let stops = device.requests.filter { $0.message == 0x0465 }
            #expect(stops.map(\.parameter) == [1, 2, 4])
            #expect(stops.allSatisfy { $0.at == start })
            // The confirmations of the halt do not end the next move.
            _ = try await driver.move(0, to: angle(110))
            await driver.close()
        }
    }

    @Test func cancellingTheTaskStopsThePaddle() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            let moving = Task(executorPreference: reactor) { [driver] in
                try await driver.move(0, to: angle(1200))
            }
            try await reactor.sleep(for: .milliseconds(100))
            moving.cancel()
            let error = await #expect(throws: DriverError.self) { try await moving.value }
            #expect(error?.code == .cancelled)
            #expect(device.requests.contains { $0.message == 0x0465 && $0.parameter == 1 })
            await driver.close()
        }
    }

    @Test func aPaddleThatNeverArrivesTimesOutAndIsStopped() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.ignored = [0x0453] }
            let start = reactor.now
            let error = await #expect(throws: DriverError.self) {
                try await driver.move(1, to: angle(210))
            }
            #expect(error?.code == .timedOut)
            #expect(reactor.now - start >= .seconds(30))
            #expect(device.requests.contains { $0.message == 0x0465 && $0.parameter == 2 })
            await driver.close()
        }
    }

    @Test func reportsMissedTargetsAndFaults() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.reached = 400 }
            let missed = await #expect(throws: DriverError.self) {
                try await driver.move(1, to: angle(500))
            }
            #expect(missed?.code == .deviceFault)
            device.set { $0.bits |= 1 << 17 }
            let hot = await #expect(throws: DriverError.self) {
                try await driver.move(1, to: angle(400))
            }
            #expect(hot?.code == .deviceFault && hot?.found == "over_temperature")
            #expect(await driver.health == .degraded("over_temperature"))
            device.set { state in
                state.bits = 1 << 10
                let text = Array("overload".utf8) + [UInt8](repeating: 0, count: 56)
                state.fault = [0x81, 0, 68, 0, 0x81, 0x50, 0x53, 0x04, 9, 0] + text
            }
            let fault = await #expect(throws: DriverError.self) {
                try await driver.move(1, to: angle(300))
            }
            #expect(fault?.code == .deviceFault && fault?.found == "code 9: overload")
            await driver.close()
        }
    }

    @Test func keepsTheUpdatesAlive() throws {
        try reactor.run { [self] in
            try await driver.open()
            device.set { $0.requests = [] }
            try await reactor.sleep(for: .seconds(10))
            let acknowledgements = device.requests.filter { $0.message == 0x0492 }
            #expect((11...12).contains(acknowledgements.count))
            // An unsolicited update changes the health.
            device.set { $0.bits |= 1 << 26 }
            device.stream.send([0, 0] + device.status(2))
            try await reactor.sleep(for: .milliseconds(10))
            #expect(await driver.health == .degraded("over_current"))
            await driver.close()
            device.set { $0.requests = [] }
            try await reactor.sleep(for: .seconds(10))
            #expect(device.requests.isEmpty, "nothing is sent after closing")
        }
    }

    @Test func refusesOtherModelsAndSilence() throws {
        device.set { $0.model = "K10CR1" }
        try reactor.run { [self] () -> Void in
            let error = await #expect(throws: DriverError.self) { try await driver.open() }
            #expect(error?.code == .wrongDevice)
            #expect(!device.stream.isOpen)
        }
        let silent = try MPC320DriverTests()
        silent.device.set { $0.ignored = [0x0005] }
        try silent.reactor.run { () -> Void in
            let error = await #expect(throws: DriverError.self) { try await silent.driver.open() }
            #expect(error?.code == .timedOut)
        }
    }

    @Test func unpluggingEndsEverything() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            let moving = Task(executorPreference: reactor) { [driver] in
                try await driver.move(0, to: angle(1200))
            }
            try await reactor.sleep(for: .milliseconds(100))
            device.stream.fail(.usb(.disconnected))
            let error = await #expect(throws: DriverError.self) { try await moving.value }
            #expect(error?.code == .disconnected)
            guard case .failed = await driver.health else {
                Issue.record("the driver does not report its failure")
                return
            }
            await driver.close()
            #expect(!device.stream.isOpen)
        }
    }

    @Test func setsTheVelocityAndKeepsTheRest() throws {
        try reactor.run { [self] in
            try await driver.open()
            try await driver.setVelocity(percent: 80)
            let report = try await driver.selfTest()
            #expect(report.passed && report.checks.count == 4)
            await driver.close()
        }
        #expect(device.frames.contains("30050c00d00100005000ad02190019001900"))
    }
}
