import BenchInstruments
import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities
import Synchronization
import TestSupport
import Testing

/// The driver against a console that answers as a test says. The identification is that of a unit
/// quoted in the documentation of Instrumental; the sensor fields are those of the manual.
struct ThorlabsPM100Tests {
    private let reactor = VirtualReactor()

    /// Answers that a test changes while the driver works.
    private final class Console: Sendable {
        private let answers = Mutex([
            "*IDN?": "Thorlabs,PM100D,P0009084,2.4.0",
            "SYST:SENS:IDN?": "S120C,14091621,16-Sep-2014,1,18,33",
            "SYST:ERR?": "+0,\"No error\"", "SENS:CORR:WAV? MIN": "4.000000E+02",
            "SENS:CORR:WAV? MAX": "1.100000E+03", "SENS:CORR:WAV?": "8.500000E+02",
            "MEAS:POW?": "1.23456789E-06",
        ])
        subscript(command: String) -> String? {
            get { answers.withLock { $0[command] } }
            set { answers.withLock { $0[command] = newValue } }
        }
        func set(_ command: String, _ answer: String?) { answers.withLock { $0[command] = answer } }
    }

    private func make(
        _ console: Console
    ) throws -> (ThorlabsPM100Driver, ScriptedUSBTMC) {
        let profile = try #require(try FirmwareProfiles.catalog()["thorlabs-pm100d"])
        let instrument = ScriptedUSBTMC(serial: "P0009084", reactor: reactor) { console[$0] }
        let driver = try ThorlabsPM100Driver(
            profile: profile, host: ScriptedUSBHost([instrument.device]),
            device: instrument.device.summary, reactor: reactor)
        return (driver, instrument)
    }

    private static func error(
        _ body: () async throws(DriverError) -> Void
    ) async -> DriverError? {
        do {
            try await body()
            return nil
        } catch { return error }
    }

    @Test func opensAndTellsWhoItIs() throws {
        let (driver, instrument) = try make(Console())
        try reactor.run {
            try await driver.open()
            let identity = await driver.identity
            #expect(identity.serial == "P0009084" && identity.firmware == "2.4.0")
            #expect(identity.provenance == .device)
            #expect(await driver.wavelengthRange == Nanometres(400)...Nanometres(1100))
            #expect(try await driver.selfTest().passed)
            await driver.close()
        }
        #expect(
            Array(instrument.commands.prefix(9)) == [
                "*IDN?", "SYST:SENS:IDN?", "*CLS", "CONF:POW", "SENS:POW:UNIT W",
                "SENS:POW:RANG:AUTO 1", "SYST:ERR?", "SENS:CORR:WAV? MIN", "SENS:CORR:WAV? MAX",
            ])
        #expect(instrument.device.operations.last == .close)
    }

    @Test func measures() throws {
        let console = Console()
        let (driver, _) = try make(console)
        try reactor.run {
            try await driver.open()
            let reading = try await driver.measure()
            #expect(reading.power == Watts(1.23456789e-6))
            #expect(reading.wavelength == Nanometres(850))
            console.set("MEAS:POW?", "9.90000000E+37")
            #expect(try await driver.measure().power == nil)
            #expect(await driver.health != .good)
            console.set("MEAS:POW?", "9.91000000E+37")
            let missing = await Self.error { () async throws(DriverError) in
                _ = try await driver.measure()
            }
            #expect(missing?.code == .deviceFault)
            console.set("MEAS:POW?", "power")
            let malformed = await Self.error { () async throws(DriverError) in
                _ = try await driver.measure()
            }
            #expect(malformed?.code == .malformedReply)
        }
    }

    @Test func setsAWavelengthAndReadsItBack() throws {
        let console = Console()
        let (driver, instrument) = try make(console)
        try reactor.run {
            try await driver.open()
            try await driver.setWavelength(Nanometres(850.05))
            #expect(instrument.commands.contains("SENS:CORR:WAV 850.05"))
            let taken = await Self.error { () async throws(DriverError) in
                try await driver.setWavelength(Nanometres(633))
            }
            #expect(taken?.code == .deviceFault, "it still reads 850")
            console.set("SYST:ERR?", "-222,\"Data out of range\"")
            let queued = await Self.error { () async throws(DriverError) in
                try await driver.setWavelength(Nanometres(850))
            }
            #expect(queued?.code == .deviceFault)
            #expect(queued?.found.contains("-222") == true)
        }
    }

    @Test func refusesWavelengthsBeforeAByteIsSent() throws {
        let (driver, instrument) = try make(Console())
        try reactor.run {
            try await driver.open()
            let before = instrument.device.operations.count
            for wavelength in [399.9, 1100.1, .nan, .infinity] {
                let error = await Self.error { () async throws(DriverError) in
                    try await driver.setWavelength(Nanometres(wavelength))
                }
                #expect(error?.code == .outOfRange, "\(wavelength)")
            }
            #expect(instrument.device.operations.count == before)
        }
    }

    @Test(
        "refuses what is not a power meter with a fitting sensor",
        arguments: [
            ("*IDN?", "Thorlabs,TSP01,M00495436,1.2.0"), ("*IDN?", "garbage"),
            ("SYST:SENS:IDN?", "NO SENSOR,,,0,0,0"),
            ("SYST:SENS:IDN?", "ES111C,100,1-Jan-2020,3,2,2"),
        ])
    func wrongDevices(command: String, answer: String) throws {
        let console = Console()
        console.set(command, answer)
        let (driver, instrument) = try make(console)
        try reactor.run {
            let error = await Self.error { () async throws(DriverError) in
                try await driver.open()
            }
            #expect(error?.code == .wrongDevice)
            #expect(error?.found.contains(answer) == true)
        }
        #expect(instrument.device.operations.last == .close, "nothing stays open")
    }

    @Test func silenceIsNamedAndTheNextMeasurementWorks() throws {
        let console = Console()
        let (driver, _) = try make(console)
        try reactor.run {
            try await driver.open()
            console.set("MEAS:POW?", nil)
            let error = await Self.error { () async throws(DriverError) in
                _ = try await driver.measure()
            }
            #expect(error?.code == .timedOut)
            console.set("MEAS:POW?", "2.0E-06")
            #expect(try await driver.measure().power == Watts(2e-6))
        }
    }

    @Test func isFoundUnderTheKernelsDriverWithTheNextAction() throws {
        let reactor = reactor
        let instrument = ScriptedUSBTMC(serial: "P0009084", reactor: reactor) { _ in nil }
        var summary = instrument.device.summary
        summary.access = .claimedByKernelDriver(name: "usbtmc")
        let host = ScriptedUSBHost([ScriptedUSBDevice(summary, reactor: reactor)])
        let found = try reactor.run {
            try await DriverRegistry([ThorlabsPM100Factory()]).discover(
                on: HostPorts(usb: host, reactor: reactor), catalog: FirmwareProfiles.catalog())
        }
        #expect(found.map(\.profile) == ["thorlabs-pm100d"])
        #expect(found.first?.availability.reason?.contains("usbtmc") == true)
        #expect(
            found.first?.availability.nextAction?.command
                == "echo 1-1:1.0 | sudo tee /sys/bus/usb/drivers/usbtmc/unbind")
    }
}
