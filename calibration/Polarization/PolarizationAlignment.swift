import LinkTypes
import Quantities

/// Aligns both bases from any starting polarization: probe, fit, null, refine, prove.
///
/// 1. Probe at settings whose analysed directions span all three Stokes axes.
/// 2. Maximum likelihood over all rotations on all sixteen cells, mismatched bases included.
/// 3. Solve the controller's model for the null nearest by travel among the four relabellings.
/// 4. Measure at pairs of small known rotations about the null. Near a null QBER is blind to first
///    order; a dither of about 0.4 rad keeps most of the information, and errors of the
///    controller's model enter only in proportion to it. Update the joint posterior of channel,
///    controller and visibility.
/// 5. Repeat 3 and 4 until the 95 % posterior quantile of the larger extra QBER meets the target.
public struct PolarizationAlignment: CalibrationProcedure {
    /// What an operator can sensibly choose.
    public struct Configuration: Hashable, Sendable {
        /// The 95 % quantile of the larger extra QBER at which the alignment is good enough.
        public var target: Double
        /// The quantile that is still accepted when more rounds no longer help, as on a fibre that
        /// drifts while it is aligned.
        public var acceptable: Double
        /// Detections at each probe.
        public var probeDetections: Int
        /// The largest number of dither pairs.
        public var maximumRounds: Int
        /// How irreproducible one move is, as a rotation of the link in radians.
        public var moveDeviation: Double
        /// The drift of the fibre expected while aligning, in rad/√s.
        public var diffusion: Double
        /// The time for optics to come to rest after a move.
        public var settling: Duration
        /// The longest time for one measurement.
        public var maximumDuration: Duration
        /// Held-out detections.
        public var verificationDetections: Int
        /// The largest observed QBER of a basis that can pass verification.
        public var maximumQBER: Double
        /// A configuration; the defaults suit motorised wave plates.
        public init(
            target: Double = 0.0015, acceptable: Double = 0.005, probeDetections: Int = 500,
            maximumRounds: Int = 10,
            moveDeviation: Double = 0.006, diffusion: Double = 0.005,
            settling: Duration = .milliseconds(50), maximumDuration: Duration = .seconds(5),
            verificationDetections: Int = 20_000, maximumQBER: Double = 0.08
        ) {
            self.target = target
            self.acceptable = max(target, acceptable)
            self.probeDetections = probeDetections
            self.maximumRounds = maximumRounds
            self.moveDeviation = moveDeviation
            self.diffusion = diffusion
            self.settling = settling
            self.maximumDuration = maximumDuration
            self.verificationDetections = verificationDetections
            self.maximumQBER = maximumQBER
        }
    }

    private enum Phase: Hashable {
        case probing(remaining: [[Double]])
        case dithering(remaining: [[Double]])
        case nulling(NullPoint)
        case finished
    }

    /// The name in records.
    public let name = "polarization"
    /// The controller.
    public let actuators = [ActuatorName.polarizationController]
    private let configuration: Configuration
    private let nominal: RetarderStack
    private var phase = Phase.probing(remaining: [])
    private var filter: AlignmentFilter
    private var current: [Double] = []
    private var probes: [AlignmentFilter.Reading] = []
    private var lastFinish: HostInstant?
    private var rounds = 0
    private var misfits = 0
    private var detections = 0.0
    private var quantiles: [Double] = []
    private var settingsMeasured = 0
    /// Margin of the range kept free by the null, and by probes and dithers.
    private static let nullMargin = 0.1
    private static let ditherMargin = 0.01

    /// An alignment with a controller described by `stack`.
    public init(stack: RetarderStack, configuration: Configuration = Configuration()) {
        nominal = stack
        self.configuration = configuration
        filter = AlignmentFilter(channel: .identity, stack: stack)
    }

    /// The next actions.
    public mutating func step(_ observation: CalibrationObservation) -> [CalibrationAction] {
        switch observation {
        case .started(let snapshot, let settings):
            return start(snapshot, settings)
        case .measured(let measurement):
            return absorb(measurement)
        case .moved(let reached):
            guard case .nulling(let null) = phase, reached.values.count == current.count else {
                return [.rollBack(reason: "a move that was not asked for")]
            }
            current = reached.values
            phase = .finished
            return stage(at: null)
        case .settled, .staged:
            return [.rollBack(reason: "an observation out of order")]
        }
    }

