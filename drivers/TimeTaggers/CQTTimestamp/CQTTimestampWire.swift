import DeviceProfiles
import Instruments
import LinkTypes
import Quantities

/// Commands and event records of the CQT/NUS USB time stamp card. Pure encoding and decoding; every
/// number comes from the profile.
///
/// Sources: github.com/kurtsiefer/qcrypto at 51222f0, `hardware/timestampfirmware/tp8.c` (command
/// packets), `timestamp3/readevents3.c` (record layout, phase table, pipeline correction).
package struct CQTTimestampWire: Sendable {
    private let dialect: Dialect
    /// The layout of event records.
    package let format: CQTRecordFormat

    /// Reads what is needed from `profile`.
    ///
    /// - Parameter phaseTable: the table of this unit; nil for the profile's default.
    package init(_ profile: DeviceProfile, phaseTable: String? = nil) throws(MissingProfileField) {
        dialect = try profile.requireDialect()
        format = try CQTRecordFormat(profile, phaseTable: phaseTable)
    }

    /// The packet of a command: length of all, number, arguments, sum of what is before.
    package func packet(
        _ command: Command, _ values: [Double] = []
    ) throws(CommandEncodingError) -> [UInt8] {
        let arguments = try command.argumentBytes(values)
        var bytes = [UInt8(arguments.count + 3), UInt8(truncatingIfNeeded: command.opcode ?? 0)]
        bytes += arguments
        if dialect.checksum == .sum8 { bytes.append(bytes.reduce(0, &+)) }
        return bytes
    }
}

/// Where the parts of an event record are, prepared for the decoding loop.
package struct CQTRecordFormat: Sendable {
    private struct Part {
        var shift: UInt64
        var mask: UInt64
        var weight: UInt64
        @inline(__always) func value(_ record: UInt64) -> UInt64 { (record >> shift) & mask }
        @inline(__always) func ticks(_ record: UInt64) -> UInt64 { value(record) &* weight }
    }

    private let phase: Part
    private let fast: Part
    private let slowLow: Part
    private let slowHigh: Part
    private let highBits: Part
    private let lowBits: Part
    private let table: [UInt8]
    private let lagBelow: UInt64
    private let lagTicks: UInt64
    private let counterMask: UInt64
    /// Bits of the counter, and its ticks in a second.
    let counterBits: Int
    let ticksPerSecond: Double
    /// The record that carries nothing.
    package let void: UInt64?
    /// Bytes of a record.
    package static let recordBytes = 8

    package init(_ profile: DeviceProfile, phaseTable: String?) throws(MissingProfileField) {
        func part(_ name: String, mask: Bool = false) throws(MissingProfileField) -> Part {
            let field = try profile.recordField(name)
            let weight = mask ? UInt64(1) << UInt64(field.shift ?? 0) : UInt64(field.ticks ?? 0)
            return Part(
                shift: UInt64(field.low), mask: field.mask >> UInt64(field.low), weight: weight)
        }
        phase = try part("phase")
        fast = try part("fast")
        slowLow = try part("slow_low")
        slowHigh = try part("slow_high")
        highBits = try part("detectors_high", mask: true)
        lowBits = try part("detectors_low", mask: true)
        let timeBase = try profile.requireTimeBase()
        let interpolation = timeBase.interpolation
        let name = phaseTable ?? interpolation?.defaultTable ?? ""
        guard let table = interpolation?.expanded(name), table.count == Int(phase.mask) + 1 else {
            throw MissingProfileField(
                profile: profile.id, path: "time_base.interpolation.tables.\(name)")
        }
        self.table = table
        lagBelow = UInt64(timeBase.lagCorrection?.below ?? 0)
        lagTicks = UInt64(timeBase.lagCorrection?.addTicks ?? 0)
        counterBits = timeBase.counterBits
        ticksPerSecond = 1e12 / timeBase.tick.picoseconds
        counterMask = timeBase.counterBits >= 64 ? .max : 1 << UInt64(timeBase.counterBits) - 1
        guard try profile.requireRecord().bytes == Self.recordBytes else {
            throw MissingProfileField(profile: profile.id, path: "record.bytes: 8")
        }
        void = try profile.requireRecord().void
    }

    /// The counter value in ticks, modulo the counter's width, and the bits of the detectors.
    @inline(__always)
    package func decode(_ record: UInt64) -> (ticks: UInt64, detectors: UInt32) {
        let fastCount = fast.value(record)
        var ticks = slowHigh.ticks(record) &+ slowLow.ticks(record)
        ticks &+= fastCount &* fast.weight &+ UInt64(table[Int(phase.value(record))])
        // The slow counter is latched one fast cycle late while the fast one is in its first half.
        if fastCount < lagBelow { ticks &+= lagTicks }
        let detectors = highBits.ticks(record) | lowBits.ticks(record)
        return (ticks & counterMask, UInt32(truncatingIfNeeded: detectors))
    }

    /// What the counters showed, without the correction for the slow one being late: its bits are
    /// those of the hardware.
    func counter(_ record: UInt64) -> UInt64 {
        slowHigh.ticks(record) &+ slowLow.ticks(record) &+ fast.ticks(record)
            &+ UInt64(table[Int(phase.value(record))])
    }

    /// Half the range of the counter: steps up to here are forwards, longer ones backwards.
    package var halfRange: UInt64 { counterMask / 2 + 1 }
    /// All bits of the counter.
    package var wrapMask: UInt64 { counterMask }
}

