import Quantities

/// Comparisons of one basis by the bit that Alice sent. All of it is public.
public struct ErrorsByBit: Hashable, Sendable {
    /// Comparisons with Alice's bit 0 and 1.
    public private(set) var trials = [0, 0]
    /// Errors among them.
    public private(set) var errors = [0, 0]

    /// Nothing compared.
    public init() {}

    /// Takes one comparison.
    public mutating func add(sent: Bool, isError: Bool) {
        trials[sent ? 1 : 0] += 1
        if isError { errors[sent ? 1 : 0] += 1 }
    }

    /// Takes many: Alice's bits and, of the same length, ones where Bob's differ.
    mutating func add(sent: BitBuffer, errors plane: BitBuffer) {
        let ones = sent.populationCount
        let errorsAtOne = zip(sent.words, plane.words).reduce(0) {
            $0 + ($1.0 & $1.1).nonzeroBitCount
        }
        trials = [trials[0] + sent.count - ones, trials[1] + ones]
        errors = [errors[0] + plane.populationCount - errorsAtOne, errors[1] + errorsAtOne]
    }

    /// Adds the comparisons of another.
    public static func += (left: inout Self, right: Self) {
        for bit in 0..<2 {
            left.trials[bit] += right.trials[bit]
            left.errors[bit] += right.errors[bit]
        }
    }

    /// Whether errors are as frequent at either bit: given their number, those at bit 1 have the
    /// share of bit 1. Binomial, a little wider than the hypergeometric law that holds exactly.
    public func signal(
        _ subject: String, alarmRate: Double = HealthSignal.familyAlarmRate
    ) -> HealthSignal {
        let share = Double(trials[1]) / Double(max(1, trials[0] + trials[1]))
        return .proportion(
            .errorAsymmetry, "errors 1 → 0, \(subject)", ones: errors[1],
            trials: errors[0] + errors[1], expected: share...share, alarmRate: alarmRate)
    }
}

/// What epochs show about the devices before any sifting. Of fixed size, whatever their number.
struct DetectionEvidence: Sendable {
    /// Detections given away.
    private(set) var disclosedCount = 0
    /// Bob's detections; `nil` at Alice.
    private(set) var statistics: DetectionStatistics?
    /// Disclosed detections with both ends in one basis, at Bob.
    private(set) var errors = (z: ErrorsByBit(), x: ErrorsByBit())

    init() {}

    init(disclosedCount: Int) { self.disclosedCount = disclosedCount }

    init(
        disclosedCount: Int, statistics: DetectionStatistics,
        errors: (z: ErrorsByBit, x: ErrorsByBit)
    ) {
        self.disclosedCount = disclosedCount
        self.statistics = statistics
        self.errors = errors
    }

    /// The slots not lost, at Bob.
    var slots: UInt64? { statistics?.slots }

    static func += (left: inout Self, right: Self) {
        left.disclosedCount += right.disclosedCount
        left.errors.z += right.errors.z
        left.errors.x += right.errors.x
        guard let added = right.statistics else { return }
        if left.statistics == nil {
            left.statistics = added
        } else {
            left.statistics? += added
        }
    }

    func signals(_ expectation: HealthExpectation) -> [HealthSignal] {
        guard let statistics else { return [] }
        let rate = HealthSignal.familyAlarmRate / 2
        return statistics.signals(expectation) + [
            errors.z.signal("disclosed Z", alarmRate: rate),
            errors.x.signal("disclosed X", alarmRate: rate),
        ]
    }
}
