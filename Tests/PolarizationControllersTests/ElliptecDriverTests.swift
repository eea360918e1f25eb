import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import PolarizationControllers
import Quantities
import Synchronization
import TestSupport
import Testing

/// Mounts on one line that turn 100 counts a millisecond, written from the protocol manual.
private final class FakeMounts: Sendable {
    struct State {
        var positions: [UInt8: Int]
        var types: [UInt8: String] = [:]
        var pulses = "00023000"
        var firmware = "17"
        var latched: [UInt8: String] = [:]
        var commands: [(text: String, at: HostInstant)] = []
        /// What is said in place of the answer to a command; empty for nothing.
        var answers: [String: String] = [:]
        /// Said once each, before the answer to the next command.
        var prefix = ""
        var moveNumber = 0
        var moving: Set<UInt8> = []
        /// Where a mount really ends up.
        var lands: Int?
    }
    let stream: ScriptedStream
    let reactor: VirtualReactor
    let state: Mutex<State>

    init(reactor: VirtualReactor, addresses: [UInt8]) {
        self.reactor = reactor
        state = Mutex(State(positions: Dictionary(uniqueKeysWithValues: addresses.map { ($0, 0) })))
        stream = ScriptedStream(reactor: reactor)
        stream.onWrite { [weak self] bytes in self?.take(bytes) }
    }

    func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }
    var commands: [String] { state.withLock { $0.commands.map(\.text) } }
    func times(of prefix: String) -> [HostInstant] {
        state.withLock { $0.commands.filter { $0.text.contains(prefix) }.map(\.at) }
    }

    /// The driver writes one command at a time.
    private func take(_ bytes: [UInt8]) {
        let text = String(decoding: bytes.filter { $0 != 13 }, as: UTF8.self)
        guard let digit = text.first, let address = digit.hexDigitValue.map({ UInt8($0) }) else {
            return
        }
        let (answer, prefix, isThere, isMoving) = state.withLock { state in
            state.commands.append((text, reactor.now))
            defer { state.prefix = "" }
            return (
                state.answers[text], state.prefix, state.positions[address] != nil,
                state.moving.contains(address)
            )
        }
        if !prefix.isEmpty { stream.send(prefix) }
        if let answer {
            if !answer.isEmpty { stream.send(answer + "\r\n", after: .milliseconds(5)) }
            return
        }
        guard isThere else { return }
        let command = text.dropFirst().prefix(2)
        if isMoving, command != "st" {
            say("\(digit)GS09")
            return
        }
        switch command {
        case "in":
            let (type, pulses, firmware) = state.withLock {
                ($0.types[address] ?? "0E", $0.pulses, $0.firmware)
            }
            say("\(digit)IN\(type)1140000\(digit)2023\(firmware)010168\(pulses)")
        case "gs":
            let code = state.withLock { $0.latched.removeValue(forKey: address) ?? "00" }
            say("\(digit)GS\(code)")
        case "gp": say("\(digit)PO\(Self.digits(state.withLock { $0.positions[address] ?? 0 }))")
        case "ho": move(address, digit, to: 0)
        case "ma":
            let value = UInt32(text.dropFirst(3), radix: 16) ?? 0
            move(address, digit, to: Int(Int32(bitPattern: value)))
        case "st":
            set {
                $0.moveNumber += 1
                $0.moving.remove(address)
            }
            say("\(digit)GS00")
        case "sv": say("\(digit)GS00")
        default: say("\(digit)GS03")
        }
    }

    private func say(_ text: String) { stream.send(text + "\r\n", after: .milliseconds(5)) }

    private func move(_ address: UInt8, _ digit: Character, to target: Int) {
        let (distance, number) = state.withLock { state in
            state.moving.insert(address)
            return (abs((state.positions[address] ?? 0) - target), state.moveNumber)
        }
        reactor.schedule(at: reactor.now + .milliseconds(Int64(10 + distance / 100))) { [self] in
            let reached = state.withLock { state -> Int? in
                guard state.moveNumber == number else { return nil }
                state.moving.remove(address)
                state.positions[address] = state.lands ?? target
                return state.positions[address]
            }
            if let reached { stream.send("\(digit)PO\(Self.digits(reached))\r\n") }
        }
    }

    static func digits(_ value: Int) -> String {
        let text = String(UInt32(bitPattern: Int32(value)), radix: 16, uppercase: true)
        return String(repeating: "0", count: 8 - text.count) + text
    }
}

