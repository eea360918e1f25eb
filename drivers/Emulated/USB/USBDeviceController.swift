import DeviceProfiles
import HostIO
import Quantities

/// The part of a USB device that is the same in all: standard requests, halted endpoints, and the
/// faults of the bus. Fronts talk to this; it talks to the function.
public final class USBDeviceController: @unchecked Sendable {
    // @unchecked: touched only under the lock of the context its front uses.

    /// The function behind it.
    public let function: any EmulatedUSBFunction
    /// The speed of the connection.
    public let speed: USBSpeed
    /// The alternate settings the descriptors list at this speed.
    public let interfaces: [USBInterface]
    private let selfPowered: Bool
    private var configuration: UInt8 = 0
    private var alternates: [UInt8: UInt8] = [:]
    private var halted: [UInt8] = []
    private var silentUntil: [UInt8: HostInstant] = [:]
    private var shortPacket: (endpoint: UInt8, bytes: Int)?
    /// Class and vendor requests to be refused, by a fault.
    private var refusals = 0

    /// Connects `function` at `speed` and resets it.
    public init(function: any EmulatedUSBFunction, speed: USBSpeed, at now: HostInstant) {
        self.function = function
        self.speed = speed
        let shown = function.descriptors.variant(at: speed)
        interfaces = USBDescriptorSet.interfaces(in: shown.configuration)
        selfPowered = shown.configuration.count > 7 && shown.configuration[7] & 0x40 != 0
        function.busReset(speed: speed, at: now)
    }

    /// The device's answer to a bus reset after it was connected.
    public func busReset(at now: HostInstant) {
        configuration = 0
        alternates = [:]
        halted = []
        function.busReset(speed: speed, at: now)
    }

    /// Whether a configuration has been selected.
    public var isConfigured: Bool { configuration != 0 }

    /// The value of the one configuration the descriptors list.
    public var defaultConfiguration: UInt8 {
        let shown = function.descriptors.variant(at: speed).configuration
        return shown.count > 5 ? shown[5] : 0
    }

    /// Selects the one configuration, as a host does that has just enumerated the device.
    public func configure(at now: HostInstant) {
        _ = setConfiguration(defaultConfiguration, at: now)
    }

    /// The endpoint `address` in the alternate settings that are selected.
    public func endpoint(_ address: UInt8) -> USBEndpoint? {
        for interface in interfaces
        where interface.alternate == alternates[interface.number, default: 0] {
            if let endpoint = interface.endpoints.first(where: { $0.address == address }) {
                return endpoint
            }
        }
        return nil
    }

    // MARK: - Data packets

