import EventPipeline
import LinkTypes
import Quantities

/// Writes PTU files from a list of events, for tests: the format as the vendor documents it, and
/// nothing of the reader's code.
struct PTUFile {
    enum Event: Equatable {
        case photon(channel: Int, time: UInt64, micro: Int)
        case sync(time: UInt64)
        case marker(mask: Int, time: UInt64)

        var time: UInt64 {
            switch self {
            case .photon(_, let time, _), .sync(let time), .marker(_, let time): time
            }
        }
    }

    var recordType: UInt32
    var globalResolution = 1e-12
    var resolution = 8e-12
    var recordCount: Int64?
    var mode: Int64?
    var milliseconds: Int64 = 1_000

    var isPicoHarp: Bool { recordType & 0xFF == 3 }
    var isV1: Bool { recordType & 0xFFFF_00FF == 0x0001_0004 }
    var isT3: Bool { recordType >> 8 & 0xFF == 3 }
    var wrap: UInt64 {
        if isPicoHarp { return isT3 ? 65_536 : 210_698_240 }
        if isT3 { return 1_024 }
        return isV1 ? 33_552_000 : 33_554_432
    }

    static func little(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    static func tag(_ name: String, _ type: UInt32, _ value: UInt64, index: Int32 = -1) -> [UInt8] {
        let text = Array(name.utf8)
        return text + [UInt8](repeating: 0, count: 32 - text.count)
            + little(UInt64(UInt32(bitPattern: index)), 4) + little(UInt64(type), 4)
            + little(value, 8)
    }

    static func text(_ name: String, _ value: String) -> [UInt8] {
        let bytes = Array(value.utf8)
        let padded = bytes + [UInt8](repeating: 0, count: 8 - bytes.count % 8)
        return tag(name, 0x4001_FFFF, UInt64(padded.count)) + padded
    }

    func header(records: Int) -> [UInt8] {
        func integer(_ name: String, _ value: Int64) -> [UInt8] {
            Self.tag(name, 0x1000_0008, UInt64(bitPattern: value))
        }
        func float(_ name: String, _ value: Double) -> [UInt8] {
            Self.tag(name, 0x2000_0008, value.bitPattern)
        }
        var bytes = Array("PQTTTR".utf8) + [0, 0] + Array("1.0.00".utf8) + [0, 0]
        bytes += Self.text("File_GUID", "{00000000-0000-0000-0000-000000000000}")
        bytes += Self.tag("File_CreatingTime", 0x2100_0008, (42_870.5).bitPattern)
        // One tag of every other type, which a reader must step over.
        bytes += Self.tag("Fast_Load_End", 0xFFFF_0008, 0)
        bytes += Self.tag("HW_ExternalRefClock", 0x0000_0008, 0)
        bytes += Self.tag("UsrBits", 0x1100_0008, 5) + Self.tag("UsrColor", 0x1200_0008, 0xFF)
        bytes += Self.tag("UsrArray", 0x2001_FFFF, 16) + [UInt8](repeating: 7, count: 16)
        bytes += Self.tag("UsrBlob", 0xFFFF_FFFF, 24) + [UInt8](repeating: 9, count: 24)
        bytes += Self.tag("UsrWide", 0x4002_FFFF, 8) + [0x42, 0, 0xE9, 0, 0, 0, 0, 0]
        bytes += integer("Measurement_Mode", mode ?? (isT3 ? 3 : 2))
        bytes += integer("TTResultFormat_TTTRRecType", Int64(recordType))
        bytes += integer("TTResultFormat_BitsPerRecord", 32)
        bytes += integer("MeasDesc_AcquisitionTime", milliseconds)
        bytes += Self.text("HW_Type", "Test \"device\"") + Self.text("HW_SerialNo", "1234")
        bytes += Self.tag("HWInpChan_CFDLevel", 0x1000_0008, 50, index: 0)
        bytes += float("MeasDesc_GlobalResolution", globalResolution)
        bytes += float("MeasDesc_Resolution", resolution)
        bytes += integer("TTResult_NumberOfRecords", recordCount ?? Int64(records))
        return bytes + Self.tag("Header_End", 0xFFFF_0008, 0x7C57_0000_0000_0000)
    }

    /// The records of events in time order, with the overflows that lead up to each.
    func records(_ events: [Event]) -> [UInt32] {
        var words: [UInt32] = []
        var laps: UInt64 = 0
        for event in events {
            let missing = event.time / wrap - laps
            laps += missing
            words += overflows(missing)
            words.append(word(event, low: UInt32(event.time % wrap)))
        }
        return words
    }

    private func overflows(_ count: UInt64) -> [UInt32] {
        guard count > 0 else { return [] }
        if isPicoHarp { return [UInt32](repeating: 0xF000_0000, count: Int(count)) }
        // The first format writes one record each and leaves the field undefined.
        if isV1 { return [UInt32](repeating: 0xFE00_0005, count: Int(count)) }
        let limit: UInt64 = isT3 ? 1_023 : 33_554_431
        return [UInt32](repeating: 0xFE00_0000 | UInt32(limit), count: Int(count / limit))
            + [0xFE00_0000 | UInt32(count % limit == 1 ? 0 : count % limit)]
    }

    private func word(_ event: Event, low: UInt32) -> UInt32 {
        switch event {
        case .photon(let channel, _, let micro):
            if isPicoHarp {
                return UInt32(channel) << 28 | (isT3 ? UInt32(micro) << 16 : 0) | low
            }
            return UInt32(channel) << 25 | (isT3 ? UInt32(micro) << 10 : 0) | low
        case .sync: return 1 << 31 | low
        case .marker(let mask, _):
            if isPicoHarp {
                return isT3
                    ? 15 << 28 | UInt32(mask) << 16 | low : 15 << 28 | low & ~15 | UInt32(mask)
            }
            return 1 << 31 | UInt32(mask) << 25 | low
        }
    }

    func bytes(_ events: [Event]) -> [UInt8] {
        let words = records(events)
        return header(records: words.count) + words.flatMap { Self.little(UInt64($0), 4) }
    }
}

/// Everything a recording holds, collected block by block.
struct Decoded: Equatable {
    var times: [UInt64] = []
    var channels: [UInt8] = []
    var microtimes: [UInt16] = []
    var markers: [RecordedMarker] = []
    var counts = RecordCounts()
    var end: UInt64 = 0

    init(
        _ bytes: [UInt8], format: RecordingFormat? = nil, pieceSize: Int = .max,
        maximumRecords: Int = 1 << 15
    ) throws {
        var reader = try RecordingReader(
            MemoryByteSource(bytes, pieceSize: pieceSize), format: format)
        while let block = try reader.next(maximumRecords: maximumRecords) {
            times += block.tags.map(\.ticks)
            channels += block.tags.map(\.channel)
            microtimes += block.microtimes
            markers += block.markers
            counts += block.counts
            end = block.completeThrough.rawValue
        }
    }
}
