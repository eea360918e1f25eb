import Quantities

/// Fits slot period, a phase for each detector, jitter and background to clicks: a straight line
/// for each detector with one slope, by expectation–maximisation with a Gaussian signal on a
/// uniform background.
package struct PhaseFit: Hashable, Sendable {
    /// By how much a slot is longer than nominal, as a fraction.
    package var stretch: Double
    /// The picoseconds from the first click to the centre of slot 0, by detector; detectors without
    /// clicks get the mean of the others.
    package var phases: [Double]
    /// The standard deviation of signal clicks about their line, in picoseconds.
    package var deviation: Double
    /// The fraction of clicks that are signal.
    package var signalFraction: Double
    /// The expected number of signal clicks, by detector.
    package var signalClicks: [Double]
    /// The mean slot number of the signal clicks.
    package var meanSlot: Double
    /// The variance of the mean phase at `meanSlot`, in ps².
    package var phaseVariance: Double
    /// The variance of `stretch`.
    package var stretchVariance: Double

    /// The mean of the phases of the detectors.
    package var meanPhase: Double { phases.reduce(0, +) / Double(phases.count) }

    /// The slot number of a click, and its distance from the mean line.
    package static func fold(
        _ offset: Int64, slotPeriod: Int64, stretch: Double, phase: Double
    ) -> (slot: Int64, residual: Double) {
        let length = Double(slotPeriod) * (1 + stretch)
        let slot = Int64(((Double(offset) - phase) / length).rounded())
        let whole = offset - slot * slotPeriod
        let drift = Double(slot) * (Double(slotPeriod) * stretch)
        return (slot, Double(whole) - drift - phase)
    }

    /// The fit to the first `used` clicks, started from a stretch good to a fraction of a slot over
    /// the sample. `nil` when fewer than 20 clicks are signal.
    package static func fit(
        _ clicks: ClickTimes, used: Int, slotPeriod: Picoseconds, stretch start: Double
    ) -> PhaseFit? {
        guard used >= 20 else { return nil }
        let period = slotPeriod.rawValue
        // The circular mean of all clicks places the centre of slot 0.
        var (real, imaginary) = (0.0, 0.0)
        for index in 0..<used {
            let folded = fold(clicks.offsets[index], slotPeriod: period, stretch: start, phase: 0)
            let angle = 2 * Double.pi * folded.residual / Double(period)
            real += cosine(angle)
            imaginary += sine(angle)
        }
        let phase = arcTangent(imaginary, real) / (2 * .pi) * Double(period)
        let resultant = (real * real + imaginary * imaginary).squareRoot() / Double(used)
        guard resultant > 0.05 else { return nil }
        var fit = PhaseFit(
            stretch: start, phases: [Double](repeating: phase, count: 4),
            deviation: 0.05 * Double(period), signalFraction: max(0.1, min(0.98, resultant)),
            signalClicks: [0, 0, 0, 0], meanSlot: 0, phaseVariance: 0, stretchVariance: 0)
        for _ in 0..<60 {
            guard let next = fit.improved(clicks, used: used, period: period) else { return nil }
            let moved =
                abs(next.stretch - fit.stretch) * Double(clicks.offsets[used - 1])
                + abs(next.deviation - fit.deviation) + abs(next.meanPhase - fit.meanPhase)
            fit = next
            if moved < 0.05 { break }
        }
        return fit.signalClicks.reduce(0, +) >= 20 ? fit : nil
    }

    /// One step: weights by the present model, then weighted lines with a common slope.
    private func improved(_ clicks: ClickTimes, used: Int, period: Int64) -> PhaseFit? {
        let reference = meanPhase
        let background = (1 - signalFraction) / Double(period)
        let peak = signalFraction / (deviation * (2 * Double.pi).squareRoot())
        var weight = [0.0, 0.0, 0.0, 0.0]
        var slots = weight
        var residuals = weight
        var terms: [(weight: Double, slot: Double, residual: Double, detector: Int)] = []
        terms.reserveCapacity(used)
        for index in 0..<used {
            let detector = Int(clicks.detectors[index])
            let folded = Self.fold(
                clicks.offsets[index], slotPeriod: period, stretch: stretch, phase: reference)
            let z = (folded.residual - (phases[detector] - reference)) / deviation
            let signal = peak * exponential(-0.5 * z * z)
            let w = signal / (signal + background)
            guard w > 1e-9 else { continue }
            weight[detector] += w
            slots[detector] += w * Double(folded.slot)
            residuals[detector] += w * folded.residual
            terms.append((w, Double(folded.slot), folded.residual, detector))
        }
        let total = weight.reduce(0, +)
        guard total > 5 else { return nil }
        var (spread, product) = (0.0, 0.0)
        for term in terms {
            let d = term.detector
            let x = term.slot - slots[d] / weight[d]
            spread += term.weight * x * x
            product += term.weight * x * (term.residual - residuals[d] / weight[d])
        }
        guard spread > 0 else { return nil }
        let slope = product / spread
        var next = self
        next.stretch = stretch + slope / Double(period)
        var sum = 0.0
        for term in terms {
            let d = term.detector
            let r =
                term.residual - residuals[d] / weight[d]
                - slope * (term.slot - slots[d] / weight[d])
            sum += term.weight * r * r
        }
        next.deviation = max(5, (sum / total).squareRoot())
        next.signalFraction = min(0.9999, total / Double(used))
        next.signalClicks = weight
        next.meanSlot = slots.reduce(0, +) / total
        let known = (0..<4).filter { weight[$0] > 3 }
        guard !known.isEmpty else { return nil }
        var phaseSum = 0.0
        for d in known {
            next.phases[d] =
                reference + (residuals[d] - slope * slots[d]) / weight[d]
            phaseSum += next.phases[d]
        }
        for d in 0..<4 where !known.contains(d) {
            next.phases[d] = phaseSum / Double(known.count)
        }
        let variance = next.deviation * next.deviation
        let inverse = known.reduce(0) { $0 + 1 / weight[$1] }
        next.phaseVariance = variance * inverse / Double(known.count * known.count)
        next.stretchVariance = variance / spread / Double(period * period)
        return next
    }
}
