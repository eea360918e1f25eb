import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import PolarizationControllers
import Quantities
import Synchronization
import TestSupport
import Testing

/// A unit that answers what S15lib's `lcr_driver.py` asks.
private final class FakeLCD: Sendable {
    struct State {
        var amplitudes = [0.0, 1.25, 0.0, 5.5]
        var identity = "LCD cell driver v1"
        var texts: [String] = []
        var answer: String?
        var isDeaf = false
    }
    let stream: ScriptedStream
    let state = Mutex(State())

    init(reactor: VirtualReactor) {
        stream = ScriptedStream(reactor: reactor)
        stream.onWrite { [weak self] bytes in self?.take(String(decoding: bytes, as: UTF8.self)) }
    }
    func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }
    var texts: [String] { state.withLock { $0.texts } }

    private func take(_ text: String) {
        guard text != "\r\n" else { return }
        let reply = state.withLock { state -> String? in
            state.texts.append(text)
            let isQuery = text.hasSuffix(";")
            let words = text.dropLast().split(separator: " ")
            if isQuery, let answer = state.answer { return answer }
            switch words[0] {
            case "*idn?": return state.identity
            case "AMP?": return "\(state.amplitudes[(Int(words[1]) ?? 0) - 1])"
            case "AMPLITUDE":
                if !state.isDeaf {
                    state.amplitudes[(Int(words[1]) ?? 0) - 1] = Double(words[2]) ?? -1
                }
            default: break
            }
            return nil
        }
        if let reply { stream.send(reply + "\r\n", after: .milliseconds(1)) }
    }
}

struct S15RetarderTests {
    let reactor = VirtualReactor()
    private let device: FakeLCD
    let driver: S15RetarderDriver

    init() throws {
        let device = FakeLCD(reactor: reactor)
        self.device = device
        driver = try S15RetarderDriver(
            profile: try #require(try FirmwareProfiles.catalog()["s15-lcd"]),
            source: StreamSource(name: "test") { () async throws(ByteStreamError) in
                InstrumentStream(device.stream)
            }, serial: "LCDD-001", isEmulated: false, reactor: reactor)
    }

    private func failure(
        _ body: () async throws(DriverError) -> Void
    ) async -> DriverErrorCode? {
        do throws(DriverError) {
            try await body()
            return nil
        } catch { return error.code }
    }

    // MARK: Retardance

    /// The published table has a third column, the slope in radians per volt, which the profile does
    /// not carry: rows of it, as an independent check of the other two.
    @Test(arguments: [
        (1.0, -0.283), (1.2, -1.069), (1.3, -1.561), (1.5, -2.032), (1.9, -2.11), (2.5, -1.049),
        (3.2, -0.532), (4.0, -0.234), (4.8, -0.178), (5.3, -0.148),
    ])
    func theSlopeIsThePublishedOne(volts: Double, slope: Double) throws {
        let above = try #require(driver.retardance(at: Volts(volts + 0.1)))
        let below = try #require(driver.retardance(at: Volts(volts - 0.1)))
        #expect(abs((above.rawValue - below.rawValue) / 0.2 - slope) < 0.02)
    }

    @Test func theTableHasTheKnownEnds() throws {
        #expect(driver.retardance(at: Volts(0.9)) == Radians(4.578))
        #expect(driver.retardance(at: Volts(5.5)) == Radians(1.182))
        #expect(driver.retardance(at: Volts(5.51)) == nil)
        #expect(driver.response.curve.inputs.count == 47)
        let half = try driver.amplitude(for: Radians(.pi))
        #expect(abs(half.rawValue - 1.9) < 0.001, "half a wave is at 1.9 V, 3.142 rad")
        for radians in [1.1, 4.6, .nan] {
            #expect(throws: DriverError.self) { try driver.amplitude(for: Radians(radians)) }
        }
    }

    // MARK: The driver

