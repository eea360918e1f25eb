import HostIO
import OpticalBench
import Quantities

/// The way of an event through the time stamp card: discriminators, 4k FIFO, the waveform engine
/// that empties it into the endpoint, and the four packet buffers of the endpoint.
///
/// Pulses are fetched from the bench in batches when the host looks. The passage through the FIFO
/// is followed event by event, so that loss comes out as on the real card: past the watermark the
/// firmware inhibits the inputs until the FIFO has drained below it, and nothing but a gap in time
/// and the status bit tells.
struct TimestampEventPath {
    private static let fifoDepth = 4096
    private static let packetBuffers = 4
    /// Records per second that the waveform engine moves (header of tp8.c), as a time per record.
    private static let transferTime = Picoseconds(454_545)
    /// The main loop of the firmware looks at the watermark about this often.
    private static let loopTime = Picoseconds(20_000_000)
    /// Inputs that fire within this time are latched together. The window is set by a varactor and
    /// not published.
    private static let coincidenceWindow = Picoseconds(2_000)
    /// The period of the built-in pulser, incommensurate with the 64 ns of the slow counter. Not
    /// published.
    private static let pulserPeriod = Picoseconds(20_007_100)
    private static let batch = Picoseconds(10_000_000_000)

    private let inputs: any TaggerInputs
    private let oscillator: any LocalOscillator
    private let encoder: TimestampEncoder
    private let inputMasks: [Int]
    private let watermark: Int
    private var generator: SeededGenerator

    private var pulledThrough = Picoseconds(0)
    private var fifo = RecordQueue()
    private var endpoint = RecordQueue()
    private var committed: [Int] = []
    private var committedHead = 0
    private var partial = 0
    private var serverClock = Picoseconds(0)
    private var nextLook = Picoseconds(0)
    private var openRecord: (time: Picoseconds, mask: Int)?
    private var nextPulserPulse = Picoseconds(0)
    private var counterOrigin: Int64 = 0
    private var lossUntil = Picoseconds(.min)
    private var faults = CounterFaults()

    /// Records per packet at the present speed.
    var recordsPerPacket = 64
    /// What the host asked for with the inhibit commands.
    var isInhibitWanted = true
    /// The firmware's overflow condition.
    private(set) var hasOverflow = false
    /// Whether the waveform engine runs.
    var isTransferring = false
    /// Whether the threshold lets pulses through.
    var isThresholdGood = false
    /// Whether the built-in pulser runs.
    var isPulserOn = false {
        didSet { nextPulserPulse = pulledThrough + Self.pulserPeriod }
    }
    /// Whether the host has a transfer waiting, so that buffers empty as they fill.
    var isHostWaiting = false
    /// Bits that are stuck at one in every record.
    var stuckBits: UInt64 = 0
    /// Records made since power-up, for tests and displays.
    private(set) var recordCount: UInt64 = 0
    /// Pulses lost since power-up to a full FIFO or to the inhibit that follows.
    private(set) var lostCount: UInt64 = 0

    init(
        inputs: any TaggerInputs, oscillator: any LocalOscillator, encoder: TimestampEncoder,
        inputMasks: [Int], watermark: Int, generator: SeededGenerator
    ) {
        self.inputs = inputs
        self.oscillator = oscillator
        self.encoder = encoder
        self.inputMasks = inputMasks
        self.watermark = watermark
        self.generator = generator
    }

    /// The level of the inhibit line.
    var isInhibited: Bool { isInhibitWanted || hasOverflow }
    /// The level of the FIFO's watermark flag.
    var isAboveWatermark: Bool { fifo.count >= watermark }
    /// Bytes in the packet being filled.
    var partialBytes: Int { partial * 8 }
    /// Whether no packet waits for the host.
    var isEndpointEmpty: Bool { isHostWaiting || committedHead == committed.count }

    // MARK: - Commands

    /// Starts the slow counter anew.
    mutating func resetCounter(at time: Picoseconds) {
        pull(through: time)
        counterOrigin = reading(at: time)
        openRecord = nil
    }

    /// Empties the FIFO.
    mutating func resetFIFO() {
        fifo.removeAll()
        hasOverflow = false
    }

    /// Empties the packet buffers.
    mutating func resetEndpoint() {
        endpoint.removeAll()
        committed = []
        committedHead = 0
        partial = 0
    }

    /// Hands the packet being filled to the host, even if nothing is in it.
    mutating func commitPartial() {
        committed.append(partial)
        partial = 0
    }

    /// Forces the overflow condition until `time`.
    mutating func forceOverflow(until time: Picoseconds) {
        hasOverflow = true
        lossUntil = time
    }

    /// Stops the counters until `end`.
    mutating func stopClock(at time: Picoseconds, until end: Picoseconds) {
        faults.stop(at: time, until: end, reading: reading(at: time))
    }

    // MARK: - Time

    /// Lets the counter jump ahead at `time`.
    mutating func stepClock(by step: Picoseconds, at time: Picoseconds) {
        pull(through: time)
        faults.step(by: step)
    }

    private func reading(at time: Picoseconds) -> Int64 {
        faults.reading(oscillator.reading(at: time), at: time)
    }

