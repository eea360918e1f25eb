import BenchInstruments
import DeviceProfiles
import FirmwareProfiles
import Instruments
import Quantities
import TestSupport
import Testing

/// Packets and replies against those of other people's programs.
struct LabJackWireTests {
    private let wire = LabJackWire()

    private func profile() throws -> DeviceProfile {
        try #require(try FirmwareProfiles.catalog()["labjack-u3"])
    }

    // MARK: - Commands

    /// Made with LabJackPython 2.3.0: configU3(), configU3(DAC1Enable=1, DAC0=0x12, DAC1=0x34),
    /// configIO(), configIO(FIOAnalog=255, EIOAnalog=255), readCal(0), readCal(4), watchdog().
    @Test(arguments: [
        (
            "config_u3", [0.0, 0, 0, 0],
            "0b f8 0a 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
        ),
        (
            "config_u3", [4, 1, 0x12, 0x34],
            "56 f8 0a 08 4b 00 04 00 00 00 00 00 00 00 00 00 00 00 01 12 34 00 00 00 00 00"
        ),
        ("config_io", [0, 0x40, 0, 0], "47 f8 03 0b 40 00 00 00 40 00 00 00"),
        ("config_io", [0x0D, 0x40, 0xFF, 0xFF], "54 f8 03 0b 4b 02 0d 00 40 00 ff ff"),
        ("read_calibration", [0], "27 f8 01 2d 00 00 00 00"),
        ("read_calibration", [4], "2b f8 01 2d 04 00 00 04"),
        ("watchdog", [0, 0, 0, 0], "07 f8 05 09 00 00 00 00 00 00 00 00 00 00 00 00"),
        ("watchdog", [1, 0x20, 10, 0], "32 f8 05 09 2b 00 01 20 0a 00 00 00 00 00 00 00"),
        ("watchdog", [1, 0x20, 65_535, 0], "28 f8 05 09 1f 02 01 20 ff ff 00 00 00 00 00 00"),
        ("watchdog", [1, 0, 0, 0], "08 f8 05 09 01 00 01 00 00 00 00 00 00 00 00 00"),
    ])
    func packets(name: String, values: [Double], expected: String) throws {
        #expect(try wire.packet(try profile().command(name), values) == bytes(hex: expected))
    }

    /// Made with LabJackPython 2.3.0: getFeedback() with each of its classes for lines and voltages.
    @Test(arguments: [
        ("io_ain", [0.0, 31], "1b f8 02 00 20 00 00 01 00 1f"),
        ("io_ain", [3, 31], "1e f8 02 00 23 00 00 01 03 1f"),
        ("io_ain", [30, 31], "39 f8 02 00 3e 00 00 01 1e 1f"),
        ("io_wait_short", [9], "09 f8 02 00 0e 00 00 05 09 00"),
        ("io_wait_long", [70], "47 f8 02 00 4c 00 00 06 46 00"),
        ("io_led", [0], "04 f8 02 00 09 00 00 09 00 00"),
        ("io_bit_state_read", [5], "0a f8 02 00 0f 00 00 0a 05 00"),
        ("io_bit_state_write", [5, 0], "0b f8 02 00 10 00 00 0b 05 00"),
        ("io_bit_state_write", [19, 1], "99 f8 02 00 9e 00 00 0b 93 00"),
        ("io_bit_dir_read", [5], "0c f8 02 00 11 00 00 0c 05 00"),
        ("io_bit_dir_write", [5, 1], "8d f8 02 00 92 00 00 0d 85 00"),
        ("io_port_state_read", [], "14 f8 01 00 1a 00 00 1a"),
        (
            "io_port_state_write", [255, 255, 255, 0xAB, 0xCD, 0xEF],
            "81 f8 04 00 7f 05 00 1b ff ff ff ab cd ef"
        ),
        ("io_port_dir_read", [], "16 f8 01 00 1c 00 00 1c"),
        (
            "io_port_dir_write", [1, 2, 3, 0xAA, 0xCC, 0xFF],
            "97 f8 04 00 98 02 00 1d 01 02 03 aa cc ff"
        ),
        ("io_dac0_8", [0x55], "72 f8 02 00 77 00 00 22 55 00"),
        ("io_dac1_8", [0x22], "40 f8 02 00 45 00 00 23 22 00"),
        ("io_dac0", [0x5566], "dc f8 02 00 e1 00 00 26 66 55"),
        ("io_dac0", [0x8000], "a1 f8 02 00 a6 00 00 26 00 80"),
        ("io_dac1", [0x2233], "77 f8 02 00 7c 00 00 27 33 22"),
    ])
    func feedbackPackets(name: String, values: [Double], expected: String) throws {
        let profile = try profile()
        let part = try wire.part(try profile.command(name), values)
        let packet = wire.feedback(try profile.command("feedback"), echo: 0, parts: [part])
        #expect(packet == bytes(hex: expected))
    }

