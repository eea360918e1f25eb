import ProtocolCore
import Quantities

/// Reconciliation with low-density parity-check codes: bits disclosed, frames lost and speed.
///
/// Speed is sifted bits per second of processor time at the decoder, which is given the syndrome;
/// f counts the syndrome, the bits revealed, and every other bit of a frame that was given up. The
/// frame error rate is that of the first message alone; a frame it does not correct asks for single
/// bits.
enum LDPCStage {
    static let errorRates = [0.01, 0.02, 0.03, 0.05, 0.08]
    static let longFrame = LDPCShape.largestFrame

    static func run(_ report: inout Report) {
        let frames = report.isQuick ? 8 : 400
        for errorRate in errorRates {
            let result = measure(
                errorRate: errorRate, frameBits: longFrame, strategy: .oneWay, frames: frames)
            result.print(in: report, "one way")
            report.goal(
                "one way, \(percent(errorRate))", result.figures,
                wanted: "f ≤ 1.10, ≥ 25 Mbit/s, frame errors ≤ 1e-2",
                isMet: result.efficiency <= 1.10 && result.speed >= 25
                    && Double(result.firstFailures) <= 0.01 * Double(frames))
        }
        for errorRate in errorRates {
            let result = measure(
                errorRate: errorRate, frameBits: longFrame, strategy: .blind,
                frames: report.isQuick ? 4 : 200)
            result.print(in: report, "blind")
            report.goal(
                "blind, \(percent(errorRate))", result.figures,
                wanted: "f ≤ 1.06, ≥ 10 Mbit/s, at most 4 rounds",
                isMet: result.efficiency <= 1.06 && result.speed >= 10 && result.lost == 0)
        }
        undetected(&report)
    }

    /// Frames whose found pattern has the syndrome and is not Bob's: with short frames close to
    /// what they can correct, where such patterns are most likely.
    static func undetected(_ report: inout Report) {
        let frames = report.isQuick ? 2000 : 100_000
        let result = measure(
            errorRate: 0.03, frameBits: 5120, strategy: .oneWay, frames: frames)
        result.print(in: report, "short frames")
        report.goal(
            "undetected errors", "\(result.undetected) of \(frames) frames of 5120 bits",
            wanted: "none", isMet: result.undetected == 0)
    }

    /// The table of docs/benchmarks.md: three block sizes over the range of error rates.
    static func curve(_ report: inout Report) {
        let sizes = [(51_200, 300), (204_800, 100), (longFrame, 40)]
        for strategy in [ReconciliationPlan.Strategy.oneWay, .blind] {
            for (frameBits, frames) in sizes {
                for errorRate in [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1] {
                    let result = measure(
                        errorRate: errorRate, frameBits: frameBits, strategy: strategy,
                        frames: report.isQuick ? max(4, frames / 20) : frames)
                    result.print(in: report, strategy == .oneWay ? "one way" : "blind")
                }
            }
        }
    }

    /// Reconciles `frames` frames with independent errors; the seed is 70 and the labels are the
    /// arguments.
    static func measure(
        errorRate: Double, frameBits: Int, strategy: ReconciliationPlan.Strategy, frames: Int
    ) -> LDPCFigures {
        let plan = ReconciliationPlan.choose(
            estimatedQBER: errorRate, frameBits: frameBits, strategy: strategy)
        let code = LDPCCode(shape: plan.shape)
        var generator = SeededGenerator(seed: 70, label: "\(errorRate) \(frameBits)")
        var result = LDPCFigures(errorRate: errorRate, plan: plan)
        for _ in 0..<frames {
            let alice = BitBuffer(
                words: (0..<(frameBits + 63) / 64).map { _ in generator.next() }, count: frameBits)
            var bob = alice
            flip(&bob, errorRate: errorRate, using: &generator)
            let syndrome = code.syndrome(of: alice)
            var decoder = FrameDecoder(plan: plan, code: code)
            let start = processorSeconds()
            var outcome = decoder.decode(syndrome: syndrome, noisy: bob, priorQBER: errorRate)
            result.seconds += processorSeconds() - start
            if case .corrected = outcome {} else { result.firstFailures += 1 }
            while case .needsReveal(let positions) = outcome {
                let bits = BitBuffer(positions.map { alice[$0] })
                let start = processorSeconds()
                outcome = decoder.reveal(bits)
                result.seconds += processorSeconds() - start
            }
            result.add(decoder, outcome, alice: alice)
        }
        return result
    }