    private mutating func start(
        _ snapshot: CalibrationSnapshot, _ settings: [ActuatorSettings]
    ) -> [CalibrationAction] {
        guard let here = settings.first(where: { $0.actuator == .polarizationController }),
            here.values.count == nominal.elements.count
        else { return [.rollBack(reason: "the controller does not have the axes of its model")] }
        current = here.values
        // What earlier runs learnt about this controller is kept; the channel is not.
        if let known = snapshot.polarization,
            known.filter.stack.elements.count == nominal.elements.count
        {
            filter = known.filter
            filter.addParameterVariance(fraction: 0.05)
        }
        var remaining = probeSettings(from: current)
        let first = remaining.removeFirst()
        phase = .probing(remaining: remaining)
        return measure(at: first, detections: configuration.probeDetections)
    }

    /// Three settings, the present one first, chosen so that the smallest eigenvalue of the sum of
    /// analysed directions Σ Cᵀ·e·eᵀ·C is large while the travel is small.
    private func probeSettings(from start: [Double]) -> [[Double]] {
        let search = NullSearch(stack: filter.stack, margin: Self.ditherMargin)
        let grid = search.gridPoints()
        var chosen = [start]
        var directions = analysed(filter.stack.rotation(at: start))
        while chosen.count < 3 {
            var best: (score: Double, index: Int)?
            for (index, point) in grid.enumerated() {
                let spread = NullSearch.smallestEigenvalue(directions + analysed(point.rotation))
                var travel = 0.0
                for axis in start.indices {
                    travel +=
                        abs(point.settings[axis] - chosen[chosen.count - 1][axis])
                        / filter.stack.elements[axis].span
                }
                let score = spread - 0.2 * travel
                if best.map({ score > $0.score }) ?? true { best = (score, index) }
            }
            guard let best else { break }
            chosen.append(grid[best.index].settings)
            directions = directions + analysed(grid[best.index].rotation)
        }
        return chosen
    }

    private func analysed(_ controller: StokesRotation) -> SquareMatrix {
        var sum = SquareMatrix(order: 3)
        for row in 0..<2 {
            sum.addOuterProduct((0..<3).map { controller[row, $0] }, scale: 1)
        }
        return sum
    }

    private func measure(at settings: [Double], detections: Int) -> [CalibrationAction] {
        let request = MeasurementRequest(
            .stateCounts, pattern: .training, detections: detections,
            maximumDuration: configuration.maximumDuration)
        guard settings != current else { return [.measure(request)] }
        return [
            .move(ActuatorSettings(actuator: .polarizationController, values: settings)),
            .settle(configuration.settling), .measure(request),
        ]
    }

    private mutating func absorb(_ measurement: CalibrationMeasurement) -> [CalibrationAction] {
        guard case .stateCounts(let counts) = measurement.payload,
            let here = measurement.settings.first(where: {
                $0.actuator == .polarizationController
            }), here.values.count == current.count
        else { return [.rollBack(reason: "a measurement without state counts or settings")] }
        guard counts.total >= 100 else {
            return [.rollBack(reason: "only \(counts.total) detections: no signal")]
        }
        current = here.values
        let reading = (settings: here.values, counts: BasisAgreement(counts))
        detections += reading.counts.total
        settingsMeasured += 1
        let elapsed = lastFinish.map { (measurement.finished - $0).inSeconds } ?? 0
        lastFinish = measurement.finished
        switch phase {
        case .probing(var remaining):
            probes.append(reading)
            guard remaining.isEmpty else {
                let next = remaining.removeFirst()
                phase = .probing(remaining: remaining)
                return measure(at: next, detections: configuration.probeDetections)
            }
            return acquire()
        case .dithering(var remaining):
            let drift = configuration.diffusion * configuration.diffusion * elapsed
            let slip = configuration.moveDeviation * configuration.moveDeviation
            filter.addChannelVariance(drift + slip)
            if let trouble = refine(with: [reading]) { return trouble }
            guard remaining.isEmpty else {
                let next = remaining.removeFirst()
                phase = .dithering(remaining: remaining)
                return measure(at: next, detections: ditherDetections())
            }
            rounds += 1
            return plan()
        case .nulling, .finished:
            return [.rollBack(reason: "a measurement that was not asked for")]
        }
    }