    /// LabJackPython 2.3.0: getFeedback(DAC0_16(0), DAC1_16(0)), and three commands that return.
    @Test func severalPartsShareAPacket() throws {
        let profile = try profile()
        func part(_ name: String, _ values: [Double]) throws -> [UInt8] {
            try wire.part(try profile.command(name), values)
        }
        let feedback = try profile.command("feedback")
        #expect(
            wire.feedback(
                feedback, echo: 0, parts: [try part("io_dac0", [0]), try part("io_dac1", [0])])
                == bytes(hex: "4a f8 04 00 4d 00 00 26 00 00 27 00 00 00"))
        #expect(
            wire.feedback(
                feedback, echo: 0,
                parts: [
                    try part("io_bit_dir_read", [2]), try part("io_ain", [0, 31]),
                    try part("io_port_state_read", []),
                ]) == bytes(hex: "45 f8 04 00 48 00 00 0c 02 01 00 1f 1a 00"))
    }

    @Test func valuesOutsideTheProfileAreRefused() throws {
        let profile = try profile()
        #expect(throws: CommandEncodingError.self) {
            try wire.part(try profile.command("io_dac0"), [65_536])
        }
        #expect(throws: CommandEncodingError.self) {
            try wire.part(try profile.command("io_bit_state_write"), [20, 1])
        }
    }

    // MARK: - Replies

    /// Replies of real units, as printed in LabJackPython 2.3.0 and, the temperature, in a thread
    /// of LabJack's forum ("Low-Level Code Problem").
    @Test(arguments: [
        ("ab f8 03 00 af 00 00 00 00 20 8f 00", 2, "20 8f"),
        ("eb f8 03 00 ee 01 00 00 00 e0 ff 0f", 3, "e0 ff 0f"),
        ("fb f8 03 00 fe 01 00 00 00 f0 ff 0f", 3, "f0 ff 0f"),
        ("fb f8 02 00 01 00 00 00 00 01", 1, "01"),
        ("fa f8 02 00 00 00 00 00 00 00", 0, ""),
        ("b8 f8 03 00 bc 00 00 00 00 60 5c 00", 2, "60 5c"),
    ])
    func feedbackReplies(reply: String, count: Int, expected: String) throws {
        let command = try profile().command("feedback")
        #expect(
            try wire.feedbackReply(bytes(hex: reply), to: command, echo: 0, count: count)
                == bytes(hex: expected))
        #expect(throws: LabJackError.staleEcho) {
            try wire.feedbackReply(bytes(hex: reply), to: command, echo: 1, count: count)
        }
    }

    @Test func repliesThatAreNone() throws {
        let profile = try profile()
        let command = try profile.command("feedback")
        func error(_ hex: String, count: Int = 0) throws -> LabJackError? {
            let reply = bytes(hex: hex)
            do throws(LabJackError) {
                _ = try wire.feedbackReply(reply, to: command, echo: 0, count: count)
                return nil
            } catch { return error }
        }
        #expect(try error("b8 b8") == .commandDamaged)
        #expect(try error("") == .malformed("nothing"))
        #expect(
            try error("fb f8 02 00 00 00 00 00 00 00").map { "\($0)" }?.contains("Damaged") == true)
        #expect(
            try error("fa f8 02 00 01 00 00 00 00 00").map { "\($0)" }?.contains("Damaged") == true)
        // Error 97 at the second part.
        #expect(try error("5e f8 02 00 63 00 61 02 00 00") == .refused(code: 97, part: 2))
        // The reply to a watchdog command.
        #expect(
            try error("07 f8 05 09 00 00 00 00 00 00 00 00 00 00 00 00")
                == .otherReply(expected: 0, found: 9))
        // Less than the parts return.
        guard case .malformed = try error("fa f8 02 00 00 00 00 00 00 00", count: 3) else {
            Issue.record("a short reply is accepted")
            return
        }
    }

    @Test func damagedRepliesNeverPass() throws {
        let profile = try profile()
        let feedback = try profile.command("feedback")
        let watchdog = try profile.command("watchdog")
        let reading = bytes(hex: "ab f8 03 00 af 00 00 00 00 20 8f 00")
        let settings = bytes(hex: "31 f8 05 09 2a 00 00 20 0a 00 00 00 00 00 00 00")
        var generator = SeededGenerator(seed: 41, label: "labjack replies")
        for _ in 0..<4000 {
            let damaged = mutated(reading, using: &generator)
            if let values = try? wire.feedbackReply(damaged, to: feedback, echo: 0, count: 2) {
                // Sums do not see an exchange of bytes; the length always holds.
                #expect(values.count == 2 && damaged.count == 12)
                #expect(
                    damaged.reduce(0) { $0 + Int($1) } == reading.reduce(0) { $0 + Int($1) }
                        || damaged[0...5] != reading[0...5])
            }
            if let data = try? wire.reply(mutated(settings, using: &generator), to: watchdog) {
                #expect(data.first == 0)
            }
        }
    }

    // MARK: - Calibration

    /// Decoded with LabJackPython 2.3.0, toDouble().
    @Test(arguments: [
        ("a2 70 02 00 00 00 00 00", 3.723101690411568e-05),
        ("f6 28 5c 8f fd ff ff ff", -2.4399999999441206),
        ("df 4f 8d b7 33 00 00 00", 51.71699999994598),
        ("33 33 33 b3 f5 ff ff ff", -10.300000000046566), ("00 00 00 00 00 00 00 00", 0),
        ("00 00 00 c0 ff ff ff ff", -0.25),
    ])
    func fixedPoint(hex: String, value: Double) throws {
        #expect(LabJackCalibration.number(bytes(hex: hex), at: 0) == value)
        #expect(LabJackCalibration.number(bytes(hex: hex), at: 1) == nil)
    }

    @Test func blocksBecomeConstants() throws {
        let unit = ScriptedU3()
        let calibration = try #require(LabJackCalibration(blocks: unit.calibration))
        #expect(abs(calibration.lowVoltage.slope - 0.000037231) < 1e-9)
        #expect(calibration.highVoltage.map { $0.offset.rounded() } == [-10, -10, -10, -10])
        #expect(abs(calibration.temperatureSlope - 0.013021) < 1e-8)
        #expect(LabJackCalibration(blocks: Array(unit.calibration.dropLast())) == nil)
        let profile = try profile()
        #expect(try calibration.implausible(profile, hasHighVoltage: true) == nil)
        let erased = [[UInt8]](repeating: [UInt8](repeating: 0xFF, count: 32), count: 5)
        let empty = try #require(LabJackCalibration(blocks: erased))
        #expect(
            try empty.implausible(profile, hasHighVoltage: false)?.name.contains("slope") == true)
    }
}
