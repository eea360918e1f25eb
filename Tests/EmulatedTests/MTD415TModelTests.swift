import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// The emulated MTD415T against the data sheet's examples and the texts that its clients report.
struct MTD415TModelTests {
    private static func module(
        _ reactor: VirtualReactor, stage: any ThermalStage = ColdPlate()
    ) throws -> (MTD415TModule, EmulatedSerialPort) {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let module = try MTD415TModule(
            profile: try profile("thorlabs-mtd415t"), context: context, stage: stage,
            serial: "MTD-0001")
        return (module, EmulatedSerialPort(context: context, device: module, baud: nil))
    }

    private static func ask(_ port: EmulatedSerialPort, _ text: String) async throws -> String {
        try await port.write(Array((text + "\n").utf8), timeout: .seconds(1))
        let reply = try await port.read(upTo: 4096, timeout: .seconds(1))
        return String(decoding: reply, as: UTF8.self)
    }

    @Test func computesTheSharesOfTheTutorial() throws {
        try onVirtualTime { reactor in
            let (_, port) = try Self.module(reactor)
            #expect(try await Self.ask(port, "G2250") == "2250\n")
            #expect(try await Self.ask(port, "O5580") == "5580\n")
            let expected = ["P?": "1350\n", "I?": "161\n", "D?": "941\n", "C?": "87\n"]
            for (query, answer) in expected.sorted(by: { $0.key < $1.key }) {
                #expect(try await Self.ask(port, query) == answer, "\(query)")
            }
        }
    }

    @Test func answersSettingsAsTheClientsReport() throws {
        try onVirtualTime { reactor in
            let (_, port) = try Self.module(reactor)
            #expect(try await Self.ask(port, "m?") == "MTD415T FW0.6.8\n")
            let unit = try await Self.ask(port, "u?")
            #expect(unit.count == 33 && unit.dropLast().allSatisfy(\.isHexDigit))
            #expect(try await Self.ask(port, "L500") == "500\n")
            #expect(try await Self.ask(port, "L?") == "500\n")
            #expect(try await Self.ask(port, "L100") == "value out of range (200...2000 mA)\n")
            #expect(try await Self.ask(port, "L?") == "500\n")
            #expect(try await Self.ask(port, "E?") == "8192\n")
            #expect(try await Self.ask(port, "x?") == "unknown command\n")
            #expect(try await Self.ask(port, "E?") == "24576\n")
            _ = try await Self.ask(port, "c")
            #expect(try await Self.ask(port, "E?") == "0\n")
            // Letters of one kind, of different case, are different commands.
            #expect(try await Self.ask(port, "d77") == "77\n")
            #expect(try await Self.ask(port, "D5") == "5\n")
            #expect(try await Self.ask(port, "d?") == "77\n")
        }
    }

    @Test func regulatesThePlateWithinItsCurrentLimit() throws {
        try onVirtualTime { reactor in
            let plate = Shared(ColdPlate())
            let (_, port) = try Self.module(reactor, stage: plate.value)
            #expect(try await Self.ask(port, "T15000") == "15000\n")
            try await reactor.sleep(for: .milliseconds(200))
            #expect(try await Self.ask(port, "A?") == "1000\n", "at the limit, cooling")
            try await reactor.sleep(for: .seconds(120))
            let cold = Int(try await Self.ask(port, "Te?").dropLast()) ?? 0
            #expect(abs(cold - 15000) <= 5)
            // 7 degrees below ambient take 175 mA.
            let current = Int(try await Self.ask(port, "A?").dropLast()) ?? 0
            #expect(abs(current - 175) <= 2)
            _ = try await Self.ask(port, "T30000")
            try await reactor.sleep(for: .seconds(120))
            #expect(Int(try await Self.ask(port, "A?").dropLast()) ?? 0 < 0, "heating")
            // The limit holds the plate where it is all that flows: 200 mA are 8 degrees.
            _ = try await Self.ask(port, "L200")
            _ = try await Self.ask(port, "T5000")
            try await reactor.sleep(for: .seconds(120))
            let held = Int(try await Self.ask(port, "Te?").dropLast()) ?? 0
            #expect(abs(held - 14000) <= 5)
        }
    }

    @Test func protectiveErrorsSwitchTheCoolerOffUnlessMasked() throws {
        try onVirtualTime { reactor in
            let (module, port) = try Self.module(reactor)
            _ = try await Self.ask(port, "T10000")
            try await reactor.sleep(for: .seconds(5))
            module.setErrors(["over_temperature"])
            #expect(try await Self.ask(port, "A?") == "0\n")
            #expect(try await Self.ask(port, "E?") == "2\n")
            _ = try await Self.ask(port, "S253")
            try await reactor.sleep(for: .seconds(1))
            #expect(try await Self.ask(port, "A?") != "0\n")
        }
    }

    /// Every 97th query; the clients of the module exist because this happens.
    @Test func misunderstandsAGoodQueryNowAndThen() throws {
        try onVirtualTime { reactor in
            let (_, port) = try Self.module(reactor)
            var misunderstood = 0
            for _ in 0..<300 {
                let answer = try await Self.ask(port, "T?")
                #expect(answer == "25000\n" || answer == "unknown command\n")
                if answer == "unknown command\n" { misunderstood += 1 }
            }
            #expect(misunderstood == 3)
        }
    }

    @Test func keepsWhatWasSavedOverARestart() throws {
        try onVirtualTime { reactor in
            let (_, port) = try Self.module(reactor)
            _ = try await Self.ask(port, "T11000")
            _ = try await Self.ask(port, "M")
            _ = try await Self.ask(port, "T12000")
            #expect(port.inject(EmulatedFault(.reboot)))
            #expect(try await Self.ask(port, "T?") == "11000\n")
            #expect(port.inject(EmulatedFault(.stuckMotion)))
            #expect(try await Self.ask(port, "E?") == "32\n")
            #expect(port.inject(EmulatedFault(.wrongFirmware)))
            #expect(try await !Self.ask(port, "m?").hasPrefix("MTD415T "))
        }
    }
}
