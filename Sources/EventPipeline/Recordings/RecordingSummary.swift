import LinkTypes
import Quantities

/// What a recording holds: the content of `berek inspect`.
public struct RecordingSummary: Sendable {
    /// One input of the recorder.
    public struct Channel: Hashable, Sendable {
        /// The channel number; `RecordedBlock.syncChannel` is the sync input.
        public var number: UInt8
        /// Its clicks.
        public var clicks: UInt64
        /// The shortest time between two of them, in picoseconds, or `nil` below two clicks.
        public var shortestInterval: Int64?
        /// "sync" or the number.
        public var name: String {
            number == RecordedBlock.syncChannel ? "sync" : String(number)
        }
    }

    /// What the recording says about itself.
    public let recording: RecordingDescription
    /// The records by kind.
    public private(set) var counts = RecordCounts()
    /// The channels with clicks, in order.
    public var channels: [Channel] {
        (0..<256).compactMap { number in
            guard clicksOfChannel[number] > 0 else { return nil }
            let interval = shortestOfChannel[number]
            return Channel(
                number: UInt8(number), clicks: clicksOfChannel[number],
                shortestInterval: interval == .max ? nil : interval)
        }
    }
    /// The time of the first and the last click in seconds on the recorder's counter.
    public private(set) var clickTimes: ClosedRange<Double>?
    /// The time between a click and the one before it in the file, in powers of two: bin 0 counts
    /// intervals of less than 1 ps, bin k those of 2^(k−1) up to 2^k ps. Steps backwards are not in
    /// it.
    public private(set) var intervals = [UInt64](repeating: 0, count: 64)
    /// What a reader must know to trust the numbers.
    public private(set) var findings: [RecordingFinding] = []

    private var clicksOfChannel = [UInt64](repeating: 0, count: 256)
    private var shortestOfChannel = [Int64](repeating: .max, count: 256)
    private var lastOfChannel = [Int64](repeating: -1, count: 256)
    private var lastTime: Int64 = -1

    /// Reads a recording to its end. Throws what the reader throws.
    public init(reading reader: inout RecordingReader) throws(RecordingError) {
        recording = reader.description
        while let block = try reader.next() { take(block) }
        findings = reader.findings
        if counts.orderViolations > 0 {
            findings.append(
                RecordingFinding(
                    .warning, offset: 0,
                    "\(counts.orderViolations) event(s) are earlier than one before them"))
        }
    }

    /// The duration that rates refer to, in seconds: as announced, else from first to last click.
    public var duration: Double? {
        if let announced = recording.announcedDuration { return announced }
        guard let clickTimes, clickTimes.upperBound > clickTimes.lowerBound else { return nil }
        return clickTimes.upperBound - clickTimes.lowerBound
    }

    /// The records the header announces and the file does not hold.
    public var missingRecords: UInt64 {
        guard let announced = recording.announcedRecords else { return 0 }
        return announced > counts.records ? announced - counts.records : 0
    }

    private mutating func take(_ block: RecordedBlock) {
        counts += block.counts
        let scale = recording.tickPeriod.picoseconds * 1e-12
        for (index, tag) in block.tags.enumerated() {
            let channel = Int(tag.channel)
            clicksOfChannel[channel] += 1
            let micro = recording.isT3 ? block.microtimes[index] : 0
            let seconds =
                Double(tag.ticks) * scale
                + Double(micro) * (recording.microtimePeriod?.picoseconds ?? 0) * 1e-12
            clickTimes =
                clickTimes.map { min($0.lowerBound, seconds)...max($0.upperBound, seconds) }
                ?? seconds...seconds
            guard let time = recording.picoseconds(ticks: tag.ticks, microtime: micro) else {
                continue
            }
            if lastTime >= 0, time >= lastTime {
                let interval = time - lastTime
                intervals[interval == 0 ? 0 : 64 - interval.leadingZeroBitCount] += 1
            }
            if lastOfChannel[channel] >= 0, time >= lastOfChannel[channel] {
                shortestOfChannel[channel] = min(
                    shortestOfChannel[channel], time - lastOfChannel[channel])
            }
            lastTime = time
            lastOfChannel[channel] = time
        }
    }