    /// The global fit, then the joint posterior of channel and controller.
    private mutating func acquire() -> [CalibrationAction] {
        let stack = filter.stack
        let fit = RotationLikelihood.mostLikelyRotation(
            probes.map { (stack.rotation(at: $0.settings), $0.counts) }, visibility: 0.96)
        filter.resetChannel(to: fit.rotation, deviation: 1)
        if let trouble = refine(with: probes) { return trouble }
        return plan()
    }

    /// Updates the posterior. Counts that no rotation explains widen it; too many end the run.
    private mutating func refine(
        with readings: [AlignmentFilter.Reading]
    ) -> [CalibrationAction]? {
        guard let innovation = filter.update(readings, iterations: 12) else {
            return [.rollBack(reason: "the counts leave the posterior without a maximum")]
        }
        let cells = Double(innovation.cells)
        if innovation.chiSquaredAfter > cells + 6 * (2 * cells).squareRoot() {
            misfits += 1
            guard misfits <= configuration.maximumRounds else {
                return [
                    .rollBack(
                        reason: "no rotation explains the counts (χ² "
                            + "\(innovation.chiSquaredAfter.rounded()) for \(innovation.cells) "
                            + "cells): suspect the controller, depolarization or Alice's states")
                ]
            }
            filter.addChannelVariance(0.03 * 0.03)
        }
        return nil
    }

    private mutating func plan() -> [CalibrationAction] {
        let search = NullSearch(stack: filter.stack, margin: Self.nullMargin)
        guard let null = search.nullPoints(channel: filter.channel, from: current).first else {
            return [.rollBack(reason: "no setting in range aligns this channel")]
        }
        let move = configuration.moveDeviation * configuration.moveDeviation
        let covariance =
            filter.linkCovariance(at: null.settings)
            + SquareMatrix(diagonal: [move, move, move])
        let quantile = MisalignmentPosterior.quantile(
            0.95, mean: filter.offset(at: null.settings, labels: null.labels),
            covariance: covariance)
        quantiles.append(quantile)
        // At least one pair: probes far from the null say nothing about the model near it.
        let isGood = rounds >= 1 && quantile <= configuration.target
        if isGood || (isStalled && quantile <= configuration.acceptable) {
            phase = .nulling(null)
            return [
                .move(
                    ActuatorSettings(actuator: .polarizationController, values: null.settings))
            ]
        }
        guard rounds < configuration.maximumRounds else {
            return [
                .rollBack(
                    reason: "the extra QBER is still uncertain by \(quantile) after "
                        + "\(rounds) rounds; the target is \(configuration.target)")
            ]
        }
        var points = ditherSettings(about: null)
        let first = points.removeFirst()
        phase = .dithering(remaining: points)
        return measure(at: first, detections: ditherDetections())
    }

    /// Whether two more rounds gained less than a tenth, or no round is left.
    private var isStalled: Bool {
        guard rounds >= min(5, configuration.maximumRounds) else { return false }
        let past = quantiles[max(0, quantiles.count - 3)]
        return rounds >= configuration.maximumRounds
            || quantiles[quantiles.count - 1] > 0.9 * past
    }

    /// Settings that turn the link by ±(β, ±β, 0) about the null, smaller from round to round.
    private func ditherSettings(about null: NullPoint) -> [[Double]] {
        let search = NullSearch(stack: filter.stack, margin: Self.ditherMargin)
        let amplitude = max(0.2, 0.4 - 0.07 * Double(rounds))
        let skew = rounds.isMultiple(of: 2) ? 1.0 : -1.0
        let turns = [1.0, -1.0].map { sign in
            StokesVector(sign * amplitude, sign * skew * amplitude, 0)
        }
        let points = turns.map { turn in
            let turned = filter.channel * StokesRotation(rotationVector: turn * -1)
            return search.refine(
                from: null.settings, channel: turned, labels: null.labels, current: null.settings
            ).settings
        }
        return points
    }

