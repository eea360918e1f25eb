import LinkTypes
import Quantities

/// What Alice's own tagger is wired to: a pulse per second on input 0 and the clicks of a weak tap
/// of her source on input 1.
///
/// The pulse per second comes from a receiver of satellite time, so it follows bench time and not
/// Alice's oscillator. The monitor sees the intensity pattern, with its own dead time of 50 ns.
public final class SourceMonitor: TaggerInputs {
    /// The delay of the pulse per second, so that its jitter never makes it early.
    static let pulsePerSecondDelay: Int64 = 10_000_000
    private static let deadTime: Int64 = 50_000
    private static let second: Int64 = 1_000_000_000_000

    private let engine: BenchEngine
    private let bound: Double
    private let brightest: Double
    private let period: Int64
    private let secondJitter: Double
    private var secondGenerator: SeededGenerator
    private var monitorGenerator: SeededGenerator
    private var secondIndex: Int64 = 0
    private var nextSecond: Int64 = 0
    private var nextSlot: UInt64 = 0
    private var nextEmission: Int64
    private var monitorDeadUntil: Int64 = .min
    /// The time up to which pulses have been taken.
    private(set) var horizon: Int64 = -1

    init(engine: BenchEngine, seed: UInt64) {
        self.engine = engine
        bound = engine.configuration.source.monitorMean
        brightest = engine.parameters.meanPhotonNumbers.max() ?? 0
        period = engine.parameters.slotPeriod.rawValue
        secondJitter = Double(engine.configuration.source.pulsePerSecondJitter.rawValue)
        secondGenerator = SeededGenerator(seed: seed, label: "pulse per second")
        monitorGenerator = SeededGenerator(seed: seed, label: "source monitor")
        nextEmission = .max
        drawSecond()
        if bound > 0, brightest > 0 {
            let reading = engine.sourceOscillator.reading(0)
            nextSlot = reading <= 0 ? 0 : UInt64((reading + period - 1) / period)
            drawMonitor(from: 0)
        }
    }

    private func drawSecond() {
        let jitter = max(-9, min(9, secondGenerator.gaussian())) * secondJitter
        nextSecond = secondIndex * Self.second + Self.pulsePerSecondDelay + Int64(jitter)
    }

    private func drawMonitor(from step: UInt64) {
        let skip = monitorGenerator.geometric(-exponentialMinus1(-bound))
        nextSlot += step + min(skip, 1 << 40)
        nextEmission = engine.sourceOscillator.time(ofReading: Int64(nextSlot) * period)
    }

    /// The pulses since the previous call up to and including `time`, in time order.
    public func takePulses(through time: Picoseconds) -> [InputPulse] {
        horizon = max(horizon, time.rawValue)
        var pulses: [InputPulse] = []
        while min(nextSecond, nextEmission) <= time.rawValue {
            if nextSecond <= nextEmission {
                pulses.append(InputPulse(time: Picoseconds(nextSecond), input: 0))
                secondIndex += 1
                drawSecond()
            } else {
                if let pulse = monitorPulse() { pulses.append(pulse) }
                drawMonitor(from: 1)
            }
        }
        return pulses
    }

    private func monitorPulse() -> InputPulse? {
        let symbol = engine.symbol(at: SlotIndex(nextSlot))
        let mean =
            bound * engine.parameters.meanPhotonNumber(intensity: Int(symbol.intensity)) / brightest
        let chance = exponentialMinus1(-mean) / exponentialMinus1(-bound)
        guard monitorGenerator.bernoulli(chance), nextEmission >= monitorDeadUntil else {
            return nil
        }
        monitorDeadUntil = nextEmission + Self.deadTime
        return InputPulse(time: Picoseconds(nextEmission), input: 1)
    }
}
