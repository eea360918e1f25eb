import Quantities

/// The continuous health tests of a random generator: repetition count and adaptive proportion
/// (NIST SP 800-90B, January 2018, 4.4.1 and 4.4.2), on octets.
///
/// They find a generator that got stuck or lost most of its entropy at once, and nothing subtler.
/// Each is applied to the assessed min-entropy per octet; α = 2⁻³⁰ for each octet of the first
/// test and each window of the second.
public struct GeneratorTests: Sendable {
    /// The probability of an alarm of an intact generator, for each sample or window.
    public static let alarmRate = 0x1p-30
    /// The window of the second test, in octets.
    public static let window = 512
    /// The run length that raises the first alarm.
    public let repetitionCutoff: Int
    /// The count within a window that raises the second.
    public let proportionCutoff: Int

    private var samples = 0
    private var windows = 0
    private var last: UInt8 = 0
    private var run = 0
    private var longestRun = 0
    private var reference: UInt8 = 0
    private var inWindow = 0
    private var matches = 0
    private var mostMatches = 0

    /// Tests of a generator with `minEntropy` bits per octet, above 0 and at most 8.
    public init(minEntropy: Double = 8) {
        repetitionCutoff = Self.repetitionCutoff(
            minEntropy: minEntropy, alarmRate: Self.alarmRate)
        proportionCutoff = Self.proportionCutoff(
            minEntropy: minEntropy, window: Self.window, alarmRate: Self.alarmRate)
    }

    /// C = 1 + ⌈−log₂ α / H⌉ (SP 800-90B, 4.4.1).
    public static func repetitionCutoff(minEntropy: Double, alarmRate: Double) -> Int {
        precondition(minEntropy > 0 && alarmRate > 0 && alarmRate < 1)
        return 1 + Int((-binaryLog(alarmRate) / minEntropy).rounded(.up))
    }

    /// C = 1 + the smallest k with P(X ≤ k) ≥ 1 − α, X binomial of W trials with probability 2^−H
    /// (SP 800-90B, 4.4.2).
    public static func proportionCutoff(
        minEntropy: Double, window: Int, alarmRate: Double
    ) -> Int {
        precondition(minEntropy > 0 && window > 0 && alarmRate > 0 && alarmRate < 1)
        let p = power(2, -minEntropy)
        // P(X ≤ k) ≥ 1 − α is P(X ≥ k + 1) ≤ α, which has no cancellation.
        let critical = (0...window).first {
            binomialUpperTail($0 + 1, trials: window, probability: p) <= alarmRate
        }
        return 1 + (critical ?? window)
    }

    /// Takes the eight octets of a word.
    public mutating func add(_ word: UInt64) {
        var word = word
        for _ in 0..<8 {
            add(octet: UInt8(truncatingIfNeeded: word))
            word >>= 8
        }
    }

    private mutating func add(octet: UInt8) {
        run = octet == last && samples > 0 ? run + 1 : 1
        last = octet
        longestRun = max(longestRun, run)
        samples += 1
        if inWindow == 0 {
            (reference, matches) = (octet, 1)
        } else if octet == reference {
            matches += 1
        }
        inWindow += 1
        mostMatches = max(mostMatches, matches)
        if inWindow == Self.window {
            inWindow = 0
            windows += 1
        }
    }

    /// Both signals over everything since the last call; runs and windows go on.
    ///
    /// The stated rate is the union bound over the octets and windows seen.
    public mutating func takeSignals(_ subject: String) -> [HealthSignal] {
        defer { (samples, windows, longestRun, mostMatches) = (min(samples, 1), 0, run, matches) }
        func signal(_ test: HealthSignal.Test, _ most: Int, _ cutoff: Int, _ tries: Int)
            -> HealthSignal
        {
            HealthSignal(
                test, subject, samples: samples, statistic: Double(most), expected: 1,
                accepted: 0...Double(cutoff - 1),
                falseAlarmRate: min(1, Double(tries) * Self.alarmRate), canAlarm: samples > 0)
        }
        return [
            signal(.repetitionCount, longestRun, repetitionCutoff, samples),
            signal(.adaptiveProportion, mostMatches, proportionCutoff, windows + 1),
        ]
    }
}

/// A generator whose every word passes the continuous tests on its way.
struct WatchedGenerator: RandomNumberGenerator, Sendable {
    private var base: any RandomNumberGenerator & Sendable
    var tests = GeneratorTests()

    init(_ base: any RandomNumberGenerator & Sendable) { self.base = base }

    mutating func next() -> UInt64 {
        let word = base.next()
        tests.add(word)
        return word
    }
}
