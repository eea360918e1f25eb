import Emulated
import HostIO
import Instruments
import LinkService
import LinkTypes
import OpticalBench
import Quantities
import Synchronization

/// A bench for tests of the session alone: instruments that are never asked for anything, and a
/// source that only keeps time.
final class SilentBench: SourceControl {
    let instruments: ReceiverInstruments
    private let reactor: any Reactor

    init(reactor: any Reactor) {
        self.reactor = reactor
        let context = EmulationContext(reactor: reactor, seed: 1)
        guard
            let bench = try? LinkBench(
                configuration: .metropolitan,
                pattern: KeyedPulsePattern(key: 0, probabilityZ: 0.5, probabilitySignal: 1),
                seed: 1)
        else { preconditionFailure("the metropolitan bench is in range") }
        let shared = TestBench(bench: bench, context: context)
        instruments = ReceiverInstruments(
            tagger: DirectTagger(bench: shared, reactor: reactor),
            controller: DirectController(bench: shared, reactor: reactor),
            detectors: (0..<4).map { DirectDetector(bench: shared, index: $0) })
    }

    func send(_ pattern: any PulsePattern, from slot: SlotIndex) {}
    func emittedBefore() -> SlotIndex {
        SlotIndex(UInt64(max(0, reactor.now.nanoseconds)) / 50)
    }
}

/// A connection that stays open and takes nothing: every write times out.
final class DeafChannel: MessageChannel {
    private let reactor: any Reactor
    private let arrived: WakeUp
    private let closed = Mutex(false)

    init(reactor: any Reactor) {
        self.reactor = reactor
        arrived = WakeUp(on: reactor)
    }

    var isClosed: Bool { closed.withLock { $0 } }

    func send(_ bytes: [UInt8]) async throws(ByteStreamError) {
        try? await reactor.sleep(for: .seconds(5))
        throw .timedOut
    }
    func receive() async throws(ByteStreamError) -> [UInt8]? {
        while !isClosed { _ = await arrived.wait() }
        return nil
    }
    func close() async {
        closed.withLock { $0 = true }
        arrived.wake()
    }
}
