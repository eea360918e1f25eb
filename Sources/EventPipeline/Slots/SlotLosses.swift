import LinkTypes
import Quantities

/// The slots in which clicks are known to be missing, until they are handed on.
///
/// Marks are disjoint and in slot order. Losses that overlap become one mark with the reason of the
/// one that starts first and the sum of the counts, unknown if one is unknown. Losses that only
/// touch become one mark when they have one reason.
struct SlotLosses: Sendable {
    /// The most marks held; beyond it the two latest are joined, covering the slots between them.
    static let maximumMarks = 4096

    private(set) var marks: [LossMark<SlotIndex>] = []

    mutating func add(_ mark: LossMark<SlotIndex>) {
        guard mark.start < mark.end else { return }
        var index = marks.count
        while index > 0, mark.start < marks[index - 1].start { index -= 1 }
        marks.insert(mark, at: index)
        if index > 0, joins(marks[index - 1], marks[index]) { index -= 1 }
        while index + 1 < marks.count, joins(marks[index], marks[index + 1]) {
            marks[index] = union(marks[index], marks[index + 1])
            marks.remove(at: index + 1)
        }
        if marks.count > Self.maximumMarks {
            let last = marks.removeLast()
            marks[marks.count - 1] = union(marks[marks.count - 1], last)
        }
    }

    /// Removes and returns what lies before `end`. A mark that continues is cut: the first part
    /// keeps the count, the rest has an unknown one.
    mutating func take(before end: SlotIndex) -> [LossMark<SlotIndex>] {
        var taken: [LossMark<SlotIndex>] = []
        var rest: [LossMark<SlotIndex>] = []
        for mark in marks {
            if mark.end <= end {
                taken.append(mark)
            } else if mark.start < end {
                taken.append(
                    LossMark(start: mark.start, end: end, count: mark.count, reason: mark.reason))
                rest.append(
                    LossMark(start: end, end: mark.end, count: nil, reason: mark.reason))
            } else {
                rest.append(mark)
            }
        }
        marks = rest
        return taken
    }

    private func joins(_ left: LossMark<SlotIndex>, _ right: LossMark<SlotIndex>) -> Bool {
        right.start < left.end || (right.start == left.end && right.reason == left.reason)
    }

    private func union(
        _ left: LossMark<SlotIndex>, _ right: LossMark<SlotIndex>
    ) -> LossMark<SlotIndex> {
        var count: UInt64?
        if let a = left.count, let b = right.count {
            let (sum, overflow) = a.addingReportingOverflow(b)
            count = overflow ? nil : sum
        }
        return LossMark(
            start: left.start, end: max(left.end, right.end), count: count, reason: left.reason)
    }
}
