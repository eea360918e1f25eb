import HostIO
import Quantities
import Synchronization

/// One end of a two-way stream in memory; what one end writes the other reads, in order, with the
/// reactor's time for time-outs. A direction holds `capacity` bytes, then its writer waits.
package final class MemoryStream: ByteStream {
    private final class Direction: Sendable {
        struct State {
            var bytes: [UInt8] = []
            var isClosed = false
        }
        let state = Mutex(State())
        let capacity: Int
        let filled: WakeUp
        let emptied: WakeUp

        init(capacity: Int, reactor: any Reactor) {
            self.capacity = capacity
            filled = WakeUp(on: reactor)
            emptied = WakeUp(on: reactor)
        }

        func close() {
            state.withLock { $0.isClosed = true }
            filled.wake()
            emptied.wake()
        }
    }

    private let incoming: Direction
    private let outgoing: Direction
    private let reactor: any Reactor

    private init(incoming: Direction, outgoing: Direction, reactor: any Reactor) {
        self.incoming = incoming
        self.outgoing = outgoing
        self.reactor = reactor
    }

    /// Both ends of a stream.
    package static func pair(
        reactor: any Reactor, capacity: Int = 1 << 20
    ) -> (MemoryStream, MemoryStream) {
        let there = Direction(capacity: capacity, reactor: reactor)
        let back = Direction(capacity: capacity, reactor: reactor)
        return (
            MemoryStream(incoming: back, outgoing: there, reactor: reactor),
            MemoryStream(incoming: there, outgoing: back, reactor: reactor)
        )
    }

    package var isEmulated: Bool { true }

    package func read(
        upTo count: Int, timeout: Duration
    ) async throws(ByteStreamError) -> [UInt8] {
        let end = reactor.now + timeout
        while true {
            let (bytes, isClosed) = incoming.state.withLock { state in
                let bytes = Array(state.bytes.prefix(count))
                state.bytes.removeFirst(bytes.count)
                return (bytes, state.isClosed)
            }
            if !bytes.isEmpty {
                incoming.emptied.wake()
                return bytes
            }
            if isClosed { throw .closed }
            if await incoming.filled.wait(until: end) == .timedOut { throw .timedOut }
        }
    }

    package func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        let end = reactor.now + timeout
        var rest = bytes[...]
        while !rest.isEmpty {
            let (taken, isClosed) = outgoing.state.withLock { state in
                let count = min(rest.count, outgoing.capacity - state.bytes.count)
                if !state.isClosed { state.bytes += rest.prefix(count) }
                return (count, state.isClosed)
            }
            if isClosed { throw .closed }
            rest = rest.dropFirst(taken)
            if taken > 0 {
                outgoing.filled.wake()
            } else if await outgoing.emptied.wait(until: end) == .timedOut {
                throw .timedOut
            }
        }
    }

    package func close() async {
        incoming.close()
        outgoing.close()
    }
}