/// Turns the bytes of the event endpoint into tags.
///
/// A record may straddle two transfers: the firmware may commit a packet between two 16-bit words
/// of a record. A stream that has lost bytes can not be realigned, because records carry no mark;
/// it shows as times that run backwards or ahead of the clock, and those become a loss. When they then
/// go on in step with the host's clock, it was not the stream but the counter that jumped.
package struct CQTStreamDecoder {
    let format: CQTRecordFormat
    /// Channel numbers by detector bit.
    let channelMap: [UInt8]

    private var partial: UInt64 = 0
    private var partialBytes: UInt64 = 0
    /// Records since the last good one that could not be.
    package private(set) var rejectedInARow = 0
    /// Records decoded, void ones not counted.
    package private(set) var recordCount: UInt64 = 0
    /// What is wrong with the counter, and the tick since which it may have been; found only once.
    private(set) var fault: (what: CounterFault, since: UInt64)?
    private var bits: BitWatch
    /// Records in a row within one count of the fast counter.
    private var repeats = 0
    /// Rejected records in a row that are in order among themselves.
    private var astray: (first: UInt64, last: UInt64, limit: UInt64, records: Int)?
    /// The longest time between two records since `resetGap`, and when it began.
    private(set) var longestGap: (start: UInt64, end: UInt64) = (0, 0)

    /// A step backwards of less than one fast count: the phase pattern was not in the table.
    static let jitterTicks: UInt64 = 16
    /// As many records within 2 ns are none: the inputs have a dead time many times as long.
    private static let mostRepeats = 8
    /// How many rejected records have to be in order, and for how long by the host's clock.
    private static let fewestAstray = 32
    private let astrayTicks: UInt64

    package init(format: CQTRecordFormat, channelMap: [UInt8]) {
        self.format = format
        self.channelMap = channelMap
        bits = BitWatch(width: format.counterBits, ticksPerSecond: format.ticksPerSecond)
        astrayTicks = UInt64(format.ticksPerSecond / 4)
    }

    /// Forgets half a record, after a transfer that failed.
    package mutating func dropPartialRecord() { partialBytes = 0 }

    mutating func resetGap(at tick: UInt64) { longestGap = (tick, tick) }

    /// Decodes the bytes of one transfer.
    ///
    /// - Parameter limit: the latest time the card's counter can have reached.
    package mutating func decode(
        _ bytes: UnsafeRawBufferPointer, notAfter limit: UInt64, into collector: inout TagCollector
    ) {
        var index = 0
        while partialBytes != 0, index < bytes.count {
            partial |= UInt64(bytes[index]) << (8 * partialBytes)
            partialBytes = (partialBytes + 1) % 8
            index += 1
            if partialBytes == 0 { take(partial, limit, &collector) }
        }
        while index + 8 <= bytes.count {
            let record = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            take(UInt64(littleEndian: record), limit, &collector)
            index += 8
        }
        if index < bytes.count {
            partial = 0
            for offset in index..<bytes.count {
                partial |= UInt64(bytes[offset]) << (8 * UInt64(offset - index))
            }
            partialBytes = UInt64(bytes.count - index)
        }
    }

    @inline(__always)
    private mutating func take(
        _ record: UInt64, _ limit: UInt64, _ collector: inout TagCollector
    ) {
        if record == format.void { return }
        recordCount &+= 1
        let (raw, detectors) = format.decode(record)
        let last = collector.lastTick
        let step = (raw &- last) & format.wrapMask
        var ticks = last &+ step
        if step >= format.halfRange {
            guard format.wrapMask &- step < Self.jitterTicks else {
                // Further back than a quarter of a second is no bit of its own.
                let back = format.wrapMask &- step &+ 1
                if rejectedInARow == 0, back < astrayTicks { collector.wentBack(by: back) }
                reject(raw, limit, &collector)
                return
            }
            ticks = last
        }
        guard ticks <= limit else {
            reject(raw, limit, &collector)
            return
        }
        rejectedInARow = 0
        check(record, ticks: ticks, after: last)
        guard ticks >= collector.promised else {
            collector.loseLate(ticks: ticks, count: UInt64(detectors.nonzeroBitCount))
            return
        }
        // Before the first record the inputs may have been dark for any time.
        if recordCount > 1, ticks - last > longestGap.end - longestGap.start {
            longestGap = (last, ticks)
        }
        // A record without detector bits is a coincidence the card could not assign.
        collector.add(ticks: ticks, channels: detectors, map: channelMap)
    }

    /// Looks for a counter that stands still, or has a bit that is stuck.
    @inline(__always)
    private mutating func check(_ record: UInt64, ticks: UInt64, after last: UInt64) {
        if ticks &- last >= Self.jitterTicks {
            repeats = 0
        } else if recordCount > 1 {
            repeats += 1
            if repeats >= Self.mostRepeats { note(.standsStill, since: last) }
        }
        guard bits.isDue(at: ticks) else { return }
        if let (bit, since) = bits.sample(counter: format.counter(record), ticks: ticks) {
            note(.stuckBit(bit), since: since)
        }
    }

    private mutating func note(_ what: CounterFault, since: UInt64) {
        if fault == nil { fault = (what, since) }
    }

    private mutating func reject(
        _ raw: UInt64, _ limit: UInt64, _ collector: inout TagCollector
    ) {
        if rejectedInARow == 0 { astray = nil }
        rejectedInARow += 1
        collector.beginLoss(from: collector.promised, reason: .corruptRecords)
        guard var run = astray, (raw &- run.last) & format.wrapMask < format.halfRange else {
            astray = (raw, raw, limit, 1)
            return
        }
        (run.last, run.records) = (raw, run.records + 1)
        astray = run
        // The limit moves with the host's clock.
        let (span, elapsed) = ((raw &- run.first) & format.wrapMask, limit &- run.limit)
        guard run.records >= Self.fewestAstray, limit > run.limit, elapsed >= astrayTicks,
            span >= elapsed / 2, span <= 2 * elapsed
        else { return }
        note(.jumped, since: collector.lastTick)
    }
}
