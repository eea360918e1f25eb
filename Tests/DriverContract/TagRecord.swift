import Instruments
import LinkTypes
import Quantities

/// What became of an acquisition.
package struct TagRecord: Sendable {
    package var tickPeriod: TickPeriod
    package var tags: [TimeTag] = []
    package var losses: [LossMark<DeviceTicks>] = []
    package var completeThrough: UInt64 = 0

    package init(tickPeriod: TickPeriod) { self.tickPeriod = tickPeriod }
}

extension TagRecord {
    package mutating func add(_ block: TagBlock) {
        tags += block.tags
        losses += block.losses
        completeThrough = max(completeThrough, block.completeThrough.rawValue)
    }

    /// The first place where a pulse of the train is missing, doubled or displaced without a mark.
    package func unmarkedLoss(period: Picoseconds) -> String? {
        let tick = tickPeriod.picoseconds
        let step = Double(period.rawValue) / tick
        // Two ticks of rounding, and a thousandth for the clock.
        let slack = 2 + step / 1000
        for (first, second) in zip(tags, tags.dropFirst()) where !isMarked(first, second.ticks) {
            let gap = Double(second.ticks) - Double(first.ticks)
            if abs(gap - step) > slack {
                return "from tick \(first.ticks) to \(second.ticks) are \(gap / step) periods"
            }
        }
        guard let last = tags.last else { return nil }
        if Double(completeThrough) - Double(last.ticks) > step + slack,
            !isMarked(last, completeThrough)
        {
            return "complete through \(completeThrough), last tag at \(last.ticks)"
        }
        return nil
    }

    private func isMarked(_ first: TimeTag, _ end: UInt64) -> Bool {
        losses.contains { $0.start.rawValue <= end && $0.end.rawValue >= first.ticks }
    }
}
