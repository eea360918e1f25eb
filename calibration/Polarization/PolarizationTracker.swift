import LinkTypes
import Quantities

/// Keeps both bases aligned while keys are produced, from counts that sifting discloses anyway.
///
/// A pure function from counts at settings and elapsed time to the next settings. Each frame holds
/// the link a small known rotation off the null, in a four-phase pattern; the difference of the
/// error counts between phases says on which side of the null the fibre has drifted. Mismatched
/// cells show rotation between the bases directly. An extended Kalman filter on the rotation joins
/// them with a drift rate that it estimates itself. Each cell is weighted by its own counts, so it
/// does not matter which share of a basis is disclosed.
public struct PolarizationTracker: Sendable {
    /// What an operator can sensibly choose.
    public struct Configuration: Hashable, Sendable {
        /// The shortest frame; several times the duration of a small move.
        public var shortestFrame: Duration
        /// The longest frame.
        public var longestFrame: Duration
        /// The smallest and largest dither, in radians of the link.
        public var ditherRange: ClosedRange<Double>
        /// The drift assumed at the start, in rad/√s.
        public var diffusion: Double
        /// How irreproducible a small move is, as a rotation of the link in radians.
        public var moveDeviation: Double
        /// The rise of QBER that counts as a jump.
        public var jumpError: Double
        /// A configuration; the defaults suit motorised wave plates.
        public init(
            shortestFrame: Duration = .milliseconds(500), longestFrame: Duration = .seconds(10),
            ditherRange: ClosedRange<Double> = 0.015...0.15, diffusion: Double = 0.01,
            moveDeviation: Double = 0.002, jumpError: Double = 0.1
        ) {
            precondition(shortestFrame > .zero && shortestFrame <= longestFrame)
            self.shortestFrame = shortestFrame
            self.longestFrame = longestFrame
            self.ditherRange = ditherRange
            self.diffusion = diffusion
            self.moveDeviation = moveDeviation
            self.jumpError = jumpError
        }
    }

    /// What happened during one frame.
    public struct Frame: Hashable, Sendable {
        /// Coincidences disclosed for detections made while the controller stood at `settings`.
        public var counts: StateDetectorCounts
        /// Where the controller stood, by its own readback.
        public var settings: [Double]
        /// The time since the end of the previous frame, moves included.
        public var elapsed: Duration
        /// The part of it during which the counts were collected.
        public var exposure: Duration
        /// A frame.
        public init(
            counts: StateDetectorCounts, settings: [Double], elapsed: Duration, exposure: Duration
        ) {
            self.counts = counts
            self.settings = settings
            self.elapsed = elapsed
            self.exposure = exposure
        }
    }

    /// Something that the caller must know.
    public enum Event: Hashable, Sendable {
        /// Errors rose faster than drift explains; the tracker searches wider.
        case jump
        /// The tracker is lost: run `PolarizationAlignment`.
        case realignmentNeeded(reason: String)
        /// The next move is long and may change labels; detections during it must be discarded.
        case retarget
    }

    /// What to do next.
    public struct Decision: Hashable, Sendable {
        /// Where to move, one setting for each axis.
        public var settings: [Double]
        /// The order of the axes and the largest extra QBER on the way.
        public var motion: MotionPlan
        /// The labels that hold once the controller stands.
        public var labels: DetectorLabels
        /// The suggested length of the next frame.
        public var frame: Duration
        /// The expected extra QBER at the new settings, dither included.
        public var expectedError: MisalignmentError
        /// The dither in force, in radians.
        public var dither: Double
        /// The estimated drift in rad/√s.
        public var diffusion: Double
        /// The mean extra QBER that no tracker on key data beats at this drift and rate.
        public var limit: Double
        /// What happened.
        public var events: [Event]
    }

    private let configuration: Configuration
    /// The estimate as of the last frame.
    public private(set) var filter: AlignmentFilter
    /// The labels in force.
    public private(set) var labels: DetectorLabels
    private var diffusion: DiffusionEstimator
    private var cusum: ErrorRateCusum
    private var phase = 0
    private var rate = 0.0
    private var weakestCell = 0.0
    private var troubledFrames = 0
    private var framesSinceRetarget = 1000
    private var lastSettings: [Double] = []
    /// The part of a long turn by which link and model may differ after it.
    private static let modelError = 0.02
    /// Frames that a branch is kept at least: a long move costs more than a poor frame.
    private static let retargetPause = 10
    /// Parts of the range kept free: before a retarget is planned, and after one.
    private static let guardMargin = 0.02
    private static let retargetMargin = 0.1

