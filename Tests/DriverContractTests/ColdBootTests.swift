import DeviceProfiles
import DriverContract
import Emulated
import HostIO
import Instruments
import OpticalBench
import Quantities
import Registry
import TestSupport
import Testing
import TimeTaggers

/// From the bare chip to a tagger that works, and what happens when that fails.
struct ColdBootTests {
    /// Firmware that an emulated chip takes for that of the tagger: a jump to itself, and the device
    /// descriptor of `dscr.a51` at the address its build puts it. It would do nothing on a real chip.
    static func image(product: UInt8 = 0x04) throws -> FirmwareImage {
        var lines = [line(at: 0, [0x02, 0x00, 0x00])]
        lines.append(
            line(
                at: 0x3E00,
                [18, 1, 0, 2, 255, 255, 255, 64, 0xB4, 0x04, product, 0x10, 1, 0, 0, 0, 0, 1]))
        // Enough to need several requests.
        for start in stride(from: 0x100, to: 0x900, by: 32) {
            lines.append(line(at: start, [UInt8](repeating: 0x22, count: 32)))
        }
        return try FirmwareImage(
            intelHex: (lines + [":00000001FF"]).joined(separator: "\n"), name: "own.ihx")
    }

    private static func line(at address: Int, _ data: [UInt8]) -> String {
        let body = [UInt8(data.count), UInt8(address >> 8), UInt8(address & 255), 0] + data
        return ":" + hex(body + [0 &- body.reduce(0, &+)]).uppercased()
    }

    private struct Cold: Sendable {
        let profile: DeviceProfile
        let reactor: VirtualReactor
        let bench: EmulatedBench
        let loader: FX2Loader
        let catalog: ProfileCatalog

        init(_ reactor: VirtualReactor, profile id: String = "umass-timetag-fpga") throws {
            catalog = try shippedCatalog.get()
            profile = try #require(catalog[id])
            self.reactor = reactor
            bench = EmulatedBench(reactor: reactor, seed: 1)
            loader = try FX2Loader(profile: profile, reactor: reactor)
            try bench.add(
                BenchEntry(
                    profile: profile, serial: "t",
                    connection: BenchConnection.standIn(
                        for: profile, name: "t", context: bench.context, gpio: bench.gpio,
                        inputs: PeriodicPulses(period: ContractBench.shortestPulsePeriod)),
                    startsCold: true))
        }

        var ports: HostPorts { HostPorts(usb: bench.usb, gpio: bench.gpio, reactor: reactor) }

        func find() async throws -> DiscoveredDevice {
            let found = try await BuiltInDrivers.registry().discover(on: ports, catalog: catalog)
            #expect(found.count == 1)
            return try #require(found.first)
        }

        func load(_ image: FirmwareImage) async throws -> USBDeviceSummary {
            let summary = try #require(try await find().usb)
            return try await loader.load(image, into: summary, on: bench.usb)
        }
    }

    private func onBench(_ body: @escaping @Sendable (Cold) async throws -> Void) throws {
        let reactor = VirtualReactor()
        try reactor.run { try await body(Cold(reactor)) }
    }

