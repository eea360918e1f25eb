import HostIO
import Instruments
import LinkTypes
import Quantities

/// The state of one running acquisition of a CQT card. Belongs to the driver actor.
final class CQTAcquisition {
    let number: UInt64
    let blocks: BlockQueue
    let flushTicks: Int
    let holdTime: Duration
    let tickInterval: Duration
    var collector: TagCollector
    var decoder: CQTStreamDecoder
    var overflow: OverflowWatch
    var watch: CounterWatch
    var queue: (any USBInQueue)?
    var outstanding = 0
    var failuresInARow = 0
    /// Since when the pump has been waiting for a completion; nil while it works or is held back.
    var waitingSince: HostInstant?
    var lastArrival: HostInstant
    var isStopping = false
    /// Set once the transfers are being cancelled: buffers are no longer handed back.
    var isCancelling = false
    var failure: DriverError?
    let pumpEnded: WakeUp

    private let ticksPerNanosecond: Double
    private var resetTime: HostInstant
    /// An instant, and a time the card's counter had surely reached by then.
    private var anchor: (instant: HostInstant, ticks: UInt64)

    /// The card's and the host's clock together are never off by more than this.
    private static let clockTolerance = CounterWatch.tolerance
    /// The counter was reset no longer than this before the host knew, which is told on completion.
    private static let resetDelay = Duration.milliseconds(20)
    /// How late the host's stack and scheduler hand over a completion in ordinary operation.
    static let hostDelay = Duration.milliseconds(20)
    /// How late a completion may reach us after the card sent the packet.
    private static let deliveryMargin = Duration.milliseconds(250)

    init(
        number: UInt64, blocks: BlockQueue, collector: TagCollector, decoder: CQTStreamDecoder,
        overflow: OverflowWatch, watch: CounterWatch, flush: FlushTiming, reactor: any Reactor
    ) {
        self.number = number
        self.blocks = blocks
        self.collector = collector
        self.decoder = decoder
        self.overflow = overflow
        self.watch = watch
        flushTicks = flush.ticks
        holdTime = flush.longestHold + Self.deliveryMargin
        tickInterval = flush.interval
        pumpEnded = WakeUp(on: reactor)
        lastArrival = reactor.now
        resetTime = reactor.now
        anchor = (reactor.now, 0)
        ticksPerNanosecond = 1000 / collector.tickPeriod.picoseconds
    }

    /// How the card hands over packets that are not full.
    struct FlushTiming {
        var ticks: Int
        var longestHold: Duration
        /// The greatest age of the last record of a packet when it is sent.
        var greatestAge: Duration
        var interval: Duration

        /// - Parameters:
        ///   - wanted: the longest time a tag may wait when no other follows.
        ///   - unit: the card's timer period.
        ///   - patience: how many periods in a row a packet must not grow to be sent.
        ///   - packetRecords: records in a full packet.
        init(wanted: Duration, unit: Duration, patience: Int, packetRecords: Int) {
            // The firmware compares the byte count once per period and sends the packet after
            // `patience` equal comparisons, so a lone tag waits up to one period more.
            let periods = wanted.inSeconds / (unit.inSeconds * Double(patience + 1))
            ticks = Int(min(max(periods, 1), 255))
            let period = unit * ticks
            // A trickle of one tag every `patience` periods is never flushed: the packet leaves when
            // it is full.
            longestHold = period * (packetRecords * patience + patience + 1)
            greatestAge = period * (patience + 1)
            interval = min(max(wanted, .milliseconds(5)), .milliseconds(100))
        }
    }

    func counterReset(at instant: HostInstant) {
        resetTime = instant
        watch.started(at: instant)
    }

    func noteStart(at instant: HostInstant) { anchor = (instant, 0) }

    /// The latest time the counter can show at `instant`.
    func latestTick(at instant: HostInstant) -> UInt64 {
        let delay = Self.resetDelay.wholeNanoseconds
        let elapsed = Double((instant - resetTime).wholeNanoseconds) * (1 + Self.clockTolerance)
        let sinceReset = UInt64(max(0, elapsed + Double(delay)) * ticksPerNanosecond)
        return min(sinceReset, watch.latestTick(at: instant))
    }

    /// Improves the bound of the counter by what has just arrived.
    func noteArrival(at instant: HostInstant) {
        lastArrival = instant
        if collector.lastTick > earliestTick(at: instant) {
            anchor = (instant, collector.lastTick)
        }
    }