    /// Lets all pulses up to `time` arrive.
    mutating func pull(through time: Picoseconds) {
        while pulledThrough < time {
            let end = min(time, pulledThrough + Self.batch)
            let pulses = inputs.takePulses(through: end)
            if isPulserOn {
                pulserPulses(through: end)
            } else if isThresholdGood, !isInhibitWanted {
                for pulse in pulses { accept(pulse.time, mask: inputMasks[Int(pulse.input & 3)]) }
            }
            pulledThrough = end
            closeRecord(before: end)
            serve(until: end)
            look(at: end)
        }
    }

    private mutating func pulserPulses(through end: Picoseconds) {
        while nextPulserPulse <= end {
            if !isInhibitWanted { accept(nextPulserPulse, mask: 15) }
            nextPulserPulse = nextPulserPulse + Self.pulserPeriod
        }
    }

    @inline(__always)
    private mutating func accept(_ time: Picoseconds, mask: Int) {
        if let open = openRecord {
            if time - open.time <= Self.coincidenceWindow {
                openRecord = (open.time, open.mask | mask)
                return
            }
            write(open)
            openRecord = nil
        }
        if time >= nextLook {
            serve(until: time)
            look(at: time)
        }
        if hasOverflow {
            lostCount += 1
        } else {
            openRecord = (time, mask)
        }
    }

    private mutating func closeRecord(before time: Picoseconds) {
        guard let open = openRecord, time - open.time > Self.coincidenceWindow else { return }
        write(open)
        openRecord = nil
    }

    /// One pass of the firmware's main loop over the watermark flag.
    private mutating func look(at time: Picoseconds) {
        nextLook = time + Self.loopTime
        hasOverflow = fifo.count >= watermark || time < lossUntil
    }

    private mutating func write(_ event: (time: Picoseconds, mask: Int)) {
        if fifo.count == Self.fifoDepth {
            lostCount += 1
            return
        }
        let elapsed = reading(at: event.time) - counterOrigin
        let ticks = UInt64(bitPattern: elapsed >= 0 ? elapsed / 125 : 0)
        let record = encoder.record(ticks: ticks, mask: event.mask, noise: generator.next())
        fifo.append(record | stuckBits)
        recordCount += 1
    }

    /// Moves records from the FIFO to the endpoint as fast as the waveform engine does.
    private mutating func serve(until time: Picoseconds) {
        guard isTransferring, fifo.count > 0 else {
            serverClock = time
            return
        }
        let affordable = Int((time - serverClock).rawValue / Self.transferTime.rawValue)
        var movable = min(affordable, fifo.count)
        if !isHostWaiting {
            let held = (committed.count - committedHead) * recordsPerPacket + partial
            movable = min(movable, max(0, Self.packetBuffers * recordsPerPacket - held))
        }
        for _ in 0..<movable {
            endpoint.append(fifo.popFirst())
            partial += 1
            if partial == recordsPerPacket {
                committed.append(partial)
                partial = 0
            }
        }
        serverClock =
            movable == affordable
            ? serverClock + Picoseconds(Int64(movable) * Self.transferTime.rawValue) : time
    }

    // MARK: - Packets

    /// The next packet for the host, or nil while none is complete.
    mutating func takePacket(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        guard committedHead < committed.count else { return nil }
        let whole = committed[committedHead]
        let count = min(whole, buffer.count / 8)
        // The rest of a packet that was sent short is a packet of its own.
        if count < whole { committed[committedHead] -= count } else { committedHead += 1 }
        if committedHead == committed.count {
            committed.removeAll(keepingCapacity: true)
            committedHead = 0
        }
        endpoint.copyFirst(count, to: buffer)
        return count * 8
    }

    /// When the host should look again while records are on their way: after about one packet at
    /// the recent rate, but not more often than every microframe.
    func nextLook(after time: Picoseconds, recent: (records: UInt64, span: Picoseconds))
        -> Picoseconds
    {
        guard recent.records > 0, recent.span.rawValue > 0 else { return time + Self.batch }
        let perRecord = Double(recent.span.rawValue) / Double(recent.records)
        let wait = min(Double(Self.batch.rawValue), max(125_000_000, perRecord * 512))
        return time + Picoseconds(Int64(wait))
    }
}

/// A queue of records in one array.
struct RecordQueue {
    private var records: [UInt64] = []
    private var head = 0

    var count: Int { records.count - head }

    mutating func append(_ record: UInt64) { records.append(record) }

    mutating func popFirst() -> UInt64 {
        let record = records[head]
        head += 1
        compact()
        return record
    }

    /// Takes `count` records and writes them, low byte first.
    mutating func copyFirst(_ count: Int, to buffer: UnsafeMutableRawBufferPointer) {
        for index in 0..<count {
            buffer.storeBytes(
                of: records[head + index].littleEndian, toByteOffset: index * 8, as: UInt64.self)
        }
        head += count
        compact()
    }

    mutating func removeAll() {
        records = []
        head = 0
    }

    private mutating func compact() {
        if head == records.count {
            records.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 8192 {
            records.removeFirst(head)
            head = 0
        }
    }
}
