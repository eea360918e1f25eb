import DeviceProfiles
import Emulated
import HostIO
import Quantities
import Testing

/// The host's side of USBTMC 1.0, written in the manner of python-usbtmc for these tests: whole
/// frames, one read for an answer.
final class MeasurementClient: @unchecked Sendable {
    // @unchecked: used on the virtual reactor's one thread.
    let bench: EmulatedBench
    let device: any USBDevice
    let serial: String
    private(set) var tag: UInt8 = 0

    /// Puts an instrument of the profile on a bench and opens its interface.
    init(_ id: String, reactor: VirtualReactor, connection: BenchConnection? = nil) async throws {
        let profile = try profile(id)
        serial = profile.emulation?.serial ?? "1"
        bench = EmulatedBench(reactor: reactor, seed: 7)
        let connection =
            try connection
            ?? .standIn(for: profile, name: serial, context: bench.context, gpio: bench.gpio)
        try bench.add(BenchEntry(profile: profile, serial: serial, connection: connection))
        let found = try #require(try await bench.usb.devices().first)
        device = try await bench.usb.open(found.id)
        try await device.claim(interface: 0, alternate: 0)
    }

    func control(
        _ number: UInt8, value: UInt16 = 0, index: UInt16 = 0, length: Int = 64
    ) async throws -> [UInt8] {
        try await device.controlIn(
            USBControlRequest(
                requestType: number <= 4 ? 0xA2 : 0xA1, request: number, value: value,
                index: index),
            length: length, timeout: .seconds(1))
    }

    func raw(_ bytes: [UInt8]) async throws {
        try await device.write(bytes, to: 0x02, timeout: .milliseconds(200))
    }

    func write(_ text: String, isEnd: Bool = true) async throws {
        tag = tag % 255 + 1
        let payload = Array(text.utf8)
        let size = (0..<4).map { UInt8(truncatingIfNeeded: payload.count >> (8 * $0)) }
        let padding = [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
        try await raw([1, tag, ~tag, 0] + size + [isEnd ? 1 : 0, 0, 0, 0] + payload + padding)
    }

    func request(_ size: Int, termination: UInt8? = nil) async throws {
        tag = tag % 255 + 1
        let bytes = (0..<4).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) }
        try await raw(
            [2, tag, ~tag, 0] + bytes + [termination == nil ? 0 : 2, termination ?? 0, 0, 0])
    }

    /// The Bulk-IN transfer, with its header.
    func transfer(_ timeout: Duration = .milliseconds(200)) async throws -> [UInt8] {
        try await device.read(from: 0x82, upTo: 4096, timeout: timeout)
    }

    func read(_ size: Int = 1024) async throws -> String {
        var text: [UInt8] = []
        while true {
            try await request(size)
            let frame = try await transfer()
            try #require(frame.count >= 12 && frame[0] == 2 && frame[1] == tag && frame[2] == ~tag)
            let count = Int(frame[4]) | Int(frame[5]) << 8
            text += frame[12..<12 + count]
            if frame[8] & 1 == 1 { return String(decoding: text, as: UTF8.self) }
        }
    }

    func ask(_ text: String) async throws -> String {
        try await write(text)
        let answer = try await read()
        try #require(answer.hasSuffix("\n"))
        return String(answer.dropLast())
    }

    func errors() async throws -> [String] {
        var errors: [String] = []
        while errors.count < 20 {
            let entry = try await ask("SYST:ERR?")
            if entry.hasPrefix("+0,") { return errors }
            errors.append(entry)
        }
        return errors
    }

    func clear() async throws {
        try #require(try await control(5, length: 1) == [1])
        while try await control(6, length: 2)[0] == 2 { _ = try await transfer() }
        try await device.clearHalt(endpoint: 0x02)
    }
}

/// Runs `body` with an instrument of profile `id` on virtual time.
func withInstrument(
    _ id: String, connection: (@Sendable () -> BenchConnection)? = nil,
    _ body: @escaping @Sendable (MeasurementClient, VirtualReactor) async throws -> Void
) throws {
    try onVirtualTime { reactor in
        let client = try await MeasurementClient(
            id, reactor: reactor, connection: connection?())
        try await body(client, reactor)
    }
}
