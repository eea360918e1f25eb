import LinkTypes
import Quantities

/// Removes the detections made while any detector of the receiver was blind.
///
/// A detector that has just clicked can not click again for its dead time, so a click soon after
/// tells which detectors were awake, and with it bits; and the efficiency of the two bases differs for
/// that time. The proofs need detections without memory: one counts only when no detector had clicked
/// within the dead time before it. Clicks that are removed make their detector blind as well, so they
/// count for those that follow. (Rogers et al., New J. Phys. 9, 319, 2007; the rule depends on times
/// only, never on results.)
public struct CommonDeadTime: Hashable, Sendable {
    /// The slots after a click in which no other detection counts.
    public let slots: UInt64
    private var last: SlotIndex?

    /// A filter for a dead time of `slots` slots; 0 removes nothing.
    public init(slots: UInt64) { self.slots = slots }

    /// The filter for the longest dead time of any detector, rounded up to whole slots.
    public init(deadTime: Picoseconds, slotPeriod: Picoseconds) {
        precondition(deadTime.rawValue >= 0 && slotPeriod.rawValue > 0)
        let (whole, rest) = deadTime.rawValue.quotientAndRemainder(dividingBy: slotPeriod.rawValue)
        self.init(slots: UInt64(whole) + (rest > 0 ? 1 : 0))
    }

    /// Whether a click in `slot` counts. Every click of every detector must be shown, in slot order;
    /// clicks in one slot make one detection and are shown once.
    public mutating func admits(_ slot: SlotIndex) -> Bool {
        defer { last = slot }
        guard let last else { return true }
        precondition(slot > last, "clicks come in slot order")
        return slot.rawValue - last.rawValue > slots
    }

    /// The detections of `batch` that count, and how many do not. The filter remembers the end of the
    /// batch, and treats a lost interval as if a click had been made in its last slot.
    public mutating func filter(_ batch: DetectionBatch) -> (batch: DetectionBatch, removed: Int) {
        var kept: [Detection] = []
        kept.reserveCapacity(batch.detections.count)
        var losses = batch.losses[...]
        for detection in batch.detections {
            while let loss = losses.first, loss.end <= detection.slot {
                if loss.end > loss.start {
                    let end = SlotIndex(loss.end.rawValue - 1)
                    last = last.map { max($0, end) } ?? end
                }
                losses.removeFirst()
            }
            if let last, detection.slot <= last { continue }
            if admits(detection.slot) { kept.append(detection) }
        }
        if let end = losses.last?.end, end.rawValue > 0 {
            let slot = SlotIndex(end.rawValue - 1)
            last = last.map { max($0, slot) } ?? slot
        }
        var result = batch
        result.detections = kept
        return (result, batch.detections.count - kept.count)
    }
}