    @Test func opensWithoutChangingTheAmplitudes() throws {
        try reactor.run { [self] in
            try await driver.open()
            #expect(
                device.texts == [
                    "*idn?;", "ON\r\n", "DARK\r\n", "FREQ 2000\r\n", "AMP? 1;", "AMP? 2;",
                    "AMP? 3;", "AMP? 4;",
                ])
            #expect(await driver.axes.map(\.range) == Array(repeating: 0.9...5.5, count: 4))
            #expect(
                try await driver.settings()
                    == [0, 1.25, 0, 5.5].map { .voltage(Volts($0)) })
            #expect(try await driver.selfTest().passed)
            await driver.close()
        }
        #expect(!device.texts.contains { $0.hasPrefix("AMPLITUDE") })
        #expect(!device.stream.isOpen)
    }

    @Test func setsReadsBackAndWaits() throws {
        let reports = try reactor.run { [self] () -> [MotionReport] in
            try await driver.open()
            device.set { $0.texts = [] }
            return try await driver.move([
                3: .voltage(Volts(1.23456)), 0: .voltage(Volts(0.9)),
            ])
        }
        #expect(
            device.texts.prefix(5) == [
                "ON\r\n", "DARK\r\n", "FREQ 2000\r\n", "AMPLITUDE 1 0.9\r\n",
                "AMPLITUDE 4 1.235\r\n",
            ])
        #expect(reports.map(\.axis) == [0, 3])
        #expect(reports.allSatisfy { $0.finished - $0.started >= .milliseconds(50) })
    }

    @Test func refusesBeforeAnythingIsSent() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.texts = [] }
            let cases: [(Int, ActuatorSetting, DriverErrorCode)] = [
                (0, .voltage(Volts(0.89)), .outOfRange), (0, .voltage(Volts(5.6)), .outOfRange),
                (0, .voltage(Volts(.nan)), .outOfRange), (4, .voltage(Volts(1)), .outOfRange),
                (0, .angle(Radians(1)), .notSupported),
            ]
            for (axis, setting, code) in cases {
                let found = await failure { () async throws(DriverError) in
                    _ = try await driver.move([axis: setting, 1: .voltage(Volts(1))])
                }
                #expect(found == code, "\(axis) \(setting)")
            }
            #expect(device.texts.isEmpty)
        }
    }

    @Test func noticesWhatIsNotTakenAndWhatChanges() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.isDeaf = true }
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.move(0, to: .voltage(Volts(1)))
                } == .deviceFault)
            device.set {
                $0.isDeaf = false
                $0.amplitudes = [0, 0, 0, 0]
            }
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.move(0, to: .voltage(Volts(1)))
                } == .deviceFault, "axes 1 and 3 have fallen to zero")
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.move(0, to: .voltage(Volts(2)))
                } == nil)
        }
    }

    @Test(arguments: ["", "nan", "-1", "0x10", "1e3", "1.0 V", "."])
    func refusesRepliesThatAreNoVoltages(reply: String) throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.set { $0.answer = reply }
            let found = await failure { () async throws(DriverError) in
                _ = try await driver.settings()
            }
            #expect(found == (reply.isEmpty ? .timedOut : .malformedReply))
            device.set { $0.answer = nil }
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.settings()
                } == nil)
        }
    }

    @Test(arguments: seeds(20)) func damagedRepliesAreReadOrRefused(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "lcd")
        for _ in 0..<200 {
            let text = String(
                decoding: mutated(Array("1.235".utf8), using: &generator), as: UTF8.self)
            if let volts = S15RetarderWire.volts(text) { #expect(volts.isFinite && volts >= 0) }
        }
    }

    @Test func refusesOtherInstrumentsAndTellsThatItIsGone() throws {
        device.set { $0.identity = "TDC1" }
        try reactor.run { [self] () -> Void in
            #expect(
                await failure { () async throws(DriverError) in
                    try await driver.open()
                } == .wrongDevice)
            #expect(!device.stream.isOpen)
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.settings()
                } == .wrongState)
        }
    }

    /// A readback of all axes that straddled a setting would take it for a change by itself.
    @Test func callersTakeTurns() throws {
        try reactor.run { [self] in
            try await driver.open()
            async let settings = driver.settings()
            async let second = driver.move(2, to: .voltage(Volts(2)))
            async let first = driver.move(0, to: .voltage(Volts(3)))
            let readback = try await settings
            #expect(readback.count == 4)
            #expect(try await second.reached == .voltage(Volts(2)))
            #expect(try await first.reached == .voltage(Volts(3)))
        }
    }

    @Test func unplugged() throws {
        try reactor.run { [self] () -> Void in
            try await driver.open()
            device.stream.fail(.closed)
            #expect(
                await failure { () async throws(DriverError) in
                    _ = try await driver.move(0, to: .voltage(Volts(1)))
                } == .disconnected)
            await driver.close()
            await driver.close()
        }
    }
}