struct ElliptecDriverTests {
    let reactor = VirtualReactor()
    private let device: FakeMounts
    let driver: ThorlabsElliptecDriver

    init() throws {
        let device = FakeMounts(reactor: reactor, addresses: [2, 3, 8])
        self.device = device
        driver = try Self.driver(device, addresses: [8, 2, 3])
    }

    private static func driver(
        _ device: FakeMounts, addresses: [UInt8]
    ) throws -> ThorlabsElliptecDriver {
        try ThorlabsElliptecDriver(
            profile: try #require(try FirmwareProfiles.catalog()["thorlabs-ell14"]),
            source: StreamSource(name: "test") { () async throws(ByteStreamError) in
                InstrumentStream(device.stream)
            }, addresses: addresses, serial: "analyser", isEmulated: false,
            reactor: device.reactor)
    }

    private func angle(_ degrees: Double) -> ActuatorSetting { .angle(Radians(degrees: degrees)) }

    /// What `open` throws when the line is prepared by `change`.
    private func refusal(
        _ change: @escaping @Sendable (inout FakeMounts.State) -> Void
    ) throws -> DriverError? {
        device.set(change)
        return try reactor.run { [self] () -> DriverError? in
            do {
                try await driver.open()
                return nil
            } catch { return error as? DriverError }
        }
    }

