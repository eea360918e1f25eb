import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import SinglePhotonDetectors
import Synchronization
import TestSupport
import Testing

/// The driver against a module that keeps what it is set to. Commands and units are written from the
/// ID120 driver of Instrumental (spad/id120.py), not from ours.
struct ID120Tests {
    private let reactor = VirtualReactor()

    private final class Module: Sendable {
        private let values = Mutex([
            "BIAS:VOLTAGE": "0", "THRESHOLD:VOLTAGE": "100000", "DEADTIME:TIME": "40",
            "REG:TEMP_SET_POINT": "-40000", "REG:MEASURED_TEMP": "-39600",
            "REG:RUN": "FALSE", "BIAS:ERROR_STATUS": "FALSE",
            "COUNTERS:INTEGRATION_TIME": "1000", "COUNTERS:DETECTION_COUNT": "1234",
            "INFO:FIRMWARE_VERSION": "1.07", "*IDN": "IDQ,ID120,002008,1.07",
        ])
        private let stuck = Mutex<[String]>([])
        subscript(name: String) -> String? { values.withLock { $0[name] } }
        func set(_ name: String, _ value: String?) { values.withLock { $0[name] = value } }
        /// Ignores what is set from now on.
        func freeze(_ name: String) { stuck.withLock { $0.append(name) } }
        func answer(_ message: String) -> String? {
            if message.hasSuffix("?") { return self[String(message.dropLast())] }
            let parts = message.split(separator: " ").map(String.init)
            if parts.count == 2, !stuck.withLock({ $0.contains(parts[0]) }) {
                set(parts[0], parts[1])
            }
            return nil
        }
    }

    private func make(_ module: Module) throws -> (ID120Driver, ScriptedUSBTMC) {
        let profile = try #require(try FirmwareProfiles.catalog()["idq-id120"])
        let instrument = ScriptedUSBTMC(
            vendorID: 0x1DDC, productID: 0x0330, serial: "002008", usb488: 4, reactor: reactor
        ) { module.answer($0) }
        let driver = try ID120Driver(
            profile: profile, host: ScriptedUSBHost([instrument.device]),
            device: instrument.device.summary, reactor: reactor)
        return (driver, instrument)
    }

    private static func code(
        _ body: () async throws(DriverError) -> Void
    ) async -> DriverErrorCode? {
        do {
            try await body()
            return nil
        } catch { return error.code }
    }

