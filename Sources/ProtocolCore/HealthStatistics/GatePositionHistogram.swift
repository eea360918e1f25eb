import Quantities

/// Where in the slot the clicks of each detector fall.
///
/// Detectors whose gates do not coincide can be chosen by the time at which light is sent: the
/// time-shift attack (Qi, Fung, Lo and Ma, Quantum Inf. Comput. 7, 73, 2007). It shows as arrival
/// times that differ between the detectors of a basis, or from those that calibration saw.
public struct GatePositionHistogram: Hashable, Sendable {
    /// Bins over one slot.
    public static let bins = 32
    /// Counts, detector by detector.
    public private(set) var counts = [[UInt64]](
        repeating: [UInt64](repeating: 0, count: Self.bins), count: 4)

    /// No clicks.
    public init() {}

    /// Takes a click of `detector` at `phase` picoseconds from the centre of a slot that is
    /// `slotPicoseconds` long.
    public mutating func add(detector: UInt8, phase: Int32, slotPicoseconds: Double) {
        let place = (Double(phase) / slotPicoseconds + 0.5) * Double(Self.bins)
        let bin = min(max(place, 0), Double(Self.bins - 1))
        counts[Int(detector & 3)][Int(bin)] += 1
    }

    /// Adds the clicks of another.
    public static func += (left: inout Self, right: Self) {
        for (detector, row) in right.counts.enumerated() {
            for (bin, count) in row.enumerated() { left.counts[detector][bin] += count }
        }
    }

    /// A signal for each basis, its two detectors compared; with a reference of calibration instead
    /// one for each detector, compared with its own.
    ///
    /// Chi-square of homogeneity, each group of bins expecting 20 clicks or more in every row; the
    /// false-alarm rate is that of the chi-square limit. Detectors whose pulses differ in shape by
    /// nature need the reference.
    public func signals(
        reference: GatePositionHistogram? = nil,
        alarmRate: Double = HealthSignal.familyAlarmRate
    ) -> [HealthSignal] {
        if let reference {
            return counts.indices.map { detector in
                Self.homogeneity(
                    "detector \(detector) against its reference", counts[detector],
                    reference.counts[detector], alarmRate / 4)
            }
        }
        return [("Z", 0), ("X", 2)].map { basis, first in
            Self.homogeneity(
                "detectors of \(basis)", counts[first], counts[first + 1], alarmRate / 2)
        }
    }

    private static func homogeneity(
        _ subject: String, _ first: [UInt64], _ second: [UInt64], _ rate: Double
    ) -> HealthSignal {
        let sums = (Double(first.reduce(0, +)), Double(second.reduce(0, +)))
        let total = sums.0 + sums.1
        let least = min(sums.0, sums.1) / max(1, total)
        var groups: [(Double, Double)] = []
        var open = (0.0, 0.0)
        for (a, b) in zip(first, second) {
            open = (open.0 + Double(a), open.1 + Double(b))
            if (open.0 + open.1) * least >= 20 {
                groups.append(open)
                open = (0, 0)
            }
        }
        if let last = groups.last {
            groups[groups.count - 1] = (last.0 + open.0, last.1 + open.1)
        }
        var statistic = 0.0
        for group in groups {
            let share = (group.0 + group.1) / total
            let (a, b) = (group.0 - share * sums.0, group.1 - share * sums.1)
            statistic += a * a / (share * sums.0) + b * b / (share * sums.1)
        }
        let degrees = groups.count - 1
        return HealthSignal(
            .gatePosition, subject, samples: Int(total), statistic: statistic,
            expected: Double(max(0, degrees)),
            accepted: 0...(degrees > 0 ? chiSquareQuantile(tail: rate, degrees: degrees) : 0),
            falseAlarmRate: rate, canAlarm: degrees > 0)
    }
}
