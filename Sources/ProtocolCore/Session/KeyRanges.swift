import Quantities

/// The slots in which Alice sends her secret pattern, as both ends know them from the pattern
/// starts. Old ranges are forgotten once detections have moved past them.
struct KeyRanges {
    private var ranges: [Range<SlotIndex>] = []
    /// The slot from which the last pattern is sent.
    private(set) var lastStart = SlotIndex(0)

    /// Whether the current pattern is the secret one.
    var isOpen: Bool { ranges.last?.upperBound == SlotIndex(.max) }

    mutating func start(_ pattern: PulsePatternKind, at slot: SlotIndex) {
        if isOpen, let last = ranges.popLast(), last.lowerBound < slot {
            ranges.append(last.lowerBound..<slot)
        }
        if case .key = pattern { ranges.append(slot..<SlotIndex(.max)) }
        lastStart = slot
    }

    /// Forgets ranges that end at or before `slot`.
    mutating func forget(before slot: SlotIndex) { ranges.removeAll { $0.upperBound <= slot } }

    /// The number of ranges kept.
    var count: Int { ranges.count }

    func contains(_ slots: Range<SlotIndex>) -> Bool {
        ranges.contains { $0.lowerBound <= slots.lowerBound && slots.upperBound <= $0.upperBound }
    }

    /// The parts of `slots` that lie in key ranges, in order.
    func intersections(with slots: Range<SlotIndex>) -> [Range<SlotIndex>] {
        ranges.map { $0.clamped(to: slots) }.filter { !$0.isEmpty }
    }
}
