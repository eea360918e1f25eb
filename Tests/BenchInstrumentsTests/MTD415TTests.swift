import BenchInstruments
import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import Synchronization
import TestSupport
import Testing

/// The driver against a unit written from the data sheet and the public clients.
struct MTD415TTests {
    let reactor = VirtualReactor()

    /// A unit that keeps what was set.
    private final class Unit: Sendable {
        struct State {
            var values = ["T": "25000", "L": "1000", "Te": "24998", "A": "112", "E": "0"]
            var identity = "MTD415T FW0.6.8"
            var unit = "045F778655FDE5118ED499C9B4521485"
            /// Answers in place of the usual ones, by command; empty is silence.
            var answers: [String: [String]] = [:]
        }
        let state = Mutex(State())

        func answer(_ command: String) -> String? {
            state.withLock { state in
                if var planned = state.answers[command], !planned.isEmpty {
                    let answer = planned.removeFirst()
                    state.answers[command] = planned
                    return answer.isEmpty ? nil : answer + "\n"
                }
                switch command {
                case "m?": return state.identity + "\n"
                case "u?": return state.unit + "\n"
                case "c":
                    state.values["E"] = "0"
                    return "0\n"
                case "M": return "0\n"
                default: break
                }
                if command.hasSuffix("?") {
                    return (state.values[String(command.dropLast())] ?? "unknown command") + "\n"
                }
                let digits = String(command.dropFirst())
                state.values[String(command.prefix(1))] = digits
                return digits + "\n"
            }
        }
    }

    private let unit = Unit()
    private let line: AnsweringLine
    let driver: MTD415TDriver

    init() throws {
        let line = AnsweringLine(reactor: reactor, terminator: "\n") { [unit] in unit.answer($0) }
        self.line = line
        driver = try MTD415TDriver(
            profile: try #require(try FirmwareProfiles.catalog()["thorlabs-mtd415t"]),
            source: line.source, serial: "", isEmulated: false, reactor: reactor)
    }

