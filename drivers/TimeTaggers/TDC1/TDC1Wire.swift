import DeviceProfiles
import LinkTypes
import Quantities

/// Texts and event words of the S-Fifteen TDC1. Pure encoding and decoding.
///
/// Sources: github.com/s-fifteen-instruments/pyS15 at ba5faee, `S15lib/instruments/
/// usb_counter_fpga.py` (commands, replies, words), and `readevents4a.c` of the usbcntfpga
/// distribution (start, stop, rollover, status reply).
package enum TDC1Wire {
    /// Numbers between spaces, or nil when something else is there.
    package static func integers(_ line: String) -> [Int64]? {
        let parts = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
        var numbers: [Int64] = []
        for part in parts {
            guard let number = Int64(part) else { return nil }
            numbers.append(number)
        }
        return numbers.isEmpty ? nil : numbers
    }

    /// The gate time in milliseconds. The firmware prints a signed 16-bit number, so that settings
    /// above 32767 read as negative.
    package static func gateTime(_ line: String) -> Int? {
        guard let numbers = integers(line), numbers.count == 1, -32768...65535 ~= numbers[0] else {
            return nil
        }
        return Int(numbers[0] < 0 ? numbers[0] + 65536 : numbers[0])
    }

    /// The status word: four hexadecimal digits, a space, CR, LF.
    package static func status(_ reply: [UInt8]) -> UInt16? {
        guard reply.count == 7, reply[4] == 0x20, reply[5] == 0x0D, reply[6] == 0x0A else {
            return nil
        }
        let digits = reply[..<4]
        guard digits.allSatisfy({ $0 < 0x80 && Character(UnicodeScalar($0)).isHexDigit }) else {
            return nil
        }
        return UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
    }
}

/// Where the parts of an event word are.
package struct TDC1WordFormat: Sendable {
    private let timeShift: UInt32
    private let channelMask: UInt32
    private let dummyMask: UInt32
    /// Ticks after which the counter starts again.
    package let period: UInt64
    /// Bits of the counter, and its ticks in a second.
    let counterBits: Int
    let ticksPerSecond: Double
    /// The greatest time between two words, by the dummy words of an idle instrument.
    package let maxStep: UInt64

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        let time = try profile.recordField("time")
        let channels = try profile.recordField("channels")
        timeShift = UInt32(time.low)
        channelMask = UInt32(truncatingIfNeeded: channels.mask)
        let dummy = try profile.recordField(profile.requireRecord().dummyField ?? "dummy")
        dummyMask = UInt32(truncatingIfNeeded: dummy.mask)
        let timeBase = try profile.requireTimeBase()
        counterBits = time.width
        ticksPerSecond = 1e12 / timeBase.tick.picoseconds
        period = 1 << UInt64(time.width)
        // Half a period is the promise; an eighth more allows for events queued before the dummy.
        let interval = timeBase.maxDummyIntervalMilliseconds ?? 0
        let ticks = UInt64(interval * 1e9 / timeBase.tick.picoseconds)
        maxStep = max(ticks, period / 2) + period / 8
    }

    @inline(__always) package func time(_ word: UInt32) -> UInt64 { UInt64(word >> timeShift) }
    @inline(__always) package func channels(_ word: UInt32) -> UInt32 { word & channelMask }
    /// Whether it says that it has no event, and has channels all the same.
    @inline(__always) func contradicts(_ word: UInt32) -> Bool {
        word & dummyMask != 0 && word & channelMask != 0
    }
    /// Either an event with at least one channel, or a dummy with none.
    @inline(__always) package func isValid(_ word: UInt32) -> Bool {
        (word & dummyMask != 0) == (word & channelMask == 0)
    }
}