    /// One OUT packet to a bulk or interrupt endpoint.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        if halted.contains(endpoint) { return .stall }
        if isSilent(endpoint, at: now) { return .nak }
        let handshake = function.packetOut(endpoint: endpoint, packet: packet, at: now)
        if handshake == .stall { halted.append(endpoint) }
        return handshake
    }

    /// One IN token to a bulk or interrupt endpoint.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        if halted.contains(endpoint) { return .stall }
        if isSilent(endpoint, at: now) { return .nak }
        // A short packet ends a transfer early; what did not fit stays with the device.
        let isCut = shortPacket?.endpoint == endpoint
        let room = isCut ? min(buffer.count, shortPacket?.bytes ?? 0) : buffer.count
        let handshake = function.packetIn(
            endpoint: endpoint, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<room]),
            at: now)
        switch handshake {
        case .stall: halted.append(endpoint)
        case .data where isCut: shortPacket = nil
        default: break
        }
        return handshake
    }

    /// The next instant at which an answer may change without the host's doing.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        let ends = silentUntil.values.filter { $0 > now }
        // What a silent endpoint could say is not heard before its silence ends.
        let heard = polled.filter { silentUntil[$0, default: now] <= now }
        return [function.nextWake(after: now, polled: heard), ends.min()].compactMap { $0 }.min()
    }

    private func isSilent(_ endpoint: UInt8, at now: HostInstant) -> Bool {
        guard let end = silentUntil[endpoint] else { return false }
        if now < end { return true }
        silentUntil[endpoint] = nil
        return false
    }

    // MARK: - Control transfers

    /// A whole control transfer. `length` is wLength; `data` the OUT data stage.
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        if isSilent(0, at: now) { return .nak }
        if refusals > 0, request.requestType & 0x60 != 0 {
            refusals -= 1
            return .stall
        }
        let outcome =
            request.requestType & 0x60 == 0
            ? standard(request, length: length, at: now)
            : function.control(request, data: data, length: length, at: now)
        if case .data(let bytes) = outcome { return .data(Array(bytes.prefix(length))) }
        return outcome
    }

    /// The requests of USB 2.0, section 9.4.
    private func standard(
        _ request: USBControlRequest, length: Int, at now: HostInstant
    ) -> USBControlOutcome {
        let target = UInt8(truncatingIfNeeded: request.index)
        switch (request.requestType, request.request) {
        case (0x80, 0): return .data([selfPowered ? 1 : 0, 0])
        case (0x81, 0): return .data([0, 0])
        case (0x82, 0): return .data([halted.contains(target) ? 1 : 0, 0])
        case (0x02, 1) where request.value == 0:
            halted.removeAll { $0 == target }
            function.haltCleared(endpoint: target, at: now)
            return .done
        case (0x02, 3) where request.value == 0:
            if !halted.contains(target) { halted.append(target) }
            return .done
        case (0x00, 1), (0x00, 3): return request.value == 1 ? .done : .stall
        case (0x00, 5): return .done
        case (0x80, 6):
            return function.descriptors.descriptor(value: request.value, speed: speed)
                .map(USBControlOutcome.data) ?? .stall
        case (0x81, 6):
            return function.descriptors.descriptor(value: request.value, interface: target)
                .map(USBControlOutcome.data) ?? .stall
        case (0x80, 8): return .data([configuration])
        case (0x00, 9): return setConfiguration(UInt8(truncatingIfNeeded: request.value), at: now)
        case (0x81, 10): return .data([alternates[target, default: 0]])
        case (0x01, 11):
            return setInterface(target, UInt8(truncatingIfNeeded: request.value), at: now)
        default: return .stall
        }
    }

    private func setConfiguration(_ value: UInt8, at now: HostInstant) -> USBControlOutcome {
        let own = function.descriptors.variant(at: speed).configuration
        guard value == 0 || own.count > 5 && value == own[5] else { return .stall }
        configuration = value
        for number in Set(interfaces.map(\.number)).sorted() {
            _ = setInterface(number, 0, at: now)
        }
        return .done
    }

    private func setInterface(
        _ number: UInt8, _ alternate: UInt8, at now: HostInstant
    ) -> USBControlOutcome {
        guard
            let setting = interfaces.first(where: {
                $0.number == number && $0.alternate == alternate
            })
        else { return .stall }
        alternates[number] = alternate
        for endpoint in setting.endpoints { halted.removeAll { $0 == endpoint.address } }
        function.selectInterface(number, alternate: alternate, at: now)
        return .done
    }

    // MARK: - Faults

    /// Makes a fault of the bus happen, or hands it on to the function.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        let endpoint = fault.endpoint ?? function.dataEndpoint ?? defaultEndpoint
        switch fault.kind {
        case .stall where endpoint == 0:
            // A stall of endpoint 0 ends with the next setup stage (USB 2.0, section 8.5.3.4).
            refusals += 1
            return true
        case .stall:
            if !halted.contains(endpoint) { halted.append(endpoint) }
            return true
        case .nakTimeout:
            silentUntil[endpoint] = now + (fault.duration ?? .seconds(3600))
            return true
        case .shortPacket:
            // The least that moves a whole record, or a byte behind a bridge's two status bytes.
            let size = self.endpoint(endpoint)?.maxPacketSize ?? 64
            shortPacket = (endpoint, max(8, min(fault.detail ?? size / 2, size - 1)))
            return true
        default: return function.inject(fault, at: now)
        }
    }

    /// The last bulk IN endpoint: the one that carries the data of the devices here.
    private var defaultEndpoint: UInt8 {
        let all = interfaces.flatMap(\.endpoints)
        return all.last { $0.kind == .bulk && $0.address & 0x80 != 0 }?.address ?? 0
    }
}
