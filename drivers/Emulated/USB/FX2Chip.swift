import DeviceProfiles
import HostIO
import Quantities

/// A Cypress FX2 without boot memory, and the device that it becomes once firmware is loaded.
///
/// Bare, it answers the vendor request that reads and writes its memory, which the hardware carries
/// out by itself. When the processor is let out of reset with firmware in memory, the chip leaves the
/// bus and comes back as `application` after the time that the profile states. It loses the
/// firmware with its power.
///
/// No firmware comes with this program, and everybody's build of a published one differs; so an image
/// is known by what it would make of the chip: it is accepted when it starts with a jump at the
/// reset vector and holds a USB device descriptor with the numbers of the warm device. Another image
/// takes the chip off the bus for good, as firmware that crashes would.
///
/// Sources: github.com/esden/fxload at 0530087, `ezusb.c` (request, memory, control register);
/// github.com/mulicheng/fx2lib at fe43f65, `fx2macros.h` (leaving the bus). That the chip refuses
/// addresses outside of its memory, and its bare descriptors (alternate settings 2 and 3 are left out),
/// are from general knowledge.
public final class FX2Chip: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.
    private enum State {
        case bare, starting, running
    }

    private let application: any EmulatedUSBFunction
    private let cold: ColdBoot
    private let warm: (vendorID: UInt16, productID: UInt16)
    private let absence: Duration
    private let bareDescriptors: USBDescriptorSet
    private var memory = [UInt8](repeating: 0, count: 0x10000)
    private var state = State.bare
    private var isHeld = false
    private var renumeration: USBRenumeration?

    /// From the end of the request that starts the processor to its leaving the bus.
    private static let startTime = Duration.milliseconds(5)

    /// A bare chip that becomes `application`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe a cold boot.
    public init(
        profile: DeviceProfile, application: any EmulatedUSBFunction
    ) throws(MissingProfileField) {
        guard let cold = profile.coldBoot, !cold.memory.isEmpty else {
            throw MissingProfileField(profile: profile.id, path: "cold_boot.memory")
        }
        let usb = try profile.requireUSB()
        guard let vendorID = usb.vendorID, let productID = usb.productID else {
            throw MissingProfileField(profile: profile.id, path: "usb.product_id")
        }
        self.application = application
        self.cold = cold
        warm = (vendorID, productID)
        absence = try profile.duration("renumeration_ms")
        bareDescriptors = Self.bare(cold)
    }

    private static func bare(_ cold: ColdBoot) -> USBDescriptorSet {
        func variant(_ speed: USBSpeed) -> USBDescriptorSet.Variant {
            let size = speed == .high ? 512 : 64
            let endpoints = [0x01, 0x81, 0x02, 0x04, 0x86, 0x88].map {
                USBEndpoint(address: $0, kind: .bulk, maxPacketSize: size)
            }
            return USBDescriptorSet.Variant(
                device: USBDescriptorSet.device(
                    .init(
                        usbRelease: 0x0200, classTriple: [0xFF, 0xFF, 0xFF],
                        vendorID: cold.vendorID, productID: cold.productID,
                        deviceRelease: 0xA001),
                    stringIndices: [0, 0, 0]),
                configuration: USBDescriptorSet.configuration(
                    value: 1, attributes: 0x80, maxPowerMilliamperes: 100,
                    interfaces: (0..<2).map {
                        USBInterface(
                            number: 0, alternate: $0, classTriple: [0xFF, 0xFF, 0xFF],
                            endpoints: $0 == 0 ? [] : endpoints)
                    }),
                strings: [])
        }
        return USBDescriptorSet(full: variant(.full), high: variant(.high))
    }

    /// Whether firmware runs.
    public var isRunning: Bool { state == .running }

    /// Those of the bare chip or of what it has become.
    public var descriptors: USBDescriptorSet {
        state == .bare ? bareDescriptors : application.descriptors
    }

    private var isReachable: Bool { state == .running && !isHeld }

    // MARK: - Loading

    private func load(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        let isRead = request.requestType & 0x80 != 0
        if request.value == cold.controlRegister, length == 1 {
            if isRead { return .data([isHeld ? 1 : 0]) }
            control(data.first ?? 0, at: now)
            return .done
        }
        guard cold.canLoad(length, at: request.value) else { return .stall }
        let start = Int(request.value)
        if isRead { return .data(Array(memory[start..<start + length])) }
        memory.replaceSubrange(start..<start + data.count, with: data)
        return .done
    }

    private func control(_ value: UInt8, at now: HostInstant) {
        let wasHeld = isHeld
        isHeld = value & 1 != 0
        guard wasHeld, !isHeld, memory[0] != 0 else { return }
        if isAccepted {
            state = .starting
            application.powerLost(at: now)
            renumeration = USBRenumeration(leavesAfter: Self.startTime, absence: absence)
        } else {
            renumeration = USBRenumeration(leavesAfter: Self.startTime, absence: nil)
        }
    }

    /// Whether the memory holds firmware of the warm device.
    private var isAccepted: Bool {
        // LJMP, the first instruction of whatever a compiler makes for an 8051.
        guard memory[0] == 0x02 else { return false }
        let wanted = [warm.vendorID, warm.productID].flatMap {
            [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)]
        }
        return cold.memory.contains { range in
            let (first, last) = (Int(range.lowerBound), Int(range.upperBound))
            return last - first >= 17
                && (first...last - 17).contains { start in
                    memory[start] == 18 && memory[start + 1] == 1
                        && memory[start + 8..<start + 12].elementsEqual(wanted)
                }
        }
    }

    /// Tells once that the firmware has been started.
    public func takeRenumeration() -> USBRenumeration? {
        defer { renumeration = nil }
        return renumeration ?? (isReachable ? application.takeRenumeration() : nil)
    }

    /// Forgets the firmware.
    public func powerLost(at now: HostInstant) {
        memory = [UInt8](repeating: 0, count: memory.count)
        state = .bare
        isHeld = false
        renumeration = nil
        application.powerLost(at: now)
    }

    // MARK: - Bus

    /// A chip whose firmware was starting is back on the bus.
    public func busReset(speed: USBSpeed, at now: HostInstant) {
        if state == .starting { state = .running }
        if state == .running { application.busReset(speed: speed, at: now) }
    }

    /// The bare chip has nothing to select.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {
        if isReachable { application.selectInterface(number, alternate: alternate, at: now) }
    }

    /// The load request always works; all others are the firmware's.
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        if request.request == cold.loadRequest, request.requestType & 0x60 == 0x40 {
            return load(request, data: data, length: length, at: now)
        }
        if isReachable {
            return application.control(request, data: data, length: length, at: now)
        }
        return state == .bare ? .stall : .nak
    }

    /// The bare chip takes no data.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        isReachable ? application.packetOut(endpoint: endpoint, packet: packet, at: now) : .nak
    }

    /// The bare chip has no data.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        isReachable ? application.packetIn(endpoint: endpoint, into: buffer, at: now) : .nak
    }

    /// Lets the application go on.
    public func advance(to now: HostInstant) {
        if isReachable { application.advance(to: now) }
    }

    /// When the application has something to say.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        isReachable ? application.nextWake(after: now, polled: polled) : nil
    }

    /// A restart forgets the firmware; other faults are the application's.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        if fault.kind == .reboot {
            powerLost(at: now)
            return true
        }
        return isReachable && application.inject(fault, at: now)
    }
}
