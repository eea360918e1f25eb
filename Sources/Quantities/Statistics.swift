/// The standard normal distribution function.
public func normalCumulative(_ x: Double) -> Double {
    0.5 * complementaryErrorFunction(-x / 2.0.squareRoot())
}

/// The standard normal quantile for `p` in (0, 1), by bisection on the distribution function.
public func normalQuantile(_ p: Double) -> Double {
    precondition(p > 0 && p < 1)
    var low = -40.0
    var high = 40.0
    for _ in 0..<200 {
        let middle = 0.5 * (low + high)
        if normalCumulative(middle) < p { low = middle } else { high = middle }
    }
    return 0.5 * (low + high)
}

/// The regularised incomplete beta function I_x(a, b) for positive `a`, `b`, by its continued
/// fraction (Abramowitz and Stegun 26.5.8, Lentz's method).
public func regularizedIncompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
    if x <= 0 { return 0 }
    if x >= 1 { return 1 }
    if x > (a + 1) / (a + b + 2) { return 1 - regularizedIncompleteBeta(1 - x, b, a) }
    let logFront =
        logGamma(a + b) - logGamma(a) - logGamma(b) + a * naturalLog(x) + b * naturalLog1p(-x)
    let tiny = 1e-300
    var c = 1.0
    var d = 1 - (a + b) * x / (a + 1)
    if abs(d) < tiny { d = tiny }
    d = 1 / d
    var h = d
    for m in 1...10_000 {
        let m = Double(m)
        let even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 + even * d
        if abs(d) < tiny { d = tiny }
        c = 1 + even / c
        if abs(c) < tiny { c = tiny }
        d = 1 / d
        h *= d * c
        let odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 + odd * d
        if abs(d) < tiny { d = tiny }
        c = 1 + odd / c
        if abs(c) < tiny { c = tiny }
        d = 1 / d
        let delta = d * c
        h *= delta
        if abs(delta - 1) < 1e-15 { break }
    }
    return exponential(logFront) * h / a
}

/// The Clopper–Pearson interval of a probability after `successes` of `trials`, with two-sided
/// confidence `confidence` in (0, 1).
public func clopperPearson(
    successes: Int, trials: Int, confidence: Double
) -> ClosedRange<Double> {
    precondition(successes >= 0 && successes <= trials && confidence > 0 && confidence < 1)
    guard trials > 0 else { return 0...1 }
    let tail = (1 - confidence) / 2
    func solve(_ target: Double, _ a: Double, _ b: Double) -> Double {
        var low = 0.0
        var high = 1.0
        for _ in 0..<100 {
            let middle = 0.5 * (low + high)
            if regularizedIncompleteBeta(middle, a, b) < target {
                low = middle
            } else {
                high = middle
            }
        }
        return 0.5 * (low + high)
    }
    let (k, n) = (Double(successes), Double(trials))
    let lower = successes == 0 ? 0 : solve(tail, k, n - k + 1)
    let upper = successes == trials ? 1 : solve(1 - tail, k + 1, n - k)
    return lower...max(lower, upper)
}