    @Test func repliesOfTheDataSheetAndTheClients() throws {
        func reply(_ text: String) -> MTD415TWire.Reply? { MTD415TWire.reply(Array(text.utf8)) }
        #expect(reply("MTD415T FW0.6.8\n") == .text("MTD415T FW0.6.8"))
        #expect(MTD415TWire.firmware("MTD415T FW0.6.8") == "0.6.8")
        #expect(MTD415TWire.isUniqueIdentifier("045F778655FDE5118ED499C9B4521485"))
        #expect(!MTD415TWire.isUniqueIdentifier("045F778655FDE5118ED499C9B452148"))
        #expect(reply("5321\n") == .value(5321))
        #expect(reply("-220\n") == .value(-220))
        #expect(reply("unknown command\n") == .unknownCommand)
        #expect(
            reply("value out of range (200...2000 mA)\n")
                == .text("value out of range (200...2000 mA)"))
        #expect(reply("5321") == nil && reply("") == nil)
        let profile = try #require(try FirmwareProfiles.catalog()["thorlabs-mtd415t"])
        let text = try MTD415TWire(profile).text(profile.command("set_temperature"), [5321])
        #expect(Array(text.utf8) == profile.provenance.vectors["set_5321"]?.bytes)
    }

    @Test func openingChangesNothing() throws {
        try reactor.run { [self] in
            try await driver.open()
            let identity = await driver.identity
            #expect(identity.firmware == "0.6.8")
            #expect(identity.serial == "045F778655FDE5118ED499C9B4521485")
            await driver.close()
            await driver.close()
        }
        #expect(line.commands == ["m?", "u?", "E?", "E?"])
        #expect(!line.stream.isOpen)
    }

    /// Bits 13 and 14 tell of commands, not of the cooler.
    @Test func staleCommandErrorsAreCleared() throws {
        unit.state.withLock { $0.values["E"] = "24576" }
        try reactor.run { [self] in
            try await driver.open()
            #expect(await driver.health == .good)
        }
        #expect(line.commands == ["m?", "u?", "E?", "E?", "c", "E?", "E?"])
    }

    @Test func setsAndReadsTemperatures() throws {
        try reactor.run { [self] in
            try await driver.open()
            line.forget()
            try await driver.setTemperature(Celsius(5.3214))
            #expect(line.commands == ["T5321", "E?", "E?"])
            #expect(try await driver.setpoint() == Celsius(5.321))
            #expect(try await driver.temperature() == Celsius(24.998))
            #expect(try await driver.current() == 112)
            try await driver.setCurrentLimit(milliamperes: 1234)
            try await driver.setShares(proportional: 1350, integral: 161, differential: 941)
            try await driver.save()
            #expect(line.commands.suffix(5) == ["L1234", "P1350", "I161", "D941", "M"])
            #expect(try await driver.selfTest().passed)
        }
    }

    @Test func refusesBeforeAByteIsSent() throws {
        try reactor.run { [self] in
            let closed = await driverError { try await driver.setTemperature(Celsius(20)) }
            #expect(closed?.code == .wrongState)
            try await driver.open()
            line.forget()
            for degrees in [4.999, 45.001, -.infinity, .nan] {
                let error = await driverError {
                    try await driver.setTemperature(Celsius(degrees))
                }
                #expect(error?.code == .outOfRange, "\(degrees)")
            }
            for current in [199, 2001] {
                let error = await driverError {
                    try await driver.setCurrentLimit(milliamperes: current)
                }
                #expect(error?.code == .outOfRange, "\(current)")
            }
            #expect(line.commands.isEmpty)
        }
    }

    @Test func asksAgainAfterUnknownCommand() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock {
                $0.answers["Te?"] = ["unknown command"]
                $0.answers["T20000"] = ["unknown command", "unknown command"]
            }
            let start = reactor.now
            #expect(try await driver.temperature() == Celsius(24.998))
            #expect(reactor.now - start >= .milliseconds(100))
            try await driver.setTemperature(Celsius(20))
            #expect(try await driver.setpoint() == Celsius(20))
            unit.state.withLock {
                $0.answers["A?"] = Array(repeating: "unknown command", count: 9)
            }
            let error = await driverError { _ = try await driver.current() }
            #expect(error?.code == .malformedReply)
            #expect(unit.state.withLock { $0.answers["A?"]?.count } == 5)
        }
    }

    @Test(arguments: [
        (1, "too hot"), (2, "no longer cools"), (3, "cycle time"), (4, "sensor"), (5, "cooler"),
        (6, "wrong way round"),
    ])
    func faultsOfTheErrorRegisterAreNamed(bit: Int, text: String) throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.values["E"] = "\(1 << bit)" }
            for _ in 0..<2 {
                let error = await driverError { _ = try await driver.temperature() }
                #expect(error?.code == .deviceFault)
                #expect(error?.found.contains(text) == true, "\(String(describing: error))")
            }
            #expect(await driver.health != .good)
            #expect(try await !driver.selfTest().passed)
        }
    }

    @Test func aMissingEnableIsNoError() throws {
        unit.state.withLock { $0.values["E"] = "1" }
        try reactor.run { [self] in
            try await driver.open()
            #expect(try await driver.temperature() == Celsius(24.998))
            guard case .degraded(let text) = await driver.health else {
                Issue.record("the health hides that the cooler is off")
                return
            }
            #expect(text.contains("enable pin"))
        }
    }

    @Test func aLostDigitIsNotTakenForAReading() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.answers["Te?"] = ["2498"] }
            #expect(try await driver.temperature() == Celsius(24.998))
            unit.state.withLock { $0.answers["T30000"] = ["3000"] }
            let error = await driverError { try await driver.setTemperature(Celsius(30)) }
            #expect(error?.code == .deviceFault)
        }
    }

    @Test func refusesOtherInstruments() throws {
        unit.state.withLock { $0.identity = "MTD1020T FW1.0" }
        try reactor.run { [self] in
            let error = await driverError { try await driver.open() }
            #expect(error?.code == .wrongDevice)
            #expect(!line.stream.isOpen)
        }
    }

    @Test func refusesAnotherUnitInThePlaceOfTheFirst() throws {
        let lines = Mutex(
            (0..<2).map { _ in
                AnsweringLine(reactor: reactor, terminator: "\n") { [unit] in unit.answer($0) }
            })
        // The second line must outlive the first opening.
        let source = StreamSource(name: "test") { () async throws(ByteStreamError) in
            InstrumentStream(
                lines.withLock { lines in
                    lines.swapAt(0, 1)
                    return lines[0].stream
                })
        }
        let second = try MTD415TDriver(
            profile: try #require(try FirmwareProfiles.catalog()["thorlabs-mtd415t"]),
            source: source, serial: "laser", isEmulated: false, reactor: reactor)
        try reactor.run { [unit] in
            try await second.open()
            await second.close()
            unit.state.withLock { $0.unit = "145F778655FDE5118ED499C9B4521485" }
            let error = await driverError { try await second.open() }
            #expect(error?.code == .wrongDevice)
            #expect(error?.found.contains("145F778655FDE5118ED499C9B4521485") == true)
        }
    }

    @Test func silenceAndUnpluggingAreNamed() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.answers["A?"] = [""] }
            let silent = await driverError { _ = try await driver.current() }
            #expect(silent?.code == .timedOut)
            line.stream.send("7\n")
            #expect(try await driver.current() == 112, "a late reply is discarded")
            line.stream.fail(.closed)
            let gone = await driverError { _ = try await driver.current() }
            #expect(gone?.code == .disconnected)
        }
    }

    @Test(arguments: seeds(20)) func anyReplyIsHandled(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "mtd")
        for _ in 0..<500 {
            for text in ["25000\n", "unknown command\n", "MTD415T FW0.6.8\n"] {
                let bytes = mutated(Array(text.utf8), using: &generator)
                let reply = MTD415TWire.reply(bytes)
                #expect((reply == nil) == !bytes.contains(0x0A))
                if case .text(let text) = reply { _ = MTD415TWire.firmware(text) }
            }
        }
    }
}
