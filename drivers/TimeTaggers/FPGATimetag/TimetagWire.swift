import DeviceProfiles
import Instruments
import LinkTypes
import Quantities

/// Register packets of the FPGA time tagger. Pure encoding and decoding; every number comes from the
/// profile.
///
/// Source: github.com/bgamari/timetag-fpga at 1ffb766, `docs/registers`, `reg_manager.v`.
package struct TimetagWire: Sendable {
    private let start: UInt8
    private let packetBytes: Int
    /// Bytes of a reply.
    package let replyBytes: Int
    /// The layout of records.
    package let format: TimetagRecordFormat

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        start = UInt8(truncatingIfNeeded: try profile.constant("packet_start"))
        packetBytes = try profile.constant("packet_bytes")
        guard let bytes = try profile.command("read_register").reply.bytes, bytes <= 4 else {
            throw MissingProfileField(
                profile: profile.id, path: "dialect.commands.read_register.reply.bytes")
        }
        replyBytes = bytes
        format = try TimetagRecordFormat(profile)
    }

    /// The packet of a command, filled up with zeros.
    package func packet(
        _ command: Command, _ values: [Double]
    ) throws(CommandEncodingError) -> [UInt8] {
        let arguments = try command.argumentBytes(values)
        let bytes = [start, UInt8(truncatingIfNeeded: command.opcode ?? 0)] + arguments
        return bytes + [UInt8](repeating: 0, count: max(0, packetBytes - bytes.count))
    }

    /// The value in a reply, or nil when it does not have the length of one.
    package func value(of reply: [UInt8]) -> UInt32? {
        guard reply.count == replyBytes else { return nil }
        return reply.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}

/// Where the parts of a record are, prepared for the decoding loop.
package struct TimetagRecordFormat: Sendable {
    /// Bytes of a record, high byte first.
    package static let recordBytes = 6
    /// All bits of the counter.
    package let timeMask: UInt64
    private let channelShift: UInt64
    private let channelMask: UInt64
    private let wrap: UInt64
    private let lost: UInt64
    /// Bits that no record has while the delta inputs are off.
    private let forbidden: UInt64

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        let record = try profile.requireRecord()
        guard record.bytes == Self.recordBytes, record.endianness == .big else {
            throw MissingProfileField(profile: profile.id, path: "record.bytes: 6, big endian")
        }
        let time = try profile.recordField("time")
        guard time.low == 0 else {
            throw MissingProfileField(profile: profile.id, path: "record.fields.time.low: 0")
        }
        timeMask = time.mask
        let channels = try profile.recordField("channels")
        channelShift = UInt64(channels.low)
        channelMask = channels.mask >> channelShift
        wrap = try profile.recordField("wrap").mask
        lost = try profile.recordField("lost").mask
        forbidden =
            try profile.recordField("reserved").mask | profile.recordField("delta").mask
    }

    /// The parts of a record.
    package struct Record: Hashable, Sendable {
        /// The counter.
        package var time: UInt64
        /// One bit for each channel.
        package var channels: UInt32
        /// Whether records were lost before it.
        package var hasLost: Bool
        /// Whether the counter was zero.
        package var hasWrapped: Bool

        package init(time: UInt64, channels: UInt32, hasLost: Bool, hasWrapped: Bool) {
            self.time = time
            self.channels = channels
            self.hasLost = hasLost
            self.hasWrapped = hasWrapped
        }
    }

    /// The parts of `raw`, or nil when no such record is ever made: bits that are always zero, an
    /// event without channel, or a flag of the counter that contradicts it.
    @inline(__always)
    package func decode(_ raw: UInt64) -> Record? {
        let time = raw & timeMask
        let channels = UInt32(truncatingIfNeeded: raw >> channelShift & channelMask)
        let hasWrapped = raw & wrap != 0
        guard raw & forbidden == 0, hasWrapped == (time == 0), hasWrapped || channels != 0 else {
            return nil
        }
        return Record(
            time: time, channels: channels, hasLost: raw & lost != 0, hasWrapped: hasWrapped)
    }
}

/// What is known about when records were made, besides their own time.
package struct TimetagBounds: Hashable, Sendable {
    /// A time the counter had reached when the record after those counted here was made.
    package var earliest: UInt64
    /// The latest time the counter can have reached by then.
    package var latest: UInt64
    package init(earliest: UInt64, latest: UInt64) {
        self.earliest = earliest
        self.latest = latest
    }
}

