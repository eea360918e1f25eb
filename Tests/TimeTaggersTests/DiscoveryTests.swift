import DeviceProfiles
import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import TestSupport
import Testing
import TimeTaggers

/// Serial ports that are there, and can not be opened.
private final class ListedPorts: SerialHost {
    let list: [SerialPortSummary]
    init(_ list: [SerialPortSummary]) { self.list = list }
    func ports() async -> [SerialPortSummary] { list }
    func open(
        path: String, settings: SerialSettings
    ) async throws(ByteStreamError) -> any SerialPort { throw .busy(path) }
}

struct DiscoveryTests {
    let reactor = VirtualReactor()
    let catalog: ProfileCatalog
    let registry = DriverRegistry([CQTTimestampFactory(), TDC1Factory()])

    init() throws { catalog = try FirmwareProfiles.catalog() }

    private func summary(
        _ vendor: UInt16, _ product: UInt16, release: UInt16 = 0x0100, strings: [String?] = [],
        access: USBAccess = .available, address: UInt32 = 1
    ) -> USBDeviceSummary {
        let strings = strings + [nil, nil, nil]
        return USBDeviceSummary(
            id: USBDeviceID(path: "1-\(address)", address: address), vendorID: vendor,
            productID: product, bcdDevice: release, classTriple: [0, 0, 0], speed: .high,
            manufacturer: strings[0], product: strings[1], serial: strings[2], interfaces: [],
            access: access, isEmulated: false)
    }

    private func discover(
        _ devices: [USBDeviceSummary], ports: [SerialPortSummary] = [],
        wiring: BenchWiring = BenchWiring()
    ) throws -> [DiscoveredDevice] {
        let host = ScriptedUSBHost(devices.map { ScriptedUSBDevice($0, reactor: reactor) })
        return try reactor.run { [self] in
            try await registry.discover(
                on: HostPorts(
                    usb: host, serial: ListedPorts(ports), gpio: ScriptedGPIO(reactor: reactor),
                    reactor: reactor),
                catalog: catalog, wiring: wiring)
        }
    }

    private let tdc1 = ["S-Fifteen Instruments", "USB Counter", "TDC1-0019"]

