import HostIO
import Instruments
import LinkTypes
import Quantities
import Synchronization

/// The bounded queue between a tagger's driver and the consumer of its blocks.
///
/// The driver asks for room before it takes data from the host stack; a full queue therefore stops
/// the transfers and, in the end, the instrument. Pushing never drops a block.
final class BlockQueue: TagBlockSource {
    private struct State {
        var blocks: [TagBlock] = []
        var isFinished = false
        var failure: DriverError?
        var isDraining = false
    }

    /// The number of blocks above which the driver waits.
    static let capacity = 64

    private let state = Mutex(State())
    private let arrived: WakeUp
    private let drained: WakeUp
    private let instrument: String

    init(on reactor: any Reactor, instrument: String) {
        arrived = WakeUp(on: reactor)
        drained = WakeUp(on: reactor)
        self.instrument = instrument
    }

    /// Whether the consumer keeps up.
    var hasRoom: Bool { state.withLock { $0.blocks.count < Self.capacity || $0.isDraining } }

    func push(_ block: TagBlock) {
        state.withLock { $0.blocks.append(block) }
        arrived.wake()
    }

    /// Returns once there is room. True if it had to wait.
    func waitForRoom() async -> Bool {
        var waited = false
        while !hasRoom {
            waited = true
            if await drained.wait() == .cancelled { return true }
        }
        return waited
    }

    /// Lifts the bound: what is under way must come through, because the acquisition ends.
    func drain() {
        state.withLock { $0.isDraining = true }
        drained.wake()
    }

    /// Ends the source after the blocks that are here, with an error or without.
    func finish(_ failure: DriverError?) {
        state.withLock { state in
            guard !state.isFinished else { return }
            state.isFinished = true
            state.isDraining = true
            state.failure = failure
        }
        arrived.wake()
        drained.wake()
    }

    func next() async throws(DriverError) -> TagBlock? {
        while true {
            let (block, isFinished, failure) = state.withLock { state in
                let block = state.blocks.isEmpty ? nil : state.blocks.removeFirst()
                return (block, state.isFinished, state.failure)
            }
            if let block {
                drained.wake()
                return block
            }
            if let failure { throw failure }
            if isFinished { return nil }
            if await arrived.wait() == .cancelled {
                throw DriverError(
                    code: .cancelled, instrument: instrument, operation: "wait for time tags",
                    expected: "a block", found: "the waiting task was cancelled",
                    advice: "nothing to do")
            }
        }
    }
}
