import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// The emulated DD-100-MC, in the replies that qmi and pylablib read.
struct DD100ModelTests {
    private static func unit(
        _ reactor: VirtualReactor, _ element: any AttenuatingElement = RecordingAttenuator()
    ) throws -> EmulatedSerialPort {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let unit = try DD100Unit(
            profile: try profile("oz-dd-100-mc"), context: context, element: element)
        return EmulatedSerialPort(context: context, device: unit, baud: nil)
    }

    /// The reply, and how long it took.
    private static func ask(
        _ port: EmulatedSerialPort, _ text: String, _ reactor: VirtualReactor
    ) async throws -> (text: String, seconds: Double) {
        let start = reactor.now
        try await port.write(Array((text + "\r").utf8), timeout: .seconds(1))
        let reply = try await port.read(upTo: 4096, timeout: .seconds(60))
        return (String(decoding: reply, as: UTF8.self), (reactor.now - start).inSeconds)
    }

    @Test func hasToBeHomedAndThenMoves() throws {
        try onVirtualTime { reactor in
            let element = Shared(RecordingAttenuator())
            let port = try Self.unit(reactor, element.value)
            let configuration = try await Self.ask(port, "CD", reactor).text
            #expect(configuration.contains("\r\nIL:1.50\r\nMAX ATTEN:60.00\r\nDone\r\n\r\n"))
            #expect(
                try await Self.ask(port, "D", reactor).text
                    == "DPos:6000\r\nATTEN:unknown\r\nDone\r\n\r\n")
            #expect(try await Self.ask(port, "A10", reactor).text == "Error-2\r\n\r\n")
            let home = try await Self.ask(port, "H", reactor)
            #expect(home.text == "Diff=0\r\nDone\r\n\r\n")
            #expect(abs(home.seconds - 8) < 0.01)
            #expect(
                try await Self.ask(port, "D", reactor).text
                    == "DPos:0\r\nATTEN:1.50\r\nDone\r\n\r\n")
            let full = try await Self.ask(port, "A60.00", reactor)
            #expect(full.text == "Pos:12000\r\nDone\r\n\r\n")
            #expect(abs(full.seconds - 4) < 0.01)
            #expect(element.value.attenuation == Decibels(60))
            #expect(try await Self.ask(port, "A12.50", reactor).text.hasPrefix("Pos:"))
            let status = try await Self.ask(port, "D", reactor).text
            #expect(status.contains("ATTEN:12.50\r\n"))
            #expect(abs(element.value.attenuation.rawValue - 12.5) < 0.01)
            #expect(try await Self.ask(port, "A?", reactor).text == "ATTEN:12.50\r\nDone\r\n\r\n")
        }
    }

    @Test func stepsAndRefusals() throws {
        try onVirtualTime { reactor in
            let port = try Self.unit(reactor)
            _ = try await Self.ask(port, "H", reactor)
            #expect(try await Self.ask(port, "S5750", reactor).text == "Pos:5750\r\nDone\r\n\r\n")
            #expect(try await Self.ask(port, "F", reactor).text == "Pos:5751\r\nDone\r\n\r\n")
            #expect(try await Self.ask(port, "B", reactor).text == "Pos:5750\r\nDone\r\n\r\n")
            #expect(try await Self.ask(port, "S?", reactor).text == "Pos:5750\r\nDone\r\n\r\n")
            for bad in ["A61", "A1.4", "S12001", "X", "A", "S-1", "Anan"] {
                #expect(try await Self.ask(port, bad, reactor).text == "Error-2\r\n\r\n", "\(bad)")
            }
            #expect(try await Self.ask(port, "S?", reactor).text == "Pos:5750\r\nDone\r\n\r\n")
            #expect(try await Self.ask(port, "E1", reactor).text == "Done\r\n\r\n")
            #expect(
                try await Self.ask(port, "S?", reactor).text == "S?\rPos:5750\r\nDone\r\n\r\n")
        }
    }

    /// The light changes on the way, not at its end.
    @Test func theBlockerIsInTheBeamWhileItMoves() throws {
        try onVirtualTime { reactor in
            let element = Shared(RecordingAttenuator())
            let port = try Self.unit(reactor, element.value)
            _ = try await Self.ask(port, "H", reactor)
            try await port.write(Array("A60\r".utf8), timeout: .seconds(1))
            try await reactor.sleep(for: .seconds(2))
            let halfway = element.value.attenuation.rawValue
            #expect(halfway > 10 && halfway < 25, "a quarter of the range at half the way")
        }
    }

    @Test func faultsOfTheMotorAndARestart() throws {
        try onVirtualTime { reactor in
            let port = try Self.unit(reactor)
            _ = try await Self.ask(port, "H", reactor)
            #expect(port.inject(EmulatedFault(.stuckMotion)))
            #expect(try await Self.ask(port, "A60", reactor).text == "Pos:0\r\nDone\r\n\r\n")
            #expect(try await Self.ask(port, "D", reactor).text.contains("ATTEN:1.50"))
            #expect(port.inject(EmulatedFault(.reboot)))
            #expect(try await Self.ask(port, "D", reactor).text.contains("ATTEN:unknown"))
            #expect(try await Self.ask(port, "H", reactor).text == "Error-5\r\n\r\n")
            #expect(port.inject(EmulatedFault(.wrongFirmware)))
            #expect(try await !Self.ask(port, "CD", reactor).text.contains("ATTEN"))
        }
    }
}
