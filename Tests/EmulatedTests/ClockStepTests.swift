import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import Testing

/// A counter that jumps ahead, seen in the records of a TDC1 on a serial line.
struct ClockStepTests {
    /// The times of the events in a stream of the TDC1, in ticks, and how often they went back.
    private static func stream(step: Int?) throws -> [UInt32] {
        try onVirtualTime { reactor in
            let bench = EmulatedBench(reactor: reactor, seed: 1)
            let period = Picoseconds(1_000_000_000)
            try bench.add(
                BenchEntry(
                    profile: try profile("s15-tdc1"), serial: "T",
                    connection: .timeTagger(
                        inputs: PeriodicPulses(period: period), oscillator: ConstantOscillator()),
                    cable: .line))
            #expect(bench.usbPath(of: "T") == nil)
            let port = try #require(bench.serialPort(of: "T"))
            try await port.write(
                Array("*RST;NIM;time 20;timestamp;counts?\r\n".utf8), timeout: .seconds(1))
            if let step {
                reactor.schedule(at: reactor.now + .microseconds(10_500)) {
                    bench.inject(EmulatedFault(.clockStep, detail: step), into: "T")
                }
            }
            try await reactor.sleep(for: .milliseconds(100))
            var bytes: [UInt8] = []
            while let more = try? await port.read(upTo: 4096, timeout: .milliseconds(50)) {
                bytes += more
            }
            // Words of 27 bits of time over 5 bits of pattern, 2 ns a tick.
            return stride(from: 0, through: bytes.count - 4, by: 4).map { offset in
                let word = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[offset + $1]) << (8 * $1) }
                return word >> 5
            }
        }
    }

    @Test func oneIntervalIsLongerByTheStep() throws {
        func intervals(_ ticks: [UInt32]) -> [UInt32] {
            zip(ticks.dropFirst(), ticks).map { $0 &- $1 }
        }
        let steady = intervals(try Self.stream(step: nil))
        #expect(steady.count >= 15 && Set(steady) == [500_000], "\(steady)")
        let stepped = intervals(try Self.stream(step: 3_000_000))
        // 3 ms at 2 ns a tick.
        #expect(stepped.count { $0 == 2_000_000 } == 1, "\(stepped)")
        #expect(stepped.allSatisfy { [500_000, 2_000_000].contains($0) }, "\(stepped)")
    }

    @Test func aLineThatIsUnpluggedEndsReadsAndComesBackEmpty() throws {
        try onVirtualTime { reactor in
            let bench = EmulatedBench(reactor: reactor, seed: 1)
            try bench.add(
                BenchEntry(
                    profile: try profile("s15-spd"), serial: "D",
                    connection: .detector(
                        SimpleDetector(
                            breakdown: Volts(150), rate: Hertz(1000),
                            generator: bench.context.generator("d"))), cable: .line))
            let port = try #require(bench.serialPort(of: "D"))
            reactor.schedule(at: reactor.now + .milliseconds(5)) { bench.unplug("D") }
            let error = await streamError { _ = try await port.read(upTo: 1, timeout: .seconds(9)) }
            #expect(error == .closed)
            #expect(!port.isPluggedIn && reactor.now == .zero + .milliseconds(5))
            #expect(await streamError { try await port.write([65], timeout: .zero) } == .closed)
            #expect(bench.plugIn("D") && port.isPluggedIn)
            try await port.write(Array("hvolt?;".utf8), timeout: .zero)
            let reply = try await port.read(upTo: 64, timeout: .seconds(1))
            #expect(String(decoding: reply, as: UTF8.self) == "0.00\r\n")
            // Faults of a USB endpoint do not exist on a line.
            #expect(!bench.inject(EmulatedFault(.stall), into: "D"))
            #expect(bench.inject(EmulatedFault(.disconnect), into: "D") && !port.isPluggedIn)
        }
    }
}
