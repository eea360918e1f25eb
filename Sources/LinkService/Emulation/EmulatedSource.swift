import Emulated
import LinkTypes
import OpticalBench
import Quantities

/// Alice's source on an emulated bench, driven by her node.
///
/// The bench is not safe to share between threads, so every call goes through the lock that the
/// emulated devices use.
public final class EmulatedSource: SourceControl, @unchecked Sendable {
    // @unchecked: the bench is touched only under the lock of the context.
    private let bench: LinkBench
    private let context: EmulationContext

    /// The source of `bench`, whose devices share `context`.
    public init(bench: LinkBench, context: EmulationContext) {
        self.bench = bench
        self.context = context
    }

    /// Sends `pattern` from `slot` on.
    public func send(_ pattern: any PulsePattern, from slot: SlotIndex) throws {
        try context.exclusively { try bench.send(pattern, from: slot) }
    }

    /// The first slot whose pulse may not have left yet.
    public func emittedBefore() -> SlotIndex {
        context.exclusively {
            let time = context.benchTime(at: context.now)
            let reading = bench.sourceOscillator.reading(at: time).rawValue
            let period = bench.parameters.slotPeriod.rawValue
            return SlotIndex(UInt64(max(0, reading / period)))
        }
    }

    /// The state of the bench now; no receiver can know it.
    public func truth() -> BenchTruth {
        context.exclusively { bench.truth(at: context.benchTime(at: context.now)) }
    }

    /// Attacks the pulses from `slot` on.
    public func attack(_ attack: Attack, from slot: SlotIndex) throws {
        try context.exclusively { try bench.setAttack(attack, from: slot) }
    }
}
