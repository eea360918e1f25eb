import Quantities

/// What one statistic of a block says about the devices.
///
/// Health signals watch for broken parts and for attacks on imperfect ones: efficiencies that
/// differ, afterpulses, time shifts, blinded detectors, generators that got stuck. They are no part
/// of a security proof: the key length never depends on them, and a block without alarm is not
/// proved to be free of side channels.
///
/// They are computed inside the node from public data and from sifted bits before reconciliation,
/// never from a key after privacy amplification. Those computed from sifted key bits are marked
/// `isConfidential`: their values are functions of the raw key and must not leave the node;
/// `description` leaves them out. The verdict alone tells an outsider at most what an alarm with
/// the stated rate tells.
public struct HealthSignal: Hashable, Sendable, CustomStringConvertible {
    /// What the signal is about.
    public enum Test: String, Hashable, Sendable, CaseIterable {
        /// The fraction of ones among sifted bits.
        case bias
        /// Centred autocorrelation of sifted bits at one lag, in standard deviations.
        case bitAutocorrelation
        /// Pairs of detections at one distance in slots.
        case clickCorrelation
        /// The share of the second detector among the clicks of a basis.
        case detectorBalance
        /// The share of errors 1 → 0 among all errors of a basis.
        case errorAsymmetry
        /// Slots with clicks of several detectors.
        case multipleClicks
        /// Chi-square of arrival times within the slot, between detectors or against a reference.
        case gatePosition
        /// The share of the signal intensity among the detections of a basis.
        case intensityRatio
        /// Longest run of one value of a random generator (SP 800-90B, 4.4.1).
        case repetitionCount
        /// Largest count of one value in a window of a random generator (SP 800-90B, 4.4.2).
        case adaptiveProportion
    }

    /// The outcome.
    public enum Verdict: String, Hashable, Sendable {
        /// The statistic lies in the accepted range.
        case normal
        /// It does not.
        case alarm
        /// No value would have been outside: there is too little to judge.
        case tooFewSamples
    }

    /// What was tested.
    public var test: Test
    /// Which part: a detector, a basis, a lag.
    public var subject: String
    /// The observations behind the statistic.
    public var samples: Int
    /// The value found.
    public var statistic: Double
    /// The value expected without fault.
    public var expected: Double
    /// The values that raise no alarm: the two thresholds.
    public var accepted: ClosedRange<Double>
    /// The probability, at most, of an alarm without fault, at each evaluation.
    public var falseAlarmRate: Double
    /// Whether the value is a function of secret bits and must not leave the node.
    public var isConfidential: Bool
    /// The outcome.
    public var verdict: Verdict

    /// The false-alarm rate of a family of signals per block, unless said otherwise: 2⁻²⁰, close
    /// to five standard deviations. A family of m signals tests each at a rate m times smaller.
    public static let familyAlarmRate = 0x1p-20

    init(
        _ test: Test, _ subject: String, samples: Int, statistic: Double, expected: Double,
        accepted: ClosedRange<Double>, falseAlarmRate: Double, isConfidential: Bool = false,
        canAlarm: Bool = true
    ) {
        self.test = test
        self.subject = subject
        self.samples = samples
        self.statistic = statistic
        self.expected = expected
        self.accepted = accepted
        self.falseAlarmRate = falseAlarmRate
        self.isConfidential = isConfidential
        verdict =
            !canAlarm ? .tooFewSamples : accepted.contains(statistic) ? .normal : .alarm
    }

    /// One line; a confidential signal shows its verdict only.
    public var description: String {
        let head = "\(test.rawValue), \(subject): \(verdict.rawValue)"
        let rate = "false-alarm rate \(falseAlarmRate)"
        if isConfidential { return "\(head) (\(samples) samples, \(rate))" }
        return "\(head) (\(statistic), expected \(expected), accepted \(accepted.lowerBound)…"
            + "\(accepted.upperBound), \(samples) samples, \(rate))"
    }
}

// MARK: Exact tests

