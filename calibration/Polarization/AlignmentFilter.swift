import LinkTypes
import Quantities

/// What is known about a channel, the controller in it and the receiver's visibility, and how it
/// grows and ages: an extended Kalman filter whose state is a rotation.
///
/// State: a small rotation ω of the channel to the right of `channel`, a change of every parameter
/// of the controller's model, and the visibilities of both of Bob's bases. Because the parameters
/// are part of the state, an imperfect controller is calibrated by the same counts that align the
/// link; what the model still misses enters as noise for every move.
public struct AlignmentFilter: Hashable, Sendable, Codable {
    /// The estimate of the channel: Stokes vectors at Alice to Stokes vectors before the controller.
    public private(set) var channel: StokesRotation
    /// The estimate of the controller.
    public private(set) var stack: RetarderStack
    /// The estimated visibility of Bob's Z ports.
    public private(set) var visibilityZ: Double
    /// The estimated visibility of Bob's X ports.
    public private(set) var visibilityX: Double
    /// The covariance: ω, then the controller's parameters, then the visibilities.
    package private(set) var covariance: SquareMatrix

    /// What one update revealed about the quality of the prediction.
    package struct Innovation: Hashable, Sendable {
        /// Detections used.
        package var detections: Double
        /// Twice the log likelihood gained from the saturated model: χ² of the cells about the
        /// prediction before the update, and its degrees of freedom.
        package var chiSquaredBefore: Double
        /// χ² of the cells about the estimate after the update.
        package var chiSquaredAfter: Double
        /// Cells with counts.
        package var cells: Int
        /// The derivative of the log evidence by the variance of an isotropic step of the channel,
        /// and the information about that variance.
        package var varianceScore: Double
        package var varianceInformation: Double
        /// The innovation of ω in units of its inverse covariance, S⁻¹z: white when the assumed
        /// drift is right, of one sign when the estimate lags behind.
        package var pull: StokesVector
    }

    /// Counts at settings.
    package typealias Reading = (settings: [Double], counts: BasisAgreement)

    /// Nothing known but the nominal controller: the channel within 1 rad about `channel`.
    package init(
        channel: StokesRotation, stack: RetarderStack, visibility: Double = 0.96,
        visibilityDeviation: Double = 0.03, channelDeviation: Double = 1
    ) {
        self.channel = channel
        self.stack = stack
        visibilityZ = visibility
        visibilityX = visibility
        let turns = [Double](repeating: channelDeviation * channelDeviation, count: 3)
        let parameters = stack.parameterDeviations.map { max(1e-12, $0 * $0) }
        let visibilities = [Double](repeating: visibilityDeviation * visibilityDeviation, count: 2)
        covariance = SquareMatrix(diagonal: turns + parameters + visibilities)
    }

    private var order: Int { covariance.order }

    /// The covariance of ω in rad².
    package var channelCovariance: SquareMatrix { covariance.block([0, 1, 2]) }

    /// The variance of the visibility of Bob's Z (0) or X (1) ports.
    package func visibilityVariance(basis: Int) -> Double {
        let index = 3 + stack.parameterCount + basis
        return covariance[index, index]
    }

    /// Forgets the channel but keeps what was learnt about controller and receiver.
    package mutating func resetChannel(to newChannel: StokesRotation, deviation: Double) {
        channel = newChannel
        for axis in 0..<3 {
            for other in 0..<order {
                covariance[axis, other] = 0
                covariance[other, axis] = 0
            }
            covariance[axis, axis] = deviation * deviation
        }
    }

    /// Adds an isotropic random step of the channel, `variance` in rad² for each axis.
    package mutating func addChannelVariance(_ variance: Double) {
        for axis in 0..<3 { covariance[axis, axis] += variance }
    }

    /// Lets the controller's parameters wander by `fraction` of their initial deviations.
    package mutating func addParameterVariance(fraction: Double) {
        for (index, deviation) in stack.parameterDeviations.enumerated() {
            covariance[3 + index, 3 + index] += fraction * fraction * deviation * deviation
        }
    }

