import HostIO
import Instruments
import LinkTypes
import Quantities

/// The state of one running acquisition of an FPGA tagger. Belongs to the driver actor.
final class TimetagAcquisition {
    let number: UInt64
    let blocks: BlockQueue
    let interval: Duration
    var collector: TagCollector
    var decoder: TimetagStreamDecoder
    var clock: CounterClock
    var history = RecordHistory()
    var length: PacketLengthControl
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
    /// Up to where everything has certainly arrived, as the tagger's counters tell.
    var settled: UInt64 = 0

    init(
        number: UInt64, blocks: BlockQueue, collector: TagCollector,
        decoder: TimetagStreamDecoder, length: PacketLengthControl, interval: Duration,
        reactor: any Reactor
    ) {
        self.number = number
        self.blocks = blocks
        self.collector = collector
        self.decoder = decoder
        self.length = length
        self.interval = min(max(interval, .milliseconds(5)), .milliseconds(100))
        clock = CounterClock(tickPeriod: collector.tickPeriod, start: reactor.now)
        lastArrival = reactor.now
        pumpEnded = WakeUp(on: reactor)
    }

    /// When the next record of the stream can have been made.
    func bounds(at now: HostInstant) -> TimetagBounds {
        let earliest = history.madeAfter(record: decoder.recordCount).map(clock.earliest) ?? 0
        return TimetagBounds(earliest: earliest, latest: clock.latest(at: now))
    }

    /// Takes an answer to a poll of the tagger's counters.
    ///
    /// - Parameters:
    ///   - records: how many the FIFO has taken.
    ///   - lost: how many found it full.
    ///   - asked: when the question was sent; `answered`: when the answer was here.
    func note(records: UInt32, lost: UInt32, asked: HostInstant, answered: HostInstant) {
        let count = history.note(records: records, asked: asked)
        history.note(lost: lost, before: count, end: clock.latest(at: answered))
        let arrived = decoder.recordCount &+ history.missing
        guard arrived >= count, waitingSince != nil, !collector.hasOpenLoss else { return }
        // All that was made before the question has arrived, and nothing since may be known of.
        if let end = history.takeUnexplainedLoss(arrived: arrived) {
            collector.lose(from: collector.lastTick + 1, to: end, reason: .deviceOverflow)
        }
        settled = max(settled, clock.earliest(at: asked))
    }

    /// Whether the tagger has made records that are not here although nothing is on its way any more.
    func noteMissing(quiet: Duration, at now: HostInstant) {
        guard waitingSince != nil, now - lastArrival >= quiet,
            let missing = history.standing(arrived: decoder.recordCount)
        else { return }
        history.missing = missing
        collector.closeLoss(at: clock.latest(at: now))
        collector.lose(
            from: collector.promised, to: clock.latest(at: now), reason: .transferFailure)
    }

    /// Up to where everything has arrived: records come in order of time.
    var promise: UInt64 { max(decoder.settledTick, settled) }
}

/// What the host's clock says about the tagger's counter.
struct CounterClock {
    private let ticksPerNanosecond: Double
    private var start: HostInstant
    /// An instant, and a time the counter had surely reached by then.
    private var anchor: (instant: HostInstant, ticks: UInt64)

    /// The tagger's and the host's clock together are never off by more than this.
    private static let tolerance = 1e-3
    /// How much later than its request the host may note the start of the counter, in nanoseconds.
    private static let slack = 1e6

    init(tickPeriod: TickPeriod, start: HostInstant) {
        ticksPerNanosecond = 1000 / tickPeriod.picoseconds
        self.start = start
        anchor = (start, 0)
    }

    /// The counter was started between two instants.
    mutating func started(between sent: HostInstant, and answered: HostInstant) {
        start = sent
        anchor = (answered, 0)
    }

    /// The counter had reached `ticks` by `instant`.
    mutating func note(ticks: UInt64, at instant: HostInstant) {
        if ticks > earliest(at: instant) { anchor = (instant, ticks) }
    }

    /// The latest time the counter can show at `instant`.
    func latest(at instant: HostInstant) -> UInt64 {
        let elapsed = Double((instant - start).wholeNanoseconds) * (1 + Self.tolerance)
        return UInt64(max(0, elapsed + Self.slack) * ticksPerNanosecond)
    }

