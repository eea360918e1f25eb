import Quantities

/// Estimates how fast the fibre drifts from how well each frame was predicted.
///
/// Scoring on the logarithm of D, the variance rate of each axis in rad²/s: the gradient and the
/// information of the evidence of recent frames, with exponential forgetting. Innovations that keep
/// one sign raise D as well: they mean that the estimate lags behind a steady turn, which frames
/// judged one by one hardly show.
package struct DiffusionEstimator: Hashable, Sendable {
    /// The estimate of D in rad²/s.
    package private(set) var rate: Double
    private let bounds: ClosedRange<Double>
    private var gradient = 0.0
    private var information = 0.0
    private var recentPull = StokesVector.zero
    private var cyclePull = StokesVector.zero
    private var cycleFrames = 0
    /// The weight kept from frame to frame: a memory of about thirty frames.
    private static let memory = 0.97
    private static let pullMemory = 0.6
    /// Balances the signal of a lag against the noise of products over four frames.
    private static let persistenceWeight = 0.2

    package init(rate: Double, bounds: ClosedRange<Double>) {
        self.rate = max(bounds.lowerBound, min(bounds.upperBound, rate))
        self.bounds = bounds
    }

    /// Takes the innovation of a frame that came `seconds` after the one before.
    package mutating func add(_ innovation: AlignmentFilter.Innovation, seconds: Double) {
        let scale = rate * seconds
        // Scores so far belong to the old estimate; forget them in step with how far it moved.
        // Over the four phases of a dither cycle the pull of a wrong visibility cancels.
        cyclePull = cyclePull + innovation.pull
        cycleFrames += 1
        var persistence = 0.0
        if cycleFrames == 4 {
            persistence = cyclePull.dot(recentPull)
            recentPull = recentPull * Self.pullMemory + cyclePull
            cyclePull = .zero
            cycleFrames = 0
        }
        gradient =
            Self.memory * gradient + scale
            * (innovation.varianceScore + Self.persistenceWeight * persistence)
        // The products add half as much noise as the squares.
        information =
            Self.memory * information + 1.5 * scale * scale * innovation.varianceInformation
        // One unit of information holds the estimate where it is when frames say nothing.
        let step = max(-0.3, min(0.3, gradient / (information + 4)))
        rate = max(bounds.lowerBound, min(bounds.upperBound, rate * exponential(step)))
        gradient -= step * information
    }
}

/// The best dither and frame for a tracker that may only use key data.
///
/// At the null QBER is blind to ω₁ and ω₂ to first order, so the tracker holds the link off the
/// null by β on both axes, which costs β²/4 of QBER and buys information ¼·I(β) for each. The best
/// β for an intrinsic QBER e₀, drift D and r detections a second is (2·√(e₀·D/r))^{1/3}, and the
/// mean extra QBER is then about 0.75·β² + 0.354·√(D/(r·V²)).
package enum DitherPlan {
    package static func amplitude(
        intrinsicError: Double, diffusion: Double, rate: Double
    ) -> Double {
        power(2 * (max(1e-4, intrinsicError) * diffusion / max(1, rate)).squareRoot(), 1.0 / 3)
    }

    /// The mean extra QBER that no tracker on key data beats.
    package static func limit(
        intrinsicError: Double, diffusion: Double, rate: Double
    ) -> Double {
        let beta = amplitude(intrinsicError: intrinsicError, diffusion: diffusion, rate: rate)
        let v = 1 - 2 * intrinsicError
        return 0.75 * beta * beta
            + 0.354 * (diffusion / (max(1, rate) * v * v)).squareRoot()
    }
}
