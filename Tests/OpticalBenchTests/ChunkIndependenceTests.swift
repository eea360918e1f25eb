import LinkTypes
import OpticalBench
import Quantities
import Synchronization
import Testing

@Suite struct ChunkIndependenceTests {
    /// A drifting, noisy, gated and attacked link with everything changing on the way.
    private func bench(seed: UInt64) throws -> LinkBench {
        var link = LinkBenchConfiguration.metropolitan
        link.fibre = .aerial
        link.fibre.loss = Decibels(6)
        link.fibre.delaySwing = Picoseconds(5000)
        link.detectors[1].gating = .gated(
            width: Picoseconds(4000), edge: Picoseconds(120), delay: Picoseconds(5000))
        link.detectors[3].trapRelease = .band(
            exponent: 1.2, from: Picoseconds(20_000), to: Picoseconds(100_000_000))
        link.detectors[3].trapProbability = 0.1
        let pattern = KeyedPulsePattern(key: 3, probabilityZ: 0.8, probabilitySignal: 0.7)
        let bench = try LinkBench(configuration: link, pattern: pattern, seed: seed)
        bench.startRecordingClickTruth()
        for step in 0..<40 {
            let time = seconds(0.02 + 0.001_37 * Double(step))
            bench.waveplates.setMountAngle(
                Radians(0.02 * Double(step)), plate: step % 3, at: time)
        }
        bench.detectors[0].setBias(Volts(226), at: seconds(0.0505))
        bench.detectors[2].setTemperatureSetpoint(Celsius(-10), at: seconds(0.031))
        bench.detectors[1].setGateEnabled(false, at: seconds(0.06))
        bench.detectors[1].setGateEnabled(true, at: seconds(0.07))
        try bench.setAttack(.interceptResend(fraction: 0.4), at: seconds(0.05))
        try bench.setBackground(Hertz(50_000), at: seconds(0.08))
        try bench.setExtraLoss(Decibels(3), at: seconds(0.12))
        try bench.setGateDelay(Picoseconds(5600), detector: 1, at: seconds(0.09))
        bench.disturbFibre(at: seconds(0.13))
        try bench.send(
            SynchronizationPattern(key: 8), from: SlotIndex(2_500_000))
        return bench
    }

    private func everything(
        _ bench: LinkBench, through end: Picoseconds, step: (inout SeededGenerator) -> Int64
    ) -> (pulses: [InputPulse], truths: [ClickTruth], counts: [UInt64], source: [InputPulse]) {
        var generator = SeededGenerator(seed: 99)
        var pulses: [InputPulse] = []
        var truths: [ClickTruth] = []
        var counts = [UInt64](repeating: 0, count: 4)
        var source: [InputPulse] = []
        var time = Picoseconds(0)
        while time < end {
            time = min(end, time + Picoseconds(step(&generator)))
            let taken = bench.receiverInputs.takePulses(through: time)
            #expect(taken.allSatisfy { $0.time <= time })
            pulses += taken
            truths += bench.takeClickTruth()
            source += bench.sourceInputs.takePulses(through: time)
            for index in 0..<4 { counts[index] += bench.detectors[index].takeCounts(through: time) }
        }
        return (pulses, truths, counts, source)
    }

    @Test(arguments: [UInt64(1), 2])
    func stepsDoNotChangeWhatHappens(seed: UInt64) throws {
        let end = seconds(0.15)
        let whole = everything(try bench(seed: seed), through: end) { _ in end.rawValue }
        #expect(whole.pulses.count > 20_000)
        #expect(
            zip(whole.pulses, whole.pulses.dropFirst()).allSatisfy {
                ($0.time.rawValue, $0.input) <= ($1.time.rawValue, $1.input)
            })
        let stepped: [(String, (inout SeededGenerator) -> Int64)] = [
            ("1 ms", { _ in 1_000_000_000 }),
            ("37 µs", { _ in 37_000_001 }),
            ("random", { Int64.random(in: 1...9_000_000_000, using: &$0) }),
        ]
        for (name, step) in stepped {
            let pieces = everything(try bench(seed: seed), through: end, step: step)
            #expect(pieces.pulses == whole.pulses, "\(name), seed \(seed)")
            #expect(pieces.truths == whole.truths, "\(name), seed \(seed)")
            #expect(pieces.counts == whole.counts, "\(name), seed \(seed)")
            #expect(pieces.source == whole.source, "\(name), seed \(seed)")
        }
    }

    @Test func truthRecordsDoNotChangeThePulses() throws {
        let pattern = KeyedPulsePattern(key: 3, probabilityZ: 0.8, probabilitySignal: 0.7)
        let plain = try LinkBench(pattern: pattern, seed: 12)
        let recorded = try LinkBench(pattern: pattern, seed: 12)
        recorded.startRecordingClickTruth()
        let pulses = recorded.receiverInputs.takePulses(through: seconds(0.5))
        #expect(plain.receiverInputs.takePulses(through: seconds(0.5)) == pulses)
        let truths = recorded.takeClickTruth()
        #expect(truths.prefix(pulses.count - 3).map(\.time) == pulses.dropLast(3).map(\.time))
        #expect(plain.takeClickTruth().isEmpty)
    }

    @Test func anotherSeedIsAnotherLink() throws {
        let pattern = KeyedPulsePattern(key: 3, probabilityZ: 0.8, probabilitySignal: 0.7)
        let first = try LinkBench(pattern: pattern, seed: 12)
        let second = try LinkBench(pattern: pattern, seed: 13)
        #expect(first.parameters != second.parameters)
        #expect(
            first.receiverInputs.takePulses(through: seconds(0.1))
                != second.receiverInputs.takePulses(through: seconds(0.1)))
    }

    /// A pattern that counts how often it is read.
    private final class CountingPattern: PulsePattern {
        let reads = Mutex(0)
        let pattern = KeyedPulsePattern(key: 1, probabilityZ: 0.8, probabilitySignal: 0.7)
        func symbol(at slot: SlotIndex) -> PulseSymbol {
            reads.withLock { $0 += 1 }
            return pattern.symbol(at: slot)
        }
    }

    @Test func costGrowsWithClicksNotWithPulses() throws {
        let pattern = CountingPattern()
        let bench = try LinkBench(pattern: pattern, seed: 2)
        let clicks = bench.receiverInputs.takePulses(through: seconds(2)).count
        let reads = pattern.reads.withLock { $0 }
        // 40 million pulses; decoys and unequal efficiencies cost a few unused candidates.
        #expect(clicks > 50_000)
        #expect(reads < clicks * 2, "\(reads) symbols for \(clicks) clicks")
    }
}