    /// A time the counter has surely reached by `instant`.
    func earliest(at instant: HostInstant) -> UInt64 {
        let elapsed = Double((instant - anchor.instant).wholeNanoseconds)
        if elapsed >= 0 {
            return anchor.ticks + UInt64(elapsed * (1 - Self.tolerance) * ticksPerNanosecond)
        }
        // Before the anchor the counter was behind it by no more than the time between.
        let back = UInt64(-elapsed * (1 + Self.tolerance) * ticksPerNanosecond) + 1
        return anchor.ticks > back ? anchor.ticks - back : 0
    }
}

/// How many records the tagger had made when: what its counters told at each poll.
struct RecordHistory {
    private var polls: [(records: UInt64, asked: HostInstant)] = []
    private var lost: UInt32 = 0
    private var loss: (before: UInt64, end: UInt64)?
    private var repeated = 0
    /// Records that were made and will not arrive, because bytes of them are gone.
    var missing: UInt64 = 0

    private static let limit = 4096

    /// Notes an answer; returns the count without the wraps of its 32 bits.
    mutating func note(records: UInt32, asked: HostInstant) -> UInt64 {
        let last = polls.last?.records ?? 0
        let count = last &+ UInt64(records &- UInt32(truncatingIfNeeded: last))
        repeated = count == last && !polls.isEmpty ? repeated + 1 : 0
        if count == last, !polls.isEmpty {
            polls[polls.count - 1].asked = asked
        } else {
            polls.append((count, asked))
            // The older half says least about what is still to come.
            if polls.count > Self.limit { polls.removeFirst(Self.limit / 2) }
        }
        return count
    }

    /// Forgets what says nothing about records after `record`.
    mutating func prune(before record: UInt64) {
        if let index = polls.lastIndex(where: { $0.records <= record &+ missing }), index > 0 {
            polls.removeFirst(index)
        }
    }

    /// The last question that was asked before the record that follows `record` others was made.
    func madeAfter(record: UInt64) -> HostInstant? {
        polls.last { $0.records <= record &+ missing }?.asked
    }

    /// Notes how many records found the FIFO full. The last of them is told by the record after
    /// `before` others, if that is ever made.
    mutating func note(lost: UInt32, before: UInt64, end: UInt64) {
        guard lost != self.lost else { return }
        self.lost = lost
        loss = (before, end)
    }

    /// Whether records were ever lost.
    var hasLost: Bool { lost != 0 }

    /// The end of a loss that no record has told of, once all of them are here.
    mutating func takeUnexplainedLoss(arrived: UInt64) -> UInt64? {
        defer { loss = nil }
        guard let loss, arrived <= loss.before else { return nil }
        return loss.end
    }

    /// How many records are missing for good: nil while none is, or more may come.
    func standing(arrived: UInt64) -> UInt64? {
        guard repeated >= 2, let count = polls.last?.records, count != arrived &+ missing else {
            return nil
        }
        return count &- arrived
    }
}

/// Chooses how many bytes make a packet, so that records wait as long as was asked for and no packet is
/// smaller than it needs to be.
struct PacketLengthControl {
    /// Records in a packet, as the tagger was told last.
    private(set) var records: Int
    private let largest: Int
    private let interval: Double
    private var window: (records: UInt64, start: HostInstant)

    /// A quarter of the interval, so that the last record of a packet does not wait for all of it.
    private static let share = 0.25

    /// - Parameters:
    ///   - largest: records in the largest packet, which the tagger starts with: a packet for each
    ///     record would choke it at high rates.
    ///   - interval: how long a record may wait.
    init(largest: Int, interval: Duration, start: HostInstant) {
        self.largest = largest
        self.interval = interval.inSeconds
        records = largest
        window = (0, start)
    }

    /// The number of records to tell the tagger, or nil when the present one will do.
    mutating func next(records count: UInt64, at now: HostInstant) -> Int? {
        let span = (now - window.start).inSeconds
        guard span >= interval else { return nil }
        let arrived = Double(count - window.records)
        window = (count, now)
        let wanted = max(1, min(largest, Int(arrived / span * interval * Self.share)))
        // Each change sends what is there, so small ones are not worth it.
        let isFar = wanted >= 2 * records || 2 * wanted <= records
        guard isFar || (wanted == largest && records != largest) else { return nil }
        return wanted
    }

    /// The tagger has been told.
    mutating func set(_ records: Int) { self.records = records }
}