    /// Detections that would meet the target at 1.3 times the limit, within reason.
    ///
    /// P(max(e_Z, e_X) ≤ ε) = 95 % needs about 1041·(0.5 %/ε)/V² detections at the limit.
    private func ditherDetections() -> Int {
        let v = (filter.visibilityZ + filter.visibilityX) / 2
        let needed = 1.3 * 1041 * 0.005 / (configuration.target * v * v)
        let open = max(needed - detections, 0.4 * needed) / 2
        return Int(max(300, min(20_000, open)))
    }

    private func stage(at null: NullPoint) -> [CalibrationAction] {
        var final = filter
        final.addChannelVariance(configuration.moveDeviation * configuration.moveDeviation)
        let expected = final.expectedError(at: current, labels: null.labels)
        let quantile = MisalignmentPosterior.quantile(
            0.95, mean: final.offset(at: current, labels: null.labels),
            covariance: final.linkCovariance(at: current))
        let certificate = AlignmentCertificate(
            detections: detections, settingsMeasured: settingsMeasured,
            expectedError: expected.mean, quantile95: quantile,
            visibility: (final.visibilityZ + final.visibilityX) / 2)
        let estimate = PolarizationEstimate(
            filter: final, settings: current, labels: null.labels, certificate: certificate)
        let result = StagedResult(
            change: .polarization(estimate),
            values: [
                MeasuredValue("expected extra QBER, Z", expected.z),
                MeasuredValue("expected extra QBER, X", expected.x),
                MeasuredValue("95 % quantile of the larger extra QBER", quantile),
                MeasuredValue("visibility, Z", final.visibilityZ),
                MeasuredValue("visibility, X", final.visibilityX),
                MeasuredValue("detections", detections),
                MeasuredValue("settings", Double(settingsMeasured)),
            ],
            limit: LimitComparison(
                bound: "mean extra QBER ≥ 1.457/(N·V²)", limit: certificate.limit,
                achieved: certificate.expectedError))
        return [.settle(configuration.settling), .stage(result), .finish]
    }

    /// Fresh counts at the null.
    public func verificationRequest(for result: StagedResult) -> MeasurementRequest {
        MeasurementRequest(
            .stateCounts, pattern: .training,
            detections: configuration.verificationDetections,
            maximumDuration: configuration.maximumDuration)
    }

    /// Passes when neither basis shows more errors than visibility and target explain (4
    /// standard deviations allowed) nor more than the configured QBER.
    public func verify(
        _ result: StagedResult, with measurement: CalibrationMeasurement
    ) -> VerificationVerdict {
        let rule = "excess errors of the worse basis over visibility and target, in σ"
        guard case .polarization(let estimate) = result.change,
            case .stateCounts(let counts) = measurement.payload
        else {
            return VerificationVerdict(
                rule: rule, statistic: .infinity, threshold: 4, detections: 0)
        }
        let agreement = BasisAgreement(counts)
        var worst = -Double.infinity
        for basis in 0..<2 {
            let inverted = basis == 0 ? estimate.labels.invertsZ : estimate.labels.invertsX
            let (same, different) = (agreement.same[3 * basis], agreement.different[3 * basis])
            let (errors, total) = (inverted ? same : different, same + different)
            guard total >= 100 else {
                worst = .infinity
                continue
            }
            let v = basis == 0 ? estimate.filter.visibilityZ : estimate.filter.visibilityX
            let allowed =
                (1 - v) / 2 + v * max(configuration.target, estimate.certificate.quantile95)
            let known = estimate.filter.visibilityVariance(basis: basis)
            // 0.1 % for what counts at dithers can not say about visibility at the null.
            let deviation =
                (allowed * (1 - allowed) / total + known / 4 + 1e-6).squareRoot()
            let excess = (errors / total - allowed) / deviation
            worst = max(worst, errors / total > configuration.maximumQBER ? .infinity : excess)
        }
        return VerificationVerdict(
            rule: rule, statistic: worst, threshold: 4, detections: Int(agreement.total))
    }
}