    /// Improves the estimate with counts taken while the channel stood still.
    ///
    /// Gauss–Newton on the log posterior, at most `iterations` steps, each halved until it gains.
    package mutating func update(_ readings: [Reading], iterations: Int = 6) -> Innovation? {
        guard let precision = covariance.positiveDefiniteInverse() else { return nil }
        var state = State(filter: self)
        let before = state.chiSquared(readings)
        var value = state.logPosterior(readings, precision: precision)
        var posterior = covariance
        for _ in 0..<iterations {
            let (gradient, information) = state.normalEquations(readings, precision: precision)
            guard let factor = information.choleskyFactor() else { return nil }
            var step = factor.solveAsFactor(gradient)
            var improved = false
            for _ in 0..<8 {
                let trial = state.moved(by: step)
                let trialValue = trial.logPosterior(readings, precision: precision)
                if trialValue >= value {
                    improved = trialValue - value > 1e-7
                    (state, value) = (trial, trialValue)
                    break
                }
                for index in step.indices { step[index] *= 0.5 }
            }
            if !improved { break }
        }
        let (_, information) = state.normalEquations(readings, precision: precision)
        guard let inverse = information.positiveDefiniteInverse() else { return nil }
        posterior = inverse
        let score = Self.varianceScore(
            change: state.change, prior: precision, posterior: posterior)
        let innovation = Innovation(
            detections: readings.reduce(0) { $0 + $1.counts.total },
            chiSquaredBefore: before.value, chiSquaredAfter: state.chiSquared(readings).value,
            cells: before.cells, varianceScore: score.score,
            varianceInformation: score.information, pull: score.pull)
        channel = state.channel.orthonormalized
        stack = state.stack
        visibilityZ = state.visibility.z
        visibilityX = state.visibility.x
        covariance = posterior
        return innovation
    }

    /// With prior covariance P and innovation covariance S, the gradient of the log evidence by a
    /// variance added to ω is ½(|S⁻¹z|² − tr S⁻¹) over ω, where S⁻¹z = P⁻¹·(posterior shift) and
    /// S⁻¹ = P⁻¹ − P⁻¹·P⁺·P⁻¹.
    private static func varianceScore(
        change: [Double], prior: SquareMatrix, posterior: SquareMatrix
    ) -> (score: Double, information: Double, pull: StokesVector) {
        let pull = prior * change
        var score = 0.0
        var information = 0.0
        for row in 0..<3 {
            let weights = (0..<prior.order).map { prior[row, $0] }
            let spread = posterior * weights
            for column in 0..<3 {
                var inner = 0.0
                for k in 0..<prior.order { inner += prior[column, k] * spread[k] }
                let s = prior[row, column] - inner
                information += 0.5 * s * s
                if row == column { score += 0.5 * (pull[row] * pull[row] - s) }
            }
        }
        return (score, information, StokesVector(pull[0], pull[1], pull[2]))
    }

    /// The expected extra QBER for the link held at `settings`: the model's, plus what the
    /// covariance of the link adds.
    package func expectedError(
        at settings: [Double], labels: DetectorLabels
    ) -> MisalignmentError {
        let link = stack.rotation(at: settings) * channel
        let nominal = MisalignmentError(link: link, labels: labels)
        let spread = linkCovariance(at: settings)
        return MisalignmentError(
            z: nominal.z + (spread[1, 1] + spread[2, 2]) / 4,
            x: nominal.x + (spread[0, 0] + spread[2, 2]) / 4)
    }

    /// The remaining rotation from the target of `labels` at `settings`.
    package func offset(at settings: [Double], labels: DetectorLabels) -> StokesVector {
        let target = labels.targetDiagonal
        let link = stack.rotation(at: settings) * channel
        func flip(_ v: StokesVector) -> StokesVector {
            StokesVector(v.s1 * target.s1, v.s2 * target.s2, v.s3 * target.s3)
        }
        return StokesRotation(
            columns: flip(link.column1), flip(link.column2), flip(link.column3)
        ).rotationVector
    }

    /// The rotation covariance of the whole link at `settings`: channel and controller together.
    package func linkCovariance(at settings: [Double]) -> SquareMatrix {
        let model = stack.linearized(at: settings)
        let link = model.rotation * channel
        // A left rate a equals a right rate Mᵀ·a.
        let rates = model.parameterRates.map { link.inverse * $0 }
        var jacobian = [[Double]](
            repeating: [Double](repeating: 0, count: order), count: 3)
        for axis in 0..<3 {
            jacobian[axis][axis] = 1
            for (index, rate) in rates.enumerated() { jacobian[axis][3 + index] = rate[axis] }
        }
        var result = SquareMatrix(order: 3)
        for column in 0..<3 {
            let spread = covariance * jacobian[column]
            for row in 0..<3 {
                result[row, column] = zip(jacobian[row], spread).reduce(0) { $0 + $1.0 * $1.1 }
            }
        }
        return result
    }
}

