import BenchInstruments
import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import Synchronization
import TestSupport
import Testing

/// The driver against units as the tests of qmi, and the public clients, show them.
struct DD100Tests {
    let reactor = VirtualReactor()

    /// A unit from 1.5 to 60 dB that gets where it is sent at once.
    private final class Unit: Sendable {
        struct State {
            var attenuation: Double? = 20
            var isStuck = false
            /// Replies in place of the usual ones, by command; empty is silence.
            var replies: [String: [String]] = [:]
            /// How it writes the reply to D.
            var status: @Sendable (String) -> String = { "DPos:10000\r\nATTEN:\($0)\r\n" }
        }
        let state = Mutex(State())
        static let end = "Done\r\n\r\n"

        func answer(_ command: String) -> String? {
            state.withLock { state in
                if var planned = state.replies[command], !planned.isEmpty {
                    let reply = planned.removeFirst()
                    state.replies[command] = planned
                    return reply.isEmpty ? nil : reply
                }
                switch command.first {
                case "C": return "DD-100-MC\r\nIL:1.50\r\nMAX ATTEN:60.00\r\n" + Self.end
                case "H":
                    state.attenuation = 1.5
                    return "Diff=3\r\n" + Self.end
                case "D":
                    return state.status(state.attenuation.map { "\($0)" } ?? "unknown") + Self.end
                case "A":
                    if !state.isStuck { state.attenuation = Double(command.dropFirst()) }
                    return "Pos:200\r\n" + Self.end
                default: return "Error-2\r\n\r\n"
                }
            }
        }
    }

    private let unit = Unit()
    private let line: AnsweringLine
    let driver: DD100Driver

    init() throws {
        let line = AnsweringLine(reactor: reactor, terminator: "\r") { [unit] in unit.answer($0) }
        self.line = line
        driver = try DD100Driver(
            profile: try #require(try FirmwareProfiles.catalog()["oz-dd-100-mc"]),
            source: line.source, serial: "voa-alice", isEmulated: false, reactor: reactor)
    }

    /// The replies in `tests/instruments/ozoptics/test_dd100mc.py` of qmi, as its reader splits
    /// them.
    @Test func readsTheRepliesOfQMI() throws {
        func reply(_ text: String, to command: String) -> DD100Wire.Reply? {
            DD100Wire.reply(Array(text.utf8), to: command)
        }
        #expect(reply("RESPONSE\r\nDone\r\n\r\n", to: "CD") == .done(["RESPONSE"]))
        let profile = try #require(try FirmwareProfiles.catalog()["oz-dd-100-mc"])
        let vector = try #require(profile.provenance.vectors["status"]).bytes
        let status = ["DPos:10000", "ATTEN:0.0001"]
        #expect(DD100Wire.reply(vector, to: "D") == .done(status))
        #expect(DD100Wire.position(status) == 10000)
        #expect(DD100Wire.decibels("ATTEN:", status) == .known(0.0001))
        #expect(DD100Wire.position(["Pos:200"]) == 200)
        for bad in [["DPos:10000", ""], ["", "ATTEN:0.0001"], [], ["DPos:x", "ATTEN:"]] {
            let isWhole =
                DD100Wire.position(bad) != nil && DD100Wire.decibels("ATTEN:", bad) != nil
            #expect(!isWhole, "\(bad)")
        }
        for part in ["", "RESPONSE", "RESPONSE\r\n", "RESPONSE\r\nDone"] {
            #expect(reply(part, to: "CD") == nil, "\(part)")
        }
    }

