import Quantities

/// When clicks of one detector come within the slot: a Gaussian core, an exponential tail on part
/// of it, and a uniform background.
///
/// The shape is that of silicon and InGaAs avalanche diodes: most avalanches start in the
/// multiplication region, the others after diffusing there.
package struct ArrivalTemplate: Hashable, Sendable {
    /// The centre of the core, in picoseconds from the centre of the slot.
    package var centre: Double
    /// The standard deviation of the core.
    package var width: Double
    /// The fraction of signal clicks that are delayed.
    package var tailFraction: Double
    /// The mean delay of those.
    package var tailLength: Double
    /// The expected number of signal clicks in the sample.
    package var signal: Double
    /// The expected number of background clicks for each picosecond of the slot.
    package var background: Double
    /// The variance of `centre`.
    package var centreVariance: Double
    /// The smallest variance of `centre` that any estimator reaches when the shape is known.
    package var centreLimit: Double

    package init(
        centre: Double, width: Double, tailFraction: Double, tailLength: Double, signal: Double,
        background: Double, centreVariance: Double, centreLimit: Double
    ) {
        self.centre = centre
        self.width = width
        self.tailFraction = tailFraction
        self.tailLength = tailLength
        self.signal = signal
        self.background = background
        self.centreVariance = centreVariance
        self.centreLimit = centreLimit
    }

    /// The density of a signal click at `x`, by picosecond.
    package func signalDensity(at x: Double) -> Double {
        let d = x - centre
        let z = d / width
        let core = exponential(-0.5 * z * z) / (width * (2 * Double.pi).squareRoot())
        let ratio = width / tailLength
        let argument = (ratio - z) / 2.0.squareRoot()
        let tail: Double
        if argument > 20 {
            tail = core * width / (tailLength * (ratio - z))
        } else {
            tail =
                exponential(0.5 * ratio * ratio - d / tailLength)
                * complementaryErrorFunction(argument) / (2 * tailLength)
        }
        return (1 - tailFraction) * core + tailFraction * tail
    }

    /// The fraction of signal clicks in start…end, by Simpson's rule in steps of at most 20 ps.
    package func fraction(from start: Double, to end: Double) -> Double {
        let low = max(start, centre - 8 * width)
        let high = min(end, centre + 8 * width + 12 * tailLength)
        guard high > low else { return 0 }
        let steps = 2 * max(1, Int(((high - low) / 40).rounded(.up)))
        let h = (high - low) / Double(steps)
        var sum = signalDensity(at: low) + signalDensity(at: high)
        for index in 1..<steps {
            sum += signalDensity(at: low + Double(index) * h) * (index.isMultiple(of: 2) ? 2 : 4)
        }
        return min(1, sum * h / 3)
    }
}

