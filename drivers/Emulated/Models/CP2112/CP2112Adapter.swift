import DeviceProfiles
import HostIO
import Quantities

/// A Silicon Labs CP2112: eight digital lines and an SMBus master in reports of the HID class.
///
/// Written for what Linux `drivers/hid/hid-cp2112.c` (torvalds/linux beb9d007, raspberrypi/linux
/// 094cde88) asks of it, with the descriptors of a real adapter as listed in openwrt/openwrt pull
/// request 3755, and HID 1.11 for the class. There is nothing on its bus: every transfer ends with
/// "no acknowledgement". Not known of a real adapter, and chosen: the usages in the report
/// descriptor, the answers of the one-time memory, and that a line shows its latch, which is high,
/// when it becomes an output before a level was set.
public final class CP2112Adapter: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The descriptors.
    public let descriptors: USBDescriptorSet
    /// Faults of the bus strike the reports on endpoint 0: all that matters goes there.
    public var dataEndpoint: UInt8? { 0 }

    private let pins: [Int: GPIOLineID]
    private let gpio: EmulatedGPIOHost
    private let inputEndpoint: UInt8
    private let outputEndpoint: UInt8
    private let partNumber: UInt8
    private var version: UInt8
    private let strings: [[UInt8]]

    /// Direction, drive, special functions, clock divider, as in report 2.
    private var config: [UInt8] = [0, 0, 0, 0]
    private var latch: UInt8 = 0xFF
    /// The bus settings as in report 6.
    private var busConfig = CP2112Adapter.defaultBusConfig
    /// The outcome of the last transfer on the bus: status bytes 0 and 1.
    private var transferStatus: [UInt8] = [0, 0]
    private var inputReports: [[UInt8]] = []
    private var reportsToIgnore = 0

    /// 100 kHz, own address 2, no time-outs, as the kernel's driver finds them.
    private static let defaultBusConfig: [UInt8] = [0, 1, 0x86, 0xA0, 2, 0, 0, 0, 0, 0, 0, 0, 0]

    /// An adapter whose pins are wired to lines of `gpio`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such an adapter.
    public init(
        profile: DeviceProfile, serial: String, pins: [Int: GPIOLineID], gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) {
        self.pins = pins
        self.gpio = gpio
        inputEndpoint = try profile.endpoint("input_reports").address
        outputEndpoint = try profile.endpoint("output_reports").address
        partNumber = UInt8(try profile.constant("part_number"))
        version = UInt8(profile.emulation?.firmware?.parts.first ?? 2)
        let endpoints = [
            try profile.endpoint("input_reports"), try profile.endpoint("output_reports"),
        ]
        let reports = HIDReports.cp2112.descriptor
        var set = try USBDescriptorSet(
            profile: profile, serial: serial,
            functional: [0: HIDReports.hidDescriptor(reportBytes: reports.count)],
            interruptInterval: 1,
            interfaces: { speed in
                [
                    USBInterface(
                        number: 0, alternate: 0, classTriple: [3, 0, 0],
                        endpoints: endpoints.map { $0.usbEndpoint(at: speed) })
                ]
            })
        set.classDescriptors = [
            .init(
                interface: 0, type: 0x21,
                bytes: HIDReports.hidDescriptor(reportBytes: reports.count)),
            .init(interface: 0, type: 0x22, bytes: reports),
        ]
        descriptors = set
        strings = Array(set.full.strings.dropFirst())
        applyLines()
    }

    // MARK: - Lines

    /// Puts outputs on their wires and lets go of inputs.
    private func applyLines() {
        for (pin, line) in pins.sorted(by: { $0.key < $1.key }) where pin < 8 {
            let bit = UInt8(1) << UInt8(pin)
            let isHigh = latch & bit != 0
            let isPushPull = config[1] & bit != 0
            let isDriven = config[0] & bit != 0 && (isPushPull || !isHigh)
            gpio.wire(line)?.driveFromHost(isDriven ? isHigh : nil)
        }
    }

    /// The levels at the pins; a pin without a wire is pulled up, or shows its latch.
    private var levels: UInt8 {
        var levels: UInt8 = 0
        for pin in 0..<8 {
            let bit = UInt8(1) << UInt8(pin)
            let wired = pins[pin].flatMap { gpio.wire($0)?.level }
            if wired ?? (config[0] & bit == 0 || latch & bit != 0) { levels |= bit }
        }
        return levels
    }

    /// Which lines are outputs.
    public var outputs: UInt8 { config[0] }

    private func powerUp() {
        config = [0, 0, 0, 0]
        latch = 0xFF
        busConfig = Self.defaultBusConfig
        transferStatus = [0, 0]
        inputReports = []
        applyLines()
    }

    // MARK: - Bus

    /// A bus reset does not touch the lines.
    public func busReset(speed: USBSpeed, at now: HostInstant) { inputReports = [] }

    /// There is one setting.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {}

    /// The requests of the class (HID 1.11, section 7.2).
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        let number = UInt8(truncatingIfNeeded: request.value)
        switch (request.requestType, request.request, request.value >> 8) {
        case (0xA1, 0x01, 3):
            guard let body = featureReport(number) else { return .stall }
            return .data([number] + body)
        case (0x21, 0x09, 3):
            if reportsToIgnore > 0 {
                reportsToIgnore -= 1
                return .done
            }
            guard data.first == number else { return .stall }
            return setFeatureReport(number, Array(data.dropFirst())) ? .done : .stall
        // SET_REPORT with an output report does what the interrupt endpoint does.
        case (0x21, 0x09, 2):
            output(data)
            return .done
        case (0x21, 0x0A, _): return .done
        case (0xA1, 0x02, _): return .data([0])
        default: return .stall
        }
    }

    private func featureReport(_ number: UInt8) -> [UInt8]? {
        switch number {
        case 0x02: return config
        case 0x03: return [levels]
        case 0x05: return [partNumber, version]
        case 0x06: return busConfig
        // Every field of the one-time memory is programmed.
        case 0x20: return [0]
        case 0x21:
            let device = descriptors.full.device
            return Array(device[8..<12]) + [50, 0, device[13], device[12], 0]
        case 0x22...0x24:
            let string = strings[Int(number) - 0x22]
            return string + [UInt8](repeating: 0, count: max(0, 62 - string.count))
        default: return nil
        }
    }

    private func setFeatureReport(_ number: UInt8, _ body: [UInt8]) -> Bool {
        switch number {
        case 0x01 where body.count == 1:
            if body[0] == 1 { powerUp() }
        case 0x02 where body.count == 4:
            config = body
            applyLines()
        case 0x04 where body.count == 2:
            // Only a line that is an output takes a level.
            let mask = body[1] & config[0]
            latch = latch & ~mask | body[0] & mask
            applyLines()
        case 0x06 where body.count == 13: busConfig = body
        // Already programmed fields ignore what is written.
        case 0x20...0x24: break
        default: return false
        }
        return true
    }

    /// An output report.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        guard endpoint == outputEndpoint else { return .stall }
        output(Array(packet))
        return .ack
    }

    private func output(_ report: [UInt8]) {
        guard let number = report.first else { return }
        switch number {
        // Reads and writes: nobody answers to the address.
        case 0x10, 0x11, 0x14: transferStatus = [3, 0]
        case 0x12: inputReports.append(Self.padded([0x13, transferStatus[0], 0]))
        case 0x15:
            inputReports.append(Self.padded([0x16] + transferStatus + [0, 0, 0, 0]))
            transferStatus = [0, 0]
        case 0x17: transferStatus = [0, 0]
        default: break
        }
    }

    private static func padded(_ report: [UInt8]) -> [UInt8] {
        report + [UInt8](repeating: 0, count: 64 - report.count)
    }

    /// An input report.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        guard endpoint == inputEndpoint else { return .stall }
        guard !inputReports.isEmpty else { return .nak }
        let report = inputReports.removeFirst().prefix(buffer.count)
        buffer.copyBytes(from: report)
        return .data(count: report.count)
    }

    /// Nothing happens by itself.
    public func advance(to now: HostInstant) {}

    /// Nothing happens by itself.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? { nil }

    // MARK: - Faults

    /// The faults of the adapter itself.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        switch fault.kind {
        case .ignoredCommand: reportsToIgnore += max(1, fault.detail ?? 1)
        case .wrongFirmware: version = 0
        case .reboot: powerUp()
        case .stuckLine:
            let pin = (fault.detail ?? 0) / 2 % 8
            guard let wire = pins[pin].flatMap({ gpio.wire($0) }) else { return false }
            wire.hold(fault.detail.map { $0 & 1 != 0 } ?? wire.level)
            if let duration = fault.duration {
                gpio.context.schedule(at: now + duration) { wire.hold(nil) }
            }
        default: return false
        }
        return true
    }
}
