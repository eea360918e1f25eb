import Quantities

/// How well the numbers of a channel are known: standard deviations, 0 when exact.
public struct ChannelUncertainty: Hashable, Sendable {
    /// Of the transmittance, relative.
    public var transmittance: Double
    /// Of the dark-count probability, relative.
    public var darkCountProbability: Double
    /// Of the misalignment, absolute.
    public var misalignment: Double
    /// Of both intensities together (one power meter), relative.
    public var intensity: Double
    /// Of the reconciliation efficiency, absolute.
    public var reconciliationEfficiency: Double

    /// Wraps the deviations.
    public init(
        transmittance: Double = 0, darkCountProbability: Double = 0, misalignment: Double = 0,
        intensity: Double = 0, reconciliationEfficiency: Double = 0
    ) {
        self.transmittance = transmittance
        self.darkCountProbability = darkCountProbability
        self.misalignment = misalignment
        self.intensity = intensity
        self.reconciliationEfficiency = reconciliationEfficiency
    }
}

/// The key rate that a measured channel promises beside the one that blocks really gave.
///
/// Operators watch it: a channel whose calibration says one thing and whose keys say another has
/// drifted, is miscalibrated or is attacked. It never enters a key length.
public struct RateComparison: Hashable, Sendable {
    /// Bits per second expected.
    public let predicted: Double
    /// Its standard deviation from what is known of the channel.
    public let predictedDeviation: Double
    /// Bits per second found.
    public let measured: Double
    /// The number of blocks measured.
    public let blocks: Int
    /// The standard deviation of the mean of so many blocks, from their counts, in bits per second.
    public let blockDeviation: Double

    /// Compares the mean rate of `blocks` blocks with the prediction of `settings` for `problem`.
    ///
    /// The prediction's deviation is propagated to first order from `uncertainty`, by central
    /// differences of one deviation; that of the blocks takes detections in time as Poissonian.
    /// Returns `nil` when the settings give no key.
    public init?(
        problem: OptimizationProblem, settings: LinkSettings, uncertainty: ChannelUncertainty,
        measured: Double, blocks: Int
    ) {
        precondition(blocks > 0)
        func rate(_ problem: OptimizationProblem, _ settings: LinkSettings) -> Double {
            ParameterOptimizer.evaluated(settings, for: problem)?.rate(through: problem.channel)
                ?? 0
        }
        let expected = rate(problem, settings)
        guard expected > 0 else { return nil }
        var variance = 0.0
        func vary(
            _ deviation: Double,
            _ change: (inout OptimizationProblem, inout LinkSettings, Double) -> Void
        ) {
            guard deviation > 0 else { return }
            var (up, down) = ((problem, settings), (problem, settings))
            change(&up.0, &up.1, deviation)
            change(&down.0, &down.1, -deviation)
            let slope = (rate(up.0, up.1) - rate(down.0, down.1)) / 2
            variance += slope * slope
        }
        vary(uncertainty.transmittance) {
            $0.channel.transmittance *= 1 + $2; _ = $1
        }
        vary(uncertainty.darkCountProbability) {
            $0.channel.darkCountProbability *= 1 + $2; _ = $1
        }
        vary(uncertainty.misalignment) {
            $0.channel.misalignment = max(0, $0.channel.misalignment + $2)
        }
        vary(uncertainty.intensity) {
            $1.signal *= 1 + $2
            $1.decoy *= 1 + $2
        }
        vary(uncertainty.reconciliationEfficiency) {
            $0.reconciliationEfficiency = max(1, $0.reconciliationEfficiency + $2)
        }
        predicted = expected
        predictedDeviation = variance.squareRoot()
        self.measured = measured
        self.blocks = blocks
        blockDeviation = Self.blockDeviation(problem, settings) / Double(blocks).squareRoot()
    }

    /// How many standard deviations the finding lies above the prediction.
    public var deviations: Double {
        let variance =
            predictedDeviation * predictedDeviation + blockDeviation * blockDeviation
        return variance > 0 ? (measured - predicted) / variance.squareRoot() : 0
    }

    /// Whether finding and prediction differ, with this probability of saying so wrongly, in (0, 1),
    /// for normal deviations and both directions.
    public func differs(falseAlarmProbability: Double) -> Bool {
        abs(deviations) > normalQuantile(1 - falseAlarmProbability / 2)
    }

    /// The standard deviation of the rate of one block: the time it takes scatters by 1/√n, and its
    /// errors by √m each.
    private static func blockDeviation(
        _ problem: OptimizationProblem, _ settings: LinkSettings
    ) -> Double {
        guard let mean = ParameterOptimizer.evaluated(settings, for: problem) else { return 0 }
        let rate = mean.rate(through: problem.channel)
        let time = rate / mean.keyDetections.squareRoot()
        // A block with one deviation more errors, in both bases at once, as a channel a little worse.
        let errors = max(1, mean.keyErrorRate * mean.keyDetections)
        let part =
            (1 - mean.senderKeyProbability) * (1 - mean.receiverKeyProbability)
            / (mean.senderKeyProbability * mean.receiverKeyProbability)
        let relative = (1 / errors + 1 / max(1, errors * part)).squareRoot()
        var worse = problem
        worse.channel.misalignment = min(
            0.5,
            problem.channel.misalignment
                + mean.keyErrorRate * relative)
        let lower =
            ParameterOptimizer.evaluated(settings, for: worse)?
            .rate(through: problem.channel) ?? 0
        return (time * time + (rate - lower) * (rate - lower)).squareRoot()
    }
}
