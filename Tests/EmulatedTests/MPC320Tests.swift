import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The MPC320 against the APT protocol and what its public clients rely on.
struct MPC320Tests {
    struct Bench: Sendable {
        let controller: MPC320Controller
        let port: EmulatedSerialPort
        let reactor: VirtualReactor

        func send(_ text: String) async throws {
            try await port.write(bytes(hex: text), timeout: .seconds(1))
        }

        func receive(quiet: Duration = .milliseconds(20)) async throws -> String {
            var received: [UInt8] = []
            while let bytes = try? await port.read(upTo: 4096, timeout: quiet) { received += bytes }
            return hex(received)
        }

        func ask(_ text: String, quiet: Duration = .milliseconds(20)) async throws -> String {
            try await send(text)
            return try await receive(quiet: quiet)
        }

        /// The status of a paddle: position, velocity, current, bits.
        func status(
            _ mask: String
        ) async throws -> (position: Int32, velocity: Int16, current: Int16, bits: UInt32) {
            let reply = bytes(hex: try await ask("9004\(mask)005001", quiet: .milliseconds(5)))
            try #require(reply.count >= 20 && Array(reply.prefix(6)) == bytes(hex: "91040e008150"))
            let data = Array(reply[6..<20])
            func number(_ at: Int, _ width: Int) -> UInt32 {
                (0..<width).reduce(0) { $0 | UInt32(data[at + $1]) << (8 * UInt32($1)) }
            }
            return (
                Int32(bitPattern: number(2, 4)),
                Int16(truncatingIfNeeded: Int32(bitPattern: number(6, 2))),
                Int16(truncatingIfNeeded: Int32(bitPattern: number(8, 2))), number(10, 4)
            )
        }
    }

    static func bench(
        _ reactor: VirtualReactor, plates: RecordingWaveplates = RecordingWaveplates(plateCount: 3)
    ) throws -> Bench {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let controller = try MPC320Controller(
            profile: try profile("thorlabs-mpc320"), context: context, plates: plates,
            serial: "38418404")
        return Bench(
            controller: controller,
            port: EmulatedSerialPort(context: context, device: controller, baud: 115_200),
            reactor: reactor)
    }

    @Test("the identification has the layout of the manual")
    func info() throws {
        try onVirtualTime { reactor in
            let reply = bytes(hex: try await Self.bench(reactor).ask("050000005001"))
            #expect(reply.count == 90)
            #expect(hex(reply.prefix(6)) == "060054008150")
            #expect(hex(reply[6..<10]) == hex([0xE4, 0x37, 0x4A, 0x02]))  // 38418404
            #expect(String(decoding: reply[10..<16], as: UTF8.self) == "MPC320")
            #expect(reply[20...22] == [3, 0, 1])  // minor, interim, major of 1.0.3
            #expect(reply[88...89] == [3, 0])
        }
    }

