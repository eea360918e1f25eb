import Quantities

/// Page's cumulative sum for a rise of an error rate: the fastest test of its kind for a given mean
/// time between false alarms (Moustakides, Ann. Statist. 14, 1379, 1986).
public struct ErrorRateCusum: Hashable, Sendable, Codable {
    /// The rate to detect.
    public let alarmRate: Double
    /// The log likelihood ratio at which the alarm is raised.
    public let threshold: Double
    /// The present sum.
    public private(set) var sum = 0.0

    /// A test for a rise from `normalRate` to `alarmRate` with about `meanBitsToFalseAlarm` bits
    /// between false alarms.
    public init(normalRate: Double, alarmRate: Double, meanBitsToFalseAlarm: Double) {
        precondition(normalRate > 0 && normalRate < alarmRate && alarmRate < 1)
        self.alarmRate = alarmRate
        let divergence =
            normalRate * naturalLog(normalRate / alarmRate)
            + (1 - normalRate) * naturalLog((1 - normalRate) / (1 - alarmRate))
        threshold = max(1, naturalLog(meanBitsToFalseAlarm * divergence))
    }

    /// Adds `errors` errors in `bits` bits whose normal rate is `normalRate`; tells whether the
    /// alarm is raised. The sum starts again after an alarm.
    public mutating func add(errors: Double, bits: Double, normalRate: Double) -> Bool {
        let rate = max(1e-4, min(normalRate, 0.8 * alarmRate))
        sum += errors * naturalLog(alarmRate / rate)
        sum += (bits - errors) * naturalLog((1 - alarmRate) / (1 - rate))
        sum = max(0, sum)
        guard sum >= threshold else { return false }
        sum = 0
        return true
    }
}
