import LinkTypes
import Quantities

/// Places the gate of the event pipeline on the clicks.
public struct GateCalibration: CalibrationProcedure {
    /// What an operator can sensibly choose.
    public struct Configuration: Hashable, Sendable {
        /// The nominal slot period.
        public var slotPeriod: Picoseconds
        /// The QBER of signal clicks to reckon with.
        public var signalError: Double
        /// The smallest accepted fraction of signal.
        public var minimumFraction: Double
        /// The largest allowed relative difference of accepted fractions between detectors.
        public var mismatchLimit: Double
        /// Detections for the fit.
        public var detections: Int
        /// Held-out detections.
        public var verificationDetections: Int
        /// The longest time for one measurement.
        public var maximumDuration: Duration
        /// A configuration.
        public init(
            slotPeriod: Picoseconds, signalError: Double = 0.015, minimumFraction: Double = 0.95,
            mismatchLimit: Double = 0.02, detections: Int = 20_000,
            verificationDetections: Int = 10_000, maximumDuration: Duration = .seconds(10)
        ) {
            precondition(slotPeriod.rawValue > 0, "a slot has a positive length")
            self.slotPeriod = slotPeriod
            self.signalError = signalError
            self.minimumFraction = minimumFraction
            self.mismatchLimit = mismatchLimit
            self.detections = detections
            self.verificationDetections = verificationDetections
            self.maximumDuration = maximumDuration
        }
    }

    /// The name in records.
    public let name = "gate"
    /// None: the gate is applied by the event pipeline.
    public let actuators: [ActuatorName] = []
    private let configuration: Configuration
    private var delays = ChannelDelays.zero

    /// A placement of the gate.
    public init(configuration: Configuration) { self.configuration = configuration }

    /// The next actions.
    public mutating func step(_ observation: CalibrationObservation) -> [CalibrationAction] {
        switch observation {
        case .started(let snapshot, _):
            guard snapshot.clock != nil, let known = snapshot.delays else {
                return [.rollBack(reason: "no clock or no delays: calibrate them first")]
            }
            delays = known
            return [.measure(request(configuration.detections))]
        case .measured(let measurement):
            guard case .arrivalPhases(let phases) = measurement.payload else {
                return [.rollBack(reason: "a measurement without arrival phases")]
            }
            return place(phases)
        case .moved, .settled, .staged:
            return [.rollBack(reason: "an observation out of order")]
        }
    }

    private func request(_ detections: Int) -> MeasurementRequest {
        MeasurementRequest(
            .arrivalPhases, pattern: .training, detections: detections,
            maximumDuration: configuration.maximumDuration)
    }

    private func corrected(_ phases: [ArrivalPhase]) -> [ArrivalPhase] {
        phases.map { phase in
            ArrivalPhase(
                detector: phase.detector,
                picoseconds: phase.picoseconds - delays.picoseconds[Int(phase.detector & 3)])
        }
    }

    private func place(_ phases: [ArrivalPhase]) -> [CalibrationAction] {
        guard
            let templates = DelayCalibration.templates(
                corrected(phases), slotPeriod: configuration.slotPeriod)
        else { return [.rollBack(reason: "a detector shows no peak in the slot")] }
        let selection = GateSelection(
            signalError: configuration.signalError,
            minimumFraction: configuration.minimumFraction,
            mismatchLimit: configuration.mismatchLimit)
        let slot = Double(configuration.slotPeriod.rawValue)
        guard let gate = selection.bestGate(templates, slotPeriod: slot) else {
            return [
                .rollBack(
                    reason: "no gate keeps \(configuration.minimumFraction) of the signal with a "
                        + "mismatch below \(configuration.mismatchLimit)")
            ]
        }
        let signal = templates.reduce(0) { $0 + $1.signal }
        let background = templates.reduce(0) { $0 + $1.background }
        let achieved = selection.merit(
            signal: signal * gate.signalFraction, background: background * gate.width)
        // What an ideal gate of no width that lost nothing would be worth.
        let ideal = selection.merit(signal: signal, background: 0)
        let deviation = templates.reduce(0) { $0 + $1.centreVariance }.squareRoot() / 4
        let result = StagedResult(
            change: .gate(gate),
            values: [
                MeasuredValue("gate centre", gate.centre, uncertainty: deviation, unit: "ps"),
                MeasuredValue("gate width", gate.width, unit: "ps"),
                MeasuredValue("accepted signal", gate.signalFraction),
                MeasuredValue("background inside", gate.backgroundFraction),
                MeasuredValue("mismatch", gate.mismatch),
            ],
            limit: LimitComparison(
                bound: "key without background and with all signal, over key with this gate",
                limit: max(1, achieved), achieved: ideal))
        return [.stage(result), .finish]
    }

    /// Fresh phases.
    public func verificationRequest(for result: StagedResult) -> MeasurementRequest {
        request(configuration.verificationDetections)
    }

    /// Passes when the gate accepts its share of fresh clicks within four standard deviations and
    /// 1 %, which allows for wander of the clock.
    public func verify(
        _ result: StagedResult, with measurement: CalibrationMeasurement
    ) -> VerificationVerdict {
        let rule = "signal missing from the gate against the prediction, in σ"
        guard case .gate(let gate) = result.change,
            case .arrivalPhases(let phases) = measurement.payload, phases.count >= 400
        else {
            return VerificationVerdict(
                rule: rule, statistic: .infinity, threshold: 4,
                detections: measurement.detections)
        }
        let slot = Double(configuration.slotPeriod.rawValue)
        let clicks = corrected(phases)
        let inside = Double(
            clicks.reduce(0) {
                let phase = $1.picoseconds - slot * ($1.picoseconds / slot).rounded()
                return $0 + (phase >= gate.start && phase < gate.end ? 1 : 0)
            })
        let total = Double(clicks.count)
        // Background outside the gate estimates the background inside it.
        let background = (total - inside) / max(1, slot - gate.width)
        let signalInside = inside - background * gate.width
        let lost = 1 - gate.signalFraction
        let signal = signalInside / max(0.01, gate.signalFraction)
        let predictedOutside = signal * lost + predictedBackground(result, signal: signal)
        let excess = (total - inside) - predictedOutside - 0.01 * signal
        return VerificationVerdict(
            rule: rule, statistic: excess / max(1, predictedOutside).squareRoot(), threshold: 4,
            detections: phases.count)
    }

    /// The background outside the gate that the staged result implies for `signal` signal clicks.
    private func predictedBackground(_ result: StagedResult, signal: Double) -> Double {
        guard case .gate(let gate) = result.change else { return 0 }
        let inside =
            signal * gate.signalFraction * gate.backgroundFraction / (1 - gate.backgroundFraction)
        let slot = Double(configuration.slotPeriod.rawValue)
        return inside / gate.width * (slot - gate.width)
    }
}
