import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The FPGA time tagger against its published Verilog, firmware and client.
struct TimetagUnitTests {
    /// A tagger on a host, with interface 0 claimed.
    struct Bench: Sendable {
        let device: any USBDevice
        let unit: TimetagUnit
        let reactor: VirtualReactor

        func send(_ packet: [UInt8]) async throws {
            try await device.write(packet, to: 0x02, timeout: .milliseconds(500))
        }

        func reply(timeout: Duration = .milliseconds(500)) async throws -> [UInt8] {
            try await device.read(from: 0x88, upTo: 512, timeout: timeout)
        }

        /// A command as `reg_cmd` of the published client sends it.
        static func packet(_ address: UInt16, write value: UInt32? = nil) -> [UInt8] {
            let word = value ?? 0
            return [
                0xAA, value == nil ? 0 : 1, UInt8(address & 255), UInt8(address >> 8),
                UInt8(word & 255), UInt8(word >> 8 & 255), UInt8(word >> 16 & 255),
                UInt8(word >> 24),
            ]
        }

        @discardableResult
        func register(_ address: UInt16, write value: UInt32? = nil) async throws -> UInt32 {
            try await send(Self.packet(address, write: value))
            let bytes = try await reply()
            #expect(bytes.count == 4)
            return bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }

        func request(_ number: UInt8, value: UInt16 = 0) async throws {
            try await device.controlOut(
                USBControlRequest(requestType: 0x40, request: number, value: value, index: 0),
                data: [], timeout: .seconds(1))
        }

        func records(upTo length: Int = 512) async throws -> [UInt8] {
            try await device.read(from: 0x86, upTo: length, timeout: .milliseconds(100))
        }

        /// Counter reset, FIFO empty, then capture with the strobes in `mask`.
        func start(strobes mask: UInt32 = 15) async throws {
            try await register(3, write: 4)
            try await register(3, write: 0)
            try await register(4, write: mask)
            try await register(3, write: 3)
        }
    }

    private func bench(
        _ reactor: VirtualReactor, inputs: any TaggerInputs = ScriptedPulses([])
    ) async throws -> Bench {
        let context = EmulationContext(reactor: reactor, seed: 1)
        let unit = try TimetagUnit(
            profile: try profile("umass-timetag-fpga"), context: context, inputs: inputs,
            oscillator: ConstantOscillator())
        let host = EmulatedUSBHost(context: context)
        let device = try await host.open(host.attach(unit, path: "1-1"))
        try await device.claim(interface: 0, alternate: 0)
        return Bench(device: device, unit: unit, reactor: reactor)
    }

    private func pulse(_ seconds: Double, _ input: UInt8) -> InputPulse {
        InputPulse(time: Picoseconds(seconds: seconds), input: input)
    }

