import LinkTypes
import Quantities

// Raw events of S-Fifteen and other taggers read by qcrypto's `readevents…` programs. A record
// holds one time and a pattern with a bit for each detector that clicked then.
// Sources: qcrypto timestamp7/readevents7.c (54 bit, fast mode, void words), remotecrypto/
// filespec.txt (49 bit); fpfind lib/parse_timestamps.py (rollover mark).

/// Continues a counter of `bits` bits past its wraps, taking the shorter way round.
struct CounterUnwrapper: Sendable {
    let bits: UInt64
    private var last: UInt64?

    init(bits: UInt64) { self.bits = bits }

    /// The unwrapped count, or `nil` when it would be before the counter's first lap.
    mutating func unwrap(_ raw: UInt64) -> UInt64? {
        guard let previous = last else {
            last = raw
            return raw
        }
        let spare = 64 - bits
        // Shifted up, the difference wraps where the counter does, and its sign is the direction.
        let delta = Int64(bitPattern: (raw &- previous) << spare) >> Int64(spare)
        let (sum, overflow) = Int64(bitPattern: previous).addingReportingOverflow(delta)
        guard !overflow, sum >= 0 else { return nil }
        last = UInt64(sum)
        return UInt64(sum)
    }
}

/// Decodes a stream of S-Fifteen records, cut anywhere between records.
struct SFifteenDecoder {
    let layout: SFifteenLayout
    private var unwrapper: CounterUnwrapper
    private var previousWord: UInt32 = 0
    private var rolloverTicks: UInt64 = 0
    private var latest: UInt64 = 0

    private static let tickLimit: UInt64 = 1 << 56

    init(_ layout: SFifteenLayout) {
        self.layout = layout
        unwrapper = CounterUnwrapper(bits: 64 - layout.timeShift)
    }

    /// Decodes the whole records in `bytes`, whose first byte is at `offset`.
    mutating func decode(
        _ bytes: RawSpan, offset: UInt64, into block: inout RecordedBlock
    ) throws(RecordingError) {
        let size = layout.recordSize
        for index in 0..<(bytes.byteCount / size) {
            let place = offset + UInt64(index * size)
            if layout == .fast32 {
                let word = bytes.unsafeLoadUnaligned(
                    fromByteOffset: index * size, as: UInt32.self)
                try decodeFast(UInt32(littleEndian: word), at: place, into: &block)
            } else {
                let word = bytes.unsafeLoadUnaligned(
                    fromByteOffset: index * size, as: UInt64.self)
                try decode(UInt64(littleEndian: word), at: place, into: &block)
            }
        }
        block.completeThrough = DeviceTicks(latest)
    }

    private mutating func decode(
        _ raw: UInt64, at offset: UInt64, into block: inout RecordedBlock
    ) throws(RecordingError) {
        block.counts.records += 1
        guard raw != 0 else {
            block.counts.voids += 1
            return
        }
        let word = layout.isSwapped ? raw << 32 | raw >> 32 : raw
        guard let ticks = unwrapper.unwrap(word >> layout.timeShift) else {
            refuse(at: offset, in: &block)
            return
        }
        // Older cards may leave debug bits where the newer ones mark a rollover, so with 49 bits
        // the mark counts only next to the two bits that the newer ones always set.
        let signature: UInt64 = layout.timeShift == 15 ? 0x310 : 0x10
        try take(
            ticks: ticks, pattern: UInt8(word & 0xF), isRollover: word & signature == signature,
            at: offset, into: &block)
    }

    private mutating func decodeFast(
        _ word: UInt32, at offset: UInt64, into block: inout RecordedBlock
    ) throws(RecordingError) {
        block.counts.records += 1
        guard word != 0 else {
            block.counts.voids += 1
            return
        }
        if ~word & previousWord & 0x8000_0000 != 0 { rolloverTicks += 1 << 26 }
        previousWord = word
        try take(
            ticks: rolloverTicks + UInt64(word >> 6), pattern: UInt8(word & 0xF),
            isRollover: word & 0x10 != 0, at: offset, into: &block)
    }

    private mutating func take(
        ticks: UInt64, pattern: UInt8, isRollover: Bool, at offset: UInt64,
        into block: inout RecordedBlock
    ) throws(RecordingError) {
        guard ticks < Self.tickLimit else { throw .timeOutOfRange(offset: offset) }
        let isEarlier = ticks < latest
        latest = max(latest, ticks)
        if isRollover {
            block.counts.overflowRecords += 1
            block.counts.overflows += 1
            return
        }
        guard pattern != 0 else {
            block.counts.empty += 1
            return
        }
        if isEarlier { block.counts.orderViolations += 1 }
        block.counts.events += 1
        for channel: UInt8 in 0..<4 where pattern >> channel & 1 == 1 {
            block.tags.append(TimeTag(ticks: ticks, channel: channel))
            block.counts.clicks += 1
        }
    }

    private func refuse(at offset: UInt64, in block: inout RecordedBlock) {
        block.counts.corrupt += 1
        if block.firstCorrupt == nil { block.firstCorrupt = offset }
        block.losses.append(
            LossMark(
                start: DeviceTicks(latest), end: DeviceTicks(latest + 1), count: 1,
                reason: .corruptRecords))
    }
}

/// Hexadecimal lines as the little-endian bytes they stand for.
struct HexLineSource: ByteSource {
    /// The digits of a line: 8 or 16.
    let digits: Int
    private var text: BufferedBytes

    init(_ text: BufferedBytes, digits: Int) {
        self.text = text
        self.digits = digits
    }

    mutating func read(
        upTo count: Int, into buffer: inout [UInt8]
    ) throws(RecordingError) -> Int {
        var delivered = 0
        while delivered < count, let word = try nextLine() {
            for byte in 0..<(digits / 2) {
                buffer.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * byte)))
            }
            delivered += digits / 2
        }
        return delivered
    }

    /// The value of the next line that is not empty, or `nil` at the end.
    private mutating func nextLine() throws(RecordingError) -> UInt64? {
        while try text.fill(1), text[0] == 0x0A || text[0] == 0x0D { text.skip(1) }
        guard try text.fill(1) else { return nil }
        guard try text.fill(digits) else {
            throw .malformed(
                offset: text.offset, expected: "a line of \(digits) hexadecimal digits",
                found: "the end of the file after \(text.available)")
        }
        var value: UInt64 = 0
        for index in 0..<digits {
            guard let digit = hexDigitValue(text[index]) else {
                throw .malformed(
                    offset: text.offset + UInt64(index), expected: "a hexadecimal digit",
                    found: "byte \(text[index])")
            }
            value = value << 4 | UInt64(digit)
        }
        if try text.fill(digits + 1), text[digits] != 0x0A, text[digits] != 0x0D {
            throw .malformed(
                offset: text.offset + UInt64(digits), expected: "the end of the line",
                found: "byte \(text[digits])")
        }
        text.skip(digits)
        return value
    }
}

/// The value of a hexadecimal digit in ASCII.
func hexDigitValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
}
