import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import PolarizationControllers
import Quantities
import Synchronization
import TestSupport
import Testing

/// A squeezer that answers as the texts quoted in QMI's `test_epc_driver.py` say.
private final class FakeEPC: Sendable {
    struct State {
        var voltages = [2200, 5000, -1000, -4000]
        var mode = "DC"
        var echoes = false
        var commands: [String] = []
        /// What is sent instead of the reply to commands that begin so.
        var instead: [String: String] = [:]
    }
    let stream: ScriptedStream
    let state = Mutex(State())

    init(reactor: VirtualReactor) {
        stream = ScriptedStream(reactor: reactor)
        stream.onWrite { [weak self] bytes in self?.take(String(decoding: bytes, as: UTF8.self)) }
    }
    func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }
    var commands: [String] { state.withLock { $0.commands } }

    private func take(_ text: String) {
        #expect(text.hasSuffix("\r\n"))
        let command = String(text.dropLast())  // CR LF is one character
        guard !command.isEmpty else { return }
        let reply = state.withLock { state -> String in
            state.commands.append(command)
            let echo = state.echoes ? command + "\r\n" : ""
            if let other = state.instead.first(where: { command.hasPrefix($0.key) }) {
                return other.value.isEmpty ? "" : echo + other.value
            }
            return echo + Self.reply(to: command, &state)
        }
        stream.send(reply, after: .milliseconds(20))
    }

    private static func reply(to command: String, _ state: inout State) -> String {
        let done = "\r\nDone\r\n"
        switch command {
        case "V?":
            let texts = state.voltages.map { ($0 < 0 ? "" : "+") + "\($0)" }
            return "Voltage(mV): CH1 \(texts[0]) CH2 \(texts[1]) CH3 \(texts[2]) CH4 \(texts[3])"
                + done
        case "M?": return "Work Mode: \(state.mode)" + done
        case "MDC":
            state.mode = "DC"
            return "Set To DC Mode" + done
        case "MAC":
            state.mode = "AC(Sine)"
            return "Set To AC Mode" + done
        case "WF1": return "Set AC Waveform at: Sine" + done
        case "SAVE": return "Write Setting to Flash memory" + done
        default: break
        }
        let words = command.dropFirst().split(separator: ",").compactMap { Int($0) }
        guard words.count == 2 else { return "Error!\r\n" }
        if command.hasPrefix("F") {
            return "Set CH\(words[0]) AC Frequency at: \(words[1])Hz" + done
        }
        state.voltages[words[0] - 1] = words[1]
        return "Set CH\(words[0]) DC Voltage at: \(words[1])mV" + done
    }
}

struct EPC400Tests {
    let reactor = VirtualReactor()
    private let device: FakeEPC
    let driver: EPCDriver

    init() throws {
        let device = FakeEPC(reactor: reactor)
        self.device = device
        driver = try EPCDriver(
            profile: try #require(try FirmwareProfiles.catalog()["oz-epc-400"]),
            source: StreamSource(name: "test") { () async throws(ByteStreamError) in
                InstrumentStream(device.stream)
            }, serial: "squeezer", isEmulated: false, reactor: reactor)
    }

    private func failure(
        _ body: () async throws(DriverError) -> Void
    ) async -> DriverErrorCode? {
        do throws(DriverError) {
            try await body()
            return nil
        } catch { return error.code }
    }

    // MARK: Texts

