import DeviceProfiles
import Emulated
import FirmwareProfiles
import HostIO
import OpticalBench
import Quantities
import Testing

/// The shipped profiles, read once.
private let catalog = Result { try FirmwareProfiles.catalog() }

/// The shipped profile `id`.
func profile(_ id: String) throws -> DeviceProfile {
    try #require(try catalog.get()[id])
}

/// Runs `body` on virtual time.
func onVirtualTime<Result: Sendable>(
    _ body: @escaping @Sendable (VirtualReactor) async throws -> Result
) throws -> Result {
    let reactor = VirtualReactor()
    return try reactor.run { try await body(reactor) }
}

/// Microseconds of bench time.
func microseconds(_ value: Double) -> Picoseconds { Picoseconds(seconds: value * 1e-6) }

/// What the first call that throws throws.
func usbError(_ body: () async throws -> Void) async -> USBTransferError? {
    do {
        try await body()
        return nil
    } catch { return error as? USBTransferError }
}

/// What the GPIO call that throws throws.
func gpioError(_ body: () async throws -> Void) async -> GPIOError? {
    do {
        try await body()
        return nil
    } catch { return error as? GPIOError }
}

/// What the stream call that throws throws.
func streamError(_ body: () async throws -> Void) async -> ByteStreamError? {
    do {
        try await body()
        return nil
    } catch { return error as? ByteStreamError }
}

/// Carries a bench port that only the virtual reactor's one thread touches.
struct Shared<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

/// FNV-1a over bytes, for digests of runs.
struct Digest {
    private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325
    mutating func add(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    }
}

/// A device that answers from a script: each IN packet of endpoint 0x81 in turn.
final class ScriptedFunction: EmulatedUSBFunction, @unchecked Sendable {
    let descriptors: USBDescriptorSet
    var packets: [(ready: HostInstant, bytes: [UInt8])] = []
    var received: [[UInt8]] = []
    var stalls = false

    init() {
        let device = USBDescriptorSet.device(
            .init(
                usbRelease: 0x0200, classTriple: [255, 255, 255], vendorID: 0x1209,
                productID: 0x0001, deviceRelease: 0x0100),
            stringIndices: [1, 2, 0])
        let endpoints = [
            USBEndpoint(address: 0x81, kind: .bulk, maxPacketSize: 64),
            USBEndpoint(address: 0x02, kind: .bulk, maxPacketSize: 64),
        ]
        let configuration = USBDescriptorSet.configuration(
            value: 1, attributes: 0x80, maxPowerMilliamperes: 100,
            interfaces: [
                USBInterface(
                    number: 0, alternate: 0, classTriple: [255, 0, 0], endpoints: endpoints)
            ])
        let strings = [
            USBDescriptorSet.languages(0x0409), USBDescriptorSet.string("Maker"),
            USBDescriptorSet.string("Thing"),
        ]
        descriptors = USBDescriptorSet(
            full: .init(device: device, configuration: configuration, strings: strings))
    }

    func busReset(speed: USBSpeed, at now: HostInstant) {}
    func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {}
    func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome { request.request == 1 ? .data([1, 2, 3, 4]) : .stall }

    func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        received.append(Array(packet))
        return .ack
    }

    func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        if stalls { return .stall }
        guard let first = packets.first, first.ready <= now else { return .nak }
        packets.removeFirst()
        buffer.copyBytes(from: first.bytes)
        return .data(count: first.bytes.count)
    }

    func advance(to now: HostInstant) {}
    func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        polled.contains(0x81) ? packets.first.map { max($0.ready, now + .nanoseconds(1)) } : nil
    }
    func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool { false }
}
