import DeviceProfiles
import Emulated
import HostIO
import OpticalBench
import Quantities
import TestSupport
import Testing

/// The emulated U3 at the packets of LabJackPython 2.3.0.
struct U3UnitTests {
    /// Terminals whose inputs a test sets.
    private final class Terminals: AnalogTerminals {
        var outputs: [Int: Volts] = [:]
        var history: [(output: Int, volts: Double, time: Picoseconds)] = []
        var inputs: [Int: Volts] = [:]
        func setVoltage(_ voltage: Volts, output: Int, at time: Picoseconds) {
            outputs[output] = voltage
            history.append((output, voltage.rawValue, time))
        }
        func voltage(input: Int, at time: Picoseconds) -> Volts { inputs[input] ?? Volts(0) }
    }

    private struct Bench: Sendable {
        let reactor: VirtualReactor
        let host: EmulatedUSBHost
        let unit: U3Unit
        let terminals: Shared<Terminals>
        let device: any USBDevice

        init(_ reactor: VirtualReactor, hasHighVoltage: Bool = true) async throws {
            self.reactor = reactor
            let terminals = Terminals()
            self.terminals = Shared(terminals)
            let context = EmulationContext(reactor: reactor, seed: 5)
            unit = try U3Unit(
                profile: try profile("labjack-u3"), context: context, terminals: terminals,
                serial: "320012345", hasHighVoltage: hasHighVoltage)
            host = EmulatedUSBHost(context: context)
            let id = host.attach(unit, path: "1-1", speed: .full)
            device = try await host.open(id)
            try await device.claim(interface: 0, alternate: 0)
        }

        /// Sends a packet as it stands and returns the reply.
        func raw(_ packet: [UInt8]) async throws -> [UInt8] {
            try await device.write(packet, to: 0x01, timeout: .seconds(1))
            return try await device.read(from: 0x82, upTo: 64, timeout: .seconds(1))
        }
        func raw(_ hex: String) async throws -> [UInt8] { try await raw(bytes(hex: hex)) }

        /// Sends an extended command, sealed as the user's guide, section 5.1, says.
        func send(_ number: UInt8, _ data: [UInt8]) async throws -> [UInt8] {
            let reply = try await raw(Self.sealed(number, data))
            try #require(reply.count >= 8 && reply == Self.sealed(reply[3], Array(reply[6...])))
            #expect(reply[3] == number)
            return Array(reply[6...])
        }
        static func sealed(_ number: UInt8, _ data: [UInt8]) -> [UInt8] {
            let data = data.count % 2 == 0 ? data : data + [0]
            let sum = data.map(Int.init).reduce(0, +)
            let head = [0xF8, data.count / 2, Int(number), sum % 256, sum / 256]
            let total = head.reduce(0, +)
            let folded = total / 256 + total % 256
            return ([folded / 256 + folded % 256] + head).map(UInt8.init) + data
        }
        /// A constant of the calibration, by its place among the twenty.
        func constant(_ index: Int) async throws -> Double {
            let block = try await send(0x2D, [0, UInt8(index / 4)])
            let bytes = block[(2 + index % 4 * 8)...].prefix(8)
            let bits = bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return Double(Int64(bitPattern: bits)) / 4_294_967_296
        }
    }

    private func onBench(
        hasHighVoltage: Bool = true, _ body: @escaping @Sendable (Bench) async throws -> Void
    ) throws {
        try onVirtualTime { reactor in
            try await body(try await Bench(reactor, hasHighVoltage: hasHighVoltage))
        }
    }

    @Test func tellsWhoItIs() throws {
        for (isHigh, version) in [(true, UInt8(18)), (false, 2)] {
            try onBench(hasHighVoltage: isHigh) { bench in
                // LabJackPython: configU3()
                let reply = try await bench.raw(
                    "0b f8 0a 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00")
                #expect(reply.count == 38 && Array(reply[1...3]) == [0xF8, 0x10, 0x08])
                #expect(reply == Bench.sealed(8, Array(reply[6...])))
                // Bytes as configU3() takes them apart.
                #expect(reply[6] == 0 && reply[10] == 1 && reply[9] == 46)
                #expect(reply[14] == 1 && reply[13] == 30)
                let serial = reply[15..<19].reversed().reduce(0) { $0 << 8 | Int($1) }
                #expect(serial == 320_012_345)
                #expect(reply[19] == 3 && reply[20] == 0 && reply[37] == version)
            }
        }
    }

