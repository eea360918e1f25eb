import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// The emulated delayer, byte by byte as the client of PYME's pull request 1232 sends and reads.
struct PicosecondDelayerModelTests {
    private static func unit(
        _ reactor: VirtualReactor, _ pulses: any PulseDelay
    ) throws -> (PicosecondDelayerUnit, EmulatedSerialPort) {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let unit = try PicosecondDelayerUnit(
            profile: try profile("mpd-psd"), context: context, pulses: pulses)
        return (unit, EmulatedSerialPort(context: context, device: unit, baud: nil))
    }

    private static func ask(_ port: EmulatedSerialPort, _ text: String) async throws -> String {
        try await port.write(Array(text.utf8), timeout: .seconds(1))
        var received: [UInt8] = []
        while let bytes = try? await port.read(upTo: 4096, timeout: .milliseconds(5)) {
            received += bytes
        }
        return String(decoding: received, as: UTF8.self)
    }

    @Test func answersLikeTheClientExpects() throws {
        try onVirtualTime { reactor in
            let pulses = Shared(RecordingDelay())
            let (_, port) = try Self.unit(reactor, pulses.value)
            let exchanges = [
                ("RD#\n", "RD#0#"), ("SD500#\n", "SD500#500#"), ("RD#\n", "RD#500#"),
                ("RMD#\n", "RMD#50000#"), ("RP#\n", "RP#50#"), ("SH-123#\n", "SH-123#-120#"),
                ("RH#\n", "RH#-120#"), ("SV999#\n", "SV999#999#"), ("SE0#\n", "SE0#0#"),
                ("RE#\n", "RE#0#"), ("RO#\n", "RO#0#"), ("EO1#\n", "EO1#1#"), ("RO#\n", "RO#1#"),
                ("HS1#\n", "HS1#1#"), ("SD505#\n", "SD505#500#"),
            ]
            for (sent, expected) in exchanges {
                #expect(try await Self.ask(port, sent) == expected, "\(sent)")
            }
            #expect(pulses.value.delay == Picoseconds(500))
            #expect(pulses.value.isEnabled)
            // The last answer with echo is the one that switches it off.
            #expect(try await Self.ask(port, "EM0#\n") == "EM0#0#")
            #expect(try await Self.ask(port, "RD#\n") == "500#")
            #expect(try await Self.ask(port, "EM1#\nRD#\n") == "1#RD#500#")
        }
    }

    @Test(arguments: [
        ("XY", 1), ("SD", 1), ("SDx", 1), ("SD0x10", 1), ("", 1), ("SV1000", 3), ("SV0", 4),
        ("SH2001", 5), ("SH-2001", 6), ("SD50001", 7), ("SD-1", 8), ("SP251", 9), ("SP0", 10),
        ("SD99999999999999999999", 7),
    ])
    func refusesWithTheNumbersOfTheClient(command: String, number: Int) throws {
        try onVirtualTime { reactor in
            let pulses = Shared(RecordingDelay())
            let (_, port) = try Self.unit(reactor, pulses.value)
            _ = try await Self.ask(port, "SD100#\n")
            let answer = try await Self.ask(port, command + "#\n")
            // A lone end of a command is no command.
            #expect(answer == (command.isEmpty ? "" : "\(command)#ERR\(number)#"))
            #expect(pulses.value.delay == Picoseconds(100))
        }
    }

    @Test func localModeTakesNoSettings() throws {
        try onVirtualTime { reactor in
            let pulses = Shared(RecordingDelay())
            let (unit, port) = try Self.unit(reactor, pulses.value)
            unit.setLocal(true)
            for command in ["SD10", "SP10", "SH10", "SV10", "SE1", "EO1"] {
                #expect(try await Self.ask(port, command + "#\n") == command + "#ERR2#")
            }
            #expect(try await Self.ask(port, "RD#\n") == "RD#0#")
            #expect(!pulses.value.isEnabled)
        }
    }

    @Test func widthsAreRoundedAndTheOvenWarms() throws {
        try onVirtualTime { reactor in
            let (_, port) = try Self.unit(reactor, RecordingDelay())
            for width in [1, 2, 17, 100, 249, 250] {
                let answer = try await Self.ask(port, "SP\(width)#\n")
                let taken = Int(answer.split(separator: "#").last ?? "") ?? 0
                #expect(abs(taken - width) <= 2 && 1...250 ~= taken, "\(answer)")
            }
            #expect(try await Self.ask(port, "RT#\n").hasPrefix("RT#25."))
            try await reactor.sleep(for: .seconds(1200))
            #expect(try await Self.ask(port, "RT#\n") == "RT#55.0#")
        }
    }

    @Test func aRestartLosesTheSettingsAndAnIgnoredCommandIsSilent() throws {
        try onVirtualTime { reactor in
            let pulses = Shared(RecordingDelay())
            let (_, port) = try Self.unit(reactor, pulses.value)
            _ = try await Self.ask(port, "SD700#\nEO1#\nEM0#\n")
            #expect(port.inject(EmulatedFault(.ignoredCommand)))
            #expect(try await Self.ask(port, "RD#\n") == "")
            #expect(port.inject(EmulatedFault(.reboot)))
            #expect(!pulses.value.isEnabled && pulses.value.delay == Picoseconds(0))
            #expect(try await Self.ask(port, "RD#\n") == "RD#0#")
            #expect(!port.inject(EmulatedFault(.stuckMotion)))
        }
    }
}
