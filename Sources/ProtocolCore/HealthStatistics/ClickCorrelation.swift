import Quantities

/// Pairs of detections at distances of 1 to 64 slots: afterpulses show as too many pairs of one
/// detector at short distances, dead time as too few, and crosstalk in pairs of different ones.
///
/// Given N detections in M slots, E pairs of slots at a distance hold E·N(N−1)/(M(M−1)) pairs of
/// detections on average, and their variance is below that of a Poisson law of this mean, which
/// the test therefore takes. Rates are those of each epoch, so slow drift raises no alarm.
public struct ClickCorrelation: Sendable {
    /// The distances watched, in slots.
    public static let lags = 1...64
    private var own = [Int](repeating: 0, count: 64)
    private var other = [Int](repeating: 0, count: 64)
    private var expectedOwn = [Double](repeating: 0, count: 64)
    private var expectedOther = [Double](repeating: 0, count: 64)
    private var detections = 0

    // The epoch being taken.
    private var clicks = [Int](repeating: 0, count: 4)
    /// Detections of the last 64 slots, at most one a slot.
    private var recent: [(slot: UInt64, detector: UInt8)] = []
    private var run = 0

    init() {}

    /// Takes a click of `detector` in slot `slot` of the epoch. Slots increase; `run` is the number
    /// of lost intervals before it: pairs across a loss do not count.
    mutating func add(slot: UInt64, detector: UInt8, run: Int) {
        if run != self.run {
            recent.removeAll(keepingCapacity: true)
            self.run = run
        }
        while let first = recent.first, slot - first.slot > 64 { recent.removeFirst() }
        for earlier in recent {
            let index = Int(slot - earlier.slot) - 1
            if earlier.detector == detector { own[index] += 1 } else { other[index] += 1 }
        }
        recent.append((slot, detector))
        clicks[Int(detector & 3)] += 1
    }

    /// Ends an epoch whose slots that were not lost form runs of the given lengths.
    mutating func endEpoch(runs: [UInt64]) {
        let slots = Double(runs.reduce(0, +))
        let total = clicks.reduce(0, +)
        detections += total
        if slots > 1 {
            let ownPairs = clicks.reduce(0.0) { $0 + Double($1) * Double($1 - 1) }
            let allPairs = Double(total) * Double(total - 1)
            let perPair = 1 / (slots * (slots - 1))
            for lag in Self.lags {
                let exposure = runs.reduce(0.0) { $0 + Double($1 - min($1, UInt64(lag))) }
                expectedOwn[lag - 1] += exposure * perPair * ownPairs
                expectedOther[lag - 1] += exposure * perPair * (allPairs - ownPairs)
            }
        }
        clicks = [0, 0, 0, 0]
        recent.removeAll(keepingCapacity: true)
        run = 0
    }

    /// Adds the ended epochs of another.
    static func += (left: inout Self, right: Self) {
        for index in left.own.indices {
            left.own[index] += right.own[index]
            left.other[index] += right.other[index]
            left.expectedOwn[index] += right.expectedOwn[index]
            left.expectedOther[index] += right.expectedOther[index]
        }
        left.detections += right.detections
    }

    /// A signal for each distance above `deadSlots` and each kind of pair. Within `deadSlots` slots
    /// of a click its detector cannot click again, so nothing is expected there.
    func signals(
        deadSlots: Int, alarmRate: Double = HealthSignal.familyAlarmRate
    ) -> [HealthSignal] {
        let lags = Self.lags.filter { $0 > deadSlots }
        let rate = alarmRate / Double(max(1, lags.count + Self.lags.count))
        func signal(_ kind: String, _ lag: Int, _ count: Int, _ mean: Double) -> HealthSignal {
            .events(
                .clickCorrelation, "\(kind), lag \(lag)", count: count, expected: mean...mean,
                samples: detections, alarmRate: rate)
        }
        return lags.map { signal("one detector", $0, own[$0 - 1], expectedOwn[$0 - 1]) }
            + Self.lags.map { signal("two detectors", $0, other[$0 - 1], expectedOther[$0 - 1]) }
    }
}
