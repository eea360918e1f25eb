import LinkTypes
import Quantities

// The 32-bit records of PicoQuant's TTTR formats, little-endian.
//
//                      31      30…25     24…0 (T2) / 24…10, 9…0 (T3)
//   all but PicoHarp   special channel   time        microtime, sync count
//                      31…28             27…0 (T2) / 27…16, 15…0 (T3)
//   PicoHarp 300       channel           time        microtime, sync count
//
// Special records carry overflows (channel 63), sync events (T2, channel 0) and markers (1…15);
// on PicoHarp they have channel 15, and marker bits of zero mean an overflow.
// Sources: PicoQuant-Time-Tagged-File-Format-Demos, doc/apx_tttrrecords.html, and the demo readers
// there (wrap-around constants; a zero count of overflows stands for one).

/// The record types of PTU files.
public enum PicoQuantRecordType: UInt32, Hashable, Sendable, CaseIterable {
    /// PicoHarp 300, T2 mode.
    case picoHarpT2 = 0x0001_0203
    /// PicoHarp 300, T3 mode.
    case picoHarpT3 = 0x0001_0303
    /// HydraHarp 400 with the first format, T2 mode.
    case hydraHarpT2 = 0x0001_0204
    /// HydraHarp 400 with the first format, T3 mode.
    case hydraHarpT3 = 0x0001_0304
    /// HydraHarp 400 with the second format, T2 mode.
    case hydraHarp2T2 = 0x0101_0204
    /// HydraHarp 400 with the second format, T3 mode.
    case hydraHarp2T3 = 0x0101_0304
    /// TimeHarp 260 Nano, T2 mode.
    case timeHarp260NT2 = 0x0001_0205
    /// TimeHarp 260 Nano, T3 mode.
    case timeHarp260NT3 = 0x0001_0305
    /// TimeHarp 260 Pico, T2 mode.
    case timeHarp260PT2 = 0x0001_0206
    /// TimeHarp 260 Pico, T3 mode.
    case timeHarp260PT3 = 0x0001_0306
    /// MultiHarp and later devices (generic), T2 mode.
    case multiHarpT2 = 0x0001_0207
    /// MultiHarp and later devices (generic), T3 mode.
    case multiHarpT3 = 0x0001_0307

    /// Whether events are counted in sync periods.
    public var isT3: Bool { rawValue >> 8 & 0xFF == 3 }

    /// The device and mode in words.
    public var name: String {
        let device =
            switch self {
            case .picoHarpT2, .picoHarpT3: "PicoHarp 300"
            case .hydraHarpT2, .hydraHarpT3: "HydraHarp 400 V1"
            case .hydraHarp2T2, .hydraHarp2T3: "HydraHarp 400 V2"
            case .timeHarp260NT2, .timeHarp260NT3: "TimeHarp 260 N"
            case .timeHarp260PT2, .timeHarp260PT3: "TimeHarp 260 P"
            case .multiHarpT2, .multiHarpT3: "MultiHarp"
            }
        return device + (isT3 ? " T3" : " T2")
    }

    /// The ticks one overflow stands for.
    var wrap: UInt64 {
        switch self {
        case .picoHarpT2: 210_698_240
        case .picoHarpT3: 1 << 16
        case .hydraHarpT2: 33_552_000
        case _ where isT3: 1 << 10
        default: 1 << 25
        }
    }

    /// Whether an overflow record carries a count; the first HydraHarp format has none.
    var hasOverflowCount: Bool { self != .hydraHarpT2 && self != .hydraHarpT3 }
    var isPicoHarp: Bool { self == .picoHarpT2 || self == .picoHarpT3 }
}

/// Decodes a stream of PicoQuant records, cut anywhere between records.
struct PicoQuantDecoder {
    let type: PicoQuantRecordType
    private var overflowTicks: UInt64 = 0
    private var latest: UInt64 = 0

    /// Accumulated overflows stay below this, so that a tag never exceeds 56 bit.
    private static let overflowLimit: UInt64 = 1 << 56 - 1 << 29

    init(_ type: PicoQuantRecordType) { self.type = type }

    /// What one record is.
    private enum Content {
        case click(channel: UInt8, low: UInt32, microtime: UInt16)
        case marker(mask: UInt16, low: UInt32)
        case overflow(count: UInt64)
        case corrupt
    }

