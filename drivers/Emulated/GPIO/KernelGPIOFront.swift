import HostIO

/// Puts the lines of an emulated chip behind a chip of the kernel.
///
/// The kernel's chip is that of the module `gpio_emu` (`Tests/KernelStage/gpio_emu`), which tells
/// a user program what consumers do with its lines and lets it drive the others. Lines correspond
/// by offset. This type has no descriptor: whoever does hands over what was read and writes what
/// `send` is called with.
///
/// Format, from the head of `gpio_emu.c`: records of 16 bytes in the byte order of the machine, a
/// 64-bit time that is ignored here, a 32-bit line, a 32-bit state with the level in bit 0, the
/// direction in bit 8 (1 is driven by the consumer), the presence of a consumer in bit 9, and in
/// bit 31 that records after this one are missing.
public final class KernelGPIOFront: @unchecked Sendable {
    // @unchecked: the mutable state is touched only under the lock of the context.
    private let context: EmulationContext
    private let wires: [GPIOWire]
    private let send: @Sendable ([UInt8]) -> Void
    private var partial: [UInt8] = []
    private var driven: [Bool]
    private var missing = 0

    /// The length of a record in bytes.
    public static let recordSize = 16

    /// Connects the chip `chip` of `host`, which must exist. The present levels are sent at once.
    ///
    /// `send` is called under the lock of the bench and must not call back into it.
    public init?(host: EmulatedGPIOHost, chip: String, send: @escaping @Sendable ([UInt8]) -> Void)
    {
        let context = host.context
        let found = context.exclusively {
            var wires: [GPIOWire] = []
            while let wire = host.wire(GPIOLineID(chip: chip, offset: UInt32(wires.count))) {
                wires.append(wire)
            }
            return WireList(wires: wires)
        }
        guard !found.wires.isEmpty else { return nil }
        self.context = context
        self.send = send
        wires = found.wires
        driven = wires.map { _ in false }
        context.exclusively { connect() }
    }

    private func connect() {
        for (offset, wire) in wires.enumerated() {
            wire.watch { [weak self] level in self?.levelChanged(offset, level) }
        }
        send(wires.enumerated().flatMap { Self.record(line: $0.offset, level: $0.element.level) })
    }

    /// How often the kernel had no room for a record. What consumers did then is unknown until they
    /// touch the line again.
    public var missingRecords: Int { context.exclusively { missing } }

    /// Records from the kernel; may end in the middle of one.
    public func receive(_ bytes: [UInt8]) {
        context.exclusively {
            partial += bytes
            var start = 0
            while partial.count - start >= Self.recordSize {
                apply(partial[start..<start + Self.recordSize])
                start += Self.recordSize
            }
            partial.removeFirst(start)
        }
    }

    private func apply(_ record: ArraySlice<UInt8>) {
        let (line, state) = record.withUnsafeBytes {
            (
                Int($0.loadUnaligned(fromByteOffset: 8, as: UInt32.self)),
                $0.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
            )
        }
        if state & 1 << 31 != 0 { missing += 1 }
        guard line < wires.count else { return }
        let wire = wires[line]
        let isOutput = state & 1 << 8 != 0
        let consumer = state & 1 << 9 != 0 ? "consumer on the kernel's chip" : nil
        if wire.consumer != consumer { wire.consumer = consumer }
        driven[line] = isOutput
        wire.driveFromHost(isOutput ? state & 1 != 0 : nil)
        // While it was an output the kernel did not take levels from here.
        if !isOutput { send(Self.record(line: line, level: wire.level)) }
    }

    private func levelChanged(_ line: Int, _ level: Bool) {
        if !driven[line] { send(Self.record(line: line, level: level)) }
    }

    private static func record(line: Int, level: Bool) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: recordSize)
        bytes.withUnsafeMutableBytes {
            $0.storeBytes(of: UInt32(line), toByteOffset: 8, as: UInt32.self)
            $0.storeBytes(of: level ? 1 : 0, toByteOffset: 12, as: UInt32.self)
        }
        return bytes
    }

    /// Wires on their way out of the lock.
    private struct WireList: @unchecked Sendable {
        // @unchecked: the wires are used only under the lock of the context.
        let wires: [GPIOWire]
    }
}