    /// Flips every bit with the probability `errorRate`, by drawing the distances between errors.
    static func flip(
        _ bits: inout BitBuffer, errorRate: Double, using generator: inout SeededGenerator
    ) {
        let scale = 1 / naturalLog1p(-errorRate)
        var position = -1
        while true {
            let uniform = Double.random(in: Double.leastNonzeroMagnitude..<1, using: &generator)
            position += 1 + Int(min(naturalLog(uniform) * scale, 1e9))
            guard position < bits.count else { return }
            bits[position] = !bits[position]
        }
    }
}

/// What some frames of one kind cost.
struct LDPCFigures {
    let errorRate: Double
    let plan: ReconciliationPlan
    var seconds = 0.0
    private(set) var frames = 0
    /// The frames that the first message did not correct.
    var firstFailures = 0
    /// The frames given up after the last blind round.
    private(set) var lost = 0
    private(set) var undetected = 0
    private var rounds = 0
    private var sweeps = 0
    private var disclosed = 0
    private var digest = Digest()

    init(errorRate: Double, plan: ReconciliationPlan) {
        (self.errorRate, self.plan) = (errorRate, plan)
    }

    mutating func add(_ decoder: FrameDecoder, _ outcome: FrameOutcome, alice: BitBuffer) {
        frames += 1
        rounds += decoder.revealRounds
        sweeps += decoder.sweeps
        disclosed += plan.syndromeBits + decoder.revealedBits
        digest.add(UInt64(decoder.sweeps))
        digest.add(UInt64(decoder.revealedBits))
        guard case .corrected(let bits, _) = outcome else {
            lost += 1
            disclosed += plan.frameBits - plan.syndromeBits - decoder.revealedBits
            return
        }
        digest.add(bits.words)
        if bits != alice { undetected += 1 }
    }

    /// Bits disclosed per bit of entropy of the errors.
    var efficiency: Double {
        let entropy =
            -errorRate * binaryLog(errorRate) - (1 - errorRate) * binaryLog(1 - errorRate)
        return Double(disclosed) / (Double(frames * plan.frameBits) * entropy)
    }

    /// Sifted bits per processor second, in Mbit/s.
    var speed: Double { Double(frames * plan.frameBits) / seconds * 1e-6 }

    var figures: String {
        "f \(decimal(efficiency, 3)), \(decimal(speed, 1)) Mbit/s, \(firstFailures)/\(frames) again"
    }

    func print(in report: Report, _ name: String) {
        let interval = clopperPearson(
            successes: firstFailures, trials: frames, confidence: 0.95)
        report.line(
            "\(name), n \(plan.frameBits), \(percent(errorRate))",
            "rate \(decimal(plan.shape.syndromeRate, 4)), f \(decimal(efficiency, 4)), "
                + "\(decimal(speed, 1)) Mbit/s, "
                + "\(decimal(Double(sweeps) / Double(frames), 1)) sweeps, "
                + "first message fails \(firstFailures)/\(frames) (95 %: "
                + "\(decimal(interval.lowerBound, 4))…\(decimal(interval.upperBound, 4))), "
                + "\(decimal(Double(rounds) / Double(frames), 2)) rounds, lost \(lost)",
            digest: digest.value)
    }
}

/// A rate as percentage.
func percent(_ rate: Double) -> String { decimal(100 * rate, 1) + " %" }
