import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// The quad LCD driver against the requests of S15lib's `lcr_driver.py`, as bytes.
struct LCDDriverTests {
    struct Bench: Sendable {
        let unit: LCDDriverUnit
        let port: EmulatedSerialPort
        let retarders: Shared<RecordingRetarders>

        func ask(_ text: String) async throws -> String {
            try await port.write(Array(text.utf8), timeout: .seconds(1))
            var received: [UInt8] = []
            while let bytes = try? await port.read(upTo: 4096, timeout: .milliseconds(20)) {
                received += bytes
            }
            return String(decoding: received, as: UTF8.self)
        }
    }

    static func bench(_ reactor: VirtualReactor) throws -> Bench {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let retarders = RecordingRetarders(retarderCount: 4)
        let unit = try LCDDriverUnit(
            profile: try profile("s15-lcd"), context: context, retarders: retarders)
        return Bench(
            unit: unit, port: EmulatedSerialPort(context: context, device: unit, baud: nil),
            retarders: Shared(retarders))
    }

    @Test("settings are silent, and reach the retarders once the outputs are on")
    func outputs() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(try await bench.ask("*IDN?;").contains("LCD cell driver"))
            #expect(try await bench.ask("AMPLITUDE 2 1.5\r\nAMPLITUDE 4 9.99\r\n") == "")
            #expect(try await bench.ask("AMP? 2;AMP? 4;") == "1.500\r\n9.990\r\n")
            #expect(bench.retarders.value.drives == [0, 0, 0, 0].map { Volts($0) })
            #expect(bench.unit.isLit)
            #expect(try await bench.ask("ON\r\nDARK\r\nFREQ 2000\r\n") == "")
            #expect(bench.retarders.value.drives == [0, 1.5, 0, 9.99].map { Volts($0) })
            #expect(!bench.unit.isLit && bench.unit.frequency == 2000)
            #expect(try await bench.ask("HELP;").contains("AMPLITUDE"))
            // The maker's client sends a reset without an end; the next command ends it.
            #expect(try await bench.ask("*RST;") == "")
            #expect(bench.unit.amplitudes == [0, 0, 0, 0] && !bench.unit.isOn)
        }
    }

    @Test("what is out of range or is no number is ignored")
    func refusals() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("ON\r\nAMPLITUDE 1 2.5\r\n")
            let wrong = [
                "AMPLITUDE 1 10", "AMPLITUDE 1 -0.1", "AMPLITUDE 1 nan", "AMPLITUDE 1",
                "AMPLITUDE 0 1", "AMPLITUDE 5 1", "AMPLITUDE 1.5 1", "AMPLITUDE x 1", "FREQ 0",
                "FREQ", "AMP? 0", "AMP? 9", "AMP?", "OFF",
            ]
            for command in wrong {
                #expect(try await bench.ask(command + "\r\n") == "", "\(command)")
            }
            #expect(bench.unit.amplitudes == [2.5, 0, 0, 0])
        }
    }

    @Test("a restart switches off; a command can be lost; another instrument may answer")
    func faults() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("ON\r\nAMPLITUDE 1 2.5\r\n")
            #expect(bench.port.inject(EmulatedFault(.ignoredCommand)))
            #expect(try await bench.ask("AMP? 1;AMP? 1;") == "2.500\r\n")
            #expect(bench.port.inject(EmulatedFault(.reboot)))
            #expect(bench.retarders.value.drives == [0, 0, 0, 0].map { Volts($0) })
            #expect(bench.port.inject(EmulatedFault(.wrongFirmware)))
            #expect(try await !bench.ask("*IDN?;").contains("LCD cell driver"))
            #expect(!bench.port.inject(EmulatedFault(.stuckMotion)))
        }
    }
}
