import Quantities

/// Follows a locked clock on running data: a two-state Kalman filter of phase and frequency.
///
/// The frequency difference of the oscillators is a random walk. For a walk of q per √s and blocks
/// that together bring r signal clicks a second with deviation σ, the phase can not be known
/// better than √(√2·(σ²/r)^{3/4}·q^{1/2}).
public struct ClockTracker: Hashable, Sendable {
    /// What one block told.
    public struct Update: Hashable, Sendable {
        /// The block's mean phase against the prediction, in picoseconds.
        public var innovation: Double
        /// The predicted standard deviation of the innovation.
        public var deviation: Double
        /// Signal clicks in the block.
        public var signalClicks: Double
        /// Whether the clock jumped: several blocks in a row far off the prediction. The estimate
        /// is widened; after a second jump within a few blocks, lock again.
        public var isJump: Bool
    }

    /// The present clock.
    public private(set) var solution: ClockSolution
    /// The wander in use, per √s; follows the innovations within a factor of 30 of the first.
    public private(set) var wander: Double
    private let firstWander: Double
    private var signalFraction = 0.95
    private var outliers = 0

    /// A tracker that starts from a lock.
    public init(solution: ClockSolution, wander: Double = 3e-9) {
        precondition(wander > 0, "an oscillator wanders")
        self.solution = solution
        self.wander = wander
        firstWander = wander
    }

    /// Takes a block of clicks: nominal picoseconds of the tagger, delays taken off, rising.
    ///
    /// Blocks of 20 clicks or more follow the oscillator best; `nil`, and nothing changed, when the
    /// block has fewer than 5 signal clicks.
    public mutating func update(clickTimes: [Picoseconds]) -> Update? {
        guard let first = clickTimes.first, let last = clickTimes.last else { return nil }
        let middle = Picoseconds(
            first.rawValue + (last.rawValue - first.rawValue) / 2)
        let residuals = clickTimes.compactMap { solution.position(of: $0)?.phase }
        guard let block = summarize(residuals) else { return nil }
        let seconds =
            Double(middle.rawValue - solution.referenceTime.rawValue) * 1e-12
        var predicted = solution.rebased(to: middle)
        predict(&predicted, seconds: max(0, seconds))
        let innovationVariance =
            predicted.phaseVariance + block.deviation * block.deviation / block.weight
        let z = block.mean / innovationVariance.squareRoot()
        // One wild block is not believed; several in a row are.
        outliers = abs(z) > 5 ? outliers + 1 : 0
        let isJump = outliers >= 3
        if isJump {
            let missed = block.mean * block.mean
            predicted.phaseVariance += missed
            predicted.stretchVariance += missed * 1e-24 / max(1e-6, seconds * seconds)
            outliers = 0
        } else if outliers > 0 {
            solution = predicted
            return Update(
                innovation: block.mean, deviation: innovationVariance.squareRoot(),
                signalClicks: block.weight, isJump: false)
        }
        correct(&predicted, by: block)
        signalFraction += 0.05 * (block.weight / Double(residuals.count) - signalFraction)
        if !isJump { adaptWander(z: z) }
        solution = predicted
        return Update(
            innovation: block.mean, deviation: innovationVariance.squareRoot(),
            signalClicks: block.weight, isJump: isJump)
    }

    /// The random walk of frequency over `seconds`, added to a rebased solution.
    private func predict(_ predicted: inout ClockSolution, seconds: Double) {
        let q = wander * wander
        predicted.phaseVariance =
            predicted.phaseVariance + q * seconds * seconds * seconds / 3 * 1e24
        predicted.covariance += q * seconds * seconds / 2 * 1e12
        predicted.stretchVariance += q * seconds
    }

    private func correct(
        _ predicted: inout ClockSolution,
        by block: (mean: Double, deviation: Double, weight: Double)
    ) {
        let noise = block.deviation * block.deviation / block.weight
        let total = predicted.phaseVariance + noise
        let phaseGain = predicted.phaseVariance / total
        let stretchGain = predicted.covariance / total
        predicted.referencePhase += phaseGain * block.mean
        predicted.stretch += stretchGain * block.mean
        predicted.stretchVariance -= stretchGain * predicted.covariance
        predicted.covariance *= 1 - phaseGain
        predicted.phaseVariance *= 1 - phaseGain
        predicted.clickDeviation += 0.02 * (block.deviation - predicted.clickDeviation)
    }

    /// Signal-weighted mean and deviation of a block, with its number of signal clicks.
    private func summarize(
        _ residuals: [Double]
    ) -> (mean: Double, deviation: Double, weight: Double)? {
        let background = (1 - signalFraction) / Double(solution.slotPeriod.rawValue)
        let deviation = max(20, solution.clickDeviation)
        let reach = (solution.phaseVariance + deviation * deviation).squareRoot()
        var width = max(deviation, reach) * 2
        var mean = Self.densest(residuals, width: 3 * width)
        var result: (mean: Double, deviation: Double, weight: Double)?
        for round in 0..<6 {
            var (sum, weight, square) = (0.0, 0.0, 0.0)
            let peak = signalFraction / (width * (2 * Double.pi).squareRoot())
            for r in residuals {
                let z = (r - mean) / width
                let signal = peak * exponential(-0.5 * z * z)
                let w = signal / (signal + background + 1e-300)
                sum += w * r
                square += w * r * r
                weight += w
            }
            guard weight >= 5 else { return nil }
            mean = sum / weight
            let spread = max(0, square / weight - mean * mean).squareRoot()
            width = round < 2 ? max(deviation, spread) : deviation
            result = (mean, max(20, 0.5 * (spread + deviation)), weight)
        }
        return result
    }

    /// The middle of the window of `width` that holds most residuals, so that a jump of the clock
    /// is seen wherever in the slot it lands.
    private static func densest(_ residuals: [Double], width: Double) -> Double {
        let sorted = residuals.sorted()
        var (best, low) = ((count: 0, middle: 0.0), 0)
        for high in sorted.indices {
            while sorted[high] - sorted[low] > width { low += 1 }
            if high - low + 1 > best.count {
                best = (high - low + 1, (sorted[low] + sorted[high]) / 2)
            }
        }
        return best.middle
    }

    /// Follows the innovations: squares above one ask for more wander, below one for less.
    private mutating func adaptWander(z: Double) {
        let pull = max(-1, min(3, z * z - 1))
        let next = wander * exponential(0.02 * pull)
        wander = max(firstWander / 30, min(firstWander * 30, next))
    }
}