/// Turns the binary stream of a TDC1 into tags.
///
/// The counter has 27 bits; a word with a smaller time than the one before has wrapped, and dummy
/// words make sure that no period passes without a word. At high rate the stream can lose one 16-bit
/// word; from then on each 32-bit word is made of two halves that do not belong together. That shows
/// as words that are neither event nor dummy, or as steps in time far beyond the usual. The decoder
/// then looks at the next words in both alignments, goes on with the one that makes sense, and marks
/// the time in between as lost. A word made of two halves may by chance look like the next event and
/// be taken before the damage shows; the mark therefore begins a few words earlier, and nothing is
/// promised beyond that point.
package struct TDC1StreamDecoder {
    let format: TDC1WordFormat
    let channelMap: [UInt8]

    /// What is wrong with the counter, and the tick since which it may have been; found only once.
    private(set) var fault: (what: CounterFault, since: UInt64)?
    private var bits: BitWatch
    /// Dummy words with channels since the last good one, what they have in common, and since when.
    private var contradictions: (count: Int, channels: UInt32, since: UInt64)?
    private var lastDummy: UInt64 = 0
    private static let mostContradictions = 3

    private var pending: [UInt8] = []
    private var lastRaw: UInt64 = 0
    private var hasStarted = false
    private var meanStep = 0.0
    private var recentTicks = [UInt64](repeating: 0, count: Self.lookahead)
    private var recentIndex = 0
    /// Bytes skipped since the last word that made sense.
    package private(set) var skippedInARow = 0

    /// Words that must make sense before an alignment is believed.
    static let lookahead = 4
    /// A step this much longer than the mean asks for a second look.
    private static let suspicionFactor = 32.0
    private static let suspicionFloor = 65536.0

    package init(format: TDC1WordFormat, channelMap: [UInt8]) {
        self.format = format
        self.channelMap = channelMap
        bits = BitWatch(width: format.counterBits, ticksPerSecond: format.ticksPerSecond)
    }

    /// The tick since which a channel seems to be stuck; nil while nothing is suspicious.
    var suspectSince: UInt64? { contradictions?.since }

    /// Decodes `bytes`; a few may be kept until more arrive.
    ///
    /// - Parameter isLast: nothing follows, so what can not be checked is taken as it is.
    package mutating func decode(
        _ bytes: [UInt8], isLast: Bool = false, into collector: inout TagCollector
    ) {
        pending += bytes
        var index = 0
        while index + 4 <= pending.count {
            let word = self.word(at: index)
            let step = self.step(to: word)
            if format.isValid(word), !isSuspicious(step) {
                accept(word, step, &collector)
                index += 4
                continue
            }
            let needed = 4 * (Self.lookahead + 1) + 2
            if index + needed > pending.count, !isLast { break }
            if let span = span(at: index), !isMuchShorter(self.span(at: index + 2), than: span) {
                accept(word, step, &collector)
                index += 4
            } else {
                noteContradiction(word, step, at: index)
                if skippedInARow == 0, step > format.maxStep, format.isValid(word) {
                    collector.wentBack(by: format.period - step)
                }
                skip(2, &index, &collector)
            }
        }
        pending.removeFirst(min(index, pending.count))
        if isLast { pending.removeAll() }
    }

    private func word(at index: Int) -> UInt32 {
        UInt32(pending[index]) | UInt32(pending[index + 1]) << 8
            | UInt32(pending[index + 2]) << 16 | UInt32(pending[index + 3]) << 24
    }

    private func step(to word: UInt32) -> UInt64 {
        guard hasStarted else { return 0 }
        return (format.time(word) &- lastRaw) & (format.period - 1)
    }

    private func isSuspicious(_ step: UInt64) -> Bool {
        step > format.maxStep
            || Double(step) > Self.suspicionFactor * meanStep + Self.suspicionFloor
    }

    /// The time the next words take when they begin at `index`; nil when they make no sense: one is
    /// neither event nor dummy, or a step is longer than dummy words allow.
    ///
    /// The limit holds for the first step too, even after a loss: a longer gap would leave the number
    /// of wraps unknown, and with it all later times.
    private func span(at index: Int) -> UInt64? {
        var previous = lastRaw
        var isFirst = !hasStarted
        var position = index
        var total: UInt64 = 0
        for _ in 0...Self.lookahead {
            guard position + 4 <= pending.count else { break }
            let word = self.word(at: position)
            guard format.isValid(word) else { return nil }
            let time = format.time(word)
            let step = isFirst ? 0 : (time &- previous) & (format.period - 1)
            guard step <= format.maxStep else { return nil }
            total += step
            isFirst = false
            previous = time
            position += 4
        }
        return position > index ? total : nil
    }

    /// Words in the wrong alignment seem to take hundreds of milliseconds, whatever the rate is.
    private func isMuchShorter(_ span: UInt64?, than other: UInt64) -> Bool {
        guard let span else { return false }
        return span < other / 16
    }

    /// The time up to which no later word can show a word to have been wrong.
    package var settledTick: UInt64 { recentTicks[recentIndex] }

    @inline(__always)
    private mutating func accept(_ word: UInt32, _ step: UInt64, _ collector: inout TagCollector) {
        let raw = format.time(word)
        // The counter starts at zero with the acquisition, so the first word counts from there.
        let ticks = hasStarted ? collector.lastTick + step : raw
        recentTicks[recentIndex] = collector.lastTick
        recentIndex = (recentIndex + 1) % Self.lookahead
        meanStep += (Double(step) - meanStep) / 16
        hasStarted = true
        skippedInARow = 0
        lastRaw = raw
        let channels = format.channels(word)
        guard channels != 0 else {
            lastDummy = ticks
            contradictions = nil
            collector.advance(to: ticks)
            return
        }
        collector.add(ticks: ticks, channels: channels, map: channelMap)
        // Dummy words are no samples: their times are round.
        guard bits.isDue(at: ticks) else { return }
        if let (bit, since) = bits.sample(counter: raw, ticks: ticks), fault == nil {
            fault = (.stuckBit(bit), since)
        }
    }

    /// Counts dummy words that have channels, in their place in an otherwise good stream.
    private mutating func noteContradiction(_ word: UInt32, _ step: UInt64, at index: Int) {
        guard skippedInARow == 0, format.contradicts(word), step <= format.maxStep,
            index + 8 <= pending.count
        else { return }
        let next = self.word(at: index + 4)
        guard format.isValid(next),
            (format.time(next) &- format.time(word)) & (format.period - 1) <= format.maxStep
        else { return }
        var found = contradictions ?? (0, format.channels(word), lastDummy)
        found.count += 1
        found.channels &= format.channels(word)
        contradictions = found.channels == 0 ? nil : found
        if found.channels != 0, found.count >= Self.mostContradictions, fault == nil {
            fault = (.stuckChannels(found.channels), found.since)
        }
    }

    private mutating func skip(
        _ count: Int, _ index: inout Int, _ collector: inout TagCollector
    ) {
        index += count
        skippedInARow += count
        collector.beginLoss(from: settledTick, reason: .corruptRecords)
    }
}