    @Test func opensWithoutBias() throws {
        let module = Module()
        module.set("BIAS:VOLTAGE", "150000000")
        let (driver, instrument) = try make(module)
        try reactor.run {
            try await driver.open()
            #expect(module["BIAS:VOLTAGE"] == "0")
            #expect(await driver.identity.serial == "002008")
            #expect(await driver.identity.firmware == "1.07")
            #expect(try await driver.selfTest().passed)
        }
        #expect(
            Array(instrument.commands.prefix(4)) == [
                "*IDN?", "INFO:FIRMWARE_VERSION?", "BIAS:VOLTAGE 0", "BIAS:VOLTAGE?",
            ])
    }

    @Test func settingsGoOutInTheUnitsOfTheModule() throws {
        let module = Module()
        let (driver, instrument) = try make(module)
        try reactor.run {
            try await driver.open()
            try await driver.setThreshold(Volts(0.2502))
            try await driver.setDeadTime(Picoseconds(10_030_000))
            try await driver.setTemperature(Celsius(-30.4))
            #expect(try await driver.threshold() == Volts(0.25))
            #expect(try await driver.deadTime() == Picoseconds(10_040_000))
        }
        let set = instrument.commands.filter { !$0.hasSuffix("?") }
        #expect(
            set == [
                "BIAS:VOLTAGE 0", "THRESHOLD:VOLTAGE 250000", "DEADTIME:TIME 10040",
                "REG:TEMP_SET_POINT -30000",
            ])
    }

    @Test func armsColdAndDisarms() throws {
        let module = Module()
        let (driver, instrument) = try make(module)
        try reactor.run {
            try await driver.open()
            #expect(
                await Self.code { () async throws(DriverError) in try await driver.arm() }
                    == .wrongState, "no bias has been set")
            try await driver.setBias(Volts(160.03))
            try await driver.arm()
            #expect(module["REG:RUN"] == "TRUE")
            #expect(module["BIAS:VOLTAGE"] == "160000000", "rounded to 80 mV")
            let status = try await driver.status()
            #expect(status.isCounting && status.bias == Volts(160))
            #expect(status.temperature == Celsius(-39.6))
            try await driver.disarm()
            #expect(module["BIAS:VOLTAGE"] == "0")
            #expect(try await !driver.status().isCounting)
        }
        let order = instrument.commands.filter {
            $0.hasPrefix("REG:") || $0 == "BIAS:VOLTAGE 160000000"
        }
        #expect(
            Array(order.prefix(4)) == [
                "REG:RUN TRUE", "REG:TEMP_SET_POINT?", "REG:MEASURED_TEMP?",
                "BIAS:VOLTAGE 160000000",
            ])
    }

    @Test func aWarmSensorIsNeverBiased() throws {
        let module = Module()
        module.set("REG:MEASURED_TEMP", "21000")
        let (driver, instrument) = try make(module)
        try reactor.run {
            try await driver.open()
            try await driver.setBias(Volts(160))
            #expect(
                await Self.code { () async throws(DriverError) in try await driver.arm() }
                    == .deviceFault)
        }
        #expect(!instrument.commands.contains("BIAS:VOLTAGE 160000000"))
        #expect(reactor.now >= HostInstant(nanoseconds: 120_000_000_000), "it was waited for")
    }

    @Test func aSupplyErrorRemovesTheBias() throws {
        let module = Module()
        module.set("BIAS:ERROR_STATUS", "TRUE")
        let (driver, _) = try make(module)
        try reactor.run {
            try await driver.open()
            try await driver.setBias(Volts(160))
            #expect(
                await Self.code { () async throws(DriverError) in try await driver.arm() }
                    == .deviceFault)
            #expect(module["BIAS:VOLTAGE"] == "0")
            #expect(try await driver.status().hasFault)
        }
    }

    @Test func aSettingThatIsNotTakenIsNoticed() throws {
        let module = Module()
        let (driver, _) = try make(module)
        try reactor.run {
            try await driver.open()
            module.freeze("THRESHOLD:VOLTAGE")
            #expect(
                await Self.code { () async throws(DriverError) in
                    try await driver.setThreshold(Volts(0.5))
                } == .deviceFault)
        }
    }

    @Test func refusesOutOfRangeBeforeAByteIsSent() throws {
        let (driver, instrument) = try make(Module())
        try reactor.run {
            try await driver.open()
            let before = instrument.device.operations.count
            for bias in [-0.1, 250.1, .nan] {
                #expect(
                    await Self.code { () async throws(DriverError) in
                        try await driver.setBias(Volts(bias))
                    } == .outOfRange, "\(bias)")
            }
            for milliseconds in [100, 300, 100_200] {
                #expect(
                    await Self.code { () async throws(DriverError) in
                        _ = try await driver.counts(for: .milliseconds(milliseconds))
                    } == .outOfRange, "\(milliseconds)")
            }
            #expect(
                await Self.code { () async throws(DriverError) in
                    try await driver.setTemperature(Celsius(-51))
                } == .outOfRange)
            #expect(
                await Self.code { () async throws(DriverError) in
                    try await driver.setDeadTime(Picoseconds(39_000))
                } == .outOfRange)
            #expect(instrument.device.operations.count == before)
        }
    }

    @Test func countsAWindowThatBeganAfterTheCall() throws {
        let module = Module()
        let (driver, instrument) = try make(module)
        let took = try reactor.run { [reactor] in
            try await driver.open()
            let start = reactor.now
            #expect(try await driver.counts(for: .milliseconds(400)) == [1234])
            let took = reactor.now - start
            module.set("COUNTERS:DETECTION_COUNT", "12.5")
            #expect(
                await Self.code { () async throws(DriverError) in
                    _ = try await driver.counts(for: .milliseconds(200))
                } == .malformedReply)
            return took
        }
        #expect(instrument.commands.contains("COUNTERS:INTEGRATION_TIME 400"))
        #expect(took >= .milliseconds(800))
    }

    @Test func closingRemovesTheBias() throws {
        let module = Module()
        let (driver, instrument) = try make(module)
        try reactor.run {
            try await driver.open()
            try await driver.setBias(Volts(160))
            try await driver.arm()
            await driver.close()
            #expect(module["BIAS:VOLTAGE"] == "0")
            #expect(
                await Self.code { () async throws(DriverError) in _ = try await driver.status() }
                    == .wrongState)
        }
        #expect(instrument.device.operations.last == .close)
    }

    @Test func anotherModelIsRefused() throws {
        let module = Module()
        module.set("*IDN", "IDQ,ID230,000001,1.0")
        let (driver, instrument) = try make(module)
        try reactor.run {
            #expect(
                await Self.code { () async throws(DriverError) in try await driver.open() }
                    == .wrongDevice)
        }
        #expect(instrument.device.operations.last == .close)
    }

    /// The doubt about the unit of the dead time is in the profile, where certified mode sees it.
    @Test func theUnitOfTheDeadTimeIsMarkedAsAGuess() throws {
        let profile = try #require(try FirmwareProfiles.catalog()["idq-id120"])
        #expect(profile.confidence(of: "scaling.dead_time") == .assumed)
        #expect(profile.confidence(of: "dialect.commands.set_dead_time.send") == .seen)
        #expect(profile.quirks["dead_time_unit"]?.confidence == .assumed)
        #expect(throws: UncertifiedProfile.self) { try profile.certified(excluding: ["emulation"]) }
    }
}