    @Test("descriptors, byte by byte as in dscr.a51")
    func descriptors() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(reactor)
            func descriptor(_ value: UInt16) async throws -> [UInt8] {
                try await bench.device.controlIn(
                    USBControlRequest(requestType: 0x80, request: 6, value: value, index: 0),
                    length: 255, timeout: .seconds(1))
            }
            #expect(
                try await descriptor(0x0100)
                    == bytes(hex: "1201 0002 ffffff 40 b404 0410 0100 000000 01"))
            #expect(
                try await descriptor(0x0200)
                    == bytes(
                        hex: """
                            0902 2e00 01 01 00 80 32 0904 00 00 04 ffffff 00
                            0705 81 02 4000 00 0705 02 02 0002 00
                            0705 86 02 0002 00 0705 88 02 0002 00
                            """.filter { $0 != "\n" }))
            #expect(try await descriptor(0x0302) == bytes(hex: "0c03 5400 6800 6500 7200 6500"))
            #expect(bench.device.summary.product == nil && bench.device.summary.serial == nil)
        }
    }

    @Test("the start-up of the published client")
    func clientStartUp() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(reactor)
            try await bench.request(1, value: 510)
            try await bench.register(0, write: 0)
            try await bench.request(2)
            try await bench.register(3, write: 0)
            try await bench.register(4, write: 15)
            try await bench.register(5, write: 15)
            var values: [UInt16: UInt32] = [:]
            for address in UInt16(1)..<0x50 {
                values[address] = try await bench.register(address)
            }
            #expect(values[1] == 6 && values[2] == 128_000_000 && values[0x21] == 128_000_000)
            #expect(values[4] == 15 && values[5] == 15)
            try await bench.send(bytes(hex: "aa 00 02 00 00 00 00 00"))
            #expect(try await bench.reply() == bytes(hex: "00 20 a1 07"))
            #expect(
                await usbError { try await bench.request(3) } == .stall)
        }
    }

    @Test("a second command in one packet is swallowed; a partial one jams until it is complete")
    func pipelining() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(reactor)
            try await bench.send(Bench.packet(1) + Bench.packet(2))
            #expect(try await bench.reply() == [6, 0, 0, 0])
            #expect(
                await usbError { _ = try await bench.reply(timeout: .milliseconds(50)) }
                    == .timedOut(transferred: 0))
            // Three bytes of a command, and noise before it.
            try await bench.send([0x55, 0x00, 0xAA, 0x00, 0x01])
            #expect(
                await usbError { _ = try await bench.reply(timeout: .milliseconds(50)) }
                    == .timedOut(transferred: 0))
            // The write to register 0 completes it, and its own rest is swallowed.
            try await bench.send(Bench.packet(0, write: 0))
            #expect(try await bench.reply().count == 4)
            #expect(try await bench.register(1) == 6)
        }
    }

    @Test("replies wait in two packets; a third blocks what follows")
    func replyBuffers() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(reactor)
            for address: UInt16 in [1, 2, 1, 2] { try await bench.send(Bench.packet(address)) }
            #expect(try await bench.reply()[0] == 6)
            #expect(try await bench.reply()[3] == 7)
            #expect(try await bench.reply()[0] == 6)
            #expect(
                await usbError { _ = try await bench.reply(timeout: .milliseconds(50)) }
                    == .timedOut(transferred: 0))
        }
    }

    /// Known records: the start of the counter, one input, two in a tick, and their times.
    @Test("records of single and simultaneous events")
    func records() throws {
        let (stream, start) = try onVirtualTime { reactor in
            let bench = try await bench(
                reactor,
                inputs: ScriptedPulses([
                    pulse(1, 0), pulse(2, 1), pulse(2, 2), pulse(3, 3), pulse(3.000_000_008, 3),
                    pulse(3.1, 3),
                ]))
            try await bench.start()
            let start = reactor.now
            try await reactor.sleep(until: HostInstant(nanoseconds: 3_200_000_000))
            try await bench.request(1, value: 510)
            return (try await bench.records(), start)
        }
        #expect(stream.count == 30)
        #expect(Array(stream[0..<6]) == bytes(hex: "400000000000"))
        let firsts = stride(from: 6, to: 30, by: 6).map { Array(stream[$0..<$0 + 2]) }
        #expect(firsts.map { $0[0] } == [0, 0, 0, 0])
        #expect(firsts.map { $0[1] >> 4 } == [1, 6, 8, 8])
        func time(_ index: Int) -> Int64 {
            stream[6 * index + 2..<6 * index + 6].reduce(0) { $0 << 8 | Int64($1) }
        }
        // A second is 128 million ticks; the start lies a transfer or two before `start`.
        #expect(time(2) - time(1) == 128_000_000 && time(4) - time(3) == 12_800_000)
        let expected = (1_000_000_000 - start.nanoseconds) * 128 / 1000
        #expect((0..<128_000).contains(time(1) - expected))
    }

    @Test("a change of a pattern output makes a record, and hides a strobe of the same tick")
    func delta() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(
                reactor, inputs: PeriodicPulses(period: microseconds(10), input: 1))
            // Output 0 starts high and stays for a hundred ticks at either level.
            for (address, value) in [(0x28, 3), (0x29, 99), (0x2A, 99), (0x2B, 99), (0x20, 2)] {
                try await bench.register(UInt16(address), write: UInt32(value))
            }
            #expect(bench.unit.outputs == 1)
            try await bench.register(5, write: 1)
            try await bench.start()
            try await bench.register(0x20, write: 1)
            try await reactor.sleep(for: .milliseconds(2))
            var stream = try await bench.records()
            while stream.count < 4000 { stream += try await bench.records() }
            let records = stride(from: 0, to: stream.count - 5, by: 6).map {
                stream[$0..<$0 + 6].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            }
            let changes = records.filter { $0 >> 45 & 1 == 1 && $0 & 0xF_FFFF_FFFF != 0 }
            let times = changes.map { $0 & 0xF_FFFF_FFFF }
            #expect(times.count > 100)
            #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == 100 })
            let levels = changes.map { $0 >> 36 & 15 }
            #expect(zip(levels, levels.dropFirst()).allSatisfy { $0 ^ $1 == 1 })
            // One record a tick: a strobe that meets a change is not seen.
            #expect(Set(records.map { $0 & 0xF_FFFF_FFFF }).count == records.count)
        }
    }

    @Test("nothing is sent for reasons of time; the length decides, and setting it sends the rest")
    func packetLength() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(
                reactor, inputs: PeriodicPulses(period: microseconds(2000)))
            try await bench.start()
            #expect(
                await usbError { _ = try await bench.records() } == .timedOut(transferred: 0))
            #expect(try await bench.records().count == 510)
            try await bench.request(1, value: 12)
            #expect(try await bench.records().count % 6 == 0)
            #expect(try await bench.records().count == 12)
            #expect(bench.unit.packetLength == 12)
        }
    }

    @Test("a full packet is too long for a transfer of 510 bytes")
    func fullPackets() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(
                reactor, inputs: PeriodicPulses(period: microseconds(100)))
            try await bench.request(1, value: 512)
            #expect(try await bench.records().isEmpty)
            try await bench.start()
            #expect(await usbError { _ = try await bench.records(upTo: 510) } == .overflow)
        }
    }

    @Test("a full FIFO loses records, counts them, and flags the next; the flag survives a reset")
    func overflow() throws {
        try onVirtualTime { reactor in
            let bench = try await bench(
                reactor, inputs: PeriodicPulses(period: microseconds(10)))
            try await bench.start()
            try await reactor.sleep(for: .milliseconds(50))
            try await bench.register(3, write: 2)
            let (made, lost) = (try await bench.register(6), try await bench.register(7))
            // 2048 records in the FIFO and three packets of 85.
            #expect(made == 2048 + 255)
            #expect(lost > 2000 && made + lost > 4900 && made + lost < 5100)
            #expect(bench.unit.tally.lost == lost)
            try await bench.register(8, write: 1)
            try await bench.register(8, write: 0)
            for _ in 0..<3 { #expect(try await bench.records().count == 510) }
            try await bench.register(7, write: 9)
            #expect(try await bench.register(7) == 0)
            try await bench.start(strobes: 0)
            try await bench.request(1, value: 6)
            #expect(try await bench.records() == bytes(hex: "c00000000000"))
        }
    }

    @Test("a record needs eight periods of 30 MHz: a burst of 12.8 million a second overflows")
    func drainRate() throws {
        try onVirtualTime { reactor in
            let pulses = (0..<3000).map { index in
                InputPulse(
                    time: Picoseconds(1_000_000_000_000 + Int64(index) * 78_125), input: 0)
            }
            let bench = try await bench(reactor, inputs: ScriptedPulses(pulses))
            try await bench.start()
            let queue = try bench.device.openQueue(
                endpoint: 0x86, transferCount: 64, transferSize: 512)
            try await reactor.sleep(for: .seconds(2))
            let lost = try await bench.register(7)
            await queue.cancelAll()
            // 3000 come in 234.4 µs, in which 878 leave: 2048 stay, and about 73 find no place.
            #expect((40...110).contains(lost), "\(lost)")
        }
    }
}
