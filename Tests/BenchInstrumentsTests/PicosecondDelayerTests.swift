import BenchInstruments
import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import Synchronization
import TestSupport
import Testing

/// The driver against a unit written from the client of PYME's pull request 1232.
struct PicosecondDelayerTests {
    let reactor = VirtualReactor()

    /// A unit that keeps what was set and answers in echo mode unless told otherwise.
    private final class Unit: Sendable {
        struct State {
            var values = ["D": "0", "P": "50", "H": "500", "E": "1", "O": "1"]
            var isEchoing = true
            /// Answers in place of the usual ones, by command.
            var answers: [String: [String]] = [:]
        }
        let state = Mutex(State())

        func answer(_ command: String) -> String? {
            state.withLock { state in
                if var planned = state.answers[command], !planned.isEmpty {
                    let answer = planned.removeFirst()
                    state.answers[command] = planned
                    return answer.isEmpty ? nil : answer
                }
                let echo = state.isEchoing ? command + "#" : ""
                return echo + Self.value(command, &state) + "#"
            }
        }

        private static func value(_ command: String, _ state: inout State) -> String {
            let digits = String(command.dropFirst(2))
            switch command.prefix(2) {
            case "RM": return "51200"
            case "RT": return "54.9"
            case "RD", "RP", "RH", "RE", "RO":
                return state.values[String(command.dropFirst())] ?? "ERR1"
            case "EM": state.isEchoing = digits == "1"
            case "EO": state.values["O"] = digits
            case "SD" where (Int(digits) ?? 0) > 51200: return "ERR7"
            case "SD", "SP", "SH", "SE", "SV":
                state.values[String(command.prefix(2).dropFirst())] = digits
            default: return "ERR1"
            }
            return digits
        }
    }

    private let unit = Unit()
    private let line: AnsweringLine
    let driver: PicosecondDelayerDriver

    init() throws {
        let line = AnsweringLine(reactor: reactor, terminator: "#") { [unit] in unit.answer($0) }
        self.line = line
        driver = try PicosecondDelayerDriver(
            profile: try #require(try FirmwareProfiles.catalog()["mpd-psd"]), source: line.source,
            serial: "delay-bob", isEmulated: false, reactor: reactor)
    }

    @Test func sendsTheBytesOfTheClient() throws {
        let profile = try #require(try FirmwareProfiles.catalog()["mpd-psd"])
        let wire = try PSDWire(profile)
        #expect(Array(wire.command("RD").utf8) == profile.provenance.vectors["ask_delay"]?.bytes)
        let set = try profile.command("set_delay").text([500])
        #expect(Array(wire.command(set).utf8) == profile.provenance.vectors["set_500_ps"]?.bytes)
    }