    @Test func aBareChipIsShownLoadedAndUsed() throws {
        try onBench { cold in
            let bare = try await cold.find()
            #expect(
                bare.availability
                    == .awaitingFirmware(profiles: ["cqt-timestamp-usb", "umass-timetag-fpga"]))
            #expect(bare.availability.nextAction?.text.contains("firmware image") == true)
            let start = cold.reactor.now
            let warm = try await cold.load(Self.image())
            #expect(warm.vendorID == 0x04B4 && warm.productID == 0x1004 && warm.isEmulated)
            #expect(warm.id.path == bare.usb?.id.path && warm.id != bare.usb?.id)
            #expect(cold.reactor.now - start >= .milliseconds(1500))
            let device = try await cold.find()
            #expect(device.availability == .ready && device.profile == cold.profile.id)
            let made = try BuiltInDrivers.registry().make(
                device, catalog: cold.catalog, ports: cold.ports)
            try await made.instrument.open()
            let record = try await Exercise(reactor: cold.reactor, rounds: 1).run(made)
            #expect(record?.unmarkedLoss(period: ContractBench.shortestPulsePeriod) == nil)
            #expect((record?.tags.count ?? 0) > 1800)
            await made.instrument.close()
        }
    }

    @Test func theFirmwareGoesWithThePower() throws {
        try onBench { cold in
            _ = try await cold.load(Self.image())
            cold.bench.unplug("t")
            cold.bench.plugIn("t")
            #expect(try await cold.find().availability.name == "awaiting_firmware")
            // Pulled out while it is off the bus, it does not come back by itself.
            let loading = Task(executorPreference: cold.reactor) {
                try await cold.load(Self.image())
            }
            try await cold.reactor.sleep(for: .milliseconds(500))
            cold.bench.unplug("t")
            let error = await #expect(throws: DriverError.self) { try await loading.value }
            #expect(error?.code == .deviceFault && error?.found == "nothing at port 1-1")
            cold.bench.plugIn("t")
            #expect(try await cold.load(Self.image()).productID == 0x1004)
        }
    }

    @Test func anotherImageNeverComesBack() throws {
        try onBench { cold in
            let error = await #expect(throws: DriverError.self) {
                try await cold.load(Self.image(product: 0x05))
            }
            #expect(error?.code == .deviceFault && error?.found == "nothing at port 1-1")
            #expect(error?.expected.hasPrefix("04b4:1004 within") == true)
            let left = try await cold.bench.usb.devices()
            #expect(left.isEmpty)
        }
    }

    @Test func anImageWithoutACodeLeavesTheChipBare() throws {
        try onBench { cold in
            let error = await #expect(throws: DriverError.self) {
                try await cold.load(
                    FirmwareImage(intelHex: ":01E00000AA75\n:00000001FF", name: "data.ihx"))
            }
            #expect(error?.code == .deviceFault)
            #expect(error?.found == "the bare chip, which never left")
        }
    }

    @Test func whatDoesNotFitIsRefusedBeforeAByteIsSent() throws {
        try onBench { cold in
            let start = cold.reactor.now
            let error = await #expect(throws: DriverError.self) {
                try await cold.load(
                    FirmwareImage(intelHex: ":0140000000BF\n:00000001FF", name: "big.ihx"))
            }
            #expect(error?.code == .outOfRange && error?.found.contains("0x4000") == true)
            #expect(cold.reactor.now == start)
            let warm = try await cold.load(Self.image())
            let again = await #expect(throws: DriverError.self) {
                try await cold.loader.load(Self.image(), into: warm, on: cold.bench.usb)
            }
            #expect(again?.code == .wrongDevice && again?.found == "04b4:1004")
        }
    }

    /// The chip by itself: memory, what it refuses, and a processor that is held.
    @Test func theChipKeepsItsMap() throws {
        try onBench { cold in
            let id = try #require(try await cold.find().usb?.id)
            let chip = try await cold.bench.usb.open(id)
            func write(_ address: UInt16, _ bytes: [UInt8]) async throws {
                try await chip.controlOut(
                    USBControlRequest(requestType: 0x40, request: 0xA0, value: address, index: 0),
                    data: bytes, timeout: .seconds(1))
            }
            func read(_ address: UInt16, _ count: Int) async throws -> [UInt8] {
                try await chip.controlIn(
                    USBControlRequest(requestType: 0xC0, request: 0xA0, value: address, index: 0),
                    length: count, timeout: .seconds(1))
            }
            try await write(0xE600, [1])
            #expect(try await read(0xE600, 1) == [1])
            try await write(0x3FFE, [7, 8])
            try await write(0xE1FF, [9])
            #expect(try await read(0x3FFE, 2) == [7, 8])
            #expect(try await read(0xE1FF, 1) == [9])
            for (address, count) in [(0x3FFF, 2), (0x4000, 1), (0xE1FF, 2), (0xDFFF, 1)] {
                await #expect(throws: USBTransferError.stall) {
                    try await write(UInt16(address), [UInt8](repeating: 0, count: count))
                }
            }
            await #expect(throws: USBTransferError.stall) {
                try await chip.controlOut(
                    USBControlRequest(requestType: 0x40, request: 1, value: 510, index: 0),
                    data: [], timeout: .seconds(1))
            }
            await chip.close()
        }
    }
}
