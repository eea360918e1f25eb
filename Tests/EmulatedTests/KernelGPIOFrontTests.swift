import Emulated
import HostIO
import Quantities
import Synchronization
import Testing

/// The records that the kernel module `gpio_emu` exchanges with the bench.
struct KernelGPIOFrontTests {
    /// What the front wrote, as (line, level).
    private final class Written: Sendable {
        let records = Mutex<[[UInt32]]>([])
        func add(_ bytes: [UInt8]) {
            records.withLock { records in
                for start in stride(from: 0, to: bytes.count, by: 16) {
                    records.append(
                        bytes[start..<start + 16].withUnsafeBytes { record in
                            [8, 12].map {
                                record.loadUnaligned(fromByteOffset: $0, as: UInt32.self)
                            }
                        })
                }
            }
        }
        func take() -> [[UInt32]] {
            records.withLock { records in
                defer { records = [] }
                return records
            }
        }
    }

    private static func record(line: UInt32, state: UInt32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: 16)
        bytes.withUnsafeMutableBytes {
            $0.storeBytes(of: line, toByteOffset: 8, as: UInt32.self)
            $0.storeBytes(of: state, toByteOffset: 12, as: UInt32.self)
        }
        return bytes
    }

    private static let level: UInt32 = 1
    private static let output: UInt32 = 1 << 8
    private static let requested: UInt32 = 1 << 9
    private static let lost: UInt32 = 1 << 31

    @Test func levelsCrossBothWays() async throws {
        let context = EmulationContext(reactor: VirtualReactor(), seed: 1)
        let host = EmulatedGPIOHost(context: context)
        host.addChip("c", label: "", lineNames: [nil, nil, nil], pulls: [2: true])
        let written = Written()
        #expect(KernelGPIOFront(host: host, chip: "none", send: written.add) == nil)
        let front = try #require(KernelGPIOFront(host: host, chip: "c", send: written.add))
        #expect(written.take() == [[0, 0], [1, 0], [2, 1]], "levels at the beginning")

        // A consumer takes line 0 and drives it high; the record arrives in two pieces.
        let first = Self.record(line: 0, state: Self.requested)
        let second = Self.record(line: 0, state: Self.requested | Self.output | Self.level)
        front.receive(first + second[..<5])
        #expect(host.electricalLevel(GPIOLineID(chip: "c", offset: 0)) == false)
        front.receive(Array(second[5...]))
        #expect(host.electricalLevel(GPIOLineID(chip: "c", offset: 0)) == true)
        let consumers = try await host.chips()[0].consumers
        #expect(consumers[0] != nil && consumers[1] == nil)
        _ = written.take()

        // What the bench does to a line that the consumer drives does not reach the kernel.
        host.drive(GPIOLineID(chip: "c", offset: 0), false)
        #expect(host.electricalLevel(GPIOLineID(chip: "c", offset: 0)) == true)
        host.drive(GPIOLineID(chip: "c", offset: 1), true)
        #expect(written.take() == [[1, 1]])

        // Given back, the line is the bench's again once it is an input.
        front.receive(Self.record(line: 0, state: Self.output | Self.level))
        #expect(host.electricalLevel(GPIOLineID(chip: "c", offset: 0)) == true)
        #expect(try await host.chips()[0].consumers[0] == nil)
        front.receive(Self.record(line: 0, state: Self.level))
        #expect(host.electricalLevel(GPIOLineID(chip: "c", offset: 0)) == false)
        #expect(written.take().last == [0, 0])
    }

    @Test func strangeRecordsDoNoHarm() throws {
        let context = EmulationContext(reactor: VirtualReactor(), seed: 1)
        let host = EmulatedGPIOHost(context: context)
        host.addChip("c", label: "", lineNames: [nil])
        let front = try #require(KernelGPIOFront(host: host, chip: "c") { _ in })
        front.receive(Self.record(line: .max, state: Self.output | Self.level))
        front.receive(Self.record(line: 1, state: Self.output | Self.level))
        #expect(host.electricalLevel(GPIOLineID(chip: "c", offset: 0)) == false)
        #expect(front.missingRecords == 0)
        front.receive(Self.record(line: 0, state: Self.lost | Self.output | Self.level))
        #expect(front.missingRecords == 1)
        #expect(host.electricalLevel(GPIOLineID(chip: "c", offset: 0)) == true)
    }
}