    /// A tracker that starts from an alignment.
    public init(estimate: PolarizationEstimate, configuration: Configuration = Configuration()) {
        self.configuration = configuration
        filter = estimate.filter
        labels = estimate.labels
        let start = configuration.diffusion * configuration.diffusion
        diffusion = DiffusionEstimator(rate: start, bounds: 1e-8...0.1)
        cusum = ErrorRateCusum(
            normalRate: 0.02, alarmRate: 0.02 + configuration.jumpError,
            meanBitsToFalseAlarm: 1e9)
    }

    /// Takes one frame and says where to go.
    public mutating func step(_ frame: Frame) -> Decision {
        var events: [Event] = []
        let seconds = max(1e-6, frame.elapsed.inSeconds)
        filter.addChannelVariance(diffusion.rate * seconds + slip(to: frame.settings))
        filter.addParameterVariance(fraction: 1e-3)
        let agreement = BasisAgreement(frame.counts)
        observeRates(agreement, exposure: frame.exposure)
        if agreement.total >= 20 {
            absorb((settings: frame.settings, counts: agreement), seconds: seconds, &events)
        }
        return decide(from: frame.settings, events)
    }

    /// The variance that a move adds: irreproducible, and wrong in proportion to its length.
    private mutating func slip(to settings: [Double]) -> Double {
        var travel = 0.0
        if lastSettings.count == settings.count {
            for index in settings.indices {
                let element = filter.stack.elements[index]
                travel += abs(settings[index] - lastSettings[index]) * abs(element.gain)
            }
        }
        lastSettings = settings
        let length = Self.modelError * travel
        return configuration.moveDeviation * configuration.moveDeviation + length * length
    }

    private mutating func absorb(
        _ reading: AlignmentFilter.Reading, seconds: Double, _ events: inout [Event]
    ) {
        let isJump = jumped(reading)
        let before = filter
        let innovation = filter.update([reading], iterations: 4)
        let cells = Double(innovation?.cells ?? 0)
        let isMisfit =
            innovation.map { $0.chiSquaredAfter > cells + 8 * (2 * cells).squareRoot() } ?? true
        if let innovation, !isJump, !isMisfit {
            diffusion.add(innovation, seconds: seconds)
            troubledFrames = max(0, troubledFrames - 1)
            return
        }
        // The step was larger than drift explains: look again with a wider prior.
        filter = before
        filter.addChannelVariance(0.15 * 0.15)
        _ = filter.update([reading], iterations: 12)
        if isJump { events.append(.jump) }
        troubledFrames += 2
        if troubledFrames >= 8 {
            troubledFrames = 0
            events.append(
                .realignmentNeeded(reason: "errors stay above what any small rotation explains"))
        }
    }

    /// Whether errors in matched cells rose above what the prediction allows.
    private mutating func jumped(_ reading: AlignmentFilter.Reading) -> Bool {
        let link = filter.stack.rotation(at: reading.settings) * filter.channel
        let spread = filter.linkCovariance(at: reading.settings)
        let error = MisalignmentError(link: link, labels: labels)
        var alarm = false
        for basis in 0..<2 {
            let same = reading.counts.same[3 * basis]
            let different = reading.counts.different[3 * basis]
            let inverted = basis == 0 ? labels.invertsZ : labels.invertsX
            let v = basis == 0 ? filter.visibilityZ : filter.visibilityX
            let drift = (spread[1 - basis, 1 - basis] + spread[2, 2]) / 4
            let misaligned = (basis == 0 ? error.z : error.x) + drift
            let expected = (1 - v) / 2 + v * misaligned
            let raised = cusum.add(
                errors: inverted ? same : different, bits: same + different,
                normalRate: expected)
            alarm = alarm || raised
        }
        return alarm
    }