/// Turns the bytes of the event endpoint into tags.
///
/// The counter has 36 bits; a record made while it is zero says so. When records were lost, that one may
/// be among them. The time of the next is then a question of multiples of 537 s, which the host's
/// clock answers as long as only one of them is possible; otherwise records are dropped, and marked,
/// until it can.
///
/// Records carry no mark of their own, and a packet may end within one. A record that can not be is
/// taken as a sign that a byte is missing: the decoder moves on by single bytes until two records in a
/// row make sense.
package struct TimetagStreamDecoder {
    let format: TimetagRecordFormat
    /// Channel numbers by bit of the mask.
    let channelMap: [UInt8]

    private var rest: [UInt8] = []
    private var isSearching = false
    private var hasRecord = false
    /// The time of the last record but one. The last may hold bytes of the next in the place of one that
    /// is missing, which only shows then.
    package private(set) var settledTick: UInt64 = 0
    /// Bytes passed over since the last record that made sense.
    package private(set) var skippedInARow = 0
    /// Records decoded.
    package private(set) var recordCount: UInt64 = 0
    /// Records that said that others were lost before them.
    package private(set) var lossCount: UInt64 = 0
    /// Records that were dropped because their time could not be known.
    package private(set) var ambiguousCount: UInt64 = 0

    private static let width = TimetagRecordFormat.recordBytes

    package init(format: TimetagRecordFormat, channelMap: [UInt8]) {
        self.format = format
        self.channelMap = channelMap
    }

    /// A transfer failed: what follows may begin anywhere.
    package mutating func dropPartialRecord() {
        rest = []
        isSearching = true
    }

    /// Decodes the bytes of one transfer.
    package mutating func decode(
        _ bytes: UnsafeRawBufferPointer, within bounds: TimetagBounds,
        into collector: inout TagCollector
    ) {
        if rest.isEmpty, !isSearching {
            let end = scan(bytes, bounds, &collector)
            rest = Array(bytes[end...])
            if !isSearching { return }
        } else {
            rest += bytes
        }
        // The slow way: the bytes are in an array, because some are left over or out of step.
        while true {
            let (pending, wasSearching) = (rest, isSearching)
            let consumed = pending.withUnsafeBytes { buffer in
                isSearching
                    ? search(buffer, bounds, &collector) : scan(buffer, bounds, &collector)
            }
            rest.removeFirst(consumed)
            if consumed == 0, isSearching == wasSearching { return }
        }
    }

    /// Decodes records from the start of `bytes` on, up to the first that makes no sense.
    ///
    /// - Returns: how many bytes were used.
    private mutating func scan(
        _ bytes: UnsafeRawBufferPointer, _ bounds: TimetagBounds, _ collector: inout TagCollector
    ) -> Int {
        var offset = 0
        while offset + Self.width <= bytes.count {
            guard let record = format.decode(Self.load(bytes, offset)),
                take(record, bounds, &collector)
            else {
                isSearching = true
                collector.beginLoss(from: settledTick, reason: .corruptRecords)
                return offset
            }
            offset += Self.width
        }
        return offset
    }

    /// Looks for two records in a row that make sense.
    ///
    /// - Returns: how many bytes were passed over; the records themselves are left to `scan`.
    private mutating func search(
        _ bytes: UnsafeRawBufferPointer, _ bounds: TimetagBounds, _ collector: inout TagCollector
    ) -> Int {
        var offset = 0
        while offset + 2 * Self.width <= bytes.count {
            if let first = format.decode(Self.load(bytes, offset)),
                let second = format.decode(Self.load(bytes, offset + Self.width)),
                let time = time(of: first, after: collector.lastTick, isCertain: false, bounds),
                self.time(of: second, after: time + 1, isCertain: false, bounds) != nil
            {
                isSearching = false
                skippedInARow = 0
                // Found in place: nothing is passed over, but the caller must go on.
                return offset == 0
                    ? rescan(bytes, bounds, &collector) : offset
            }
            offset += 1
        }
        skippedInARow += offset
        return offset
    }

    private mutating func rescan(
        _ bytes: UnsafeRawBufferPointer, _ bounds: TimetagBounds, _ collector: inout TagCollector
    ) -> Int {
        let used = scan(bytes, bounds, &collector)
        guard used == 0 else { return used }
        // It made sense by itself and not in the stream.
        skippedInARow += 1
        return 1
    }

    /// The counter's time without wraps, or nil when the record can not have been made then.
    ///
    /// - Parameters:
    ///   - floor: the first time that is possible after the records before.
    ///   - isCertain: whether no record is missing before this one.
    private func time(
        of record: TimetagRecordFormat.Record, after floor: UInt64, isCertain: Bool,
        _ bounds: TimetagBounds
    ) -> UInt64? {
        let time = Self.next(record.time, notBefore: floor, mask: format.timeMask)
        guard time <= bounds.latest else { return nil }
        // Without a loss, only a record that says so begins another round.
        if isCertain, !record.hasWrapped, time & ~format.timeMask != floor & ~format.timeMask {
            return nil
        }
        return time
    }

    private static func next(_ time: UInt64, notBefore floor: UInt64, mask: UInt64) -> UInt64 {
        let candidate = floor & ~mask | time
        return candidate < floor ? candidate + mask + 1 : candidate
    }

    /// Adds the event of a record; false when the record can not be.
    private mutating func take(
        _ record: TimetagRecordFormat.Record, _ bounds: TimetagBounds,
        _ collector: inout TagCollector
    ) -> Bool {
        let last = collector.lastTick
        // The flag survives a reset, so that of the first record tells of the run before.
        let hasLost = record.hasLost && hasRecord
        let floor = hasRecord ? last + 1 : 0
        let isDamaged = collector.hasOpenLoss
        guard
            let first = time(
                of: record, after: floor, isCertain: !hasLost && !isDamaged, bounds)
        else { return false }
        recordCount += 1
        hasRecord = true
        var ticks = first
        if hasLost || isDamaged {
            // Each round from the earliest possible time on is a candidate.
            ticks = Self.next(
                record.time, notBefore: max(floor, bounds.earliest), mask: format.timeMask)
            if hasLost { lossCount += 1 }
            guard ticks <= bounds.latest, ticks + format.timeMask + 1 > bounds.latest else {
                ambiguousCount += 1
                collector.beginLoss(from: last, reason: .deviceOverflow)
                return true
            }
        }
        skippedInARow = 0
        settledTick = last
        guard ticks >= collector.promised else {
            collector.loseLate(ticks: ticks, count: UInt64(record.channels.nonzeroBitCount))
            return true
        }
        if hasLost, !isDamaged {
            collector.lose(from: floor, to: ticks, reason: .deviceOverflow)
        }
        // The counter's own record has no channel and only moves the time on.
        collector.add(ticks: ticks, channels: record.channels, map: channelMap)
        return true
    }

    @inline(__always)
    private static func load(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        var raw: UInt64 = 0
        for index in 0..<width { raw = raw << 8 | UInt64(bytes[offset + index]) }
        return raw
    }
}
