import LinkTypes
import Quantities

/// Finds slot period, phase and slot number from the detections themselves.
///
/// Alice sends `SynchronizationPattern`. A sparse periodogram finds the period within the allowed
/// difference of the oscillators, a weighted line refines it to the statistical limit, and the
/// brightness code names the slot. Nothing needs alignment, delays or a gate.
public struct ClockLockProcedure: CalibrationProcedure {
    /// What an operator can sensibly choose.
    public struct Configuration: Hashable, Sendable {
        /// The nominal slot period.
        public var slotPeriod: Picoseconds
        /// The largest difference of the two oscillators, as a fraction.
        public var oscillatorRange: Double
        /// The time to observe. The wander of the oscillators must stay well below a slot in it.
        public var span: Duration
        /// The largest number of clicks to use.
        public var maximumClicks: Int
        /// The probability of a wrong slot number that is accepted.
        public var errorLimit: Double
        /// How the fractional frequency of the oscillators wanders, per √s.
        public var wander: Double
        /// How often a failed attempt is repeated.
        public var attempts: Int
        /// A configuration; the defaults suit crystal oscillators of ±20 ppm at both ends.
        public init(
            slotPeriod: Picoseconds, oscillatorRange: Double = 42e-6,
            span: Duration = .milliseconds(250), maximumClicks: Int = 40_000,
            errorLimit: Double = 1e-9, wander: Double = 1e-8, attempts: Int = 3
        ) {
            precondition(slotPeriod.rawValue > 0 && span > .zero && maximumClicks >= 20)
            self.slotPeriod = slotPeriod
            self.oscillatorRange = oscillatorRange
            self.span = span
            self.maximumClicks = maximumClicks
            self.errorLimit = errorLimit
            self.wander = wander
            self.attempts = attempts
        }
    }

    /// Why clicks did not give a clock.
    public enum LockFailure: Error, Hashable, Sendable {
        /// Fewer clicks than can carry a clock.
        case tooFewClicks(Int)
        /// No period stands out; the false-alarm probability is given.
        case noPeriod(Double)
        /// The line could not be fitted.
        case noLine
        /// The brightness code was not found; the error probability is given.
        case noCode(Double)
        /// The code says a slot that host time excludes.
        case hostTimeDisagrees(slots: Int64)
    }

    /// A lock with the numbers behind it.
    public struct Lock: Hashable, Sendable {
        /// The clock.
        public var solution: ClockSolution
        /// The arrival phase of each detector about their mean, in picoseconds.
        public var detectorPhases: [Double]
        /// Signal clicks used.
        public var signalClicks: Double
        /// The time from the first to the last click, in seconds.
        public var span: Double
        /// The fraction of clicks on bright chips.
        public var brightFraction: Double
        /// The false-alarm probability of the period.
        public var periodFalseAlarm: Double
        /// The smallest standard deviation of the stretch that these clicks allow.
        public var stretchLimit: Double
    }

    /// The name in records.
    public let name = "clock"
    /// None: the clock is arithmetic.
    public let actuators: [ActuatorName] = []
    private let configuration: Configuration
    private var attempt = 0

    /// A lock with the given configuration.
    public init(configuration: Configuration) { self.configuration = configuration }

    /// The next actions.
    public mutating func step(_ observation: CalibrationObservation) -> [CalibrationAction] {
        switch observation {
        case .started:
            return [.measure(request)]
        case .measured(let measurement):
            guard case .timeTags(let sample) = measurement.payload else {
                return [.rollBack(reason: "a measurement without time tags")]
            }
            switch Self.lock(sample, configuration: configuration) {
            case .success(let lock):
                return [.stage(Self.result(lock)), .finish]
            case .failure(let failure):
                attempt += 1
                return attempt < configuration.attempts
                    ? [.measure(request)] : [.rollBack(reason: "no clock: \(failure)")]
            }
        case .moved, .settled, .staged:
            return [.rollBack(reason: "an observation out of order")]
        }
    }

    private var request: MeasurementRequest {
        MeasurementRequest(
            .timeTags, pattern: .synchronization, detections: configuration.maximumClicks,
            maximumDuration: configuration.span)
    }

    /// The clock in one sample, without a procedure around it.
    public static func lock(
        _ sample: TimeTagSample, configuration: Configuration
    ) -> Result<Lock, LockFailure> {
        guard let clicks = ClickTimes(sample), let last = clicks.offsets.last,
            clicks.offsets.count >= 40
        else { return .failure(.tooFewClicks(sample.tags.count)) }
        let span = min(last, Int64((configuration.span.inSeconds * 1e12).rounded()))
        guard
            let peak = FrequencySearch.search(
                clicks, slotPeriod: configuration.slotPeriod,
                range: configuration.oscillatorRange, span: span)
        else { return .failure(.tooFewClicks(clicks.offsets.count)) }
        guard peak.falseAlarmProbability <= 1e-6 else {
            return .failure(.noPeriod(peak.falseAlarmProbability))
        }
        guard
            let fit = PhaseFit.fit(
                clicks, used: peak.clicks, slotPeriod: configuration.slotPeriod,
                stretch: peak.stretch)
        else { return .failure(.noLine) }
        return frame(sample, clicks: clicks, peak: peak, fit: fit, configuration: configuration)
    }