    /// A Mega may be a TICC; only its operator knows.
    @Test func aGeneralBoardHasToBeDeclared() throws {
        let mega = summary(
            0x2341, 0x0042, strings: ["Arduino (www.arduino.cc)", nil, "7533030303535"])
        let undeclared = try #require(try discover([mega]).first)
        #expect(undeclared.profile == nil && undeclared.vendor == "Arduino (www.arduino.cc)")
        #expect(
            undeclared.availability
                == .undeclared(profiles: ["tapr-ticc-2017", "tapr-ticc-2020", "tapr-ticc-2025"]))
        #expect(undeclared.availability.advice?.contains("declare its port") == true)
        let port = SerialPortSummary(
            path: "/dev/ttyACM0", vendorID: 0x2341, productID: 0x0042, manufacturer: nil,
            product: nil, serial: "1", isAccessible: true)
        let onPort = try #require(try discover([], ports: [port]).first)
        #expect(onPort.profile == nil && onPort.availability.name == "undeclared")
        let wiring = BenchWiring(serial: [
            SerialWiring(
                name: "clock-bob", profile: "tapr-ticc-2020",
                location: .adapter(serial: "7533030303535"))
        ])
        let declared = DriverRegistry([TICCFactory()])
        let host = ScriptedUSBHost([ScriptedUSBDevice(mega, reactor: reactor)])
        let found = try reactor.run { [self] in
            try await declared.discover(
                on: HostPorts(usb: host, reactor: reactor), catalog: catalog, wiring: wiring)
        }
        #expect(found.map(\.availability) == [.ready] && found[0].profile == "tapr-ticc-2020")
    }

    @Test func tellsWhatIsThereAndWhatIsWrong() throws {
        let node = "/dev/bus/usb/001/003"
        let found = try discover([
            summary(0x04B4, 0x1234, release: 0x0201, address: 1),
            summary(0x04B4, 0x1234, release: 0x0300, address: 2),
            summary(
                0x04B4, 0x1234, release: 0x0201, access: .permissionDenied(node: node), address: 3),
            summary(0x04B4, 0x8613, address: 4),  // a bare FX2 without firmware
            summary(0x046D, 0xC077, strings: ["Logitech", "Mouse"], address: 5),
            summary(0x1209, 1, strings: tdc1, address: 6),
            summary(
                0x1209, 9, strings: ["S-Fifteen Instruments", "Quad LCD driver", "LCDD-001"],
                address: 7),
            summary(0x04B4, 0x1234, release: 0x0201, access: .busy, address: 8),
            // A paddle controller: known, but this registry has no driver for it.
            summary(
                0x0403, 0xFAF0, release: 0x0600, strings: ["Thorlabs", nil, "38418404"], address: 9),
        ])
        #expect(found.map { $0.usb?.id.address } == [1, 2, 3, 4, 6, 7, 8, 9])
        #expect(found[0].availability == .ready)
        #expect(found[0].profile == "cqt-timestamp-usb" && found[0].firmware == "2.1")
        #expect(
            found[1].availability == .unsupportedFirmware(found: "3.0", supported: "2.1 to 2.1"))
        #expect(found[2].availability == .permissionDenied(node: node, .udevRules))
        #expect(found[2].availability.nextAction?.command == "scripts/install-udev")
        #expect(found[2].profile == "cqt-timestamp-usb")
        #expect(
            found[3].availability
                == .awaitingFirmware(profiles: ["cqt-timestamp-usb", "umass-timetag-fpga"]))
        #expect(found[3].availability.nextAction?.text.hasPrefix("load the firmware") == true)
        #expect(found[4].availability == .ready && found[4].serial == "TDC1-0019")
        #expect(found[5].availability == .unknownModel && found[5].model == "Quad LCD driver")
        #expect(found[6].availability == .busy)
        #expect(found[7].availability == .unknownModel && found[7].model == "MPC320")
    }

    @Test func usesTheSerialPortOfAKernelDriver() throws {
        let claimed = summary(
            0x1209, 1, strings: tdc1, access: .claimedByKernelDriver(name: "cdc_acm"))
        func port(_ path: String, isAccessible: Bool = true) -> SerialPortSummary {
            SerialPortSummary(
                path: path, vendorID: 0x1209, productID: 1, manufacturer: tdc1[0],
                product: tdc1[1], serial: tdc1[2], isAccessible: isAccessible)
        }
        let usable = try discover([claimed], ports: [port("/dev/ttyACM0")])
        #expect(usable.map(\.address) == [.serialPort(path: "/dev/ttyACM0")])
        #expect(usable.map(\.availability) == [.ready])
        let locked = try discover([claimed], ports: [port("/dev/ttyACM0", isAccessible: false)])
        #expect(
            locked[0].availability
                == .permissionDenied(node: "/dev/ttyACM0", .group("dialout")))
        // A claimed device without a port is reported as claimed, with the command that frees it.
        let taken = try discover([claimed])[0].availability
        #expect(taken.name == "claimed_by_kernel_driver")
        #expect(
            taken.nextAction?.command?.hasSuffix(
                ":1.0 | sudo tee /sys/bus/usb/drivers/cdc_acm/unbind")
                == true, "\(taken)")
        // Without USB access at all the port alone is enough.
        let alone = try discover([], ports: [port("/dev/ttyACM1")])
        #expect(alone.map(\.address) == [.serialPort(path: "/dev/ttyACM1")])
        #expect(alone[0].availability == .ready)
    }

    @Test func wiredDevicesAreDeclared() throws {
        let registry = DriverRegistry([WiredFactory()])
        let wiring = GPIOWiring(name: "h", profile: "ttl-gated-spad", lines: [:])
        let unknown = GPIOWiring(name: "v", profile: "no-such-profile", lines: [:])
        let found = try reactor.run { [self] in
            try await registry.discover(
                on: HostPorts(gpio: ScriptedGPIO(reactor: reactor), reactor: reactor),
                catalog: catalog, wiring: BenchWiring(lines: [wiring, unknown]))
        }
        #expect(found.map(\.address) == [.wired(name: "h"), .wired(name: "v")])
        #expect(found.map(\.availability) == [.ready, .unknownModel])
    }

    @Test func makesOnlyWhatIsReady() throws {
        let ready = summary(0x04B4, 0x1234, release: 0x0201)
        let ports = HostPorts(
            usb: ScriptedUSBHost([ScriptedUSBDevice(ready, reactor: reactor)]), reactor: reactor)
        var device = try discover([ready])[0]
        let made = try registry.make(device, catalog: catalog, ports: ports)
        #expect(made.timeTagger != nil && made.polarizationController == nil)
        let elsewhere = #expect(throws: DriverError.self) {
            try registry.make(device, catalog: catalog, ports: HostPorts(reactor: reactor))
        }
        #expect(elsewhere?.code == .wrongState)
        device.availability = .busy
        let refused = #expect(throws: DriverError.self) {
            try registry.make(device, catalog: catalog, ports: ports)
        }
        #expect(refused?.code == .wrongDevice)
        let profile = try #require(catalog["thorlabs-mpc320"])
        let source = StreamSource(name: "tcp") { () async throws(ByteStreamError) in throw .closed }
        let none = #expect(throws: DriverError.self) {
            try registry.make(profile: profile, over: source, reactor: reactor)
        }
        #expect(none?.code == .notSupported)
        let card = try #require(catalog["cqt-timestamp-usb"])
        let wrong = #expect(throws: DriverError.self) {
            try registry.make(profile: card, over: source, reactor: reactor)
        }
        #expect(wrong?.found == "the stream tcp")
    }

    /// The bridge behind a TDC1 on USB is made by the registry: both interfaces, no flow control.
    @Test func putsTheBridgeBehindAStream() throws {
        var summary = summary(0x1209, 1, strings: tdc1)
        summary.interfaces = [
            USBInterface(number: 0, alternate: 0, classTriple: [2, 2, 1], endpoints: []),
            USBInterface(
                number: 1, alternate: 0, classTriple: [0x0A, 0, 0],
                endpoints: [
                    USBEndpoint(address: 0x82, kind: .bulk, maxPacketSize: 512),
                    USBEndpoint(address: 0x02, kind: .bulk, maxPacketSize: 512),
                ]),
        ]
        let usb = ScriptedUSBDevice(summary, reactor: reactor)
        let ports = HostPorts(usb: ScriptedUSBHost([usb]), reactor: reactor)
        try reactor.run { [self] () -> Void in
            let device = try await registry.discover(on: ports, catalog: catalog)[0]
            let tagger = try #require(
                try registry.make(device, catalog: catalog, ports: ports).timeTagger)
            let error = await #expect(throws: DriverError.self) { try await tagger.open() }
            #expect(error?.code == .timedOut)
        }
        #expect(
            usb.operations.prefix(2) == [
                .claim(interface: 0, alternate: 0), .claim(interface: 1, alternate: 0),
            ])
        #expect(
            usb.writes(to: 0x02).map { String(decoding: $0, as: UTF8.self) } == [
                "ABORT\r\n", "*IDN?\r\n",
            ])
        #expect(usb.operations.last == .close)
    }
}

