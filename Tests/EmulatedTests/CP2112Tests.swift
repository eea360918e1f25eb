import DeviceProfiles
import Emulated
import HostIO
import Quantities
import TestSupport
import Testing

/// The emulated CP2112 at what Linux usbhid and hid-cp2112 ask of it.
struct CP2112Tests {
    private struct Bench: Sendable {
        let reactor: VirtualReactor
        let bench: EmulatedBench
        let device: any USBDevice

        init(_ reactor: VirtualReactor) async throws {
            self.reactor = reactor
            bench = EmulatedBench(reactor: reactor, seed: 1)
            bench.gpio.addChip(
                "wires", label: "bench", lineNames: ["a", "b", "c"], pulls: [2: true])
            let pins = Dictionary(
                uniqueKeysWithValues: (0..<3).map {
                    ($0, GPIOLineID(chip: "wires", offset: UInt32($0)))
                })
            try bench.add(
                BenchEntry(
                    profile: try profile("silabs-cp2112"), serial: "0041BE72",
                    connection: .digitalIO(pins: pins)))
            let summary = try #require(try await bench.usb.devices().first)
            #expect(summary.speed == .full, "it has no other")
            device = try await bench.usb.open(summary.id)
            try await device.claim(interface: 0, alternate: 0)
        }

        func get(_ report: UInt8, _ length: Int) async throws -> [UInt8] {
            try await device.controlIn(
                USBControlRequest(
                    requestType: 0xA1, request: 1, value: 0x0300 | UInt16(report), index: 0),
                length: length, timeout: .seconds(1))
        }
        func set(_ bytes: [UInt8]) async throws {
            try await device.controlOut(
                USBControlRequest(
                    requestType: 0x21, request: 9, value: 0x0300 | UInt16(bytes[0]), index: 0),
                data: bytes, timeout: .seconds(1))
        }
        func descriptor(_ type: UInt8, recipient: UInt8, _ length: Int) async throws -> [UInt8] {
            try await device.controlIn(
                USBControlRequest(
                    requestType: 0x80 | recipient, request: 6, value: UInt16(type) << 8, index: 0),
                length: length, timeout: .seconds(1))
        }
        func level(_ offset: UInt32) -> Bool? {
            bench.gpio.electricalLevel(GPIOLineID(chip: "wires", offset: offset))
        }
    }

    private func onBench(_ body: @escaping @Sendable (Bench) async throws -> Void) throws {
        try onVirtualTime { reactor in try await body(try await Bench(reactor)) }
    }

