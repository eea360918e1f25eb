import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The Elliptec modules against the protocol manual, the maker's software and what clients rely on.
struct ElliptecTests {
    struct Bench: Sendable {
        let line: ElliptecLine
        let port: EmulatedSerialPort

        func send(_ text: String) async throws {
            try await port.write(Array(text.utf8), timeout: .seconds(1))
        }

        /// What the line brings until it has been quiet for `quiet`.
        func receive(quiet: Duration = .milliseconds(100)) async throws -> String {
            var received: [UInt8] = []
            while let bytes = try? await port.read(upTo: 4096, timeout: quiet) { received += bytes }
            return String(decoding: received, as: UTF8.self)
        }

        func ask(_ text: String, quiet: Duration = .milliseconds(100)) async throws -> String {
            try await send(text)
            return try await receive(quiet: quiet)
        }
    }

    static func bench(
        _ reactor: VirtualReactor, _ id: String = "thorlabs-ell14",
        addresses: [UInt8] = [2, 3, 8], plates: RecordingWaveplates? = nil
    ) throws -> Bench {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let count = addresses.count * (id == "thorlabs-ell3" ? 3 : 1)
        let line = try ElliptecLine(
            profile: try profile(id), context: context,
            plates: plates ?? RecordingWaveplates(plateCount: count), addresses: addresses)
        return Bench(
            line: line, port: EmulatedSerialPort(context: context, device: line, baud: 9600))
    }

