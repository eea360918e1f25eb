import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import OpticalBench
import Quantities
import Testing

/// The EPC-400 model against the replies quoted in QMI's `test_epc_driver.py`.
struct EPC400Tests {
    struct Bench: Sendable {
        let controller: EPCController
        let port: EmulatedSerialPort
        let retarders: Shared<RecordingRetarders>

        func ask(_ text: String, quiet: Duration = .milliseconds(50)) async throws -> String {
            try await port.write(Array(text.utf8), timeout: .seconds(1))
            var received: [UInt8] = []
            while let bytes = try? await port.read(upTo: 4096, timeout: quiet) { received += bytes }
            return String(decoding: received, as: UTF8.self)
        }
    }

    static func bench(
        _ reactor: VirtualReactor, _ described: DeviceProfile? = nil, baud: Int? = nil
    ) throws -> Bench {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let retarders = RecordingRetarders(retarderCount: 4)
        let controller = try EPCController(
            profile: try described ?? profile("oz-epc-400"), context: context, retarders: retarders)
        return Bench(
            controller: controller,
            port: EmulatedSerialPort(context: context, device: controller, baud: baud),
            retarders: Shared(retarders))
    }

    private static let done = "\r\nDone\r\n"

    @Test(
        "every reply is the published one",
        arguments: [
            ("V3,2500", "Set CH3 DC Voltage at: 2500mV"),
            ("VH4", "Set CH4 DC Voltage at: 5000mV"), ("VL4", "Set CH4 DC Voltage at: -5000mV"),
            ("VZ4", "Set CH4 DC Voltage at: 0mV"), ("MAC", "Set To AC Mode"),
            ("MDC", "Set To DC Mode"), ("M?", "Work Mode: DC"), ("WF?", "AC Waveform: Sine"),
            ("WF2", "Set AC Waveform at: Triangle"), ("WF1", "Set AC Waveform at: Sine"),
            ("F?", "Frequency(Hz): CH1 007  CH2 017  CH3 037  CH4 071"),
            ("F2,47", "Set CH2 AC Frequency at: 47Hz"),
            ("ENVF1", "Enable DC Voltage Output at AC Mode"),
            ("ENVF0", "Disable DC Voltage Output at AC Mode"),
            ("SAVE", "Write Setting to Flash memory"),
        ])
    func replies(command: String, reply: String) throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(try await bench.ask(command + "\r\n") == reply + Self.done)
        }
    }

    @Test("states are reported as published")
    func states() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            for command in ["V1,2200", "VH2", "V3,-1000", "V4,-4000", "ENVF1", "VF3", "VF4"] {
                #expect(try await bench.ask(command + "\r\n").hasSuffix(Self.done))
            }
            #expect(
                try await bench.ask("V?\r\n")
                    == "Voltage(mV): CH1 +2200 CH2 +5000 CH3 -1000 CH4 -4000" + Self.done)
            #expect(
                try await bench.ask("VF?\r\n")
                    == "Hz<->Volt at AC Mode is enabled: CH1-V,CH2-V,CH3-F,CH4-F" + Self.done)
            #expect(
                try await bench.ask("VF2\r\nVF2\r\n")
                    == "Set CH2 output to: Hz (if possible)" + Self.done
                    + "Set CH2 output to: Volt (if possible)" + Self.done)
            #expect(bench.retarders.value.drives == [2.2, 5, -1, -4].map { Volts($0) })
            _ = try await bench.ask("MAC\r\n")
            #expect(try await bench.ask("M?\r\n") == "Work Mode: AC(Sine)" + Self.done)
        }
    }

    @Test("numbers may be padded, or not; what can not be done is refused and changes nothing")
    func numbers() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            for (command, value) in [
                ("V1,0500", 500), ("V1,501", 501), ("V1,-502", -502), ("V1,-0503", -503),
                ("v1,+5000", 5000),
            ] {
                #expect(
                    try await bench.ask(command + "\r\n")
                        == "Set CH1 DC Voltage at: \(value)mV" + Self.done)
            }
            let wrong = [
                "V1,5001", "V1,-5001", "V0,1", "V5,1", "V1", "V1,", "V1,1.5", "V1,1,1", "VH5",
                "F1,101", "F1,-1", "WF3", "ENVF2", "HELLO", "V1,99999999999999999999", "V ?",
                String(repeating: "V", count: 100),
            ]
            for command in wrong {
                #expect(try await bench.ask(command + "\r\n") == "Error!\r\n", "\(command)")
            }
            #expect(bench.controller.millivolts == [5000, 0, 0, 0])
            #expect(try await bench.ask("\r\n\r\n") == "")
        }
    }

    /// The same file but for one word: a unit that echoes is another profile and no other code.
    @Test("some units send the command back first")
    func echo() throws {
        let text = try profile("oz-epc-400").source.text
        let parts = text.split(separator: "value: false", omittingEmptySubsequences: false)
        #expect(parts.count == 2)
        let echoing = try DeviceProfile(
            text: parts.joined(separator: "value: true"), file: "echo.yaml")
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, echoing)
            #expect(try await bench.ask("M?\r\n") == "M?\r\nWork Mode: DC" + Self.done)
            #expect(try await bench.ask("NO\r\n") == "NO\r\nError!\r\n")
        }
    }

    @Test("the line takes its time: 34 characters at 9600 baud, after five of the command")
    func pace() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, baud: 9600)
            let start = reactor.now
            try await bench.port.write(Array("VZ1\r\n".utf8), timeout: .seconds(1))
            var count = 0
            while count < "Set CH1 DC Voltage at: 0mV\r\nDone\r\n".utf8.count {
                count += try await bench.port.read(upTo: 100, timeout: .seconds(1)).count
            }
            let characters = (reactor.now - start).inSeconds * 960
            #expect(abs(characters - 39) < 0.5, "\(characters)")
        }
    }

    @Test("AC mode swings the squeezers at their frequencies; held ones stay")
    func scrambling() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("V2,1000\r\nF1,1\r\nENVF1\r\nVF1\r\nMAC\r\n", quiet: .zero)
            let start = reactor.now
            func drive(_ seconds: Double, _ channel: Int) async throws -> Double {
                try await reactor.sleep(until: start + .nanoseconds(Int64(seconds * 1e9)))
                return bench.retarders.value.drives[channel].rawValue
            }
            #expect(abs(try await drive(0.25, 0) - 5) < 0.01)
            #expect(abs(try await drive(0.5, 0)) < 0.05)
            #expect(abs(try await drive(0.75, 0) + 5) < 0.01)
            #expect(try await drive(0.8, 1) == 1)
            _ = try await bench.ask("WF2\r\n", quiet: .zero)
            #expect(abs(try await drive(1.125, 0) - 2.5) < 0.05)
            #expect(abs(try await drive(1.375, 0) - 2.5) < 0.05)
            _ = try await bench.ask("MDC\r\n", quiet: .zero)
            #expect(bench.retarders.value.drives == [0, 1, 0, 0].map { Volts($0) })
            #expect(bench.controller.nextWake(after: reactor.now) == nil)
        }
    }

    @Test("a restart brings back what was saved, and nothing else")
    func flash() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("V1,100\r\nMAC\r\nSAVE\r\nMDC\r\nV1,200\r\nV2,300\r\n")
            #expect(bench.controller.millivolts == [200, 300, 0, 0])
            #expect(bench.port.inject(EmulatedFault(.reboot)))
            #expect(bench.controller.millivolts == [100, 0, 0, 0])
            #expect(bench.controller.isAlternating)
            #expect(bench.port.inject(EmulatedFault(.ignoredCommand)))
            #expect(try await bench.ask("M?\r\n") == "")
            #expect(try await bench.ask("M?\r\n") == "Work Mode: AC(Sine)" + Self.done)
            #expect(!bench.port.inject(EmulatedFault(.overLight)))
        }
    }
}