    @Test func readsValuesWithAndWithoutEchoAndRefusals() {
        func reply(_ text: String, to command: String, isLast: Bool = false) -> PSDWire.Reply? {
            PSDWire.reply(Array(text.utf8), to: command, isLast: isLast)
        }
        #expect(reply("RD#500#", to: "RD") == .value(500, isEchoed: true))
        #expect(reply("500#", to: "RD") == .value(500, isEchoed: false))
        #expect(reply("SH-20#-20#", to: "SH-20") == .value(-20, isEchoed: true))
        #expect(reply("RT#54.9#", to: "RT") == .value(54.9, isEchoed: true))
        #expect(reply("SD99990#ERR7#", to: "SD99990") == .refusal(7))
        #expect(reply("ERR10#", to: "SP0") == .refusal(10))
        #expect(reply("RD#500#\r\n", to: "RD") == .value(500, isEchoed: true))
        for part in ["", "R", "RD", "RD#", "RD#50", "ERR2"] {
            #expect(reply(part, to: "RD") == nil, "\(part)")
        }
        // The client takes what follows ERR for a number, so the # may be missing there.
        #expect(reply("SD20#ERR2", to: "SD20", isLast: true) == .refusal(2))
        #expect(reply("SD20#20", to: "SD20", isLast: true) == nil)
        #expect(reply("RD#5x0#", to: "RD") == .unexpected("5x0"))
        #expect(reply("RP#50#", to: "RD") == .unexpected("RP"))
        #expect(
            PSDWire.reply([0x35, 0xFF, 0x23], to: "RD", isLast: false)
                == .unexpected("bytes outside of ASCII text"))
    }

    @Test func opensWithTheOutputsOff() throws {
        unit.state.withLock { $0.isEchoing = false }
        try reactor.run { [self] in
            try await driver.open()
            #expect(await driver.delayRange == Picoseconds(0)...Picoseconds(51200))
            #expect(line.commands == ["EM1", "RMD", "RMD", "EO0", "RO", "RO"])
            try await driver.setOutputEnabled(true)
            #expect(unit.state.withLock { $0.values["O"] } == "1")
            await driver.close()
            await driver.close()
        }
        #expect(unit.state.withLock { $0.values["O"] } == "0")
        #expect(!line.stream.isOpen)
    }

    @Test func setsDelaysInStepsOfTenPicoseconds() throws {
        try reactor.run { [self] in
            try await driver.open()
            line.forget()
            #expect(try await driver.setDelay(Picoseconds(1234)) == Picoseconds(1230))
            #expect(try await driver.setDelay(Picoseconds(1235)) == Picoseconds(1240))
            #expect(try await driver.delay() == Picoseconds(1240))
            #expect(line.commands == ["SD1230", "SD1240", "RD", "RD"])
            #expect(try await driver.setPulseWidth(nanoseconds: 20) == 20)
            #expect(try await driver.setThreshold(Volts(-0.25)) == Volts(-0.25))
            try await driver.setDivider(2)
            try await driver.setTriggerEdge(rising: false)
            #expect(line.commands.suffix(4) == ["SP20", "SH-250", "SV2", "SE0"])
            #expect(try await driver.temperature() == Celsius(54.9))
            #expect(try await driver.selfTest().passed)
        }
    }

    @Test func refusesBeforeAByteIsSent() throws {
        try reactor.run { [self] in
            let closed = await driverError { _ = try await driver.setDelay(Picoseconds(0)) }
            #expect(closed?.code == .wrongState)
            try await driver.open()
            line.forget()
            for delay in [-10, 51_210, .max] as [Int64] {
                let error = await driverError { _ = try await driver.setDelay(Picoseconds(delay)) }
                #expect(error?.code == .outOfRange, "\(delay)")
            }
            let width = await driverError { _ = try await driver.setPulseWidth(nanoseconds: 251) }
            #expect(width?.code == .outOfRange)
            for volts in [2.01, -2.01, .nan] {
                let error = await driverError { _ = try await driver.setThreshold(Volts(volts)) }
                #expect(error?.code == .outOfRange, "\(volts)")
            }
            #expect(line.commands.isEmpty)
        }
    }

    @Test func aUnitInLocalModeSaysWhatToDo() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.answers["SD100"] = ["SD100#ERR2#"] }
            let error = await driverError { _ = try await driver.setDelay(Picoseconds(100)) }
            #expect(error?.code == .deviceFault)
            #expect(error?.found.contains("ERR2") == true)
            #expect(error?.advice.contains("front panel") == true)
            // A refusal without its end is known once nothing more comes.
            unit.state.withLock { $0.answers["SD200"] = ["SD200#ERR7"] }
            let unended = await driverError { _ = try await driver.setDelay(Picoseconds(200)) }
            #expect(unended?.found.contains("ERR7") == true)
            #expect(try await driver.setDelay(Picoseconds(300)) == Picoseconds(300))
        }
    }

    @Test func aLostDigitIsNotTakenForAReading() throws {
        try reactor.run { [self] in
            try await driver.open()
            _ = try await driver.setDelay(Picoseconds(12340))
            unit.state.withLock { $0.answers["RD"] = ["RD#1240#"] }
            #expect(try await driver.delay() == Picoseconds(12340))
            #expect(await driver.health == .good)
            unit.state.withLock { $0.answers["SD20000"] = ["SD20000#2000#"] }
            let error = await driverError { _ = try await driver.setDelay(Picoseconds(20000)) }
            #expect(error?.code == .deviceFault && error?.found == "2000.0 ps")
        }
    }

    @Test func aRestartShowsInTheHealth() throws {
        try reactor.run { [self] in
            try await driver.open()
            _ = try await driver.setDelay(Picoseconds(500))
            unit.state.withLock { $0.values["D"] = "0" }
            #expect(try await driver.delay() == Picoseconds(0))
            #expect(await driver.health != .good)
        }
    }

    /// The reply to a command that was given up must not answer the next one.
    @Test func lateRepliesAreDiscarded() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.answers["RT"] = [""] }
            let error = await driverError { _ = try await driver.temperature() }
            #expect(error?.code == .timedOut)
            line.stream.send("RT#11.1#")
            #expect(try await driver.temperature() == Celsius(54.9))
        }
    }

    @Test func unpluggingIsNamed() throws {
        try reactor.run { [self] in
            try await driver.open()
            line.stream.fail(.closed)
            let error = await driverError { _ = try await driver.delay() }
            #expect(error?.code == .disconnected)
        }
    }

    @Test(arguments: seeds(20)) func damagedRepliesNeverPassForOthers(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "psd")
        for _ in 0..<500 {
            let bytes = mutated(Array("RMD#51200#".utf8), using: &generator)
            for isLast in [false, true] {
                guard case .value(let value, _) = PSDWire.reply(bytes, to: "RMD", isLast: isLast)
                else { continue }
                #expect(value.isFinite)
                #expect(bytes.contains(0x23))
            }
        }
    }
}