    /// A time the counter has surely reached by `instant`.
    private func earliestTick(at instant: HostInstant) -> UInt64 {
        let elapsed = Double((instant - anchor.instant).wholeNanoseconds)
        guard elapsed > 0 else { return elapsed == 0 ? anchor.ticks : 0 }
        return anchor.ticks
            + UInt64(elapsed * (1 - Self.clockTolerance) * ticksPerNanosecond)
    }

    /// Up to where everything has arrived, by the order of the stream and by silence.
    ///
    /// Records come in order of time, so the latest one is a bound. When nothing comes, every record
    /// older than the longest time the card may keep one must have come; that holds only while the
    /// pump is waiting, because otherwise records may lie in completed transfers.
    func arrivedThrough(at instant: HostInstant) -> UInt64 {
        guard waitingSince != nil else { return collector.lastTick }
        let horizon = HostInstant(
            nanoseconds: instant.nanoseconds - holdTime.wholeNanoseconds)
        guard horizon > anchor.instant else { return collector.lastTick }
        return max(collector.lastTick, earliestTick(at: horizon))
    }
}

/// Finds the intervals in which the card inhibited its inputs because its FIFO was full.
///
/// The firmware shows an overflow as a status level that goes away with it; the stream shows only a
/// gap. So the status is polled, and everything between the last poll that found the FIFO in order
/// and the end of the overflow is marked, including the time the FIFO takes to empty. An overflow too
/// short for a poll to see can only happen while the card is near its greatest rate or the host has
/// held it back; then a gap far longer than the distance of tags is marked as well.
struct OverflowWatch {
    /// How long the card needs to hand over a full FIFO.
    let drainTime: Duration
    /// Records per second above which a gap is suspicious.
    let suspiciousRate: Double

    private(set) var isOverflowing = false
    /// The time up to which the stream is known to be free of overflow, or marked as lost.
    private(set) var cleanThrough: UInt64 = 0
    /// Whether the host held the transfers back since the last poll.
    var heldBack = false
    private var calmSince: HostInstant?
    private var windowStart: (records: UInt64, instant: HostInstant)

    /// A gap this many times the mean distance does not happen by chance: e to the minus 32.
    private static let gapFactor = 32.0

    /// - Parameters:
    ///   - records: how many fit into the card's buffers.
    ///   - greatestRate: records per second the card can hand over.
    init(records: Int, greatestRate: Double, start: HostInstant) {
        drainTime = .nanoseconds(Int64(2e9 * Double(records) / greatestRate))
        suspiciousRate = greatestRate / 2
        windowStart = (0, start)
    }

    /// Takes the answer to a poll.
    ///
    /// - Parameters:
    ///   - arrivedBefore: up to where everything had arrived when the question was sent.
    ///   - isWaiting: whether no completed transfer is left to decode.
    mutating func note(
        overflow: Bool, arrivedBefore: UInt64, isWaiting: Bool, at instant: HostInstant,
        decoder: inout CQTStreamDecoder, collector: inout TagCollector
    ) {
        defer {
            windowStart = (decoder.recordCount, instant)
            decoder.resetGap(at: collector.lastTick)
            heldBack = false
        }
        if overflow { isOverflowing = true }
        guard isOverflowing else {
            markSuspiciousGap(at: instant, decoder, &collector)
            cleanThrough = max(cleanThrough, arrivedBefore)
            return
        }
        // What was made before the overflow ended may still be on its way: it counts as affected
        // until the card has had the time to hand everything over.
        let tick = max(arrivedBefore, collector.lastTick)
        if tick > cleanThrough {
            collector.lose(from: cleanThrough, to: tick, reason: .deviceOverflow)
            cleanThrough = tick
        }
        if overflow || heldBack || !isWaiting {
            calmSince = nil
        } else if let calmSince, instant - calmSince >= drainTime {
            isOverflowing = false
            self.calmSince = nil
        } else if calmSince == nil {
            calmSince = instant
        }
    }

    private func markSuspiciousGap(
        at instant: HostInstant, _ decoder: CQTStreamDecoder, _ collector: inout TagCollector
    ) {
        let records = Double(decoder.recordCount - windowStart.records)
        let seconds = (instant - windowStart.instant).inSeconds
        guard records > 64, seconds > 0, heldBack || records / seconds > suspiciousRate else {
            return
        }
        let gap = decoder.longestGap
        let span = Double(collector.lastTick - min(cleanThrough, collector.lastTick))
        guard Double(gap.end - gap.start) > Self.gapFactor * span / records else { return }
        collector.lose(from: gap.start, to: gap.end, reason: .deviceOverflow)
    }
}
