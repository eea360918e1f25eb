import Quantities

/// Scheduled work in the order it is due: a binary heap, ties broken by the order of scheduling.
package struct TimerQueue {
    private struct Entry {
        let deadline: HostInstant
        let sequence: UInt64
        let work: @Sendable () -> Void

        func precedes(_ other: Entry) -> Bool {
            (deadline, sequence) < (other.deadline, other.sequence)
        }
    }

    private var heap: [Entry] = []
    private var cancelled: Set<UInt64> = []
    private var nextSequence: UInt64 = 0

    /// An empty queue.
    package init() {}

    /// When the earliest work is due.
    package var earliest: HostInstant? { heap.first?.deadline }

    /// Adds work due at `deadline`.
    package mutating func add(
        at deadline: HostInstant, _ work: @escaping @Sendable () -> Void
    ) -> TimerToken {
        let sequence = nextSequence
        nextSequence += 1
        heap.append(Entry(deadline: deadline, sequence: sequence, work: work))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].precedes(heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
        return TimerToken(rawValue: sequence)
    }

    /// Takes work back; does nothing if it is no longer queued.
    package mutating func cancel(_ token: TimerToken) {
        // Remembering the token of work that has run would keep it for ever.
        if heap.contains(where: { $0.sequence == token.rawValue }) {
            cancelled.insert(token.rawValue)
        }
    }

    /// Removes and returns the earliest work, if it is due at `now` or `now` is `nil`.
    package mutating func popEarliest(
        dueAt now: HostInstant?
    ) -> (deadline: HostInstant, work: @Sendable () -> Void)? {
        while let first = heap.first {
            if let now, first.deadline > now { return nil }
            removeFirst()
            if cancelled.remove(first.sequence) == nil { return (first.deadline, first.work) }
        }
        return nil
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(heap[parent]) else { return }
            heap.swapAt(child, parent)
            parent = child
        }
    }
}
