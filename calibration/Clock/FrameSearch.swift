import LinkTypes
import Quantities

/// Finds slot numbers from the brightness pattern of `SynchronizationPattern`.
///
/// Slot n carries chip n mod pᵢ of component i = n mod 3. So clicks are counted by their relative
/// slot modulo 3 and modulo each prime, and every shift of every component is judged from those
/// few hundred counts: no transform, no memory of the sample. The Chinese remainder theorem joins
/// the four remainders; host time picks the period.
package struct FrameSearch: Sendable {
    /// The answer: relative slot m of the sample is slot m + `offset`.
    package struct Answer: Hashable, Sendable {
        /// Add this to a relative slot number.
        package var offset: Int64
        /// The probability that the offset is wrong, given the counts.
        package var errorProbability: Double
        /// The fraction of clicks on bright chips.
        package var brightFraction: Double
        /// Clicks counted.
        package var clicks: Int
    }

    /// A search that could not name a slot.
    package enum Failure: Error, Hashable, Sendable {
        /// The pattern does not stand out; the probability of an error is given.
        case notSignificant(Double)
        /// The offset found lies outside what host time allows, by this many slots.
        case outsideHostTime(slots: Int64)
    }

    /// Counts by [relative slot mod 3][component][relative slot mod prime].
    private var histogram: [[[Double]]]
    private var total = 0

    package init() {
        histogram = (0..<3).map { _ in
            SynchronizationPattern.primes.map { [Double](repeating: 0, count: Int($0)) }
        }
    }

    /// Counts a click in a relative slot, which may be negative.
    package mutating func add(relativeSlot: Int64) {
        let residue = Int(Self.modulo(relativeSlot, 3))
        for (component, prime) in SynchronizationPattern.primes.enumerated() {
            histogram[residue][component][Int(Self.modulo(relativeSlot, Int64(prime)))] += 1
        }
        total += 1
    }

    /// The offset, when the error probability is at most `limit`. Relative slot 0 is thought to be
    /// slot `expected`, give or take `uncertainty`.
    package func answer(
        expected: Int64, uncertainty: UInt64, limit: Double
    ) -> Result<Answer, Failure> {
        // Log likelihoods of every shift of every component for each assignment of residues.
        let scores = (0..<3).map { residue in
            (0..<3).map { component in brightCounts(residue: residue, component: component) }
        }
        let q = brightFraction(scores)
        let gain = (naturalLog(2 * q), naturalLog(2 * (1 - q)))
        var hypotheses: [(logSum: Double, shift: Int, best: [(shift: Int64, value: Double)])] = []
        for shift in 0..<3 {
            // Relative residue a carries component (a + shift) mod 3.
            var logSum = 0.0
            var best: [(shift: Int64, value: Double)] = []
            for component in 0..<3 {
                let residue = (component - shift + 3) % 3
                let counts = scores[residue][component]
                let values = counts.bright.map { bright in
                    bright * gain.0 + (counts.total - bright) * gain.1
                }
                let top = values.indices.max { values[$0] < values[$1] } ?? 0
                let sum = values.reduce(0) { $0 + exponential($1 - values[top]) }
                logSum += values[top] + naturalLog(sum)
                best.append((Int64(top), values[top]))
            }
            hypotheses.append((logSum, shift, best))
        }
        guard let winner = hypotheses.max(by: { $0.logSum < $1.logSum }) else {
            return .failure(.notSignificant(1))
        }
        let all = hypotheses.reduce(0) { $0 + exponential($1.logSum - winner.logSum) }
        let mass = winner.best.reduce(-winner.logSum) { $0 + $1.value }
        let wrong = max(1e-300, -exponentialMinus1(mass - naturalLog(all)))
        guard wrong <= limit else { return .failure(.notSignificant(wrong)) }
        let residues = [Int64(winner.shift)] + winner.best.map(\.shift)
        let period = Int64(SynchronizationPattern.period)
        let found = Self.combine(residues, [3] + SynchronizationPattern.primes.map(Int64.init))
        var offset = expected + Self.modulo(found - expected, period)
        if offset - expected > period / 2 { offset -= period }
        let distance = abs(offset - expected)
        guard distance <= Int64(clamping: uncertainty) else {
            return .failure(.outsideHostTime(slots: distance - Int64(clamping: uncertainty)))
        }
        return .success(
            Answer(offset: offset, errorProbability: wrong, brightFraction: q, clicks: total))
    }

    /// For each shift of a component, the clicks of one residue class that fall on bright chips.
    private func brightCounts(
        residue: Int, component: Int
    ) -> (bright: [Double], total: Double) {
        let counts = histogram[residue][component]
        let prime = counts.count
        let chips = (0..<prime).map {
            SynchronizationPattern.isBright(component: component, chip: UInt64($0))
        }
        let bright = (0..<prime).map { shift in
            var sum = 0.0
            for slot in 0..<prime where chips[(slot + shift) % prime] { sum += counts[slot] }
            return sum
        }
        return (bright, counts.reduce(0, +))
    }

    /// The fraction of clicks on bright chips under the best shifts of the best assignment, kept
    /// off the ends so that single clicks do not decide.
    private func brightFraction(
        _ scores: [[(bright: [Double], total: Double)]]
    ) -> Double {
        var best = 0.5
        for shift in 0..<3 {
            var (bright, all) = (0.0, 0.0)
            for component in 0..<3 {
                let counts = scores[(component - shift + 3) % 3][component]
                bright += counts.bright.max() ?? 0
                all += counts.total
            }
            if all > 0 { best = max(best, bright / all) }
        }
        return min(0.98, max(0.51, best))
    }

    /// The number below the product of `moduli` (pairwise coprime) with the given remainders.
    package static func combine(_ residues: [Int64], _ moduli: [Int64]) -> Int64 {
        var result: Int64 = 0
        var step: Int64 = 1
        for (residue, modulus) in zip(residues, moduli) {
            while modulo(result, modulus) != modulo(residue, modulus) { result += step }
            step *= modulus
        }
        return result
    }

    /// The remainder in 0..<modulus.
    package static func modulo(_ value: Int64, _ modulus: Int64) -> Int64 {
        let r = value % modulus
        return r < 0 ? r + modulus : r
    }
}