    /// The summary as a JSON document with stable names.
    public var json: JSONText {
        var members = identityMembers
        members += countMembers
        members += timeMembers
        members.append(("channels", .array(channels.map { channelMembers($0) })))
        members.append(("intervals", .array(intervalMembers)))
        members.append(("findings", .array(findings.map { findingMembers($0) })))
        return .object(members)
    }

    private var identityMembers: [(String, JSONText)] {
        let tick = recording.tickPeriod
        let exact: JSONText = .array([.integer(tick.numerator), .integer(tick.denominator)])
        let device: JSONText = recording.device.map { .string($0) } ?? .null
        let micro: JSONText = recording.microtimePeriod.map { .number($0.picoseconds) } ?? .null
        return [
            ("format", .string(recording.format.name)),
            ("record_type", .string(recording.recordType)), ("device", device),
            ("tick_ps", .number(tick.picoseconds)), ("tick_ps_exact", exact),
            ("microtime_ps", micro),
        ]
    }

    private var timeMembers: [(String, JSONText)] {
        func seconds(_ value: Double?) -> JSONText { value.map { .number($0) } ?? .null }
        return [
            ("duration_header_s", seconds(recording.announcedDuration)),
            ("first_click_s", seconds(clickTimes?.lowerBound)),
            ("last_click_s", seconds(clickTimes?.upperBound)), ("duration_s", seconds(duration)),
            ("rate_hz", rate(of: counts.clicks)),
        ]
    }

    private func findingMembers(_ finding: RecordingFinding) -> JSONText {
        .object([
            ("severity", .string(finding.severity.rawValue)), ("offset", .count(finding.offset)),
            ("message", .string(finding.message)),
        ])
    }

    private var countMembers: [(String, JSONText)] {
        let announced: JSONText = recording.announcedRecords.map { .count($0) } ?? .null
        let numbers: [(String, UInt64)] = [
            ("records", counts.records), ("events", counts.events), ("clicks", counts.clicks),
            ("markers", counts.markers), ("overflow_records", counts.overflowRecords),
            ("overflows", counts.overflows), ("void_records", counts.voids),
            ("empty_records", counts.empty), ("corrupt_records", counts.corrupt),
            ("missing_records", missingRecords), ("order_violations", counts.orderViolations),
        ]
        var members = [("records_header", announced)]
        for (name, number) in numbers { members.append((name, .count(number))) }
        return members
    }

    private func rate(of clicks: UInt64) -> JSONText {
        duration.map { .number(Double(clicks) / $0) } ?? .null
    }

    private func channelMembers(_ channel: Channel) -> JSONText {
        .object([
            ("channel", .string(channel.name)), ("clicks", .count(channel.clicks)),
            ("rate_hz", rate(of: channel.clicks)),
            ("shortest_interval_ps", channel.shortestInterval.map { .integer($0) } ?? .null),
        ])
    }

    /// The bins between the first and the last that count anything.
    private var intervalMembers: [JSONText] {
        guard let first = intervals.firstIndex(where: { $0 > 0 }),
            let last = intervals.lastIndex(where: { $0 > 0 })
        else { return [] }
        return (first...last).map { bin in
            let end: UInt64 = 1 << UInt64(bin)
            let members: [(String, JSONText)] = [
                ("from_ps", .count(bin == 0 ? 0 : end / 2)), ("to_ps", .count(end)),
                ("count", .count(intervals[bin])),
            ]
            return .object(members)
        }
    }
}

extension RecordingDescription {
    /// The time of an event in whole picoseconds, or `nil` beyond 106 days.
    func picoseconds(ticks: UInt64, microtime: UInt16) -> Int64? {
        var sum = Int128(ticks) * Int128(tickPeriod.numerator) / Int128(tickPeriod.denominator)
        if let period = microtimePeriod {
            sum += Int128(microtime) * Int128(period.numerator) / Int128(period.denominator)
        }
        return Int64(exactly: sum)
    }
}