    /// Echo and labels of other units, after pylablib and COO-Utilities.
    @Test func readsTheRepliesOfOtherUnits() {
        let lines = ["Pos:-12", "Atten:12.50(dB)", "Max Atten: 60.0 dB"]
        let text = "D\r\n" + lines.joined(separator: "\r\n") + "\r\nDone\r\n"
        #expect(DD100Wire.reply(Array(text.utf8), to: "D") == .done(lines))
        #expect(DD100Wire.position(lines) == -12)
        #expect(DD100Wire.decibels("ATTEN:", lines) == .known(12.5))
        #expect(DD100Wire.decibels("MAX ATTEN:", lines) == .known(60))
        #expect(DD100Wire.decibels("ATTEN:", ["Atten:unknown"]) == .unknown)
        #expect(DD100Wire.decibels("ATTEN:", ["ATTEN:nan"]) == nil)
        #expect(DD100Wire.decibels("IL:", lines) == nil)
        #expect(
            DD100Wire.reply(Array("A99\r\nError-2\r\n\r\n".utf8), to: "A99") == .refused("Error-2"))
        #expect(DD100Wire.number(ofRefusal: "Error-7") == 7)
        #expect(DD100Wire.number(ofRefusal: "Error!") == nil)
        #expect(DD100Wire.reply([0x44, 0xF0, 0x0D, 0x0A], to: "D") == .garbled)
    }

    @Test func opensAndClosesAtTheGreatestAttenuation() throws {
        try reactor.run { [self] in
            try await driver.open()
            #expect(line.commands == ["CD", "D", "D", "A60", "D", "D"])
            #expect(await driver.attenuationRange == Decibels(1.5)...Decibels(60))
            #expect(try await driver.attenuation() == Decibels(60))
            #expect(try await driver.setAttenuation(Decibels(12.504)) == Decibels(12.5))
            await driver.close()
            await driver.close()
        }
        #expect(unit.state.withLock { $0.attenuation } == 60)
        #expect(!line.stream.isOpen)
    }

    /// Opened while a motion that somebody else began is under way.
    @Test func aLateReplyIsNotTakenForTheConfiguration() throws {
        let late = "Pos:777\r\n" + Unit.end
        let configuration = "IL:1.50\r\nMAX ATTEN:60.00\r\n" + Unit.end
        unit.state.withLock { $0.replies["CD"] = [late + configuration] }
        try reactor.run { [self] in
            try await driver.open()
            #expect(await driver.attenuationRange == Decibels(1.5)...Decibels(60))
        }
    }

    @Test func homesAUnitThatDoesNotKnowWhereItIs() throws {
        unit.state.withLock { $0.attenuation = nil }
        let reply = "Diff=3\r\n" + Unit.end
        unit.state.withLock { $0.replies["H"] = [""] }
        try reactor.run { [self] in
            // The answer comes when the motor is home.
            reactor.schedule(at: reactor.now + .seconds(38)) { [line, unit] in
                unit.state.withLock { $0.attenuation = 1.5 }
                line.stream.send(reply)
            }
            try await driver.open()
            #expect(reactor.now >= HostInstant(nanoseconds: 38_000_000_000))
            #expect(try await driver.attenuation() == Decibels(60))
        }
        #expect(line.commands.prefix(4) == ["CD", "D", "D", "H"])
    }

    @Test func aBrokenHomeSensorIsNamedAndThePortGivenBack() throws {
        unit.state.withLock {
            $0.attenuation = nil
            $0.replies["H"] = ["Error-5\r\n\r\n"]
        }
        try reactor.run { [self] in
            let error = await driverError { try await driver.open() }
            #expect(error?.code == .deviceFault)
            #expect(error?.found.contains("home sensor") == true)
            #expect(!line.stream.isOpen)
        }
    }

    @Test func refusesBeforeAByteIsSent() throws {
        try reactor.run { [self] in
            let closed = await driverError { _ = try await driver.setAttenuation(Decibels(10)) }
            #expect(closed?.code == .wrongState)
            try await driver.open()
            line.forget()
            for value in [1.49, 60.01, -1, .nan, .infinity] {
                let error = await driverError {
                    _ = try await driver.setAttenuation(Decibels(value))
                }
                #expect(error?.code == .outOfRange, "\(value)")
            }
            #expect(line.commands.isEmpty)
        }
    }

    @Test func aMotorThatDoesNotGetThereIsNamed() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.isStuck = true }
            let error = await driverError { _ = try await driver.setAttenuation(Decibels(10)) }
            #expect(error?.code == .deviceFault && error?.found == "60.0 dB")
            #expect(await driver.health != .good)
        }
    }

    @Test func aRestartIsNotTakenForAnAttenuation() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.attenuation = nil }
            let error = await driverError { _ = try await driver.attenuation() }
            #expect(error?.code == .deviceFault)
            #expect(error?.advice.contains("open it again") == true)
        }
    }

    @Test func aLostDigitIsNotTakenForAReading() throws {
        try reactor.run { [self] in
            try await driver.open()
            _ = try await driver.setAttenuation(Decibels(25))
            unit.state.withLock { $0.replies["D"] = ["DPos:1000\r\nATTEN:2.00\r\n" + Unit.end] }
            #expect(try await driver.attenuation() == Decibels(25))
        }
    }

    @Test func worksWithTheLabelsOfOtherUnits() throws {
        unit.state.withLock { $0.status = { "D\r\nPos:12\r\nAtten:\($0)(dB)\r\n" } }
        try reactor.run { [self] in
            try await driver.open()
            #expect(try await driver.setAttenuation(Decibels(33.33)) == Decibels(33.33))
            #expect(try await driver.selfTest().passed)
        }
    }

    @Test func refusesOtherInstruments() throws {
        unit.state.withLock { $0.replies["CD"] = ["TF-100\r\n" + Unit.end] }
        try reactor.run { [self] in
            let error = await driverError { try await driver.open() }
            #expect(error?.code == .wrongDevice)
            #expect(!line.stream.isOpen)
        }
    }

    @Test func silenceAndUnpluggingAreNamed() throws {
        try reactor.run { [self] in
            try await driver.open()
            unit.state.withLock { $0.replies["D"] = [""] }
            let silent = await driverError { _ = try await driver.attenuation() }
            #expect(silent?.code == .timedOut)
            line.stream.fail(.closed)
            let gone = await driverError { _ = try await driver.setAttenuation(Decibels(5)) }
            #expect(gone?.code == .disconnected)
        }
    }

    @Test(arguments: seeds(20)) func anyReplyIsHandled(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "dd100")
        let whole = Array("D\r\nDPos:10000\r\nATTEN:12.50\r\nDone\r\n\r\n".utf8)
        for _ in 0..<500 {
            guard
                case .done(let lines) = DD100Wire.reply(
                    mutated(whole, using: &generator), to: "D")
            else { continue }
            if case .known(let value) = DD100Wire.decibels("ATTEN:", lines) {
                #expect(value.isFinite)
            }
            _ = DD100Wire.position(lines)
        }
    }
}
