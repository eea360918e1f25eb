import HostIO
import LinkTypes
import Quantities

/// Judges every time a board prints by the host's clock: does it follow from the last ones, has the
/// board started anew, did its counter stand still? Also undoes the wrap of the seconds.
///
/// The header of the data is printed when the counter is zero, so both clocks are tied from the start.
/// The tie follows the drift of the two, and takes the promptest lines as its measure.
package struct TICCClock: Sendable {
    /// What became of a line.
    package enum Verdict: Hashable, Sendable {
        /// It follows, at this time. `isLate`: the lines before arrived, or were counted, so late that
        /// tags may be missing before it.
        case good(TICCTime, isLate: Bool)
        /// It can not be true.
        case implausible
    }

    /// Host time less board time of the promptest lines, in nanoseconds.
    private var tie: Int64
    private var lastArrival: HostInstant
    private var settled: [Int64]
    private var offsets: [Int64] = []
    private let format: TICCFormat
    /// Lines of which one at least was printed when its pulse came.
    private let window: Int

    /// The two clocks differ by less than this.
    private static let drift = 2e-4
    /// A line that arrives before its time by more than this is none.
    private static let earliest: Int64 = 250_000_000
    /// The latest a line arrives on a host that keeps up.
    private static let latest: Int64 = 500_000_000
    /// How far two inputs served in turn, and reports between them, may be out of order.
    static let disorder: Int64 = 20_000_000

    /// A board that began to count at `began`.
    package init(format: TICCFormat, group: Int, began: HostInstant) {
        self.format = format
        // Of any three lines printed in pairs, one is the later of its pair.
        window = group > 1 ? group + 1 : 1
        tie = began.nanoseconds
        lastArrival = began
        settled = Array(repeating: -Self.disorder, count: group > 1 ? group + 2 : 1)
    }

    /// The board's time at a host instant, in nanoseconds.
    package func boardTime(at instant: HostInstant) -> Int64 { instant.nanoseconds - tie }

    /// Judges a time that arrived at `arrival`.
    package mutating func judge(_ printed: TICCTime, arrival: HostInstant) -> Verdict {
        let allowance = Int64(
            Double(arrival.nanoseconds - lastArrival.nanoseconds) * Self.drift)
        let time = unwrapped(printed, near: boardTime(at: arrival))
        let nanoseconds = time.nanoseconds
        let offset = arrival.nanoseconds - nanoseconds
        guard offset >= tie - Self.earliest - allowance,
            nanoseconds >= settled[0] - Self.disorder
        else { return .implausible }
        lastArrival = arrival
        offsets.append(offset)
        if offsets.count > window { offsets.removeFirst() }
        settled.removeFirst()
        settled.append(max(settled.last ?? nanoseconds, nanoseconds))
        var isLate = false
        if offset < tie {
            tie = offset
        } else if offsets.count == window, let promptest = offsets.min() {
            isLate = promptest > tie + Self.latest + allowance
            tie = isLate ? promptest : min(promptest, tie + allowance)
        }
        return .good(time, isLate: isLate)
    }

    /// The time nearest to `expected` among those that print as `printed`.
    private func unwrapped(_ printed: TICCTime, near expected: Int64) -> TICCTime {
        guard format.wrapDigits > 0 else { return printed }
        var period: Int64 = 1
        for _ in 0..<format.wrapDigits { period *= 10 }
        let difference = Double(expected) / 1e9 - Double(printed.nanoseconds) / 1e9
        let wraps = max(0, Int64((difference / Double(period)).rounded()))
        return TICCTime(
            seconds: printed.seconds + wraps * period, picoseconds: printed.picoseconds)
    }
}

