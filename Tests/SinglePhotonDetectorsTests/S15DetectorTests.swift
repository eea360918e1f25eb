import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import SinglePhotonDetectors
import Synchronization
import TestSupport
import Testing

/// A module that answers what it is asked, with a sensor that cools by one kelvin a second.
private final class FakeModule: Sendable {
    struct State {
        var commands: [String] = []
        var bias = 0.0
        var biasLimit = 1000.0
        var target = -10.0
        var regulatingSince: HostInstant?
        var isWarm = false
        var identity = "SPD emulated"
        var answer: String?
    }
    let stream: ScriptedStream
    let reactor: VirtualReactor
    let state = Mutex(State())

    init(reactor: VirtualReactor) {
        self.reactor = reactor
        stream = ScriptedStream(reactor: reactor)
        stream.onWrite { [weak self] bytes in self?.take(String(decoding: bytes, as: UTF8.self)) }
    }
    func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }
    var commands: [String] { state.withLock { $0.commands } }

    private func take(_ text: String) {
        let now = reactor.now
        let reply = state.withLock { state -> String? in
            let isQuery = text.hasSuffix(";")
            let command = text.filter { !";\r\n".contains($0) }
            guard !command.isEmpty else { return nil }
            state.commands.append(text)
            if isQuery, let answer = state.answer { return answer }
            let words = command.split(separator: " ")
            switch words[0] {
            case "*idn?": return state.identity
            case "hvolt?": return "\(state.bias)"
            case "hvolt": state.bias = min(Double(words[1]) ?? -1, state.biasLimit)
            case "settemp": state.target = Double(words[1]) ?? 0
            case "settemp?": return "\(state.target)"
            case "temp?":
                let elapsed = state.regulatingSince.map { (now - $0).inSeconds } ?? 0
                return state.isWarm ? "25.0" : "\(max(state.target, 20 - elapsed))"
            case "loop": state.regulatingSince = state.regulatingSince ?? now
            case "counts?": return "1234"
            default: break
            }
            return nil
        }
        if let reply { stream.send(reply + "\r\n", after: .milliseconds(1)) }
    }
}

struct S15DetectorTests {
    let reactor = VirtualReactor()
    private let device: FakeModule
    let driver: S15DetectorDriver

    init() throws {
        let device = FakeModule(reactor: reactor)
        self.device = device
        driver = try S15DetectorDriver(
            profile: try #require(try FirmwareProfiles.catalog()["s15-spd"]),
            source: StreamSource(name: "test") { () async throws(ByteStreamError) in
                InstrumentStream(device.stream)
            }, serial: "SPD-0001", isEmulated: false, reactor: reactor)
    }

    @Test func opensWithoutBias() throws {
        device.set { $0.bias = 150 }
        try reactor.run { [self] in
            try await driver.open()
            #expect(try await driver.status().bias == Volts(0))
            #expect(try await !driver.status().isCounting)
            await driver.close()
        }
        #expect(device.commands.prefix(2) == ["*idn?;", "hvolt 0\r\n"])
    }

    @Test func coolsBeforeItBiases() throws {
        try reactor.run { [self] in
            try await driver.open()
            try await driver.setBias(Volts(182.5))
            #expect(!device.commands.contains("hvolt 182.5\r\n"), "not before it is armed")
            let start = reactor.now
            try await driver.arm()
            #expect(reactor.now - start >= .seconds(29))
            let commands = device.commands
            let biased = try #require(commands.firstIndex(of: "hvolt 182.5\r\n"))
            let loop = try #require(commands.firstIndex(of: "loop 1\r\n"))
            #expect(loop < biased)
            #expect(commands[loop..<biased].filter { $0 == "temp?;" }.count > 20)
            let status = try await driver.status()
            #expect(status.isCounting && status.bias == Volts(182.5))
            try await driver.setBias(Volts(180))
            #expect(try await driver.bias() == Volts(180))
            await driver.close()
        }
        #expect(device.state.withLock { $0.bias } == 0)
    }