    @Test func opensEveryUnitInTheOrderOfTheLight() throws {
        try reactor.run { [self] in
            try await driver.open()
            #expect(await driver.identity.serial == "11400008/11400002/11400003")
            #expect(await driver.identity.firmware == "1.7")
            #expect(await driver.axes.count == 3)
            #expect(await driver.health == .good)
            let report = try await driver.selfTest()
            #expect(report.passed && report.checks.count == 6)
            await driver.close()
        }
        #expect(
            device.commands.filter { !$0.isEmpty }.prefix(9) == [
                "8in", "8gs", "8ho0", "2in", "2gs", "2ho0", "3in", "3gs", "3ho0",
            ])
        #expect(device.stream.discards == 1)
        #expect(device.stream.writtenText.hasPrefix("\r8in\r"))
        #expect(!device.stream.isOpen)
    }

    @Test func silenceNamesTheAddress() throws {
        let error = try refusal { $0.positions[2] = nil }
        #expect(error?.code == .timedOut)
        #expect(error?.expected.contains("address 2") == true, "\(String(describing: error))")
        #expect(!device.stream.isOpen)
    }

    @Test func whatIsNotExpectedIsRefusedByName() throws {
        let error = try refusal { $0.types[2] = "12" }
        #expect(error?.code == .wrongDevice && error?.found == "an ELL18")
    }

    @Test func otherScaleIsRefused() throws {
        let error = try refusal { $0.pulses = "00010000" }
        #expect(error?.code == .wrongDevice && error?.found == "65536")
    }

    @Test func otherFirmwareIsRefused() throws {
        let error = try refusal { $0.firmware = "20" }
        #expect(error?.code == .wrongDevice && error?.found == "2.0")
    }

    @Test func anUndeclaredUnitIsRefused() throws {
        let error = try refusal { $0.answers["8in"] = "5IN0E1140000520231701016800023000" }
        #expect(error?.code == .wrongDevice)
        #expect(error?.found == "the unit at address 5")
    }

    @Test func aGarbledReplyIsAnError() throws {
        let error = try refusal { $0.answers["3in"] = "3IN0E114000032023170101680002300" }
        #expect(error?.code == .malformedReply)
        #expect(error?.expected.contains("address 3") == true)
    }

    @Test func anOldFaultIsReadAway() throws {
        device.set { $0.latched = [8: "02"] }
        try reactor.run { [self] in
            try await driver.open()
            await driver.close()
        }
        #expect(device.commands.filter { $0 == "8gs" }.count == 2)
    }

    @Test func aFaultThatStaysIsNamed() throws {
        let error = try refusal { $0.answers["8gs"] = "8GS0A" }
        #expect(error?.code == .deviceFault)
        #expect(error?.found == "10: sensor_error")
    }

    @Test func aHomingThatNeverBeganIsNotTakenForDone() throws {
        let error = try refusal { $0.answers["2ho0"] = "" }
        #expect(error?.code == .timedOut && error?.expected.contains("`home`") == true)
    }

    @Test func theLargerScaleOfTheManualIsUsedWhereAUnitHasIt() throws {
        device.set { $0.pulses = "00040000" }
        try reactor.run { [self] in
            try await driver.open()
            _ = try await driver.move(1, to: angle(90))
            await driver.close()
        }
        #expect(device.commands.contains("2ma00010000"))
    }

    @Test func movesAndReportsTheReadback() throws {
        let report = try reactor.run { [self] () -> MotionReport in
            try await driver.open()
            device.set { $0.lands = 35_842 }
            let report = try await driver.move(0, to: angle(90))
            await driver.close()
            return report
        }
        // 90 degrees are 35840 counts.
        #expect(device.commands.contains("8ma00008C00"))
        #expect(
            abs(report.reached.value - Radians(degrees: 35_842 / 143_360 * 360).rawValue) < 1e-12)
        #expect(
            (.milliseconds(360)..<(.milliseconds(380))).contains(report.finished - report.started))
    }

    @Test func severalUnitsMoveTogetherAndInRangeOnly() throws {
        try reactor.run { [self] in
            try await driver.open()
            let start = reactor.now
            let reports = try await driver.move([2: angle(90), 0: angle(180), 1: angle(0)])
            #expect(reports.map(\.axis) == [0, 1, 2])
            // As long as the longest of them, after the pause before a move.
            #expect(reactor.now - start < .milliseconds(900))
            device.set { $0.commands = [] }
            let cases: [(Int, ActuatorSetting, DriverErrorCode)] = [
                (0, angle(361), .outOfRange), (0, angle(-1), .outOfRange),
                (0, .angle(Radians(.nan)), .outOfRange), (3, angle(1), .outOfRange),
                (-1, angle(1), .outOfRange), (0, .voltage(Volts(1)), .notSupported),
            ]
            for (axis, setting, code) in cases {
                let error = await #expect(throws: DriverError.self) {
                    try await driver.move([1: angle(10), axis: setting])
                }
                #expect(error?.code == code)
            }
            let velocity = await #expect(throws: DriverError.self) {
                try await driver.setVelocity(percent: 20)
            }
            #expect(velocity?.code == .outOfRange)
            #expect(device.commands.isEmpty)
            await driver.close()
        }
    }

    @Test func waitsBeforeTheNextMoveOfAUnit() throws {
        try reactor.run { [self] in
            try await driver.open()
            for step in 1...3 { _ = try await driver.move(0, to: angle(Double(step))) }
            await driver.close()
        }
        let moves = device.times(of: "8ma")
        for (left, right) in zip(moves, moves.dropFirst()) {
            #expect(right - left >= .milliseconds(110))
        }
    }

    @Test func aLostEndOfAMoveIsAskedFor() throws {
        try reactor.run { [self] in
            try await driver.open()
            // The completion is garbled; the position that is then asked for tells.
            device.set { $0.answers["8ma00008C00"] = "8PO0008C00" }
            device.set { $0.positions[8] = 35_840 }
            let report = try await driver.move(0, to: angle(90))
            #expect(abs(report.reached.value - .pi / 2) < 1e-9)
            // Here nothing happened at all: the mount stands where it was.
            device.set { $0.answers["8ma00011800"] = "" }
            let error = await #expect(throws: DriverError.self) {
                try await driver.move(0, to: angle(180))
            }
            #expect(error?.code == .deviceFault && error?.found == "35840 counts")
            await driver.close()
        }
    }

    @Test func busyMeansWaitingAndFaultsAreNamed() throws {
        try reactor.run { [self] in
            try await driver.open()
            device.set { $0.answers["8ma00008C00"] = "8GS09" }
            device.set { $0.moving = [8] }
            reactor.schedule(at: reactor.now + .milliseconds(2500)) { [device] in
                device.set {
                    $0.moving = []
                    $0.positions[8] = 35_840
                }
            }
            let report = try await driver.move(0, to: angle(90))
            #expect(abs(report.reached.value - .pi / 2) < 1e-9)
            device.set { $0.answers["8ma00011800"] = "8GS02" }
            device.set { $0.latched = [8: "02"] }
            let error = await #expect(throws: DriverError.self) {
                try await driver.move(0, to: angle(180))
            }
            #expect(error?.code == .deviceFault && error?.found == "2: mechanical_timeout")
            // It was read away, or the next question would get it.
            #expect(device.state.withLock { $0.latched.isEmpty })
            _ = try await driver.settings()
            // A motion that goes on for ever.
            device.set { $0.answers["8ma00002000"] = "8GS09" }
            device.set { $0.moving = [8] }
            let stuck = await #expect(throws: DriverError.self) {
                try await driver.move(0, to: angle(20.571))
            }
            #expect(stuck?.code == .deviceFault && stuck?.found == "busy")
            await driver.close()
        }
    }

    @Test func haltEndsAMotionAtOnce() throws {
        try reactor.run { [self] in
            try await driver.open()
            let moving = Task(executorPreference: reactor) { [driver] in
                try await driver.move([0: angle(180), 1: angle(180)])
            }
            try await reactor.sleep(for: .milliseconds(300))
            let start = reactor.now
            try await driver.halt()
            let error = await #expect(throws: DriverError.self) { try await moving.value }
            #expect(error?.code == .cancelled)
            #expect(device.times(of: "st").filter { $0 == start }.count == 3)
            #expect(reactor.now - start < .milliseconds(400))
            // The answers to the stops are not taken for those to what follows.
            _ = try await driver.settings()
            _ = try await driver.move(0, to: angle(10))
            await driver.close()
        }
    }

    @Test func cancellingTheTaskStopsTheMount() throws {
        try reactor.run { [self] in
            try await driver.open()
            let moving = Task(executorPreference: reactor) { [driver] in
                try await driver.move(0, to: angle(180))
            }
            try await reactor.sleep(for: .milliseconds(300))
            moving.cancel()
            let error = await #expect(throws: DriverError.self) { try await moving.value }
            #expect(error?.code == .cancelled)
            #expect(device.commands.contains("8st"))
            _ = try await driver.settings()
            await driver.close()
        }
    }

    @Test func theHandsetIsNoReplyButIsNoticed() throws {
        try reactor.run { [self] in
            try await driver.open()
            device.set { $0.prefix = "2BS09\r\n2BO00000100\r\n" }
            _ = try await driver.settings()
            #expect(await driver.health == .degraded("moved by the handset: address 2"))
            _ = try await driver.move(1, to: angle(5))
            #expect(await driver.health == .good)
            await driver.close()
        }
    }

    @Test func lateAnswersAreNotTakenForOthers() throws {
        try reactor.run { [self] in
            try await driver.open()
            device.set { $0.prefix = "3PO00001234\r\n8PO00004321\r\n" }
            device.set { $0.positions[8] = 0 }
            // The position of another unit is passed over; that of the same unit can not be told apart,
            // but what came before the question is forgotten.
            device.stream.send("8PO00004321\r\n")
            try await reactor.sleep(for: .milliseconds(1))
            device.set { $0.prefix = "3PO00001234\r\n" }
            let settings = try await driver.settings()
            #expect(settings.allSatisfy { $0.value == 0 })
            await driver.close()
        }
    }

    @Test func unpluggingEndsEverythingByName() throws {
        try reactor.run { [self] in
            try await driver.open()
            let moving = Task(executorPreference: reactor) { [driver] in
                try await driver.move(0, to: angle(180))
            }
            try await reactor.sleep(for: .milliseconds(300))
            device.stream.fail(.usb(.disconnected))
            let error = await #expect(throws: DriverError.self) { try await moving.value }
            #expect(error?.code == .disconnected)
            guard case .failed = await driver.health else {
                Issue.record("\(await driver.health)")
                return
            }
            await driver.close()
            let closed = await #expect(throws: DriverError.self) { try await driver.settings() }
            #expect(closed?.code == .wrongState)
        }
    }

    @Test func addressesThatCanNotBeAreRefused() throws {
        for addresses in [[UInt8(1), 1], [16]] {
            let error = #expect(throws: DriverError.self) {
                _ = try Self.driver(device, addresses: addresses)
            }
            #expect(error?.code == .outOfRange)
        }
    }

    @Test func withoutAddressesThereIsTheOneOfTheFactory() throws {
        let device = FakeMounts(reactor: reactor, addresses: [0])
        let driver = try Self.driver(device, addresses: [])
        try reactor.run {
            try await driver.open()
            #expect(await driver.axes.count == 1)
            await driver.close()
        }
    }
}