extension HealthSignal {
    /// Whether `ones` of `trials` fit a probability in `expected`.
    ///
    /// The two-sided binomial test: outside the accepted range the Clopper–Pearson interval of
    /// confidence 1 − `alarmRate` around the fraction does not meet `expected`. The false-alarm
    /// rate is a bound at every sample size.
    static func proportion(
        _ test: Test, _ subject: String, ones: Int, trials: Int, expected: ClosedRange<Double>,
        alarmRate: Double, isConfidential: Bool = false
    ) -> HealthSignal {
        let (low, high) = (expected.lowerBound, expected.upperBound)
        let n = Double(max(1, trials))
        func spread(_ p: Double) -> Double { (n * p * (1 - p)).squareRoot() }
        let range = counts(
            upTo: trials, alarmRate: alarmRate, low: (n * low, spread(low)),
            high: (n * high, spread(high)),
            lower: { binomialLowerTail($0, trials: trials, probability: low) },
            upper: { binomialUpperTail($0, trials: trials, probability: high) })
        return HealthSignal(
            test, subject, samples: trials, statistic: Double(ones) / n,
            expected: 0.5 * (expected.lowerBound + expected.upperBound),
            accepted: Double(range.lowerBound) / n...Double(range.upperBound) / n,
            falseAlarmRate: alarmRate, isConfidential: isConfidential,
            canAlarm: range.lowerBound > 0 || range.upperBound < trials)
    }

    /// Whether `count` events fit a Poisson law with a mean in `expected`.
    static func events(
        _ test: Test, _ subject: String, count: Int, expected: ClosedRange<Double>, samples: Int,
        alarmRate: Double
    ) -> HealthSignal {
        let low = max(expected.lowerBound, .leastNormalMagnitude)
        let high = max(expected.upperBound, .leastNormalMagnitude)
        let range = counts(
            upTo: Int(high + 20 * high.squareRoot()) + 200, alarmRate: alarmRate,
            low: (low, low.squareRoot()), high: (high, high.squareRoot()),
            lower: { poissonLowerTail($0, mean: low) },
            upper: { poissonUpperTail($0, mean: high) })
        return HealthSignal(
            test, subject, samples: samples, statistic: Double(count),
            expected: 0.5 * (expected.lowerBound + expected.upperBound),
            accepted: Double(range.lowerBound)...Double(range.upperBound),
            falseAlarmRate: alarmRate)
    }

    /// The counts in `0...ceiling` of which neither tail is as rare as half the alarm rate. Mean
    /// and standard deviation tell where to look first.
    private static func counts(
        upTo ceiling: Int, alarmRate: Double, low: (mean: Double, deviation: Double),
        high: (mean: Double, deviation: Double), lower: (Int) -> Double, upper: (Int) -> Double
    ) -> ClosedRange<Int> {
        let logarithm = -2 * naturalLog(alarmRate / 2)
        let deviations = max(0, logarithm - naturalLog(6.3 * logarithm)).squareRoot()
        let lowest = first(
            in: 0...ceiling, near: low.mean - deviations * low.deviation
        ) { lower($0) > alarmRate / 2 }
        let beyond = first(
            in: 0...ceiling, near: high.mean + deviations * high.deviation
        ) { upper($0) <= alarmRate / 2 }
        let highest = beyond == ceiling && upper(ceiling) > alarmRate / 2 ? ceiling : beyond - 1
        return lowest...max(lowest, highest)
    }

    /// The smallest number of `range` for which `isReached`, which is monotonic, holds, or the
    /// largest number of all; found by steps that double from `guess` on, then halving.
    private static func first(
        in range: ClosedRange<Int>, near guess: Double, _ isReached: (Int) -> Bool
    ) -> Int {
        let start = Int(
            min(max(guess, Double(range.lowerBound)), Double(range.upperBound)).rounded())
        // Nothing below `low` reaches it, and `high` does or is the end.
        var (low, high) = (range.lowerBound, range.upperBound)
        var step = 1
        if isReached(start) {
            high = start
            while high > low {
                let next = max(low, high - step)
                guard isReached(next) else {
                    low = next + 1
                    break
                }
                high = next
                step *= 2
            }
        } else {
            low = min(start + 1, high)
            while low < high {
                let next = min(high, low + step)
                guard !isReached(next) else {
                    high = next
                    break
                }
                low = min(next + 1, high)
                step *= 2
            }
        }
        while low < high {
            let middle = low + (high - low) / 2
            if isReached(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