    @Test func staysOffWhenItDoesNotGetCold() throws {
        device.set { $0.isWarm = true }
        try reactor.run { [self] () -> Void in
            try await driver.open()
            try await driver.setBias(Volts(180))
            let error = await #expect(throws: DriverError.self) { try await driver.arm() }
            #expect(error?.code == .deviceFault)
            #expect(device.commands.last == "hvolt 0\r\n")
            #expect(!device.commands.contains("hvolt 180\r\n"))
        }
    }

    @Test func aBiasThatDoesNotComeUpIsSwitchedOff() throws {
        device.set { $0.biasLimit = 90 }
        try reactor.run { [self] () -> Void in
            try await driver.open()
            try await driver.setBias(Volts(180))
            let error = await #expect(throws: DriverError.self) { try await driver.arm() }
            #expect(error?.code == .deviceFault && error?.found == "90.0")
            #expect(device.state.withLock { $0.bias } == 0)
        }
    }

    @Test func whoDisarmsWhileItCoolsWins() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            try await driver.setBias(Volts(180))
            let arming = Task(executorPreference: reactor) { [driver] in try await driver.arm() }
            try await reactor.sleep(for: .seconds(5))
            try await driver.disarm()
            let error = await #expect(throws: DriverError.self) { try await arming.value }
            #expect(error?.code == .cancelled)
            #expect(!device.commands.contains("hvolt 180\r\n"))
            let cancelled = Task(executorPreference: reactor) { [driver] in try await driver.arm() }
            try await reactor.sleep(for: .milliseconds(100))
            cancelled.cancel()
            _ = await cancelled.result
            #expect(device.state.withLock { $0.bias } == 0)
        }
    }

    @Test func refusesSettingsOutsideTheProfile() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            let noBias = await #expect(throws: DriverError.self) { try await driver.arm() }
            #expect(noBias?.code == .wrongState)
            device.set { $0.commands = [] }
            for bias in [-1, 401, .nan, .infinity] {
                let error = await #expect(throws: DriverError.self) {
                    try await driver.setBias(Volts(bias))
                }
                #expect(error?.code == .outOfRange)
            }
            let hot = await #expect(throws: DriverError.self) {
                try await driver.setTemperature(Celsius(60))
            }
            #expect(hot?.code == .outOfRange)
            let gate = await #expect(throws: DriverError.self) {
                try await driver.counts(for: .zero)
            }
            #expect(gate?.code == .outOfRange)
            #expect(device.commands.isEmpty)
        }
    }

    @Test func setsAndCounts() throws {
        try reactor.run { [self] in
            try await driver.open()
            try await driver.setTemperature(Celsius(-12.5))
            #expect(try await driver.counts(for: .milliseconds(250)) == [1234])
            let report = try await driver.selfTest()
            #expect(report.passed)
        }
        #expect(device.commands.contains("settemp -12.5\r\n"))
        #expect(device.commands.contains("time 250\r\n"))
        #expect(device.commands.contains("counts?;"))
    }

    @Test(arguments: ["", "nan", "inf", "0x10", "12,5", "error", "1e400"])
    func refusesRepliesThatAreNoNumbers(reply: String) throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.answer = reply }
            let error = await #expect(throws: DriverError.self) { try await driver.temperature() }
            #expect(error?.code == (reply.isEmpty ? .timedOut : .malformedReply))
        }
    }

    @Test func refusesOtherInstruments() throws {
        device.set { $0.identity = "TDC1" }
        try reactor.run { [self] () -> Void in
            let error = await #expect(throws: DriverError.self) { try await driver.open() }
            #expect(error?.code == .wrongDevice)
            #expect(!device.stream.isOpen)
        }
    }

    @Test(arguments: seeds(20)) func anyNumberIsHandled(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "spd")
        for _ in 0..<200 {
            let text = String(
                decoding: mutated(Array("-12.5 C".utf8), using: &generator), as: UTF8.self)
            if let value = S15DetectorWire.number(text) { #expect(value.isFinite) }
        }
    }

    /// Two callers at once get each their own reply.
    @Test func callersTakeTurns() throws {
        try reactor.run { [self] in
            try await driver.open()
            async let temperature = driver.temperature()
            async let bias = driver.bias()
            #expect(try await temperature == Celsius(20))
            #expect(try await bias == Volts(0))
        }
    }
}