    private static func frame(
        _ sample: TimeTagSample, clicks: ClickTimes, peak: FrequencySearch.Peak, fit: PhaseFit,
        configuration: Configuration
    ) -> Result<Lock, LockFailure> {
        let period = configuration.slotPeriod.rawValue
        let centre = fit.meanPhase
        let spread = (fit.phases.map { abs($0 - centre) }.max() ?? 0) + 4 * fit.deviation
        var search = FrameSearch()
        for index in 0..<peak.clicks {
            let folded = PhaseFit.fold(
                clicks.offsets[index], slotPeriod: period, stretch: fit.stretch, phase: centre)
            if abs(folded.residual) <= spread { search.add(relativeSlot: folded.slot) }
        }
        let coarse =
            sample.tickPeriod.picoseconds(of: sample.coarse.ticks.rawValue)
            - clicks.origin.rawValue
        let here = PhaseFit.fold(
            coarse, slotPeriod: period, stretch: fit.stretch, phase: centre)
        let expected = Int64(clamping: sample.coarse.slot.rawValue) - here.slot
        let answer: FrameSearch.Answer
        switch search.answer(
            expected: expected, uncertainty: sample.coarse.uncertainty,
            limit: configuration.errorLimit)
        {
        case .success(let found): answer = found
        case .failure(.notSignificant(let probability)): return .failure(.noCode(probability))
        case .failure(.outsideHostTime(let slots)):
            return .failure(.hostTimeDisagrees(slots: slots))
        }
        let middle = Int64(fit.meanSlot.rounded())
        guard middle + answer.offset >= 0 else {
            return .failure(.hostTimeDisagrees(slots: -(middle + answer.offset)))
        }
        // The reference is the middle of the sample, where phase and stretch are independent.
        let drift = Double(middle) * (Double(period) * fit.stretch) + centre
        let whole = drift.rounded()
        let solution = ClockSolution(
            referenceTime: Picoseconds(
                clicks.origin.rawValue + middle * period + Int64(whole)),
            referenceSlot: SlotIndex(UInt64(middle + answer.offset)),
            referencePhase: drift - whole, slotPeriod: configuration.slotPeriod,
            stretch: fit.stretch, phaseVariance: fit.phaseVariance,
            stretchVariance: fit.stretchVariance, covariance: 0, clickDeviation: fit.deviation,
            falseSlotProbability: answer.errorProbability)
        let signal = fit.signalClicks.reduce(0, +)
        let seconds = Double(clicks.offsets[peak.clicks - 1]) * 1e-12
        let limit = 12.0.squareRoot() * fit.deviation * 1e-12 / (seconds * signal.squareRoot())
        return .success(
            Lock(
                solution: solution, detectorPhases: fit.phases.map { $0 - centre },
                signalClicks: signal, span: seconds, brightFraction: answer.brightFraction,
                periodFalseAlarm: peak.falseAlarmProbability, stretchLimit: limit))
    }

    private static func result(_ lock: Lock) -> StagedResult {
        let deviation = lock.solution.stretchVariance.squareRoot()
        return StagedResult(
            change: .clock(lock.solution),
            values: [
                MeasuredValue(
                    "frequency difference", lock.solution.partsPerMillion,
                    uncertainty: deviation * 1e6, unit: "ppm"),
                MeasuredValue(
                    "slot phase", lock.solution.referencePhase,
                    uncertainty: lock.solution.phaseVariance.squareRoot(), unit: "ps"),
                MeasuredValue(
                    "reference slot", Double(lock.solution.referenceSlot.rawValue)),
                MeasuredValue("click deviation", lock.solution.clickDeviation, unit: "ps"),
                MeasuredValue("signal clicks", lock.signalClicks),
                MeasuredValue("probability of a wrong slot", lock.solution.falseSlotProbability),
                MeasuredValue("false alarm of the period", lock.periodFalseAlarm),
                MeasuredValue("clicks on bright chips", lock.brightFraction),
            ],
            limit: LimitComparison(
                bound: "σ_f/f ≥ √12·σ/(T·√N)", limit: lock.stretchLimit, achieved: deviation))
    }

    /// A second sample of the same pattern.
    public func verificationRequest(for result: StagedResult) -> MeasurementRequest { request }

    /// Passes when an independent lock on the fresh sample names the same slot and its phase
    /// agrees with the prediction within five standard deviations, wander included.
    public func verify(
        _ result: StagedResult, with measurement: CalibrationMeasurement
    ) -> VerificationVerdict {
        let rule = "slot and phase of an independent lock against the prediction, in σ"
        func verdict(_ statistic: Double) -> VerificationVerdict {
            VerificationVerdict(
                rule: rule, statistic: statistic, threshold: 5,
                detections: measurement.detections)
        }
        guard case .clock(let staged) = result.change,
            case .timeTags(let sample) = measurement.payload,
            case .success(let lock) = Self.lock(sample, configuration: configuration)
        else { return verdict(.infinity) }
        let fresh = lock.solution
        guard let predicted = staged.position(of: fresh.time(of: fresh.referenceSlot)),
            predicted.slot == fresh.referenceSlot
        else { return verdict(.infinity) }
        let seconds =
            Double(fresh.referenceTime.rawValue - staged.referenceTime.rawValue) * 1e-12
        let known = staged.deviation(after: seconds, wander: configuration.wander)
        let deviation = (known * known + fresh.phaseVariance + 1).squareRoot()
        return verdict(abs(predicted.phase) / deviation)
    }
}