    /// The lines "D:", "P:", "C:", "I:" and "E:" that the kernel printed of a real adapter
    /// (openwrt/openwrt, pull request 3755), as descriptors.
    @Test func descriptorsAreThoseOfARealAdapter() throws {
        try onBench { bench in
            let device = try await bench.descriptor(1, recipient: 0, 18)
            #expect(
                device
                    == (bytes(hex: "12 01 10 01 00 00 00 40 c4 10 90 ea 00 00 01 02 03 01")))
            let configuration = try await bench.descriptor(2, recipient: 0, 255)
            #expect(
                Array(configuration[..<18])
                    == (bytes(hex: "09 02 29 00 01 01 00 80 32 09 04 00 00 02 03 00 00 00")))
            // HID 1.01, then both endpoints every millisecond.
            #expect(
                Array(configuration[18..<24]) == (bytes(hex: "09 21 01 01 00 01")))
            #expect(
                Array(configuration[27...])
                    == (bytes(hex: "07 05 81 03 40 00 01 07 05 01 03 40 00 01")))
            let summary = bench.device.summary
            #expect(summary.manufacturer == "Silicon Laboratories")
            #expect(summary.product == "CP2112 HID USB-to-SMBus Bridge")
        }
    }

    /// The items of the report descriptor, read as HID 1.11, section 6.2.2.2, says: short items
    /// with a size in the low two bits, a type and a tag.
    @Test func reportDescriptorListsTheReportsOfTheKernelDriver() throws {
        try onBench { bench in
            let hid = try await bench.descriptor(0x21, recipient: 1, 9)
            let descriptor = try await bench.descriptor(0x22, recipient: 1, 512)
            #expect(hid.count == 9 && Int(hid[7]) | Int(hid[8]) << 8 == descriptor.count)
            var lengths: [UInt8: (kind: UInt8, bits: Int)] = [:]
            var (report, size, count, depth) = (UInt8(0), 0, 0, 0)
            var rest = descriptor[...]
            while let prefix = rest.popFirst() {
                let bytes = [0, 1, 2, 4][Int(prefix & 3)]
                try #require(rest.count >= bytes)
                let value = rest.prefix(bytes).reversed().reduce(0) { $0 << 8 | Int($1) }
                rest = rest.dropFirst(bytes)
                switch prefix & 0xFC {
                case 0x84: report = UInt8(value)
                case 0x74: size = value
                case 0x94: count = value
                case 0xA0: depth += 1
                case 0xC0: depth -= 1
                case 0x80, 0x90, 0xB0:
                    #expect(report != 0 && depth == 1)
                    lengths[report, default: (prefix & 0xFC, 0)].bits += size * count
                    #expect(lengths[report]?.kind == prefix & 0xFC)
                default: break
                }
            }
            #expect(depth == 0)
            // Buffers and structures of hid-cp2112: bytes behind the number; 0xB0 is a feature.
            let feature: [UInt8: Int] = [
                0x02: 4, 0x03: 1, 0x04: 2, 0x05: 2, 0x06: 13, 0x20: 1, 0x21: 9, 0x22: 62,
                0x23: 62, 0x24: 62,
            ]
            for (number, bytes) in feature {
                #expect(lengths[number]?.kind == 0xB0 && lengths[number]?.bits == 8 * bytes)
            }
            for number: UInt8 in [0x10, 0x11, 0x12, 0x14, 0x15, 0x17] {
                #expect(lengths[number]?.kind == 0x90 && lengths[number]?.bits == 8 * 63)
            }
            for number: UInt8 in [0x13, 0x16] {
                #expect(lengths[number]?.kind == 0x80 && lengths[number]?.bits == 8 * 63)
            }
        }
    }

    /// cp2112_probe: version, bus settings read and written back, lock byte.
    @Test func theKernelDriverBinds() throws {
        try onBench { bench in
            #expect(try await bench.get(5, 3) == [5, 0x0C, 2])
            var settings = try await bench.get(6, 14)
            #expect(settings.count == 14 && settings[0] == 6)
            settings[13] = 1
            try await bench.set(settings)
            #expect(try await bench.get(6, 14) == settings)
            #expect(try await bench.get(0x20, 2).count == 2)
            #expect(try await bench.get(0x21, 10).prefix(5) == [0x21, 0xC4, 0x10, 0x90, 0xEA])
            // pstr_show: length of a string descriptor, type 3, text.
            let product = try await bench.get(0x23, 63)
            #expect(product.count == 63 && product[1] == 62 && product[2] == 3)
            #expect(product[3] == 0x43, "C of CP2112")
            let unknown = await usbError { _ = try await bench.get(0x30, 8) }
            #expect(unknown == .stall)
            let short = await usbError { try await bench.set([2, 0]) }
            #expect(short == .stall)
        }
    }

    /// cp2112_gpio_direction_output, _set, _get and _direction_input.
    @Test func linesReachTheBench() throws {
        try onBench { bench in
            #expect(try await bench.get(2, 5) == [2, 0, 0, 0, 0])
            // Pins 0 and 1 are low on the bench, 2 is pulled up, the others are open.
            #expect(try await bench.get(3, 2) == [3, 0xFC])
            bench.bench.gpio.drive(GPIOLineID(chip: "wires", offset: 1), true)
            #expect(try await bench.get(3, 2) == [3, 0xFE])
            // A level for an input is not kept.
            try await bench.set([4, 0, 1])
            try await bench.set([2, 1, 0xFF, 0, 0])
            #expect(bench.level(0) == true, "the latch")
            try await bench.set([4, 0, 1])
            #expect(bench.level(0) == false)
            try await bench.set([4, 0xFF, 1])
            #expect(bench.level(0) == true)
            // Open drain: high is not driven, and the wire's own level shows.
            try await bench.set([2, 1, 0, 0, 0])
            #expect(bench.level(0) == false)
            try await bench.set([2, 0, 0, 0, 0])
            #expect(bench.level(0) == false)
            // Reset, report 1.
            try await bench.set([2, 4, 4, 0, 0])
            try await bench.set([4, 0, 4])
            #expect(bench.level(2) == false)
            try await bench.set([1, 1])
            #expect(bench.level(2) == true)
        }
    }

    /// cp2112_xfer: a read request, then the status until it is not busy; nobody answers.
    @Test func nobodyAnswersOnTheBus() throws {
        try onBench { bench in
            func status() async throws -> [UInt8] {
                try await bench.device.write([0x15, 1], to: 0x01, timeout: .seconds(1))
                return try await bench.device.read(from: 0x81, upTo: 64, timeout: .seconds(1))
            }
            #expect(try await status().prefix(3) == [0x16, 0, 0], "idle")
            try await bench.device.write(
                [0x10, 0x48 << 1, 0, 1], to: 0x01, timeout: .seconds(1))
            let failed = try await status()
            #expect(failed.count == 64 && failed.prefix(3) == [0x16, 3, 0], "no acknowledgement")
            try await bench.device.write([0x12, 0, 1], to: 0x01, timeout: .seconds(1))
            let data = try await bench.device.read(from: 0x81, upTo: 64, timeout: .seconds(1))
            #expect(data.prefix(3) == [0x13, 0, 0], "no bytes")
        }
    }

    @Test func faults() throws {
        try onBench { bench in
            func inject(_ kind: InjectableFault, detail: Int? = nil) {
                #expect(
                    bench.bench.inject(EmulatedFault(kind, detail: detail), into: "0041BE72"))
            }
            inject(.stall)
            let stalled = await usbError { _ = try await bench.get(5, 3) }
            #expect(stalled == .stall)
            #expect(try await bench.get(5, 3).count == 3, "a stall of endpoint 0 ends by itself")
            inject(.ignoredCommand)
            try await bench.set([2, 1, 1, 0, 0])
            #expect(try await bench.get(2, 5) == [2, 0, 0, 0, 0])
            inject(.stuckLine, detail: 3)
            #expect(try await bench.get(3, 2) == [3, 0xFE])
            inject(.wrongFirmware)
            #expect(try await bench.get(5, 3) == [5, 0x0C, 0])
        }
    }

    @Test func anyReportIsSurvived() throws {
        try onBench { bench async throws in
            var generator = SeededGenerator(seed: 11, label: "cp2112 reports")
            let seeds: [[UInt8]] = [
                [2, 1, 0xFF, 0, 0], [4, 0xFF, 8], [1, 1], [0x10, 0x90, 0, 1], [0x15, 1], [0x21, 0],
            ]
            for round in 0..<400 {
                let report = Array(mutated(seeds[round % 6], using: &generator).prefix(64))
                guard !report.isEmpty else { continue }
                _ = await usbError { try await bench.set(report) }
                _ = await usbError {
                    try await bench.device.write(report, to: 0x01, timeout: .seconds(1))
                }
                _ = await usbError {
                    _ = try await bench.device.read(
                        from: 0x81, upTo: 64, timeout: .milliseconds(3))
                }
            }
            #expect(try await bench.get(5, 3).count == 3)
        }
    }
}
