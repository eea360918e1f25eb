import LinkTypes
import Quantities

/// Measures how late each detector's clicks come, and centres the slot on their mean.
public struct DelayCalibration: CalibrationProcedure {
    /// What an operator can sensibly choose.
    public struct Configuration: Hashable, Sendable {
        /// The nominal slot period.
        public var slotPeriod: Picoseconds
        /// Detections for the fit, over all detectors.
        public var detections: Int
        /// Held-out detections.
        public var verificationDetections: Int
        /// The longest time for one measurement.
        public var maximumDuration: Duration
        /// How far the common phase of all detectors may move between two measurements, in
        /// picoseconds: a clock that is tracked without delays follows the mean of the clicks, and
        /// so the mix of the detectors. With delays published it settles by itself.
        public var phaseAllowance: Double
        /// A configuration.
        public init(
            slotPeriod: Picoseconds, detections: Int = 20_000,
            verificationDetections: Int = 10_000, maximumDuration: Duration = .seconds(10),
            phaseAllowance: Double = 500
        ) {
            precondition(slotPeriod.rawValue > 0, "a slot has a positive length")
            self.slotPeriod = slotPeriod
            self.detections = detections
            self.verificationDetections = verificationDetections
            self.maximumDuration = maximumDuration
            self.phaseAllowance = phaseAllowance
        }
    }

    /// The name in records.
    public let name = "channel-delays"
    /// None: delays are taken off in arithmetic.
    public let actuators: [ActuatorName] = []
    private let configuration: Configuration

    /// A measurement of delays.
    public init(configuration: Configuration) { self.configuration = configuration }

    /// The next actions.
    public mutating func step(_ observation: CalibrationObservation) -> [CalibrationAction] {
        switch observation {
        case .started(let snapshot, _):
            guard snapshot.clock != nil else {
                return [.rollBack(reason: "no clock: lock it first")]
            }
            return [.measure(request(configuration.detections))]
        case .measured(let measurement):
            guard case .arrivalPhases(let phases) = measurement.payload else {
                return [.rollBack(reason: "a measurement without arrival phases")]
            }
            guard let templates = Self.templates(phases, slotPeriod: configuration.slotPeriod)
            else { return [.rollBack(reason: "a detector shows no peak in the slot")] }
            return [.stage(Self.result(templates)), .finish]
        case .moved, .settled, .staged:
            return [.rollBack(reason: "an observation out of order")]
        }
    }

    private func request(_ detections: Int) -> MeasurementRequest {
        MeasurementRequest(
            .arrivalPhases, pattern: .training, detections: detections,
            maximumDuration: configuration.maximumDuration)
    }

    /// The four templates, or `nil` when a detector has none.
    package static func templates(
        _ phases: [ArrivalPhase], slotPeriod: Picoseconds
    ) -> [ArrivalTemplate]? {
        let found = (0..<4).compactMap { detector in
            ArrivalFit.fit(
                phases.filter { $0.detector == detector }.map(\.picoseconds),
                slotPeriod: Double(slotPeriod.rawValue))
        }
        return found.count == 4 ? found : nil
    }

    private static func result(_ templates: [ArrivalTemplate]) -> StagedResult {
        let mean = templates.reduce(0) { $0 + $1.centre } / 4
        let all = templates.reduce(0) { $0 + $1.centreVariance }
        // A centre minus the mean of four: (¾)² of its own variance, 1/16 of the others'.
        let delays = ChannelDelays(
            picoseconds: templates.map { $0.centre - mean },
            deviations: templates.map {
                (0.5 * $0.centreVariance + all / 16).squareRoot()
            })
        var values = (0..<4).map { detector in
            MeasuredValue(
                "delay of detector \(detector)", delays.picoseconds[detector],
                uncertainty: delays.deviations[detector], unit: "ps")
        }
        let variance = templates.reduce(0) { $0 + $1.centreVariance }
        values.append(
            MeasuredValue(
                "common phase", mean, uncertainty: variance.squareRoot() / 4, unit: "ps"))
        for (detector, template) in templates.enumerated() {
            values.append(
                MeasuredValue("jitter of detector \(detector)", template.width, unit: "ps"))
        }
        let limit = templates.reduce(0) { $0 + $1.centreLimit }
        return StagedResult(
            change: .delays(delays, commonShift: mean), values: values,
            limit: LimitComparison(
                bound: "σ_t ≥ 1/√∫λ′²/λ for a known pulse shape, root mean square of detectors",
                limit: (limit / 4).squareRoot(), achieved: (variance / 4).squareRoot()))
    }

    /// Fresh phases.
    public func verificationRequest(for result: StagedResult) -> MeasurementRequest {
        request(configuration.verificationDetections)
    }

    /// Passes when an independent fit agrees for every detector within 4.5 standard deviations.
    public func verify(
        _ result: StagedResult, with measurement: CalibrationMeasurement
    ) -> VerificationVerdict {
        let rule = "delays of an independent fit against the staged ones, in σ"
        guard case .delays(let staged, let shift) = result.change,
            case .arrivalPhases(let phases) = measurement.payload,
            let fresh = Self.templates(phases, slotPeriod: configuration.slotPeriod)
        else {
            return VerificationVerdict(
                rule: rule, statistic: .infinity, threshold: 4.5,
                detections: measurement.detections)
        }
        let mean = fresh.reduce(0) { $0 + $1.centre } / 4
        let freshVariance = fresh.reduce(0) { $0 + $1.centreVariance }
        var worst = 0.0
        for (detector, template) in fresh.enumerated() {
            let known = staged.deviations[detector]
            let deviation =
                (known * known + 0.5 * template.centreVariance + freshVariance / 16).squareRoot()
            let difference = template.centre - mean - staged.picoseconds[detector]
            worst = max(worst, abs(difference) / deviation)
        }
        // The common phase may wander with the clock, but not by more than is allowed for.
        if abs(mean - shift) > configuration.phaseAllowance + 4.5 * freshVariance.squareRoot() / 4 {
            worst = .infinity
        }
        return VerificationVerdict(
            rule: rule, statistic: worst, threshold: 4.5, detections: phases.count)
    }
}
