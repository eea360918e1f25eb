import Quantities

/// Chooses the gate: the part of the slot from which most secret key can be made.
///
/// Widening the gate adds signal at its edge and background everywhere. With S signal and B
/// background clicks inside, e₀ the QBER of signal and ½ that of background, the key is about
/// (S+B)·(1 − f·h(e) − h(e)) with f the inefficiency of error correction. Detectors whose accepted
/// fractions differ let an eavesdropper tell them apart by time, so gates with more than the
/// allowed mismatch are not chosen.
package struct GateSelection: Hashable, Sendable {
    /// The QBER of signal clicks.
    package var signalError: Double
    /// The smallest accepted fraction of signal.
    package var minimumFraction: Double
    /// The largest allowed relative difference of accepted fractions.
    package var mismatchLimit: Double
    private static let step = 25.0
    private static let correctionInefficiency = 1.16

    package init(signalError: Double, minimumFraction: Double, mismatchLimit: Double) {
        self.signalError = signalError
        self.minimumFraction = minimumFraction
        self.mismatchLimit = mismatchLimit
    }

    /// The best gate for detectors with these templates, whose centres are already relative to the
    /// common centre; `nil` when no gate within the slot meets the conditions.
    package func bestGate(
        _ templates: [ArrivalTemplate], slotPeriod: Double
    ) -> GateWindow? {
        let half = min(slotPeriod / 2, 6000)
        let count = Int(2 * half / Self.step)
        // Cumulative signal fractions of every detector at the grid's edges.
        let cumulative = templates.map { template -> [Double] in
            var sums = [0.0]
            for index in 0..<count {
                let start = -half + Double(index) * Self.step
                sums.append(sums[index] + template.fraction(from: start, to: start + Self.step))
            }
            return sums
        }
        let signal = templates.reduce(0) { $0 + $1.signal }
        let background = templates.reduce(0) { $0 + $1.background }
        var best: (merit: Double, gate: GateWindow)?
        for start in 0..<count {
            for end in start + 1...count {
                let fractions = cumulative.map { $0[end] - $0[start] }
                let inside = zip(fractions, templates).reduce(0) { $0 + $1.0 * $1.1.signal }
                guard inside >= minimumFraction * signal else { continue }
                let least = fractions.min() ?? 0
                let mismatch = least > 0 ? ((fractions.max() ?? 0) - least) / least : 1
                guard mismatch <= mismatchLimit else { continue }
                let noise = background * Double(end - start) * Self.step
                let merit = merit(signal: inside, background: noise)
                if best.map({ merit > $0.merit }) ?? true {
                    let gate = GateWindow(
                        start: -half + Double(start) * Self.step,
                        end: -half + Double(end) * Self.step, signalFraction: inside / signal,
                        backgroundFraction: noise / (inside + noise), mismatch: mismatch)
                    best = (merit, gate)
                }
            }
        }
        return best?.gate
    }

    /// Secret bits that S signal and B background clicks are worth.
    package func merit(signal: Double, background: Double) -> Double {
        let total = signal + background
        let error = (signal * signalError + background / 2) / total
        let entropy =
            error > 0 && error < 1
            ? -error * binaryLog(error) - (1 - error) * binaryLog(1 - error) : 0
        return total * (1 - (1 + Self.correctionInefficiency) * entropy)
    }
}
