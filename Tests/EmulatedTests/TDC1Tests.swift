import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The TDC1 against what its public clients expect.
struct TDC1Tests {
    /// A unit behind an in-process port.
    struct Bench: Sendable {
        let port: EmulatedSerialPort
        let reactor: VirtualReactor

        func send(_ text: String) async throws {
            try await port.write(Array(text.utf8), timeout: .seconds(1))
        }

        /// Bytes until none come for `quiet`.
        func receive(quiet: Duration = .milliseconds(20)) async throws -> [UInt8] {
            var received: [UInt8] = []
            while let bytes = try? await port.read(upTo: 4096, timeout: quiet) { received += bytes }
            return received
        }

        func ask(_ text: String, quiet: Duration = .milliseconds(20)) async throws -> String {
            try await send(text)
            return String(decoding: try await receive(quiet: quiet), as: UTF8.self)
        }
    }

    static func bench(
        _ reactor: VirtualReactor, pulses: [InputPulse] = [], inputs: (any TaggerInputs)? = nil
    ) throws -> Bench {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let unit = try TDC1Unit(
            profile: try profile("s15-tdc1"), context: context,
            inputs: inputs ?? ScriptedPulses(pulses), oscillator: ConstantOscillator())
        return Bench(
            port: EmulatedSerialPort(context: context, device: unit, baud: nil), reactor: reactor)
    }