    /// Decodes the whole records in `bytes`, whose first byte is at `offset` of the file.
    mutating func decode(
        _ bytes: RawSpan, offset: UInt64, into block: inout RecordedBlock
    ) throws(RecordingError) {
        let type = type
        let wrap = type.wrap
        var base = overflowTicks
        var latest = latest
        let records = bytes.byteCount / 4
        for index in 0..<records {
            let word = UInt32(
                littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
            switch Self.content(of: word, type: type) {
            case .click(let channel, let low, let microtime):
                let ticks = base + UInt64(low)
                block.tags.append(TimeTag(ticks: ticks, channel: channel))
                if type.isT3 { block.microtimes.append(microtime) }
                if ticks < latest { block.counts.orderViolations += 1 } else { latest = ticks }
            case .overflow(let count):
                let (sum, overflow) = base.addingReportingOverflow(count * wrap)
                guard !overflow, sum <= Self.overflowLimit else {
                    throw .timeOutOfRange(offset: offset + UInt64(index * 4))
                }
                base = sum
                latest = max(latest, base)
                block.counts.overflowRecords += 1
                block.counts.overflows += count
            case .marker(let mask, let low):
                let ticks = DeviceTicks(base + UInt64(low))
                block.markers.append(RecordedMarker(ticks: ticks, mask: mask))
                block.counts.markers += 1
            case .corrupt:
                block.counts.corrupt += 1
                if block.firstCorrupt == nil { block.firstCorrupt = offset + UInt64(index * 4) }
                block.losses.append(
                    LossMark(
                        start: DeviceTicks(latest), end: DeviceTicks(latest + 1), count: 1,
                        reason: .corruptRecords))
            }
        }
        block.counts.records += UInt64(records)
        block.counts.events = UInt64(block.tags.count)
        block.counts.clicks = UInt64(block.tags.count)
        overflowTicks = base
        self.latest = latest
        block.completeThrough = DeviceTicks(latest)
    }

    @inline(__always)
    private static func content(of word: UInt32, type: PicoQuantRecordType) -> Content {
        if type.isPicoHarp {
            return type.isT3 ? picoHarpT3(word) : picoHarpT2(word)
        }
        let channel = UInt8(truncatingIfNeeded: word >> 25 & 0x3F)
        if word >> 31 == 0 {
            if type.isT3 {
                let microtime = UInt16(truncatingIfNeeded: word >> 10 & 0x7FFF)
                return .click(channel: channel, low: word & 0x3FF, microtime: microtime)
            }
            return .click(channel: channel, low: word & 0x1FF_FFFF, microtime: 0)
        }
        let low = type.isT3 ? word & 0x3FF : word & 0x1FF_FFFF
        switch channel {
        case 63: return .overflow(count: type.hasOverflowCount ? UInt64(max(1, low)) : 1)
        case 0 where !type.isT3:
            return .click(channel: RecordedBlock.syncChannel, low: low, microtime: 0)
        case 1...15: return .marker(mask: UInt16(channel), low: low)
        default: return .corrupt
        }
    }

    /// Channel 0 is the sync input and 1…4 those of the router. The low four bits of a marker's
    /// time are the marker bits.
    private static func picoHarpT2(_ word: UInt32) -> Content {
        let time = word & 0xFFF_FFFF
        switch word >> 28 {
        case 15:
            let mask = UInt16(time & 0xF)
            return mask == 0 ? .overflow(count: 1) : .marker(mask: mask, low: time & ~0xF)
        case let channel where channel <= 4:
            return .click(channel: UInt8(channel), low: time, microtime: 0)
        default: return .corrupt
        }
    }

    private static func picoHarpT3(_ word: UInt32) -> Content {
        let middle = UInt16(truncatingIfNeeded: word >> 16 & 0xFFF)
        switch word >> 28 {
        case 15:
            return middle == 0
                ? .overflow(count: 1) : .marker(mask: middle, low: word & 0xFFFF)
        case let channel where (1...4).contains(channel):
            return .click(channel: UInt8(channel), low: word & 0xFFFF, microtime: middle)
        default: return .corrupt
        }
    }
}