    /// Follows the rates of disclosed detections, for the dither and the frame.
    private mutating func observeRates(_ agreement: BasisAgreement, exposure: Duration) {
        let seconds = max(1e-3, exposure.inSeconds)
        let total = agreement.total / seconds
        let matched = [0, 3].map { (agreement.same[$0] + agreement.different[$0]) / seconds }
        let weakest = min(matched[0], matched[1])
        rate = rate == 0 ? total : rate + 0.2 * (total - rate)
        weakestCell = weakestCell == 0 ? weakest : weakestCell + 0.2 * (weakest - weakestCell)
    }

    private mutating func decide(from settings: [Double], _ happened: [Event]) -> Decision {
        var events = happened
        let e0 = (2 - filter.visibilityZ - filter.visibilityX) / 4
        // The formula counts all detections of balanced bases, a quarter of them in each matched
        // cell; with biased or sampled bases the weaker cell counts.
        let effective = max(1, 4 * weakestCell)
        let wanted = DitherPlan.amplitude(
            intrinsicError: e0, diffusion: diffusion.rate, rate: effective)
        let range = configuration.ditherRange
        let dither = max(range.lowerBound, min(range.upperBound, wanted))
        phase = (phase + 1) % 4
        let signs = [(1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)][phase]
        let turn = StokesVector(signs.0 * dither, signs.1 * dither, 0)
        let null = target(.zero, from: settings)
        framesSinceRetarget += 1
        var point = target(turn, from: settings)
        if needsRetarget(null), framesSinceRetarget > Self.retargetPause || null.residual > 0.005 {
            if let other = retarget(from: settings, insteadOf: null) {
                labels = other.labels
                point = other
                framesSinceRetarget = 0
                events.append(.retarget)
            } else if null.residual > 0.02 {
                events.append(.realignmentNeeded(reason: "no setting in range aligns the link"))
            }
        }
        let motion = MotionPlan.best(
            stack: filter.stack, channel: filter.channel, labels: labels, from: settings,
            to: point.settings)
        let limit = DitherPlan.limit(
            intrinsicError: e0, diffusion: diffusion.rate, rate: effective)
        return Decision(
            settings: point.settings, motion: motion, labels: labels,
            frame: frameLength(limit: limit),
            expectedError: filter.expectedError(at: point.settings, labels: labels),
            dither: dither, diffusion: diffusion.rate.squareRoot(), limit: limit, events: events)
    }

    /// The settings near the present ones that hold the link off the null by `turn`.
    private func target(_ turn: StokesVector, from settings: [Double]) -> NullPoint {
        let search = NullSearch(stack: filter.stack, margin: Self.guardMargin / 2)
        return search.refine(
            from: settings, channel: filter.channel * StokesRotation(rotationVector: turn * -1),
            labels: labels, current: settings)
    }

    /// Whether the branch ends: an axis near its end, a dead spot, or a rotation out of reach.
    private func needsRetarget(_ point: NullPoint) -> Bool {
        if point.residual > 1e-3 { return true }
        return point.settings.indices.contains { index in
            let element = filter.stack.elements[index]
            let free = Self.guardMargin * element.span
            return point.settings[index] < element.lowerLimit + free
                || point.settings[index] > element.upperLimit - free
        }
    }

    /// The best null with room to move, among all labels and branches, when it is truly another
    /// place and better than the present one.
    private func retarget(from settings: [Double], insteadOf null: NullPoint) -> NullPoint? {
        let search = NullSearch(stack: filter.stack, margin: Self.retargetMargin)
        return search.nullPoints(channel: filter.channel, from: settings).first { point in
            let isElsewhere = point.labels != labels || point.travel > 0.2
            return isElsewhere && (point.residual < 0.5 * null.residual || point.residual < 1e-5)
        }
    }

    /// 0.16·ē/D, but long enough for a hundred detections and short enough for the actuator's life.
    private func frameLength(limit: Double) -> Duration {
        let useful = 0.16 * limit / diffusion.rate
        let seconds = max(useful, 100 / max(1, rate))
        let shortest = configuration.shortestFrame.inSeconds
        // A long move shows what the model does not know: look again at once.
        if framesSinceRetarget < Self.retargetPause { return configuration.shortestFrame }
        let longest = configuration.longestFrame.inSeconds
        return .nanoseconds(Int64(max(shortest, min(longest, seconds)) * 1e9))
    }
}