/// Fits an `ArrivalTemplate` to phases by penalised maximum likelihood on narrow bins.
package enum ArrivalFit {
    /// The width of a bin in picoseconds.
    private static let bin = 25.0
    /// Half of the fitted window in picoseconds.
    private static let reach = 5000.0

    /// The fit to `phases` in a slot of `slotPeriod` picoseconds; `nil` with fewer than 100 clicks
    /// or without a peak.
    package static func fit(_ phases: [Double], slotPeriod: Double) -> ArrivalTemplate? {
        guard phases.count >= 100, slotPeriod > 4 * bin else { return nil }
        guard let mode = mode(phases, slotPeriod: slotPeriod) else { return nil }
        let half = min(reach, slotPeriod / 2)
        let count = Int((2 * half / bin).rounded(.down))
        let start = mode - Double(count) * bin / 2
        var histogram = [Double](repeating: 0, count: count)
        var outside = 0.0
        for phase in phases {
            // Wrap to the slot around the mode.
            let wrapped = phase - slotPeriod * ((phase - mode) / slotPeriod).rounded()
            let index = Int(((wrapped - start) / bin).rounded(.down))
            if index >= 0, index < count { histogram[index] += 1 } else { outside += 1 }
        }
        let elsewhere = max(1, slotPeriod - Double(count) * bin)
        let background =
            elsewhere > bin
            ? (outside + 0.5) / elsewhere : 1e-3 * Double(phases.count) / slotPeriod
        let signal = max(1, Double(phases.count) - background * slotPeriod)
        guard signal > 5 * (background * slotPeriod).squareRoot() else { return nil }
        var template = ArrivalTemplate(
            centre: mode, width: 180, tailFraction: 0.1, tailLength: 300, signal: signal,
            background: background, centreVariance: 0, centreLimit: 0)
        guard let information = climb(&template, histogram, start: start) else { return nil }
        guard let inverse = information.positiveDefiniteInverse(), information[0, 0] > 0 else {
            return nil
        }
        template.centreVariance = inverse[0, 0]
        template.centreLimit = 1 / information[0, 0]
        return template
    }

    /// The centre of the fullest half nanosecond.
    private static func mode(_ phases: [Double], slotPeriod: Double) -> Double? {
        let width = 100.0
        let count = max(5, Int(slotPeriod / width))
        var histogram = [Double](repeating: 0, count: count)
        for phase in phases {
            let cycles = phase / slotPeriod
            let fraction = cycles - cycles.rounded(.down)
            histogram[min(count - 1, Int(fraction * Double(count)))] += 1
        }
        var best = (sum: -1.0, index: 0)
        for index in 0..<count {
            let sum = (-2...2).reduce(0.0) { $0 + histogram[(index + $1 + count) % count] }
            if sum > best.sum { best = (sum, index) }
        }
        guard best.sum >= 10 else { return nil }
        let phase = (Double(best.index) + 0.5) / Double(count)
        return (phase > 0.5 ? phase - 1 : phase) * slotPeriod
    }

    /// Parameters: centre, log width, logit of the tail fraction, log tail length, log signal.
    private static func template(_ base: ArrivalTemplate, _ p: [Double]) -> ArrivalTemplate {
        var result = base
        result.centre = p[0]
        result.width = exponential(p[1])
        result.tailFraction = 1 / (1 + exponential(-p[2]))
        result.tailLength = exponential(p[3])
        result.signal = exponential(p[4])
        return result
    }

    /// Weak knowledge of the shape: width within a factor 3, tail fraction and length about usual.
    private static let priorMean = [0.0, 5.2, -2.2, 5.7, 0.0]
    private static let priorPrecision = [0.0, 1 / 1.2, 1 / 1.5, 1 / 0.5, 0.0]

    private static func climb(
        _ template: inout ArrivalTemplate, _ histogram: [Double], start: Double
    ) -> SquareMatrix? {
        var p = [
            template.centre, naturalLog(template.width), -2.2, naturalLog(template.tailLength),
            naturalLog(template.signal),
        ]
        func means(_ p: [Double]) -> [Double] {
            let t = Self.template(template, p)
            return histogram.indices.map { index in
                let x = start + (Double(index) + 0.5) * bin
                return bin * (t.signal * t.signalDensity(at: x) + t.background) + 1e-12
            }
        }
        func value(_ p: [Double], _ m: [Double]) -> Double {
            var sum = 0.0
            for index in m.indices { sum += histogram[index] * naturalLog(m[index]) - m[index] }
            for index in p.indices {
                let d = p[index] - priorMean[index]
                sum -= 0.5 * priorPrecision[index] * d * d
            }
            return sum
        }
        var m = means(p)
        var best = value(p, m)
        var damping = 1e-2
        let steps = [1.0, 1e-3, 1e-2, 1e-2, 1e-3]
        var information = SquareMatrix(diagonal: priorPrecision)
        for _ in 0..<60 {
            information = SquareMatrix(diagonal: priorPrecision)
            var gradient = p.indices.map { -priorPrecision[$0] * (p[$0] - priorMean[$0]) }
            let rates = p.indices.map { k -> [Double] in
                var (up, down) = (p, p)
                up[k] += steps[k]
                down[k] -= steps[k]
                return zip(means(up), means(down)).map { ($0 - $1) / (2 * steps[k]) }
            }
            for index in m.indices {
                let row = rates.map { $0[index] }
                information.addOuterProduct(row, scale: 1 / m[index])
                let residual = histogram[index] / m[index] - 1
                for k in row.indices { gradient[k] += residual * row[k] }
            }
            var damped = information
            for k in p.indices { damped[k, k] *= 1 + damping }
            guard let factor = damped.choleskyFactor() else { return nil }
            let change = factor.solveAsFactor(gradient)
            let trial = p.indices.map { k in
                p[k]
                    + max(-[150, 0.5, 1, 0.5, 0.3][k], min([150, 0.5, 1, 0.5, 0.3][k], change[k]))
            }
            let trialMeans = means(trial)
            let trialValue = value(trial, trialMeans)
            if trialValue > best {
                let gain = trialValue - best
                (p, m, best) = (trial, trialMeans, trialValue)
                damping = max(1e-6, damping * 0.2)
                if gain < 1e-5 { break }
            } else {
                damping *= 10
                if damping > 1e8 { break }
            }
        }
        template = Self.template(template, p)
        return information
    }
}