    @Test("three units answer at their addresses, each with its serial number, and nobody else")
    func identities() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            // The layout of real replies: type 14, serial, 2023, 1.7, metric 1, 360, 143360.
            #expect(try await bench.ask("2in") == "2IN0E1140050120231701016800023000\r\n")
            #expect(try await bench.ask("3in\r") == "3IN0E1140050220231701016800023000\r\n")
            #expect(try await bench.ask("8in\r\n") == "8IN0E1140050320231701016800023000\r\n")
            #expect(try await bench.ask("0in") == "")
            #expect(try await bench.ask("Fin") == "")
        }
    }

    /// Replies as the manual prints them, section by section.
    @Test("settings are read back in the digits of the manual")
    func settings() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, addresses: [10, 0])
            #expect(try await bench.ask("Agv") == "AGV64\r\n")
            #expect(try await bench.ask("Asv32") == "AGS00\r\n")
            #expect(try await bench.ask("Agv") == "AGV32\r\n")
            #expect(try await bench.ask("Asj00000200") == "AGS00\r\n")
            #expect(try await bench.ask("Agj") == "AGJ00000200\r\n")
            #expect(try await bench.ask("Aso00000200") == "AGS00\r\n")
            #expect(try await bench.ask("Ago") == "AHO00000200\r\n")
            // 14740000 / 78000 and / 106000 are 0xBC and 0x8B; the manual rounds the first up.
            #expect(try await bench.ask("0i1") == "0I1100428FFFFFFFF00BC008B\r\n")
            #expect(try await bench.ask("0f1804E") == "0GS00\r\n")
            #expect(try await bench.ask("0i1") == "0I1100428FFFFFFFF004E008B\r\n")
            #expect(try await bench.ask("0f18FFF0f1004E") == "0GS00\r\n0GS04\r\n")
            #expect(try await bench.ask("0gs0i1") == "0GS04\r\n0I1100428FFFFFFFF00BC008B\r\n")
        }
    }

    @Test("homing finds the zero that was lost with the power; counts near zero are signed")
    func homing() throws {
        let plates = RecordingWaveplates(plateCount: 1)
        try onVirtualTime { [shared = Shared(plates)] reactor in
            let bench = try Self.bench(reactor, addresses: [0], plates: shared.value)
            let start = shared.value.angles[0].degrees
            #expect(start > 1)
            #expect(try await bench.ask("0gp") == "0PO00000000\r\n")
            let reply = try await bench.ask("0ho0", quiet: .seconds(2))
            #expect(reply.utf8.count == 13 && reply.hasPrefix("0PO"))
            let counts = Int32(
                bitPattern: try #require(UInt32(reply.dropFirst(3).prefix(8), radix: 16)))
            #expect(abs(counts) <= 2)
            #expect(abs(shared.value.angles[0].degrees) < 0.01)
        }
    }

    @Test("a move takes the time its speed needs and turns the plate on the way")
    func move() throws {
        let plates = RecordingWaveplates(plateCount: 1)
        try onVirtualTime { [shared = Shared(plates)] reactor in
            let bench = try Self.bench(reactor, addresses: [10], plates: shared.value)
            _ = try await bench.ask("Aho0", quiet: .seconds(2))
            let before = shared.value.moves
            let start = reactor.now
            // Half a turn, 71680 counts.
            try await bench.send("Ama00011800")
            var text = ""
            while !text.hasSuffix("\r\n") {
                text += String(
                    decoding: try await bench.port.read(upTo: 64, timeout: .seconds(2)),
                    as: UTF8.self)
            }
            // 180 degrees at 430 a second, and 11 + 13 characters at 9600 baud.
            let elapsed = (reactor.now - start).inSeconds
            #expect((0.435...0.455).contains(elapsed), "\(elapsed)")
            #expect(text.hasPrefix("APO000117F") || text.hasPrefix("APO0001180"), "\(text)")
            #expect(abs(shared.value.angles[0].degrees - 180) < 0.01)
            #expect(shared.value.moves - before > 250)
            #expect(try await bench.ask("AmrFFFF7400", quiet: .seconds(1)).hasPrefix("APO0000"))
            #expect(abs(shared.value.angles[0].degrees - 90) < 0.02)
        }
    }

    @Test("a module that moves is busy, the others are not, and a stop ends the motion")
    func busy() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("2ho0", quiet: .seconds(2))
            try await bench.send("2ma00020000")
            try await reactor.sleep(for: .milliseconds(100))
            #expect(try await bench.ask("2gs", quiet: .milliseconds(50)) == "2GS09\r\n")
            #expect(try await bench.ask("3gs", quiet: .milliseconds(50)) == "3GS00\r\n")
            #expect(try await bench.ask("2st", quiet: .seconds(1)) == "2GS00\r\n")
            let stopped = bench.line.counts(0)
            #expect(stopped > 30_000 && stopped < 0x20000)
            #expect(try await bench.ask("2gs") == "2GS00\r\n")
        }
    }

    @Test("a stuck motor gives up after 2.5 s; the fault is held until it is read")
    func stuck() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("3ho0", quiet: .seconds(2))
            #expect(bench.port.inject(EmulatedFault(.stuckMotion, detail: 1)))
            let start = reactor.now
            let text = try await bench.ask("3ma00011800", quiet: .seconds(3))
            #expect(text == "3GS09\r\n3GS02\r\n")
            #expect((reactor.now - start).inSeconds < 6)
            #expect(try await bench.ask("3gs") == "3GS02\r\n")
            #expect(try await bench.ask("3gs") == "3GS00\r\n")
        }
    }

    @Test("a motor that turns on and on gets too hot, except at the speeds the manual allows")
    func continuous() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, addresses: [0])
            #expect(try await bench.ask("0sj00000000") == "0GS00\r\n")
            #expect(try await bench.ask("0fw", quiet: .seconds(3)) == "0GS08\r\n")
            #expect(try await bench.ask("0gs0sv32") == "0GS08\r\n0GS00\r\n")
            #expect(try await bench.ask("0fw", quiet: .seconds(5)) == "")
            #expect(try await bench.ask("0st") == "0GS00\r\n")
        }
    }

    @Test("what is not understood or not possible is refused with its code")
    func refusals() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, addresses: [0])
            #expect(try await bench.ask("0zz") == "0GS03\r\n")
            #expect(try await bench.ask("0gs0sv65") == "0GS03\r\n0GS04\r\n")
            #expect(try await bench.ask("0gs0ma00080000") == "0GS04\r\n0GS0C\r\n")
            #expect(try await bench.ask("0gs0svXY") == "0GS0C\r\n0GS03\r\n")
            // A command that is cut off: a return clears it, a pause of two seconds is a fault.
            #expect(try await bench.ask("0gs0ma000\r0gp") == "0GS03\r\n0PO00000000\r\n")
            #expect(try await bench.ask("0ma00", quiet: .seconds(3)) == "")
            #expect(try await bench.ask("0gs") == "0GS01\r\n")
        }
    }

    @Test("an address can be changed, kept, and shared for one motion")
    func addresses() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, addresses: [0, 1])
            // Answered from the new address (manual, "ca").
            #expect(try await bench.ask("0caA") == "AGS00\r\n")
            #expect(try await bench.ask("0gs") == "")
            #expect(try await bench.ask("Aus") == "AGS00\r\n")
            #expect(try await bench.ask("1ca5") == "5GS00\r\n")
            #expect(bench.port.inject(EmulatedFault(.reboot)))
            // Only what was saved is still there after a loss of power.
            #expect(bench.line.addresses == [10, 1])
            // Both listen to A until the motion has ended, and answer from their own addresses.
            #expect(try await bench.ask("1gaA") == "AGS00\r\n")
            #expect(try await bench.ask("1gs") == "")
            let text = try await bench.ask("Ama00001000", quiet: .seconds(1))
            #expect(text.contains("APO0000") && text.contains("1PO0000"))
            #expect(try await bench.ask("1gs") == "1GS00\r\n")
        }
    }

    @Test("the handset moves a mount and reports by itself")
    func handset() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            bench.line.pressButton(forward: true, unit: 2)
            let text = try await bench.receive(quiet: .seconds(1))
            #expect(text.hasPrefix("8BS09\r\n8BO0000"), "\(text)")
        }
    }

    @Test("an isolated module is silent for its minutes")
    func isolation() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, addresses: [0])
            #expect(try await bench.ask("0is01") == "")
            #expect(try await bench.ask("0in", quiet: .seconds(58)) == "")
            try await reactor.sleep(for: .seconds(3))
            #expect(try await bench.ask("0gs") == "0GS00\r\n")
        }
    }

    /// ELLPaddlePolariser.cs: home by a mask, ten bits for each paddle in PO, sixteen in P1 to P3.
    @Test("paddles are moved one by one or all at once")
    func paddles() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, "thorlabs-ell3", addresses: [10])
            #expect(try await bench.ask("Ain") == "AIN031030000120190101015400000400\r\n")
            let wait = Duration.seconds(3)
            #expect(try await bench.ask("Aa1001F", quiet: wait) == "AP1001F\r\n")
            #expect(try await bench.ask("Aa303EE", quiet: wait) == "AP303EE\r\n")
            #expect(try await bench.ask("Ap2") == "AP20200\r\n")
            // 0x3EE << 20 | 0x200 << 10 | 0x1F.
            #expect(try await bench.ask("Agp") == "APO3EE8001F\r\n")
            #expect(try await bench.ask("Ar1FFF1", quiet: wait) == "AP10010\r\n")
            #expect(try await bench.ask("Aho3", quiet: wait) == "APO3EE80200\r\n")
            #expect(try await bench.ask("Ama20080200", quiet: wait) == "APO20080200\r\n")
            // 100 ms forward at 400 degrees a second of 340 over 1023 counts, then back.
            let there = try await bench.ask("At10064", quiet: wait)
            #expect(there.hasPrefix("AP1027"), "\(there)")
            #expect(try await bench.ask("At18064", quiet: wait) == "AP10200\r\n")
            #expect(try await bench.ask("Aa10400", quiet: wait) == "AGS0C\r\n")
            #expect(try await bench.ask("Ags") == "AGS0C\r\n")
            // Nothing stops a paddle.
            #expect(try await bench.ask("Ast") == "AGS03\r\n")
        }
    }

    @Test("other firmware, commands that are ignored, a loss of power")
    func faults() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, addresses: [0])
            #expect(bench.port.inject(EmulatedFault(.ignoredCommand)))
            #expect(try await bench.ask("0gs") == "")
            #expect(try await bench.ask("0sv32") == "0GS00\r\n")
            _ = try await bench.ask("0ma00001000", quiet: .seconds(1))
            #expect(bench.port.inject(EmulatedFault(.reboot)))
            #expect(try await bench.ask("0gp0gv") == "0PO00000000\r\n0GV64\r\n")
            #expect(bench.port.inject(EmulatedFault(.wrongFirmware)))
            #expect(try await bench.ask("0in") == "0IN0E114005012023FF01016800023000\r\n")
        }
    }
}