private struct WiredFactory: DriverFactory {
    var family: String { "wired" }
    func drives(_ profile: DeviceProfile) -> Bool { profile.identity.transport == .gpio }
    func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        throw request.unusableAttachment(expected: "nothing")
    }
}

struct TextLinkTests {
    let reactor = VirtualReactor()

    /// A line end of two bytes may come in two pieces, and a fixed number of bytes may follow.
    @Test(arguments: 0...14) func lineEndsAtAnySplit(split: Int) throws {
        let bytes = Array("ab\r\ncd\n\r\n0010 \r\n".utf8)
        let result = try reactor.run { [self] () -> [String] in
            let stream = ScriptedStream(reactor: reactor)
            let link = TextLink(
                InstrumentStream(stream), reactor: reactor, instrument: "test")
            stream.send(Array(bytes[..<split]))
            stream.send(Array(bytes[split...]), after: .milliseconds(5))
            var lines: [String] = []
            for _ in 0..<2 {
                lines.append(try await link.line(timeout: .seconds(1), operation: "test"))
            }
            // The blank line before the fixed reply is part of the stream.
            let fixed = try await link.bytes(9, timeout: .seconds(1), operation: "test")
            return lines + [String(decoding: fixed, as: UTF8.self)]
        }
        #expect(result == ["ab", "cd", "\r\n0010 \r\n"])
    }

    @Test func endlessLinesAndBinaryAreRefused() throws {
        try reactor.run { [self] () -> Void in
            for bytes in [[UInt8](repeating: 65, count: 5000), [0xC3, 0xA9, 0x0A]] {
                let stream = ScriptedStream(reactor: reactor)
                let link = TextLink(
                    InstrumentStream(stream), reactor: reactor, instrument: "test")
                stream.send(bytes)
                let error = await #expect(throws: DriverError.self) {
                    try await link.line(timeout: .seconds(1), operation: "test")
                }
                #expect(error?.code == .malformedReply)
            }
        }
    }

    @Test(arguments: [
        (0.0, "0"), (-0.5, "-0.5"), (182.5, "182.5"), (1e-7, "0"), (-1e-7, "0"), (400, "400"),
        (0.000001, "0.000001"), (-12.345678, "-12.345678"), (65535, "65535"), (0.1 + 0.2, "0.3"),
        (0.9999999, "1"),
    ])
    func decimalsWithoutExponent(value: Double, text: String) {
        #expect(decimalText(value) == text)
    }
}
