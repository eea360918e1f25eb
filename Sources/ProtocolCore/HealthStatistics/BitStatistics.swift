import Quantities

/// Bias and autocorrelation of a stream of bits, from their sums alone.
///
/// Bits are taken word by word; besides the sums, 64 bits of history are kept. Nothing branches on
/// a bit.
public struct BitStatistics: Sendable {
    /// The lags watched.
    public static let lags = 1...64
    /// The number of bits.
    public private(set) var count = 0
    /// The number of ones.
    public private(set) var ones = 0
    /// For each lag the number of pairs of ones at that distance.
    private var pairs = [Int](repeating: 0, count: 64)
    /// The 64 bits before the next one, the latest in bit 63.
    private var history: UInt64 = 0
    private let isConfidential: Bool

    /// No bits yet. `isConfidential` states that the bits are secret.
    public init(isConfidential: Bool) { self.isConfidential = isConfidential }

    /// Takes the low `bitCount` bits of `word`, 1…64, least significant first.
    public mutating func add(_ word: UInt64, bitCount: Int = 64) {
        precondition(bitCount > 0 && bitCount <= 64)
        let word = bitCount == 64 ? word : word & (1 << UInt64(bitCount) - 1)
        ones += word.nonzeroBitCount
        for lag in 1..<64 {
            // Bit i of `earlier` is the bit `lag` places before bit i of the word.
            let earlier = word << UInt64(lag) | history >> UInt64(64 - lag)
            pairs[lag - 1] += (word & earlier).nonzeroBitCount
        }
        pairs[63] += (word & history).nonzeroBitCount
        history =
            bitCount == 64
            ? word : history >> UInt64(bitCount) | word << UInt64(64 - bitCount)
        count += bitCount
    }

    /// Takes all bits of a string.
    public mutating func add(_ bits: BitBuffer) {
        for (index, word) in bits.words.enumerated() {
            add(word, bitCount: min(64, bits.count - 64 * index))
        }
    }

    /// Whether the fraction of ones lies in `expected`.
    public func bias(
        _ subject: String, expected: ClosedRange<Double> = 0.5...0.5,
        alarmRate: Double = HealthSignal.familyAlarmRate
    ) -> HealthSignal {
        .proportion(
            .bias, subject, ones: ones, trials: count, expected: expected, alarmRate: alarmRate,
            isConfidential: isConfidential)
    }

    /// A signal for each lag: the autocorrelation of the centred bits times the square root of the
    /// number of pairs.
    ///
    /// For independent bits of any bias it is normal with variance 1 in the limit of many bits;
    /// 1000 or more are asked for. The rate of the whole family is `alarmRate`, divided by the
    /// number of lags for each (Bonferroni).
    public func autocorrelation(
        _ subject: String, alarmRate: Double = HealthSignal.familyAlarmRate
    ) -> [HealthSignal] {
        let rate = alarmRate / Double(Self.lags.count)
        let threshold = -normalQuantile(rate / 2)
        let p = Double(ones) / Double(max(1, count))
        let variance = p * (1 - p)
        return Self.lags.map { lag in
            let trials = count - lag
            var statistic = 0.0
            if trials > 0, variance > 0 {
                let mean = Double(pairs[lag - 1]) / Double(trials)
                statistic = (mean - p * p) / variance * Double(trials).squareRoot()
            }
            return HealthSignal(
                .bitAutocorrelation, "\(subject), lag \(lag)", samples: count,
                statistic: statistic, expected: 0, accepted: -threshold...threshold,
                falseAlarmRate: rate, isConfidential: isConfidential, canAlarm: count >= 1000)
        }
    }
}
