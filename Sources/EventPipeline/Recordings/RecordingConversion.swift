import LinkTypes
import Quantities

/// A format recordings are converted to.
public enum ConversionFormat: Hashable, Sendable {
    /// S-Fifteen raw events; not `.fast32`.
    case sFifteen(SFifteenEncoding, SFifteenLayout)
    /// A line for each click or marker: time in picoseconds, kind, channel or marker mask; for T3
    /// also the sync count and the microtime.
    case csv

    /// The names used on the command line, with their formats.
    public static let all: [(name: String, format: ConversionFormat)] =
        SFifteenEncoding.allCases.flatMap { encoding in
            SFifteenLayout.allCases.filter { $0 != .fast32 }.map {
                ("\(encoding.rawValue)-\($0.rawValue)", .sFifteen(encoding, $0))
            }
        } + [("csv", .csv)]
}

/// What a conversion wrote, and what it could not carry over.
public struct ConversionReport: Hashable, Sendable {
    /// The records or lines written.
    public internal(set) var recordsWritten: UInt64 = 0
    /// The clicks they hold.
    public internal(set) var clicksWritten: UInt64 = 0
    /// Clicks of channels the format has no bit for.
    public internal(set) var clicksOfOtherChannels: UInt64 = 0
    /// Clicks that fell onto an earlier one of their channel when times were rounded.
    public internal(set) var clicksCollapsed: UInt64 = 0
    /// Markers the format can not hold.
    public internal(set) var markersDropped: UInt64 = 0
    /// Corrupt records of the source, which have no place in the target.
    public internal(set) var lossesDropped: UInt64 = 0
    /// Clicks and markers whose time is not a whole number of the target's ticks.
    public internal(set) var timesRounded: UInt64 = 0
    /// The largest change of a time by rounding, in picoseconds.
    public internal(set) var largestRounding: Double = 0
    /// Steps over half the range of the target's counter or more, across which a reader can not
    /// know the number of laps.
    public internal(set) var ambiguousSteps: UInt64 = 0

    /// Whether the target holds everything the source did.
    public var isLossless: Bool {
        clicksOfOtherChannels == 0 && clicksCollapsed == 0 && markersDropped == 0
            && lossesDropped == 0 && timesRounded == 0 && ambiguousSteps == 0
    }

    /// The report as a JSON document with stable names.
    public var json: JSONText {
        .object([
            ("records_written", .count(recordsWritten)), ("clicks_written", .count(clicksWritten)),
            ("clicks_of_other_channels", .count(clicksOfOtherChannels)),
            ("clicks_collapsed", .count(clicksCollapsed)),
            ("markers_dropped", .count(markersDropped)),
            ("losses_dropped", .count(lossesDropped)), ("times_rounded", .count(timesRounded)),
            ("largest_rounding_ps", .number(largestRounding)),
            ("ambiguous_steps", .count(ambiguousSteps)), ("lossless", .bool(isLossless)),
        ])
    }
}

/// Copies a recording into another format.
///
/// `detectorChannels` names the source's channel for each of the four bits of an S-Fifteen
/// pattern. Times are rounded to the nearest tick of the target, half up, from exact fractions.
/// Throws what the reader and the sink throw; the sink is closed only on success.
public func convertRecording(
    _ reader: inout RecordingReader, to format: ConversionFormat, sink: inout some ByteSink,
    detectorChannels: [UInt8] = [0, 1, 2, 3]
) throws(RecordingError) -> ConversionReport {
    precondition(detectorChannels.count == 4)
    var writer = ConversionWriter(
        format: format, source: reader.description, detectorChannels: detectorChannels)
    while let block = try reader.next() {
        try writer.take(block)
        try sink.write(writer.takeOutput())
    }
    writer.flushEvent()
    try sink.write(writer.takeOutput())
    try sink.close()
    return writer.report
}

/// Encodes blocks; keeps one event back, because clicks of one tick share a record.
private struct ConversionWriter {
    let format: ConversionFormat
    let source: RecordingDescription
    var report = ConversionReport()
    private var bitOfChannel = [UInt8](repeating: 255, count: 256)
    private var output: [UInt8] = []
    private var event: (ticks: UInt64, pattern: UInt8)?
    private var lastTicks: UInt64?
    /// The unit of the target's times as a fraction of picoseconds.
    private let unit: TickPeriod

    init(format: ConversionFormat, source: RecordingDescription, detectorChannels: [UInt8]) {
        self.format = format
        self.source = source
        for (bit, channel) in detectorChannels.enumerated() {
            bitOfChannel[Int(channel)] = UInt8(bit)
        }
        switch format {
        case .sFifteen(_, let layout): unit = layout.tickPeriod
        case .csv:
            // Microscopic enough to be exact for 1/256 ns, and decimal.
            unit = TickPeriod(numerator: 1, denominator: 1_000_000)
            output += Array((source.isT3 ? Self.t3Title : Self.title).utf8)
        }
    }

    private static let title = "time_ps,kind,channel\n"
    private static let t3Title = "time_ps,kind,channel,sync_count,microtime\n"

    mutating func takeOutput() -> [UInt8] {
        defer { output.removeAll(keepingCapacity: true) }
        return output
    }

