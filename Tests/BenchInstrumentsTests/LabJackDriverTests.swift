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

/// The driver of the U3 against a unit that a test scripts.
struct LabJackDriverTests {
    private struct Bench: Sendable {
        let reactor = VirtualReactor()
        let unit = ScriptedU3()
        let device: ScriptedReplyDevice
        let driver: LabJackU3Driver

        init() throws {
            let summary = USBDeviceSummary(
                id: USBDeviceID(path: "1-1", address: 4), vendorID: 0x0CD5, productID: 3,
                bcdDevice: 0, classTriple: [0, 0, 0], speed: .full, manufacturer: nil,
                product: nil, serial: nil, interfaces: [], access: .available, isEmulated: false)
            let unit = unit
            device = ScriptedReplyDevice(
                summary, reactor: reactor, onWrite: { unit.answer($0) })
            let profile = try #require(try FirmwareProfiles.catalog()["labjack-u3"])
            driver = try LabJackU3Driver(
                profile: profile, host: ScriptedReplyHost(device), device: summary,
                reactor: reactor)
        }

        func change(_ body: (inout ScriptedU3.State) -> Void) {
            unit.state.withLock { body(&$0) }
        }
        var outputs: [Int] { unit.state.withLock { $0.outputs } }
        /// The numbers of the extended commands written, in order.
        var commands: [UInt8] { device.written.map { $0[3] } }
    }

