import Calibration
import LinkTypes
import OpticalBench
import ProtocolCore
import Quantities

/// What the physics of a link says its blocks should yield.
///
/// Not wholly independent of the run it is compared with: the reconciliation efficiency, the part
/// of slots that counted and the gate are those of the run, and the misalignment is the bench's true
/// one, sampled while keys were made. Rates, errors and the bound are computed from the physics.
///
/// Gains and error rates come from the bench's parameters in closed form (`ChannelPrediction`),
/// are carried through gate and disclosure, and evaluated by the same bound as real blocks.
/// Counts are drawn around their means (parametric bootstrap) for the scatter.
public struct KeyRatePrediction: Sendable {
    /// Mean detections in a slot of each class with both ends in one basis, by basis.
    private let clicks: [[Double]]
    /// Mean errors of those.
    private let errors: [[Double]]
    private let plan: LinkPlan

    /// Secret bits a block, before authentication key is taken off, with the standard deviation of
    /// one block.
    public private(set) var keyBits = (mean: 0.0, deviation: 0.0)
    /// Seconds a block, with the standard deviation of one block.
    public private(set) var seconds = (mean: 0.0, deviation: 0.0)

    /// The prediction for an aligned link whose clicks pass `gate`.
    ///
    /// - Parameters:
    ///   - extraErrors: the mean true misalignment of Z and X while clicks counted, dither and
    ///     drift included.
    ///   - efficiency: the reconciliation efficiency f reached.
    ///   - usableFraction: the part of slots in which clicks count.
    public init(
        parameters: LinkParameters, plan: LinkPlan, gate: GateWindow,
        extraErrors: [Double], efficiency: Double, usableFraction: Double, seed: UInt64
    ) throws {
        self.plan = plan
        let probabilities = [plan.signalProbability, 1 - plan.signalProbability]
        let channel = ChannelPrediction(
            parameters: parameters, rotation: .identity, probabilityZ: plan.probabilityZ,
            intensityProbabilities: probabilities,
            window: Picoseconds(Int64(gate.width.rounded())))
        // Dead time costs each detector a little more than the gain of a single slot says.
        let alive = zip(channel.clickRates, parameters.detectors).map {
            1 - $0 * Double($1.deadTime.rawValue) * 1e-12
        }
        var clicks: [[Double]] = []
        var errors: [[Double]] = []
        for basis in Basis.allCases {
            let first = Int(basis.rawValue) * 2
            let living = 0.5 * (alive[first] + alive[first + 1])
            let sent = basis == .z ? plan.probabilityZ : 1 - plan.probabilityZ
            let disclosed = basis == .z ? plan.disclosedFractionZ : plan.disclosedFractionX
            let kept = sent * (1 - disclosed) * living * usableFraction
            let gains = (0..<2).map { channel.gain(intensity: $0, basis: basis) }
            let background =
                channel.noiseProbabilities[first] + channel.noiseProbabilities[first + 1]
            // The gate takes off part of the signal, and none of the background inside it.
            let inside = gains.map { ($0 - background) * gate.signalFraction + background }
            clicks.append((0..<2).map { kept * probabilities[$0] * inside[$0] })
            errors.append(
                (0..<2).map { class_ in
                    let extra = extraErrors[Int(basis.rawValue)]
                    let own = channel.errorRate(intensity: class_, basis: basis)
                    return clicks[Int(basis.rawValue)][class_] * (own + extra * (1 - 2 * own))
                })
        }
        self.clicks = clicks
        self.errors = errors
        try evaluate(efficiency: efficiency, seed: seed)
    }

    private mutating func evaluate(efficiency: Double, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "key rate prediction")
        let perSlot = clicks[0][0] + clicks[0][1]
        let slots = Double(plan.blockBits) / perSlot
        let parameters = try plan.sessionParameters()
        var (sum, squares) = (0.0, 0.0)
        let samples = 200
        for _ in 0..<samples {
            var drawn: [[IntensityCounts]] = []
            for basis in 0..<2 {
                let wrong = (0..<2).map { generator.poisson(mean: slots * errors[basis][$0]) }
                let right = (0..<2).map {
                    generator.poisson(mean: slots * (clicks[basis][$0] - errors[basis][$0]))
                }
                drawn.append([
                    IntensityCounts(signal: wrong[0] + right[0], decoy: wrong[1] + right[1]),
                    IntensityCounts(signal: wrong[0], decoy: wrong[1]),
                ])
            }
            let counts = try DecoyCounts(
                keyDetections: drawn[0][0], keyErrors: drawn[0][1], testDetections: drawn[1][0],
                testErrors: drawn[1][1])
            var leakage = LeakageLedger()
            let bits =
                efficiency * Double(counts.keyDetections.total)
                * FiniteKey.binaryEntropy(counts.keyErrorRate)
            leakage.append(.syndrome, bits: Int(bits.rounded(.up)))
            let length = Double(
                Rusca2018.keyLength(
                    counts: counts, intensities: parameters.intensities,
                    security: parameters.security, leakage: leakage,
                    conditions: parameters.boundConditions
                ).length)
            sum += length
            squares += length * length
        }
        let mean = sum / Double(samples)
        keyBits = (mean, max(0, squares / Double(samples) - mean * mean).squareRoot())
        let duration = slots * plan.slotPeriod.seconds
        seconds = (duration, duration / Double(plan.blockBits).squareRoot())
    }

    /// Mean counts of one block: detections and errors in the key and the test basis.
    public var blockCounts: (key: Double, keyErrors: Double, test: Double, testErrors: Double) {
        let slots = seconds.mean / plan.slotPeriod.seconds
        func total(_ counts: [Double]) -> Double { slots * (counts[0] + counts[1]) }
        return (total(clicks[0]), total(errors[0]), total(clicks[1]), total(errors[1]))
    }

    /// Secret bits per second.
    public var rate: Double { keyBits.mean / seconds.mean }

    /// The standard deviation of the mean rate of `blocks` blocks.
    public func rateDeviation(blocks: Int) -> Double {
        let one =
            keyBits.deviation / max(1, keyBits.mean) * (keyBits.deviation / max(1, keyBits.mean))
            + seconds.deviation / seconds.mean * (seconds.deviation / seconds.mean)
        return rate * (one / Double(max(1, blocks))).squareRoot()
    }
}
