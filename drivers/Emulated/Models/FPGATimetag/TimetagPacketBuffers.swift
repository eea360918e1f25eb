/// The FIFO of the FPGA tagger and the packet buffers of endpoint 6 of its FX2 chip.
///
/// A record takes eight periods of the 30 MHz interface clock to get from one to the other
/// (`sample_multiplexer.v`). A packet is complete when it has the set length, never because of time
/// (`bulkloop.c`).
struct TimetagPacketBuffers {
    private let defaultLength: Int
    private let count: Int
    private var fifo = RecordQueue()
    private var bytes: [UInt8] = []
    private var head = 0
    private var committed: [Int] = []
    private var filling = 0
    private var length: Int
    /// Fifteenths of an acquisition clock: a record takes 8 · 128/30 clocks.
    private var served: Int64 = 0

    private static let partsPerClock: Int64 = 15
    private static let partsPerRecord: Int64 = 512
    private static let bufferBytes = 512

    /// Whether the host has a transfer waiting, so that buffers empty as they fill.
    var isHostWaiting = false
    /// Whether the next packet loses a byte.
    var slipPending = false

    init(defaultLength: Int, count: Int) {
        self.defaultLength = defaultLength
        self.count = count
        length = defaultLength
    }

    /// Records in the FIFO.
    var fifoCount: Int { fifo.count }
    /// Bytes at which a packet is complete.
    var packetLength: Int { length }

    mutating func powerUp() {
        fifo.removeAll()
        bytes = []
        head = 0
        committed = []
        filling = 0
        length = defaultLength
        slipPending = false
    }

    mutating func clearFIFO() { fifo.removeAll() }

    mutating func append(_ record: UInt64) { fifo.append(record) }

    private var hasRoom: Bool { isHostWaiting || committed.count < count }

    /// Moves records as fast as the interface clock does.
    mutating func serve(until clock: Int64) {
        let now = clock * Self.partsPerClock
        while fifo.count > 0, hasRoom, now - served >= Self.partsPerRecord {
            served += Self.partsPerRecord
            move(fifo.popFirst())
        }
        // Time without work is not saved up.
        if fifo.count == 0 || !hasRoom { served = max(served, now) }
    }

    private mutating func move(_ record: UInt64) {
        for shift in stride(from: UInt64(40), through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: record >> shift))
            filling += 1
            if filling >= length { commit() }
        }
    }

    private mutating func commit() {
        committed.append(filling)
        filling = 0
    }

    // MARK: - Vendor requests

    /// Sends what the buffer holds, even nothing, and sets the length of packets.
    mutating func setLength(_ value: Int) {
        length = (1...Self.bufferBytes).contains(value) ? value : Self.bufferBytes
        if hasRoom { commit() }
    }

    /// Throws away the packet being filled. Complete packets stay.
    mutating func discard() {
        bytes.removeLast(filling)
        filling = 0
    }

    // MARK: - Packets

    /// The next packet, or nil while none is complete.
    mutating func take(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        guard let whole = committed.first else { return nil }
        let size = min(whole, buffer.count)
        // The rest of a packet that was sent short is a packet of its own.
        if size < whole { committed[0] -= size } else { committed.removeFirst() }
        bytes[head..<head + size].withUnsafeBytes { buffer.copyMemory(from: $0) }
        head += size
        if head > 16384 {
            bytes.removeFirst(head)
            head = 0
        }
        guard slipPending, size > 1 else { return size }
        slipPending = false
        for index in 0..<size - 1 { buffer[index] = buffer[index + 1] }
        return size - 1
    }
}
