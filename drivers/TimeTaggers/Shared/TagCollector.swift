import HostIO
import LinkTypes
import Quantities

/// Gathers decoded tags and losses, and cuts them into blocks that keep the promises of `TagBlock`.
///
/// The promise that matters is `completeThrough`: once given, no later tag and no later loss may lie
/// before it. An interval that is lost but not yet over holds it back. Three kinds of loss break the
/// promise because they are known only later (`loseLate`, `loseAll`, `doubt`); their marks say so.
package struct TagCollector {
    let tickPeriod: TickPeriod
    let provenance: Provenance

    package private(set) var tags: [TimeTag] = []
    private var losses: [LossMark<DeviceTicks>] = []
    /// The time of the latest tag or record without event.
    package private(set) var lastTick: UInt64 = 0
    /// What was promised with the last block.
    package private(set) var promised: UInt64 = 0
    private var openLoss: (start: UInt64, reason: LossReason)?

    /// The number of tags that makes a block worth handing over.
    static let blockSize = 4096

    package init(tickPeriod: TickPeriod, provenance: Provenance) {
        self.tickPeriod = tickPeriod
        self.provenance = provenance
        tags.reserveCapacity(Self.blockSize + 1024)
    }

    var hasContent: Bool { !tags.isEmpty || !losses.isEmpty }
    var isFull: Bool { tags.count >= Self.blockSize }
    /// Whether an interval is lost and not yet over.
    var hasOpenLoss: Bool { openLoss != nil }

    /// Adds the event of a record: one tag for each channel bit, lowest channel first.
    @inline(__always)
    mutating func add(ticks: UInt64, channels: UInt32, map: [UInt8]) {
        advance(to: ticks)
        var remaining = channels
        var first = tags.count
        while remaining != 0 {
            let bit = remaining.trailingZeroBitCount
            remaining &= remaining - 1
            tags.append(TimeTag(ticks: ticks, channel: map[bit]))
        }
        // A record may say only that time has passed.
        guard first < tags.count else { return }
        // A device may number its bits against its channels; at most a few tags share a tick, also
        // with the record before.
        if tags.count - first > 1 || (first > 0 && tags[first - 1] > tags[first]) {
            while first > 0, tags[first - 1].ticks == ticks { first -= 1 }
            tags[first...].sort()
        }
    }

    /// Notes that the instrument's time has reached `ticks`; ends an interval that was lost.
    @inline(__always)
    mutating func advance(to ticks: UInt64) {
        if openLoss != nil { closeLoss(at: ticks) }
        lastTick = max(lastTick, ticks)
    }

    /// Records a loss over a known interval, cut to what is not yet promised.
    mutating func lose(
        from start: UInt64, to end: UInt64, count: UInt64? = nil, reason: LossReason
    ) {
        let start = max(start, promised)
        let end = max(start, end)
        losses.append(
            LossMark(start: DeviceTicks(start), end: DeviceTicks(end), count: count, reason: reason)
        )
    }

    /// Records a tag that came too late to be delivered in order. It lies before the promise, and
    /// the mark says so: the promise was broken by the transport, and nobody must miss that.
    mutating func loseLate(ticks: UInt64, count: UInt64) {
        losses.append(
            LossMark(
                start: DeviceTicks(ticks), end: DeviceTicks(ticks + 1), count: count,
                reason: .hostOverrun))
    }

    /// Records that the times after `start` are wrong or may be: known only now, so the mark may lie
    /// before the promise, and says so.
    mutating func doubt(from start: UInt64, to end: UInt64) {
        losses.append(
            LossMark(
                start: DeviceTicks(start), end: DeviceTicks(max(start, end)), count: nil,
                reason: .clockFault))
    }

    /// Notes that the counter went back by `step`. A bit that is stuck first puts times ahead by as
    /// much, and what was handed over with such times is in doubt too.
    mutating func wentBack(by step: UInt64) {
        let reach = 3 * step
        let start = lastTick > reach ? lastTick - reach : 0
        if start < promised { doubt(from: start, to: promised) }
    }

    /// Records that tags are missing somewhere in the whole acquisition, which is known only now.
    mutating func loseAll(reason: LossReason) {
        losses.append(
            LossMark(start: DeviceTicks(0), end: DeviceTicks(lastTick), count: nil, reason: reason))
    }

    /// Records a loss that began after `start` and lasts until the next good record.
    mutating func beginLoss(from start: UInt64, reason: LossReason) {
        if let openLoss, openLoss.start <= start { return }
        openLoss = (max(start, promised), openLoss?.reason ?? reason)
    }

    /// Ends a loss that began earlier, if there is one.
    mutating func closeLoss(at end: UInt64) {
        guard let loss = openLoss else { return }
        openLoss = nil
        lose(from: loss.start, to: end, reason: loss.reason)
    }

    /// What has been gathered, or nil when there is nothing and the promise has not moved.
    ///
    /// - Parameter completeThrough: what the driver can promise; cut back to an open loss.
    package mutating func takeBlock(completeThrough: UInt64, arrival: HostInstant) -> TagBlock? {
        let promise = max(promised, min(completeThrough, openLoss?.start ?? .max))
        guard hasContent || promise > promised else { return nil }
        promised = promise
        let block = TagBlock(
            tickPeriod: tickPeriod, tags: tags, losses: losses,
            completeThrough: DeviceTicks(promise), arrival: arrival, provenance: provenance)
        tags = []
        tags.reserveCapacity(Self.blockSize + 1024)
        losses = []
        return block
    }
}
