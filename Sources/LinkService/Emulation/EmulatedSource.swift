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

    /// Disturbs the optics from now on, or for `duration`.
    func disturb(
        _ fault: OpticsFault, configuration: LinkBenchConfiguration, for duration: Duration?
    ) {
        context.exclusively {
            let now = context.benchTime(at: context.now)
            let end = duration.map { context.benchTime(at: context.now + $0) }
            // Ranges were checked when the fault was read.
            switch fault {
            case .blinding(let detector):
                try? bench.setBlinding(true, detector: detector, at: now)
                if let end { try? bench.setBlinding(false, detector: detector, at: end) }
            case .extraLoss(let loss):
                try? bench.setExtraLoss(loss, at: now)
                if let end { try? bench.setExtraLoss(Decibels(0), at: end) }
            case .background(let rate):
                try? bench.setBackground(rate, at: now)
                if let end {
                    try? bench.setBackground(configuration.receiver.background, at: end)
                }
            case .fibreJump: bench.disturbFibre(at: now)
            case .interceptResend(let fraction):
                try? bench.setAttack(.interceptResend(fraction: fraction), at: now)
                if let end { try? bench.setAttack(.none, at: end) }
            }
        }
    }

    /// The state of the bench now, with what only the optics know.
    func state() -> OpticsState {
        context.exclusively {
            let now = context.benchTime(at: context.now)
            let truth = bench.truth(at: now)
            return OpticsState(
                truth: truth, plateAngles: bench.plateAngles(at: now),
                clicks: bench.clicks(at: now), blinded: bench.blinded(at: now))
        }
    }

    /// Lets the optics move on to now and takes off what arrives at inputs that no instrument is
    /// wired to, where it would pile up.
    func keepPace(discardingReceiverInputs: Bool) {
        context.exclusively {
            let now = context.benchTime(at: context.now)
            if discardingReceiverInputs { _ = bench.receiverInputs.takePulses(through: now) }
        }
    }
}

/// What a receiver can not know of the optics.
struct OpticsState: Sendable {
    let truth: BenchTruth
    let plateAngles: [Radians]
    let clicks: [UInt64]
    let blinded: [Bool]
}