    @Test func damagedPacketsAreAnsweredWithB8() throws {
        try onBench { bench async throws in
            #expect(try await bench.raw("0c f8 0a 08 00 00") == [0xB8, 0xB8])
            #expect(
                try await bench.raw("a1 f8 02 00 a6 00 00 26 01 80") == [0xB8, 0xB8],
                "the second sum")
            #expect(bench.unit.outputCodes == [0, 0])
            #expect(try await bench.raw("00") == [0xB8, 0xB8])
        }
    }

    @Test func outputsFollowTheirCodes() throws {
        try onBench { bench in
            // LabJackPython: getFeedback(DAC0_16(0x8000)), its answer as documented.
            let reply = try await bench.raw("a1 f8 02 00 a6 00 00 26 00 80")
            #expect(reply == (bytes(hex: "fa f8 02 00 00 00 00 00 00 00")))
            #expect(bench.unit.outputCodes == [0x8000, 0])
            let volts = try #require(bench.terminals.value.outputs[0]).rawValue
            let (slope, offset) = (try await bench.constant(4), try await bench.constant(5))
            #expect(abs(volts - (128 - offset) / slope) < 1e-9)
            #expect(abs(volts - 128 / 51.717) < 0.02)
            // DAC1_8(0x22); and code 0 does not quite reach ground.
            _ = try await bench.raw("40 f8 02 00 45 00 00 23 22 00")
            #expect(bench.unit.outputCodes == [0x8000, 0x2200])
            _ = try await bench.send(0, [0, 0x26, 0, 0])
            #expect(bench.terminals.value.outputs[0] == Volts(0.04))
        }
    }

    @Test func inputsFollowTheVoltage() throws {
        try onBench { bench in
            bench.terminals.value.inputs = [0: Volts(5), 4: Volts(1.2), 5: Volts(0.7)]
            // ConfigIO(FIOAnalog=255, EIOAnalog=255) of LabJackPython.
            let lines = try await bench.raw("54 f8 03 0b 4b 02 0d 00 40 00 ff ff")
            #expect(Array(lines[8...]) == [0x40, 1, 0xFF, 0xFF])
            func read(_ positive: UInt8, _ negative: UInt8) async throws -> Double {
                let data = try await bench.send(0, [7, 1, positive, negative])
                #expect(Array(data.prefix(3)) == [0, 0, 7])
                let code = UInt16(data[3]) | UInt16(data[4]) << 8
                #expect(code & 15 == 0, "twelve bits")
                return Double(code)
            }
            let high = try await read(0, 31)
            let (slope, offset) = (try await bench.constant(12), try await bench.constant(16))
            #expect(abs(high * slope + offset - 5) < 0.01)
            let low = try await read(4, 31)
            #expect(
                abs(low * (try await bench.constant(0)) + (try await bench.constant(1)) - 1.2)
                    < 0.001)
            let difference = try await read(4, 5)
            let line = (try await bench.constant(2), try await bench.constant(3))
            #expect(abs(difference * line.0 + line.1 - 0.5) < 0.002)
            // Against the reference: LabJackPython's negative channel 32.
            bench.terminals.value.inputs[6] = Volts(3.3)
            let special = try await read(6, 30)
            let reference = try await bench.constant(9)
            #expect(abs(special * line.0 + line.1 + reference - 3.3) < 0.002)
            let kelvin = try await read(30, 31) * (try await bench.constant(8))
            #expect(abs(kelvin - 308.15) < 0.5)
        }
    }

    @Test func digitalLines() throws {
        try onBench { bench in
            // FIO4 to high, as LabJackPython writes it; it becomes an output.
            _ = try await bench.raw("8a f8 02 00 8f 00 00 0b 84 00")
            #expect(try await bench.send(0, [0, 12, 4])[3] == 1)
            #expect(try await bench.send(0, [0, 10, 4])[3] == 1)
            _ = try await bench.send(0, [0, 11, 4])
            #expect(try await bench.send(0, [0, 10, 4])[3] == 0)
            // Inputs are pulled up; FIO0 to FIO3 are analog on a U3-HV.
            #expect(Array(try await bench.send(0, [0, 26])[3..<6]) == [0xE0, 0xFF, 0x0F])
            _ = try await bench.send(0, [0, 29, 0xFF, 0xFF, 0xFF, 0xF0, 0xFF, 0x0F])
            #expect(Array(try await bench.send(0, [0, 28])[3..<6]) == [0xF0, 0xFF, 0x0F])
            _ = try await bench.send(0, [0, 27, 0xFF, 0x0F, 0xFF, 0xA0, 0x05, 0x02])
            #expect(Array(try await bench.send(0, [0, 26])[3..<6]) == [0xA0, 0x05, 0x02])
            // Errors name the part: an analog line, a line that is none, an unknown IOType, and an
            // analog reading of a digital line.
            #expect(Array(try await bench.send(0, [9, 9, 0, 10, 0]).prefix(3)) == [97, 2, 9])
            #expect(Array(try await bench.send(0, [9, 10, 20]).prefix(3)) == [96, 1, 9])
            #expect(Array(try await bench.send(0, [9, 77]).prefix(3)) == [101, 1, 9])
            #expect(Array(try await bench.send(0, [9, 1, 8, 31]).prefix(3)) == [98, 1, 9])
            // A setting of an output without its two bytes.
            #expect(Array(try await bench.send(0, [9, 38]).prefix(3)) == [99, 1, 9])
        }
    }

    @Test func memory() throws {
        try onBench { bench in
            #expect(try await bench.send(0x2D, [0, 5])[0] == 26, "there are five blocks")
            let text = Array("0123456789abcdef0123456789ABCDEF".utf8)
            #expect(try await bench.send(0x28, [0, 3] + text)[0] == 0)
            #expect(Array(try await bench.send(0x2A, [0, 3])[2...]) == text)
            // Without erasing, bits can only be cleared.
            _ = try await bench.send(0x28, [0, 3] + [UInt8](repeating: 0x0F, count: 32))
            #expect(Array(try await bench.send(0x2A, [0, 3])[2...]) == text.map { $0 & 0x0F })
            _ = try await bench.send(0x29, [])
            #expect(try await bench.send(0x2A, [0, 3])[2...].allSatisfy { $0 == 0xFF })
            #expect(try await bench.send(0x77, [0, 0])[0] == 5, "unknown commands")
            // Normal commands: stream stop, as LabJackPython sends it.
            #expect(try await bench.raw("b0 b0") == [0xE5, 0xB1, 52, 0])
        }
    }

    @Test func theWatchdogDropsTheOutputs() throws {
        try onBench { bench in
            // watchdog(ResetOnTimeout=True, TimeoutPeriod=10) of LabJackPython.
            _ = try await bench.raw("32 f8 05 09 2b 00 01 20 0a 00 00 00 00 00 00 00")
            let start = bench.reactor.now
            _ = try await bench.raw("a1 f8 02 00 a6 00 00 26 00 80")
            // Any packet keeps it quiet.
            for _ in 0..<5 {
                try await bench.reactor.sleep(for: .seconds(9))
                _ = try await bench.raw("14 f8 01 00 1a 00 00 1a")
            }
            #expect(bench.unit.watchdogActions == 0 && bench.unit.outputCodes[0] == 0x8000)
            let last = bench.reactor.now
            try await bench.reactor.sleep(for: .seconds(11))
            #expect(bench.unit.watchdogActions == 1 && bench.unit.outputCodes == [0, 0])
            let dropped = try #require(bench.terminals.value.history.last { $0.output == 0 })
            #expect(dropped.volts == 0.04)
            let silence = dropped.time.seconds - Double(last.nanoseconds - start.nanoseconds) * 1e-9
            #expect(abs(silence - 10) < 0.1, "\(silence)")
            // It has left the bus and come back, with the watchdog still set.
            let gone = await usbError { _ = try await bench.raw("14 f8 01 00 1a 00 00 1a") }
            #expect(gone == .disconnected)
            #expect(try await bench.host.devices().count == 1)
            #expect(bench.unit.watchdogSeconds == 10)
            #expect(bench.unit.flashWrites == 1)
        }
    }

    @Test func theLevelsItStartsWithAreThoseOfItsFlash() throws {
        try onBench { bench in
            // configU3(DAC1Enable=1, DAC0=0x12, DAC1=0x34) changes nothing now,
            _ = try await bench.raw(
                "56 f8 0a 08 4b 00 04 00 00 00 00 00 00 00 00 00 00 00 01 12 34 00 00 00 00 00")
            #expect(bench.unit.outputCodes == [0, 0] && bench.unit.powerUpCodes == [0x12, 0x34])
            // but a reset does, with reset(hardReset=True) of LabJackPython.
            #expect(try await bench.raw("9b 99 02 00") == [0x99, 0x99, 0, 0])
            try await bench.reactor.sleep(for: .milliseconds(500))
            #expect(bench.unit.outputCodes == [0x1200, 0x3400])
            #expect(try await bench.host.devices().isEmpty)
            try await bench.reactor.sleep(for: .seconds(1))
            #expect(try await bench.host.devices().count == 1)
        }
    }

    @Test func faults() throws {
        try onBench { bench in
            let reading = bytes(hex: "14 f8 01 00 1a 00 00 1a")
            func inject(_ kind: InjectableFault, detail: Int? = nil) {
                #expect(bench.host.inject(EmulatedFault(kind, detail: detail), path: "1-1"))
            }
            inject(.checksumError)
            let damaged = try await bench.raw(reading)
            #expect(damaged != Bench.sealed(0, Array(damaged[6...])))
            inject(.ignoredCommand)
            let silent = await usbError { _ = try await bench.raw(reading) }
            #expect(silent == .timedOut(transferred: 0))
            inject(.shortPacket, detail: 8)
            #expect(try await bench.raw(reading).count == 8)
            #expect(
                try await bench.device.read(from: 0x82, upTo: 64, timeout: .seconds(1)).count == 4)
            inject(.wrongFirmware)
            #expect(try await bench.send(8, [UInt8](repeating: 0, count: 20))[3] == 2)
            inject(.stall)
            let stalled = await usbError { _ = try await bench.raw(reading) }
            #expect(stalled == .stall)
        }
    }

    /// Whatever is written, the unit answers with packets of its language or not at all.
    @Test func anyPacketIsSurvived() throws {
        try onBench { bench in
            let seeds = [
                "a1 f8 02 00 a6 00 00 26 00 80", "54 f8 03 0b 4b 02 0d 00 40 00 ff ff",
                "45 f8 04 00 48 00 00 0c 02 01 00 1f 1a 00", "27 f8 01 2d 00 00 00 00",
            ].map { bytes(hex: $0) }
            var generator = SeededGenerator(seed: 3, label: "u3 packets")
            for round in 0..<600 {
                var packet = Array(mutated(seeds[round % 4], using: &generator).prefix(64))
                // Half of them with sums that are right, so that the inside is reached.
                if round % 2 == 0, packet.count > 6 {
                    packet = Array(Bench.sealed(packet[3], Array(packet[6...])).prefix(64))
                }
                try await bench.device.write(packet, to: 0x01, timeout: .seconds(1))
                var isAnswered = true
                while isAnswered {
                    do {
                        let reply = try await bench.device.read(
                            from: 0x82, upTo: 64, timeout: .milliseconds(3))
                        #expect(
                            reply == [0xB8, 0xB8] || reply.count == 4
                                || reply == Bench.sealed(reply[3], Array(reply[6...])))
                    } catch { isAnswered = false }
                }
            }
        }
    }
}