    @Test func readsThePublishedReplies() throws {
        let profile = try #require(try FirmwareProfiles.catalog()["oz-epc-400"])
        let vector = try #require(profile.provenance.vectors["voltages"]).bytes
        let lines = String(decoding: vector, as: UTF8.self).split(separator: "\r\n")
        #expect(lines == ["Voltage(mV): CH1 +2200 CH2 +5000 CH3 -1000 CH4 -4000", "Done"])
        #expect(
            EPCWire.channelValues(String(lines[0]), count: 4) == [2200, 5000, -1000, -4000])
        let frequencies = "Frequency(Hz): CH1 007  CH2 017  CH3 037  CH4 071"
        #expect(EPCWire.channelValues(frequencies, count: 4) == [7, 17, 37, 71])
        let set = try #require(EPCWire.confirmation("Set CH3 DC Voltage at: 2500mV"))
        #expect(set == (3, 2500))
        let low = try #require(EPCWire.confirmation("Set CH4 DC Voltage at: -5000mV"))
        #expect(low == (4, -5000))
        #expect(EPCWire.mode("Work Mode: DC") == .constant)
        #expect(EPCWire.mode("Work Mode: AC(Sine)") == .scrambling)
        let wire = try EPCWire(profile)
        #expect(wire.line("V?", after: "V?", isFirst: true) == .echo)
        #expect(wire.line("V?", after: "V?", isFirst: false) == .content("V?"))
        #expect(wire.line("Done ", after: "V?", isFirst: false) == .completion)
        #expect(wire.line("Error!", after: "V?", isFirst: true) == .refusal)
    }

    @Test(arguments: [
        "Voltage(mV): CH1 +2200 CH2 +5000 CH3 -1000", "Voltage(mV) CH1 1 CH2 2 CH3 3 CH4 4",
        "Voltage(mV): CH1 +2200 CH2 +5000 CH4 -1000 CH3 -4000",
        "Voltage(mV): CH1 +22x0 CH2 +5000 CH3 -1000 CH4 -4000",
        "Voltage(mV): CH1 + CH2 +5000 CH3 -1000 CH4 -4000", "", ":",
    ])
    func refusesLinesThatAreNoVoltages(line: String) {
        #expect(EPCWire.channelValues(line, count: 4) == nil)
    }

    @Test(arguments: seeds(20)) func damagedLinesAreReadOrRefused(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "epc")
        func damaged(_ text: String) -> String {
            String(decoding: mutated(Array(text.utf8), using: &generator), as: UTF8.self)
        }
        for _ in 0..<200 {
            let voltages = damaged("Voltage(mV): CH1 +2200 CH2 +5000 CH3 -1000 CH4 -4000")
            if let values = EPCWire.channelValues(voltages, count: 4) {
                #expect(values.count == 4 && values.allSatisfy { abs($0) <= 999_999 })
            }
            if let set = EPCWire.confirmation(damaged("Set CH3 DC Voltage at: 2500mV")) {
                #expect(abs(set.value) <= 999_999)
            }
            _ = EPCWire.mode(damaged("Work Mode: AC(Sine)"))
        }
    }

    // MARK: The driver

    @Test func opensWithoutChangingTheVoltages() throws {
        try reactor.run { [self] in
            try await driver.open()
            #expect(device.commands == ["M?", "V?"])
            #expect(await driver.axes.count == 4)
            #expect(await driver.axes[0].range == -5...5)
            #expect(
                try await driver.settings()
                    == [2.2, 5, -1, -4].map { .voltage(Volts($0)) })
            #expect(try await driver.selfTest().passed)
            await driver.close()
            #expect(!device.stream.isOpen)
        }
        #expect(!device.commands.contains { $0.hasPrefix("MDC") || $0.hasPrefix("V1") })
    }

    @Test func endsScramblingWhenItOpens() throws {
        device.set { $0.mode = "AC(Triangle)" }
        try reactor.run { [self] in
            try await driver.open()
            #expect(device.commands == ["M?", "MDC", "M?", "V?"])
        }
    }

    @Test(arguments: [false, true]) func setsInMillivoltsAndReadsBackOnce(echoes: Bool) throws {
        device.set { $0.echoes = echoes }
        let reports = try reactor.run { [self] () -> [MotionReport] in
            try await driver.open()
            device.set { $0.commands = [] }
            return try await driver.move([
                2: .voltage(Volts(2.5)), 0: .voltage(Volts(-0.0015)), 3: .voltage(Volts(-5)),
            ])
        }
        #expect(device.commands == ["V1,-2", "V3,2500", "V4,-5000", "V?"])
        #expect(reports.map(\.axis) == [0, 2, 3])
        #expect(reports[1].reached == .voltage(Volts(2.5)))
        #expect(reports[0].requested == .voltage(Volts(-0.0015)))
    }

    @Test func refusesBeforeAnythingIsSent() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.commands = [] }
            let cases: [(Int, ActuatorSetting, DriverErrorCode)] = [
                (0, .voltage(Volts(5.001)), .outOfRange), (0, .voltage(Volts(.nan)), .outOfRange),
                (4, .voltage(Volts(1)), .outOfRange), (-1, .voltage(Volts(1)), .outOfRange),
                (0, .angle(Radians(1)), .notSupported),
            ]
            for (axis, setting, code) in cases {
                let found = await failure { () async throws(DriverError) in
                    _ = try await driver.move([axis: setting, 1: .voltage(Volts(0))])
                }
                #expect(found == code, "\(axis) \(setting)")
            }
            #expect(device.commands.isEmpty)
        }
    }

    @Test func refusalsAndStrangeRepliesAreNamed() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            let cases: [(String, DriverErrorCode)] = [
                ("Error!\r\n", .deviceFault), ("", .timedOut),
                ("Set CH2 DC Voltage at: 1000mV\r\nDone\r\n", .malformedReply),
                ("Set CH1 DC Voltage at: 100mV\r\nDone\r\n", .deviceFault),
                ("Done\r\n", .malformedReply),
                (String(repeating: "x\r\n", count: 9), .malformedReply),
            ]
            for (reply, code) in cases {
                device.set { $0.instead = ["V1,": reply] }
                let found = await failure { () async throws(DriverError) in
                    _ = try await driver.move(0, to: .voltage(Volts(1)))
                }
                #expect(found == code, "\(reply)")
                device.set { $0.instead = [:] }
                // Whatever happened, the next command gets its own reply.
                #expect(
                    await failure { () async throws(DriverError) in
                        _ = try await driver.move(1, to: .voltage(Volts(3)))
                    } == nil)
            }
        }
    }

    /// A reply that comes after the time-out must not be taken for the next one.
    @Test func lateRepliesAreNotTheNextOnes() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.instead = ["V?": ""] }
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.settings()
                } == .timedOut)
            device.set { $0.instead = [:] }
            device.stream.send(
                "Voltage(mV): CH1 +1 CH2 +2 CH3 +3 CH4 +4\r\nDone\r\n", after: .milliseconds(10))
            #expect(try await driver.settings()[1] == .voltage(Volts(5)))
        }
    }

    @Test func noticesThatTheControllerRestarted() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.voltages[3] = 0 }
            let found = await failure { () async throws(DriverError) in
                _ = try await driver.move(0, to: .voltage(Volts(1)))
            }
            #expect(found == .deviceFault)
            // Reported once; from then on the new voltage is the known one.
            _ = try await driver.move(0, to: .voltage(Volts(1.5)))
            device.set { $0.mode = "AC(Sine)" }
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.settings()
                } == .deviceFault)
            #expect(try await !driver.selfTest().passed)
        }
    }

    @Test func scramblesOnlyWhenTold() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.commands = [] }
            #expect(
                await failure { () async throws(DriverError) in
                    try await driver.startScrambling([7, 17, 37, 101].map { Hertz($0) })
                } == .outOfRange)
            #expect(
                await failure { () async throws(DriverError) in
                    try await driver.startScrambling([7].map { Hertz($0) })
                } == .outOfRange)
            #expect(device.commands.isEmpty)
            try await driver.startScrambling([7, 17, 37, 71].map { Hertz($0) })
            #expect(device.commands == ["F1,7", "F2,17", "F3,37", "F4,71", "WF1", "MAC"])
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.move(0, to: .voltage(Volts(1)))
                } == .wrongState)
            #expect(try await driver.selfTest().passed)
            try await driver.stopScrambling()
            _ = try await driver.move(0, to: .voltage(Volts(1)))
            try await driver.saveSettings()
            #expect(device.commands.last == "SAVE")
        }
    }

    @Test func unpluggedAndClosed() throws {
        try reactor.run { [self] () -> Void in
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.move(0, to: .voltage(Volts(1)))
                } == .wrongState)
            try await driver.open()
            device.stream.fail(.closed)
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.settings()
                } == .disconnected)
            await driver.close()
            await driver.close()
            #expect(
                await failure { () async throws(DriverError) in
                    try await driver.halt()
                } == .wrongState)
        }
    }
}