    static func words(_ bytes: [UInt8]) -> [UInt32] {
        stride(from: 0, to: bytes.count - 3, by: 4).map { offset in
            (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * UInt32($1)) }
        }
    }

    @Test("the dialect: case, separators, terminators, silence")
    func dialect() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(try await bench.ask("\r\n") == "")
            #expect(try await bench.ask("*IDN?;").contains("TDC1"))
            #expect(try await bench.ask("*idn?\r\n").hasSuffix("\r\n"))
            #expect(try await bench.ask("HELP\n").split(separator: "\r\n").count > 10)
            #expect(try await bench.ask("pairs;mode?\r\n") == "1\r\n")
            #expect(try await bench.ask("TIMESTAMP;MODE?;") == "3\r\n")
            #expect(try await bench.ask("mode?;nonsense;mode?;") == "3\r\n3\r\n")
            #expect(try await bench.ask("*RST;MODE?;TIME?;") == "0\r\n1000\r\n")
            #expect(try await bench.ask("REFCLK 2;REFCLK?;ECLOCK?;") == "2\r\n0\r\n")
        }
    }

    @Test("TIME? answers as a signed number, levels begin with the voltage, STATUS? has 7 bytes")
    func replies() throws {
        try onVirtualTime { reactor in
            let bench = try Self.bench(reactor)
            #expect(try await bench.ask("time 32767;time?;") == "32767\r\n")
            #expect(try await bench.ask("time 65535;time?;") == "-1\r\n")
            #expect(try await bench.ask("time 65536;time?;") == "-1\r\n")
            #expect(try await bench.ask("time nan;time?;") == "-1\r\n")
            #expect(try await bench.ask("NEG -0.35;LEVEL?;").hasPrefix("-0.350 "))
            #expect(try await bench.ask("TTL;LEVEL?;").hasPrefix("1.000 "))
            #expect(try await bench.ask("STATUS?;") == "0000 \r\n")
        }
    }

    @Test("counts come when the gate has ended")
    func counts() throws {
        try onVirtualTime { reactor in
            let pulses = (0..<100).map {
                InputPulse(time: microseconds(Double(10_000 * $0 + 5)), input: UInt8($0 % 4))
            }
            let bench = try Self.bench(reactor, pulses: pulses)
            try await bench.send("singles;time 400;counts?\r\n")
            let bytes = try await bench.port.read(upTo: 100, timeout: .seconds(1))
            #expect(reactor.now >= HostInstant(nanoseconds: 400_000_000))
            #expect(reactor.now < HostInstant(nanoseconds: 400_100_000))
            #expect(String(decoding: bytes, as: UTF8.self) == "10 10 10 10\r\n")
        }
    }

    @Test("pairs count coincidences of 1 or 2 with 3 or 4")
    func pairs() throws {
        try onVirtualTime { reactor in
            func pulse(_ time: Double, _ input: UInt8) -> InputPulse {
                InputPulse(time: microseconds(time), input: input)
            }
            let bench = try Self.bench(
                reactor,
                pulses: [
                    pulse(100, 0), pulse(100, 2), pulse(200, 1), pulse(200, 3), pulse(300, 0),
                    pulse(300.001, 3), pulse(400, 0), pulse(400, 1), pulse(500, 2), pulse(500, 1),
                    pulse(600, 0), pulse(600.5, 2),
                ])
            #expect(
                try await bench.ask("pairs;time 10;counts?;") == "4 3 3 2 1 1 1 1\r\n")
        }
    }

    @Test("a wrong level keeps pulses out")
    func level() throws {
        try onVirtualTime { reactor in
            let pulses = [InputPulse(time: microseconds(2000), input: 0)]
            let bench = try Self.bench(reactor, pulses: pulses)
            #expect(try await bench.ask("TTL;time 10;counts?;") == "0 0 0 0\r\n")
        }
    }

    @Test("golden words: 2 µs on channel 1, the dummy at half range, the last tick on channel 4")
    func goldenWords() throws {
        let start = Int64(1)
        let range = Int64(1) << 27
        let pulses = [
            InputPulse(time: Picoseconds(start * 1000 + 2_000_000), input: 0),
            InputPulse(time: Picoseconds(start * 1000 + (range - 1) * 2000), input: 3),
        ]
        let bytes = try onVirtualTime { reactor in
            let bench = try Self.bench(reactor, pulses: pulses)
            try await reactor.sleep(until: HostInstant(nanoseconds: start))
            try await bench.send("timestamp;time 0;counts?\r\n")
            try await reactor.sleep(for: .milliseconds(300))
            try await bench.send("INPKT;")
            return try await bench.receive()
        }
        #expect(hex(bytes) == "017d0000" + "10000080" + "e8ffffff" + "10000000")
    }

    @Test("records wait for 512 bytes unless they are flushed or the stream ends")
    func packets() throws {
        try onVirtualTime { reactor in
            let pulses = (0..<130).map {
                InputPulse(time: microseconds(1000 + Double($0)), input: 1)
            }
            let bench = try Self.bench(reactor, pulses: pulses)
            try await bench.send("timestamp;time 0;counts?\r\n")
            #expect(try await bench.receive(quiet: .milliseconds(100)).count == 512)
            try await bench.send("abort;")
            #expect(try await bench.receive().count == 8)
            #expect(try await bench.ask("mode?;") == "3\r\n")
        }
    }

    @Test("words unwrap by the falling top bit, with events or without", arguments: seeds(3))
    func rollover(seed: UInt64) throws {
        let rates = [0.0, 3.0, 200.0, 20_000.0]
        let rate = rates[Int(seed) % rates.count]
        let (bytes, expected) = try onVirtualTime { reactor in
            let context = EmulationContext(reactor: reactor, seed: seed)
            let source = PoissonPulses(
                rates: [Hertz(rate)], generator: context.generator("pulses"))
            let twin = PoissonPulses(
                rates: [Hertz(rate)], generator: context.generator("pulses"))
            let bench = try Self.bench(reactor, inputs: source)
            try await bench.send("timestamp;time 3000;counts?\r\n")
            let bytes = try await bench.receive(quiet: .seconds(4))
            return (bytes, twin.takePulses(through: Picoseconds(seconds: 3)).map(\.time.rawValue))
        }
        var wraps: UInt64 = 0
        var last: UInt32 = 0
        var times: [UInt64] = []
        for word in Self.words(bytes) {
            if last >> 31 == 1, word >> 31 == 0 { wraps += 1 }
            last = word
            if word & 0x10 == 0 { times.append(wraps << 27 | UInt64(word >> 5)) }
        }
        #expect(wraps == 11)
        // Pulses in one tick share a word.
        var ticks: [UInt64] = []
        for time in expected where ticks.last != UInt64(time / 2000) {
            ticks.append(UInt64(time / 2000))
        }
        let agreement = times == ticks
        #expect(agreement, "seed \(seed): \(times.count) words, \(ticks.count) expected")
    }

    @Test("a host that does not read sets the overflow bit until the next stream")
    func overflow() throws {
        try onVirtualTime { reactor in
            let context = EmulationContext(reactor: reactor, seed: 4)
            let bench = try Self.bench(
                reactor,
                inputs: PoissonPulses(
                    rates: [Hertz(100_000)], generator: context.generator("pulses")))
            try await bench.send("timestamp;time 0;counts?\r\n")
            try await reactor.sleep(for: .milliseconds(100))
            try await bench.send("abort;")
            _ = try await bench.receive()
            #expect(try await bench.ask("status?;") == "0010 \r\n")
            try await bench.send("time 5;counts?;")
            _ = try await bench.receive()
            #expect(try await bench.ask("status?;") == "0000 \r\n")
        }
    }

    @Test("a lost 16-bit word shifts the stream by two bytes")
    func wordSlip() throws {
        try onVirtualTime { reactor in
            let pulses = (0..<256).map {
                InputPulse(time: microseconds(1000 + Double(10 * $0)), input: 1)
            }
            let bench = try Self.bench(reactor, pulses: pulses)
            try await bench.send("timestamp;time 0;counts?\r\n")
            try await reactor.sleep(for: .milliseconds(2))
            #expect(bench.port.inject(EmulatedFault(.wordSlip)))
            try await reactor.sleep(for: .milliseconds(10))
            try await bench.send("abort;")
            let bytes = try await bench.receive()
            #expect(bytes.count == 256 * 4 - 2)
            let shifted = Self.words(Array(bytes.suffix(400))).allSatisfy { $0 & 0x1F == 2 }
            #expect(shifted)
        }
    }
}