    @Test func opensSafe() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let identity = await bench.driver.identity
            #expect(identity.model == "U3-HV")
            #expect(identity.serial == "320024633")
            #expect(identity.firmware == "1.26")
            #expect(identity.provenance == .device)
            #expect(await bench.driver.health == .good)
            await bench.driver.close()
        }
        // Asked who it is, then safe before anything else.
        #expect(Array(bench.commands.prefix(2)) == [0x08, 0x00])
        #expect(
            Array(bench.device.written[1].dropFirst(7))
                == [0x26, 0x00, 0x00, 0x27, 0x00, 0x00, 0x00])
        #expect(bench.outputs == [0, 0])
        // The watchdog is taken back.
        #expect(bench.unit.state.withLock { $0.watchdog } == [0, 0, 0])
        #expect(bench.device.isClosed)
    }

    /// What is in the flash already is not written again.
    @Test func flashIsWrittenOnlyForAChange() throws {
        let bench = try Bench()
        bench.change {
            $0.watchdog = [0x20, 10, 0]
            $0.powerUp = [0, 0]
        }
        try bench.reactor.run { try await bench.driver.open() }
        func writes(_ number: UInt8) -> Int {
            bench.device.written.count { $0[3] == number && $0[6] != 0 }
        }
        #expect(writes(0x09) == 0 && writes(0x08) == 0)

        let other = try Bench()
        other.change { $0.powerUp = [0, 0x80] }
        try other.reactor.run { try await other.driver.open() }
        #expect(other.unit.state.withLock { $0.powerUp } == [0, 0])
        #expect(other.unit.state.withLock { $0.watchdog } == [0x20, 10, 0])
        #expect(other.device.written.count { $0[3] == 0x08 && $0[6] == 4 } == 1)
    }

    @Test func codesOfOutputs() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            // 2.5 V · 51.717 = 129.29 codes of 8 bits, 517 of ten: 0x8140 of sixteen.
            let set = try await bench.driver.setOutput(0, Volts(2.5))
            #expect(bench.outputs[0] == 0x8140)
            #expect(abs(set.rawValue - 517.0 / 4 / 51.717) < 1e-6)
            let ranges = await bench.driver.outputRanges
            #expect(ranges.count == 2 && ranges[0].lowerBound == Volts(0.04))
            _ = try await bench.driver.setOutput(1, ranges[1].upperBound)
            #expect(bench.outputs == [0x8140, 0xFFC0])
            await bench.driver.close()
        }
        #expect(bench.outputs == [0, 0], "safe after close")
    }

    @Test(arguments: [
        (0, -0.1), (0, 0.0), (1, 5.0), (0, Double.nan), (0, Double.infinity), (2, 1.0), (-1, 1.0),
    ])
    func outputsOutOfRangeAreNotSent(output: Int, volts: Double) throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let before = bench.device.written.count
            let error = await #expect(throws: DriverError.self) {
                try await bench.driver.setOutput(output, Volts(volts))
            }
            #expect(error?.code == .outOfRange)
            #expect(bench.device.written.count == before)
        }
    }

    /// 0x8f20 is the reading in LabJackPython's documentation: 36640 codes.
    /// What a code in volts may be off by: the constants have 32 bits of fraction.
    private static func resolution(_ code: Double) -> Double { code / 4_294_967_296 }

    @Test func inputsUseTheConstantsOfTheirRange() throws {
        let bench = try Bench()
        bench.change {
            let codes: [UInt8: Int] = [
                0: 0x8F20, 5: 0x8F20, 2: 0, 3: 0xFFF0, 6: 0, 7: 0xFFF0,
            ]
            $0.inputCodes.merge(codes) { $1 }
        }
        try bench.reactor.run {
            try await bench.driver.open()
            #expect(bench.driver.inputCount == 16)
            let high = try await bench.driver.input(0)
            #expect(abs(high.rawValue - (36_640 * 0.000314 - 10.3)) < 1e-4)
            let low = try await bench.driver.input(5)
            #expect(abs(low.rawValue - 36_640 * 0.000037231) < 1e-4)
            #expect(abs(try await bench.driver.input(6).rawValue) < 1e-9)
            // Ends of the ranges are no voltages.
            for input in [2, 3, 7] {
                let error = await #expect(throws: DriverError.self) {
                    try await bench.driver.input(input)
                }
                #expect(error?.code == .deviceFault, "\(input)")
            }
            let error = await #expect(throws: DriverError.self) {
                try await bench.driver.input(16)
            }
            #expect(error?.code == .outOfRange)
            let report = try await bench.driver.selfTest()
            #expect(report.passed, "\(report.checks.filter { !$0.passed })")
        }
    }

    @Test func aLowVoltageUnitHasNoHighInputs() throws {
        let bench = try Bench()
        bench.change {
            $0.versionInfo = 2
            $0.inputCodes = [0: 0x8F20]
        }
        try bench.reactor.run {
            try await bench.driver.open()
            #expect(await bench.driver.identity.model == "U3-LV")
            let volts = try await bench.driver.input(0).rawValue
            #expect(abs(volts - 36_640 * 0.000037231) < 1e-4)
        }
    }

    // MARK: - Units that are not what they should be

    @Test func otherUnitsAreRefused() throws {
        let changes: [(String, @Sendable (inout ScriptedU3.State) -> Void, DriverErrorCode)] = [
            ("product 6", { $0.product = 6 }, .wrongDevice),
            ("hardware 1.21", { $0.hardware = [21, 1] }, .wrongDevice),
            ("firmware 1.02", { $0.firmware = [2, 1] }, .wrongDevice),
            (
                "empty memory",
                { $0.calibration = $0.calibration.map { $0.map { _ in 0xFF } } }, .deviceFault
            ),
            ("refused", { $0.refusals = [0x09: 6] }, .deviceFault),
        ]
        for (name, change, code) in changes {
            let bench = try Bench()
            bench.change(change)
            try bench.reactor.run {
                let error = await #expect(throws: DriverError.self, "\(name)") {
                    try await bench.driver.open()
                }
                #expect(error?.code == code, "\(name): \(String(describing: error))")
                #expect(bench.device.isClosed)
                // Closed again, and open works once the reason is gone.
                bench.change { $0 = ScriptedU3.State() }
                try await bench.driver.open()
            }
        }
    }

    // MARK: - Trouble on the way

    @Test func damagedAndMissingRepliesAreErrorsAndTheNextCommandWorks() throws {
        let cases: [(@Sendable ([UInt8]) -> [[UInt8]], DriverErrorCode)] = [
            ({ reply in [[reply[0] ^ 1] + reply.dropFirst()] }, .malformedReply),
            ({ _ in [[0xB8, 0xB8]] }, .malformedReply),
            ({ _ in [] }, .timedOut),
            // Cut in two: the rest must not be taken for the next reply.
            ({ reply in [Array(reply.prefix(8)), Array(reply.dropFirst(8))] }, .malformedReply),
        ]
        for (damage, code) in cases {
            let bench = try Bench()
            bench.change { $0.inputCodes = [4: 0x1000, 5: 0x2000] }
            try bench.reactor.run {
                try await bench.driver.open()
                bench.change { $0.damage = [damage] }
                let error = await #expect(throws: DriverError.self) {
                    try await bench.driver.input(4)
                }
                #expect(error?.code == code, "\(String(describing: error))")
                let volts = try await bench.driver.input(5).rawValue
                #expect(abs(volts - 0x2000 * 0.000037231) < Self.resolution(0x2000))
            }
        }
    }

    /// The reply to a reading that timed out arrives with the next one.
    @Test func lateRepliesArePassedOver() throws {
        let bench = try Bench()
        bench.change { $0.inputCodes = [4: 0x1000, 5: 0x2000] }
        try bench.reactor.run {
            try await bench.driver.open()
            let late = ScriptedU3.seal(0, [0, 0, 200, 0x00, 0x10, 0])
            bench.device.supply(late)
            let volts = try await bench.driver.input(5).rawValue
            #expect(abs(volts - 0x2000 * 0.000037231) < Self.resolution(0x2000))
            // A unit that only ever answers something else is not waited for without end.
            bench.change { $0.damage = [{ _ in Array(repeating: late, count: 9) }] }
            let error = await #expect(throws: DriverError.self) {
                try await bench.driver.input(5)
            }
            #expect(error?.code == .malformedReply)
        }
    }

    @Test func unplugging() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            bench.device.fail(.disconnected)
            let error = await #expect(throws: DriverError.self) {
                try await bench.driver.setOutput(0, Volts(1))
            }
            #expect(error?.code == .disconnected)
            try await bench.reactor.sleep(for: .seconds(5))
            guard case .failed = await bench.driver.health else {
                Issue.record("the keep-alive does not notice")
                return
            }
            await bench.driver.close()
            bench.device.fail(nil)
            try await bench.driver.open()
            #expect(await bench.driver.health == .good)
            _ = try await bench.driver.setOutput(0, Volts(1))
        }
    }

    // MARK: - Watchdog and restart

    @Test func anIdleDriverShowsThatItLives() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            let before = bench.device.written.count
            try await bench.reactor.sleep(for: .seconds(30))
            let sent = bench.device.written.dropFirst(before)
            // Never longer than a third of the watchdog's ten seconds apart.
            #expect((9...15).contains(sent.count) && sent.allSatisfy { $0[3] == 0x0B })
            await bench.driver.close()
            let after = bench.device.written.count
            try await bench.reactor.sleep(for: .seconds(30))
            #expect(bench.device.written.count == after, "nothing is sent after close")
        }
    }

    @Test func aRestartIsNoticed() throws {
        let bench = try Bench()
        try bench.reactor.run {
            try await bench.driver.open()
            bench.change {
                $0.fioAnalog = 0x0F
                $0.eioAnalog = 0
            }
            try await bench.reactor.sleep(for: .seconds(3))
            let error = await #expect(throws: DriverError.self) {
                try await bench.driver.setOutput(0, Volts(1))
            }
            #expect(error?.code == .deviceFault)
            #expect(error?.found.contains("restarted") == true)
            await bench.driver.close()
            try await bench.driver.open()
            _ = try await bench.driver.setOutput(0, Volts(1))
        }
    }

    @Test func everyErrorSaysWhatToDo() throws {
        let profile = try #require(try FirmwareProfiles.catalog()["labjack-u3"])
        let all: [LabJackError] = [
            .commandDamaged, .replyDamaged("x"), .malformed("x"),
            .otherReply(expected: 1, found: 2),
            .staleEcho, .refused(code: 98, part: 1), .refused(code: 200, part: nil),
            .wrongUnit(expected: "a", found: "b"), .calibration(name: "a", value: 0), .restarted,
            .notTaken(setting: "a", found: "b"), .overloaded(input: 1, range: 0...1),
        ]
        for error in all {
            let shown = error.driverError(profile, instrument: "U3", operation: "x")
            #expect(
                !shown.expected.isEmpty && !shown.found.isEmpty && !shown.advice.isEmpty, "\(error)"
            )
        }
        let named = LabJackError.refused(code: 98, part: 1)
            .driverError(profile, instrument: "U3", operation: "x")
        #expect(named.found == "error 98 at part 1: an analog operation on a digital line")
    }
}