    mutating func take(_ block: RecordedBlock) throws(RecordingError) {
        report.lossesDropped += block.counts.corrupt
        var markerIndex = 0
        for (index, tag) in block.tags.enumerated() {
            if format == .csv {
                while markerIndex < block.markers.count,
                    block.markers[markerIndex].ticks.rawValue <= tag.ticks
                {
                    try write(block.markers[markerIndex])
                    markerIndex += 1
                }
            }
            let micro = source.isT3 ? block.microtimes[index] : 0
            try write(tag, microtime: micro)
        }
        if format == .csv {
            for marker in block.markers[markerIndex...] { try write(marker) }
        } else {
            report.markersDropped += UInt64(block.markers.count)
        }
    }

    private mutating func write(_ tag: TimeTag, microtime: UInt16) throws(RecordingError) {
        switch format {
        case .csv:
            let time = try convert(ticks: tag.ticks, microtime: microtime)
            let isSync = tag.channel == RecordedBlock.syncChannel
            writeLine(
                time, isSync ? "sync" : "click", isSync ? "" : String(tag.channel),
                ticks: tag.ticks, microtime: microtime)
            report.clicksWritten += 1
        case .sFifteen:
            let bit = bitOfChannel[Int(tag.channel)]
            guard bit < 4 else {
                report.clicksOfOtherChannels += 1
                return
            }
            let exact = try convert(ticks: tag.ticks, microtime: microtime)
            guard let time = UInt64(exactly: exact) else { throw .timeOutOfRange(offset: 0) }
            if let current = event, current.ticks == time {
                if current.pattern >> bit & 1 == 1 {
                    report.clicksCollapsed += 1
                } else {
                    event = (time, current.pattern | 1 << bit)
                    report.clicksWritten += 1
                }
                return
            }
            flushEvent()
            event = (time, 1 << bit)
            report.clicksWritten += 1
        }
    }

    private mutating func write(_ marker: RecordedMarker) throws(RecordingError) {
        let time = try convert(ticks: marker.ticks.rawValue, microtime: 0)
        writeLine(
            time, "marker", String(marker.mask), ticks: marker.ticks.rawValue, microtime: 0)
    }

    private mutating func writeLine(
        _ time: Int128, _ kind: String, _ channel: String, ticks: UInt64, microtime: UInt16
    ) {
        var line = String(time / 1_000_000)
        var fraction = time % 1_000_000
        if fraction > 0 {
            var digits = 6
            while fraction % 10 == 0 {
                fraction /= 10
                digits -= 1
            }
            let text = String(fraction)
            line += "." + String(repeating: "0", count: digits - text.utf8.count) + text
        }
        line += ",\(kind),\(channel)"
        if source.isT3 { line += ",\(ticks),\(microtime)" }
        output += Array(line.utf8)
        output.append(0x0A)
        report.recordsWritten += 1
    }

    /// Writes the event kept back.
    mutating func flushEvent() {
        guard case .sFifteen(let encoding, let layout) = format, let current = event else {
            return
        }
        event = nil
        let half: UInt64 = 1 << (63 - layout.timeShift)
        if let lastTicks {
            let step =
                current.ticks > lastTicks
                ? current.ticks - lastTicks : lastTicks - current.ticks
            if step >= half { report.ambiguousSteps += 1 }
        }
        lastTicks = current.ticks
        var word = current.ticks << layout.timeShift | UInt64(current.pattern)
        if layout.isSwapped { word = word << 32 | word >> 32 }
        report.recordsWritten += 1
        switch encoding {
        case .a1:
            for index in 0..<8 {
                output.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * index)))
            }
        case .a0:
            writeHex(word & 0xFFFF_FFFF, digits: 8)
            writeHex(word >> 32, digits: 8)
        case .a2: writeHex(word, digits: 16)
        }
    }

    private mutating func writeHex(_ value: UInt64, digits: Int) {
        let text = String(value, radix: 16)
        output += [UInt8](repeating: 0x30, count: digits - text.utf8.count)
        output += Array(text.utf8)
        output.append(0x0A)
    }

    /// The time of an event in units of the target, rounded half up from the exact fraction.
    private mutating func convert(
        ticks: UInt64, microtime: UInt16
    ) throws(RecordingError) -> Int128 {
        // time = (ticks · n/d + micro · m/e) ps, in units of u/v ps.
        let (n, d) = (Int128(source.tickPeriod.numerator), Int128(source.tickPeriod.denominator))
        let m = Int128(source.microtimePeriod?.numerator ?? 0)
        let e = Int128(source.microtimePeriod?.denominator ?? 1)
        let (u, v) = (Int128(unit.numerator), Int128(unit.denominator))
        // d and e are at most 2²⁷ and u at most 125, so the small products can not overflow.
        let (first, overflow1) = (Int128(ticks) * n).multipliedReportingOverflow(by: e * v)
        let (sum, overflow2) = first.addingReportingOverflow(Int128(microtime) * m * d * v)
        let divisor = d * e * u
        let (doubled, overflow3) = sum.multipliedReportingOverflow(by: 2)
        guard !overflow1, !overflow2, !overflow3, doubled < Int128.max - divisor else {
            throw .timeOutOfRange(offset: 0)
        }
        let quotient = (doubled + divisor) / (2 * divisor)
        let error = sum - quotient * divisor
        if error != 0 {
            report.timesRounded += 1
            let picoseconds = Double(abs(error)) / Double(divisor) * unit.picoseconds
            report.largestRounding = max(report.largestRounding, picoseconds)
        }
        return quotient
    }
}