/// The point at which the posterior is evaluated, and its distance from the prior mean.
private struct State {
    var channel: StokesRotation
    var stack: RetarderStack
    var visibility: (z: Double, x: Double)
    var change: [Double]

    init(filter: AlignmentFilter) {
        channel = filter.channel
        stack = filter.stack
        visibility = (filter.visibilityZ, filter.visibilityX)
        change = [Double](repeating: 0, count: filter.covariance.order)
    }

    func moved(by step: [Double]) -> State {
        var result = self
        var turn = StokesVector(step[0], step[1], step[2])
        if turn.norm > 0.7 { turn = turn * (0.7 / turn.norm) }
        result.channel = channel * StokesRotation(rotationVector: turn)
        let count = stack.parameterCount
        result.stack = stack.adding(step[3..<3 + count])
        func bounded(_ v: Double) -> Double {
            max(0.3, min(RotationLikelihood.correlationLimit, v))
        }
        result.visibility.z = bounded(visibility.z + step[3 + count])
        result.visibility.x = bounded(visibility.x + step[4 + count])
        for axis in 0..<3 { result.change[axis] += turn[axis] }
        for index in 3..<3 + count { result.change[index] += step[index] }
        result.change[3 + count] += result.visibility.z - visibility.z
        result.change[4 + count] += result.visibility.x - visibility.x
        return result
    }

    func logPosterior(_ readings: [AlignmentFilter.Reading], precision: SquareMatrix) -> Double {
        var value = 0.0
        for (settings, counts) in readings {
            value += RotationLikelihood.logLikelihood(
                counts, link: stack.rotation(at: settings) * channel, visibility: visibility)
        }
        let pull = precision * change
        return value - 0.5 * zip(change, pull).reduce(0) { $0 + $1.0 * $1.1 }
    }

    func normalEquations(
        _ readings: [AlignmentFilter.Reading], precision: SquareMatrix
    ) -> (gradient: [Double], information: SquareMatrix) {
        var gradient = (precision * change).map { -$0 }
        var information = precision
        let count = stack.parameterCount
        for (settings, counts) in readings {
            let model = stack.linearized(at: settings)
            let link = model.rotation * channel
            for bob in 0..<2 {
                let v = bob == 0 ? visibility.z : visibility.x
                for alice in 0..<2 {
                    let cell = 2 * bob + alice
                    let total = counts.same[cell] + counts.different[cell]
                    guard total > 0 else { continue }
                    let element = link[bob, alice]
                    let x = RotationLikelihood.clamp(v * element)
                    var row = [Double](repeating: 0, count: gradient.count)
                    let turn = RotationLikelihood.rightRate(link, row: bob, column: alice) * v
                    (row[0], row[1], row[2]) = (turn.s1, turn.s2, turn.s3)
                    let image = StokesVector(link[0, alice], link[1, alice], link[2, alice])
                    for (index, rate) in model.parameterRates.enumerated() {
                        row[3 + index] = v * rate.cross(image)[bob]
                    }
                    row[3 + count + bob] = element
                    let slope = counts.same[cell] / (1 + x) - counts.different[cell] / (1 - x)
                    for index in row.indices { gradient[index] += slope * row[index] }
                    information.addOuterProduct(row, scale: total / (1 - x * x))
                }
            }
        }
        return (gradient, information)
    }

    /// The likelihood-ratio χ² of all cells with counts against this state.
    func chiSquared(_ readings: [AlignmentFilter.Reading]) -> (value: Double, cells: Int) {
        var sum = 0.0
        var cells = 0
        for (settings, counts) in readings {
            let link = stack.rotation(at: settings) * channel
            for bob in 0..<2 {
                let v = bob == 0 ? visibility.z : visibility.x
                for alice in 0..<2 {
                    let (s, d) = (counts.same[2 * bob + alice], counts.different[2 * bob + alice])
                    guard s + d > 0 else { continue }
                    let x = RotationLikelihood.clamp(v * link[bob, alice])
                    cells += 1
                    if s > 0 { sum += 2 * s * naturalLog(2 * s / ((s + d) * (1 + x))) }
                    if d > 0 { sum += 2 * d * naturalLog(2 * d / ((s + d) * (1 - x))) }
                }
            }
        }
        return (sum, cells)
    }
}