/// Brings the tags of one acquisition in order, and keeps account of what may be missing.
///
/// Three things are marked. Lines that could not be read, from the last time that was certain to the
/// next. Lines that came late, because a stalled path loses bytes and a stopped counter loses time.
/// And tags closer to the one before at the same input than the board needs to serve both inputs:
/// at such rates it passes over pulses and does not say so. What no mark tells is a single pulse
/// within that time after another; as with any dead time, it is not seen.
package struct TICCTagOrder {
    /// The second that the ticks count from.
    private let origin: Int64
    private let ticksPerSecond: Int64
    private let picosecondsPerTick: Int64
    private let busyTicks: UInt64
    private let disorderTicks: UInt64
    /// The running maximum after each of the last lines; the first is what later lines can not go
    /// below, but for the disorder.
    private var settled: [UInt64]
    private var waiting: [(ticks: UInt64, channel: UInt8)] = []
    private var lastOfChannel: [UInt64?]
    private var openLoss: (start: UInt64, end: UInt64, goodLines: Int, isLate: Bool)?
    package var collector: TagCollector

    /// - Parameter start: the board's time at the start of the acquisition, in nanoseconds.
    package init(
        start: Int64, tick: TickPeriod, group: Int, busy: Duration, channels: Int,
        collector: TagCollector
    ) {
        origin = Int64((Double(start) / 1e9).rounded(.down)) - 1
        picosecondsPerTick = tick.numerator
        ticksPerSecond = 1_000_000_000_000 / tick.numerator
        let perMicrosecond = 1_000_000 / tick.numerator
        busyTicks = UInt64(busy.inSeconds * 1e6) * UInt64(perMicrosecond)
        disorderTicks = UInt64(TICCClock.disorder / 1000 * perMicrosecond)
        lastOfChannel = Array(repeating: nil, count: channels)
        self.collector = collector
        let first = UInt64(max(0, start - origin * 1_000_000_000)) / 1000 * UInt64(perMicrosecond)
        settled = Array(repeating: first, count: group > 1 ? group + 2 : 1)
    }

    /// The ticks of a time; nil beyond what a tag holds, or before the acquisition.
    package func ticks(_ time: TICCTime) -> UInt64? {
        let seconds = time.seconds - origin
        guard seconds >= 0 else { return 0 }
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: ticksPerSecond)
        let total = UInt64(whole) + UInt64(time.picoseconds / picosecondsPerTick)
        return overflow || total >> 55 != 0 ? nil : total
    }

    private var certain: UInt64 { settled[0] - min(settled[0], disorderTicks) }

    /// Takes a tag; false when its ticks do not fit.
    package mutating func add(_ time: TICCTime, channel: UInt8, isLate: Bool) -> Bool {
        guard let ticks = ticks(time) else { return false }
        // Made before the acquisition began, and printed only now.
        if ticks + disorderTicks < settled[0] { return true }
        if isLate { beginLoss(isLate: true) }
        settled.removeFirst()
        settled.append(max(settled.last ?? ticks, ticks))
        waiting.append((ticks, channel))
        if var loss = openLoss {
            loss.end = max(loss.end, ticks + disorderTicks)
            loss.goodLines += 1
            openLoss = loss
            if loss.goodLines >= settled.count { closeLoss() }
        }
        release(before: certain)
        return true
    }

    /// A line could not be read: something is missing after the last certain time.
    package mutating func beginLoss(isLate: Bool = false) {
        if openLoss != nil {
            openLoss?.goodLines = 0
        } else {
            openLoss = (certain, certain, 0, isLate)
        }
    }

    private mutating func closeLoss() {
        guard let loss = openLoss else { return }
        openLoss = nil
        collector.lose(
            from: loss.start, to: loss.end,
            reason: loss.isLate ? .transferFailure : .corruptRecords)
    }

    private mutating func release(before limit: UInt64) {
        guard waiting.contains(where: { $0.ticks < limit }) else { return }
        waiting.sort { ($0.ticks, $0.channel) < ($1.ticks, $1.channel) }
        let end = waiting.firstIndex { $0.ticks >= limit } ?? waiting.count
        for (ticks, channel) in waiting[..<end] {
            if let last = lastOfChannel[Int(channel)], ticks - last < busyTicks {
                collector.lose(from: last, to: ticks, reason: .deviceOverflow)
            }
            lastOfChannel[Int(channel)] = ticks
            collector.add(ticks: ticks, channels: 1 << UInt32(channel), map: [0, 1])
        }
        waiting.removeFirst(end)
    }

    /// What can be handed over.
    package mutating func takeBlock(arrival: HostInstant) -> TagBlock? {
        collector.takeBlock(
            completeThrough: min(certain, openLoss?.start ?? .max), arrival: arrival)
    }

    /// The end of the acquisition: everything is handed over.
    ///
    /// - Parameter silence: how long nothing could be heard of the board before, as a loss.
    package mutating func finish(
        silence: (duration: Duration, reason: LossReason)? = nil, arrival: HostInstant
    ) -> TagBlock? {
        release(before: .max)
        closeLoss()
        if let silence {
            let start = certain
            let ticks = UInt64(max(0, silence.duration.inSeconds) * Double(ticksPerSecond))
            collector.lose(
                from: start, to: max(start, settled.last ?? 0) + ticks, reason: silence.reason)
            return collector.takeBlock(completeThrough: start, arrival: arrival)
        }
        return collector.takeBlock(completeThrough: collector.lastTick, arrival: arrival)
    }
}