    @Test("enabling replaces the mask; mask 0 disables all; a stray zero follows the answer")
    func enable() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(bench.controller.enabledMask == 0)
            #expect(try await bench.ask("100207015001") == "")
            #expect(bench.controller.enabledMask == 7)
            #expect(try await bench.ask("100201015001") == "")
            #expect(bench.controller.enabledMask == 1)
            #expect(try await bench.ask("110201005001") == "120201010150" + "00")
            #expect(try await bench.ask("110202005001") == "120202020150" + "00")
            #expect(try await bench.ask("100200015001") == "")
            #expect(bench.controller.enabledMask == 0)
        }
    }

    @Test("a move takes the time its speed needs, turns the plate on the way, and ends short")
    func move() throws {
        let plates = RecordingWaveplates(plateCount: 3)
        try onVirtualTime { [shared = Shared(plates)] reactor in
            let bench = try Self.bench(reactor, plates: shared.value)
            _ = try await bench.ask("100207015001")
            let start = reactor.now
            // Half speed is 200 degrees per second; 685 to 0 counts is 85 degrees.
            try await bench.send("53040600d001" + "040000000000")
            let reply = try await bench.port.read(upTo: 6, timeout: .seconds(2))
            let elapsed = (reactor.now - start).inSeconds
            #expect((0.42...0.44).contains(elapsed))
            var rest = reply
            while rest.count < 6 {
                rest += try await bench.port.read(upTo: 6, timeout: .seconds(1))
            }
            #expect(hex(rest) == "640404000150")
            let status = try await bench.status("04")
            #expect(status.position == 0 && status.velocity == 0 && status.current == 0)
            #expect(
                status.bits & (1 << 31 | 1 << 28 | 1 << 13 | 1 << 8) == 1 << 31 | 1 << 28 | 1 << 13
                    | 1 << 8)
            #expect(bench.controller.encoders == [685, 685, 0])
        }
        // A step every 1.5 ms at the most.
        #expect(plates.moves > 280)
        #expect(abs(plates.angles[2].degrees) < 0.06)
        #expect(abs(plates.angles[0].degrees - 85) < 0.06)
    }

    @Test("the golden move frame goes to 685 counts; status shows the motion")
    func goldenMove() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("100207015001")
            _ = try await bench.ask("53040600d001" + "040000000000", quiet: .seconds(1))
            try await bench.send("53040600d001" + "0400ad020000")
            try await reactor.sleep(for: .milliseconds(100))
            let moving = try await bench.status("04")
            #expect(moving.velocity == 1612 && moving.current > 0)
            #expect(moving.bits & 1 << 4 != 0 && moving.bits & 1 << 13 == 0)
            #expect((100...300).contains(moving.position))
            _ = try await bench.receive(quiet: .seconds(1))
            #expect(bench.controller.encoders[2] == 685)
        }
    }

    @Test("paddles move one after the other")
    func sequential() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("100207015001")
            let start = reactor.now
            try await bench.send("53040600d001" + "010000000000" + "53040600d001" + "020000000000")
            var received: [UInt8] = []
            var ends: [Double] = []
            while received.count < 12 {
                received += try await bench.port.read(upTo: 100, timeout: .seconds(2))
                if received.count == 6 || received.count == 12 {
                    ends.append((reactor.now - start).inSeconds)
                }
            }
            #expect(hex(received) == "640401000150" + "640402000150")
            #expect(ends.count == 2 && abs(ends[1] - 2 * ends[0]) < 0.01)
        }
    }

    @Test("a move of a disabled paddle runs at full speed once it is enabled")
    func storedMove() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(try await bench.ask("53040600d001" + "010000000000", quiet: .seconds(1)) == "")
            #expect(bench.controller.encoders[0] == 685)
            let start = reactor.now
            try await bench.send("100201015001")
            _ = try await bench.port.read(upTo: 6, timeout: .seconds(2))
            #expect((0.20...0.23).contains((reactor.now - start).inSeconds))
            #expect(bench.controller.encoders[0] == 0)
        }
    }

    @Test("home visits the end of travel and rests at the home position of the parameters")
    func home() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("100207015001")
            #expect(
                try await bench.ask("30050c00d0010000" + "6400" + "6400" + "190019001900") == "")
            #expect(
                try await bench.ask("310500005001")
                    == "32050c0081500000" + "6400" + "6400" + "190019001900")
            #expect(try await bench.ask("430402005001", quiet: .seconds(2)) == "440402000150")
            #expect(bench.controller.encoders == [685, 100, 685])
            #expect(try await bench.status("02").bits & 1 << 10 != 0)
        }
    }

    @Test("jogs step by the parameter and stop at the end of travel; stop answers short")
    func jogAndStop() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("100207015001")
            #expect(try await bench.ask("6a0401015001", quiet: .seconds(1)) == "640401000150")
            #expect(bench.controller.encoders[0] == 710)
            #expect(try await bench.ask("6a0401025001", quiet: .seconds(1)) == "640401000150")
            #expect(bench.controller.encoders[0] == 685)
            try await bench.send("53040600d001" + "010000000000")
            try await reactor.sleep(for: .milliseconds(50))
            #expect(try await bench.ask("650401025001", quiet: .seconds(1)) == "660401000150")
            #expect((400...680).contains(bench.controller.encoders[0]))
            #expect(!bench.controller.isMoving)
        }
    }

    @Test("the position counter has another zero than the status")
    func positionCounter() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(
                try await bench.ask("110402005001") == "120406008150" + "0200" + "8a060000")
            #expect(try await bench.status("02").position == 685)
        }
    }

    @Test("what can not be done is answered with a fault")
    func refusals() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("100207015001")
            let beyond = bytes(hex: try await bench.ask("53040600d001" + "01005b050000"))
            #expect(hex(beyond.prefix(10)) == "810044008150" + "53040100")
            #expect(beyond.count == 74)
            let channel = bytes(hex: try await bench.ask("430403005001"))
            #expect(hex(channel.prefix(8)) == "810044008150" + "4304")
            #expect(bench.controller.encoders == [685, 685, 685])
        }
    }

    @Test("status updates come for every paddle and stop without acknowledgement")
    func updates() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            let silent = bytes(hex: try await bench.ask("110000005001", quiet: .milliseconds(500)))
            #expect(silent.count == 9 * 3 * 20)
            try await bench.send("110000005001")
            var received = 0
            for _ in 0..<6 {
                try await reactor.sleep(for: .milliseconds(500))
                received += bytes(hex: try await bench.receive(quiet: .milliseconds(1))).count
                try await bench.send("920400005001")
            }
            #expect((28 * 60...31 * 60).contains(received))
            try await bench.send("120000005001")
            _ = try await bench.receive(quiet: .milliseconds(50))
            #expect(try await bench.receive(quiet: .milliseconds(500)) == "")
        }
    }

    @Test("garbage costs a byte at a time, and the next message is found")
    func resynchronisation() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(try await bench.ask("00ff11" + "110402005001").hasPrefix("120406008150"))
            // Wrong source, wrong destination, a length beyond 255.
            #expect(try await bench.ask("110402005002").isEmpty)
            #expect(try await bench.ask("110402002101").isEmpty)
            #expect(try await bench.ask("53040601d001").isEmpty)
            #expect(try await bench.ask("110402005001").hasPrefix("120406008150"))
        }
    }

    @Test("fault: a paddle that hunts around its target and never settles, until a restart")
    func hunting() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("100207015001")
            #expect(bench.port.inject(EmulatedFault(.oscillatingMotion, detail: 20)))
            // To encoder count 400.
            try await bench.send("53040600d001" + "010090010000")
            try await reactor.sleep(for: .seconds(5))
            var seen: Set<Int> = []
            for _ in 0..<200 {
                seen.insert(bench.controller.encoders[0])
                try await reactor.sleep(for: .milliseconds(7))
            }
            let (least, most) = (seen.min() ?? 0, seen.max() ?? 0)
            #expect((378...383).contains(least) && (417...422).contains(most), "\(seen)")
            #expect(bench.controller.isMoving)
            #expect(bench.port.inject(EmulatedFault(.reboot)))
            #expect(!bench.controller.isMoving)
        }
    }

    @Test("faults: a motion that does not end, a restart that forgets, another firmware")
    func faults() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            _ = try await bench.ask("100207015001")
            #expect(bench.port.inject(EmulatedFault(.stuckMotion)))
            try await bench.send("53040600d001" + "010000000000")
            try await reactor.sleep(for: .seconds(5))
            #expect(try await bench.status("01").velocity < 0)
            #expect(bench.port.inject(EmulatedFault(.reboot)))
            #expect(bench.controller.enabledMask == 0 && !bench.controller.isMoving)
            #expect(bench.port.inject(EmulatedFault(.wrongFirmware)))
            let reply = bytes(hex: try await bench.ask("050000005001"))
            #expect(reply[20...22] == [1, 0, 0])
        }
    }
}
