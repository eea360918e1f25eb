/// The regularised incomplete gamma functions P(a, x) and Q(a, x) = 1 − P(a, x) for a > 0, x ≥ 0,
/// each computed without cancellation where it is the smaller one.
///
/// Series below a + 1, Legendre's continued fraction above (Abramowitz and Stegun 6.5.29 and
/// 6.5.31, Lentz's method). Relative error about 10⁻¹³ + 4·10⁻¹⁵ a; `a` up to 10⁸.
public func regularizedIncompleteGamma(_ a: Double, _ x: Double) -> (p: Double, q: Double) {
    precondition(a > 0 && x >= 0)
    guard x > 0 else { return (0, 1) }
    let front = exponential(a * naturalLog(x) - x - logGamma(a))
    if x < a + 1 {
        var term = 1 / a
        var sum = term
        var n = a
        for _ in 0..<1_000_000 {
            n += 1
            term *= x / n
            sum += term
            if term < sum * 1e-17 { break }
        }
        let p = min(1, front * sum)
        return (p, 1 - p)
    }
    var b = x + 1 - a
    var c = 1e300
    var d = 1 / b
    var h = d
    for i in 1...1_000_000 {
        let factor = -Double(i) * (Double(i) - a)
        b += 2
        d = factor * d + b
        if abs(d) < 1e-300 { d = 1e-300 }
        c = b + factor / c
        if abs(c) < 1e-300 { c = 1e-300 }
        d = 1 / d
        let delta = d * c
        h *= delta
        if abs(delta - 1) < 1e-16 { break }
    }
    let q = min(1, front * h)
    return (1 - q, q)
}

/// The value that a chi-square variable with `degrees` degrees of freedom exceeds with probability
/// `tail` in (0, 1), by bisection.
public func chiSquareQuantile(tail: Double, degrees: Int) -> Double {
    precondition(tail > 0 && tail < 1 && degrees > 0)
    let a = Double(degrees) / 2
    func excess(_ x: Double) -> Double { regularizedIncompleteGamma(a, x / 2).q }
    var high = 2 * a + 10
    while excess(high) > tail { high *= 2 }
    var low = 0.0
    for _ in 0..<100 {
        let middle = 0.5 * (low + high)
        if excess(middle) > tail { low = middle } else { high = middle }
    }
    return 0.5 * (low + high)
}

/// P(X ≤ `count`) of a Poisson variable X of mean `mean` > 0.
public func poissonLowerTail(_ count: Int, mean: Double) -> Double {
    count < 0 ? 0 : regularizedIncompleteGamma(Double(count) + 1, mean).q
}

/// P(X ≥ `count`) of a Poisson variable X of mean `mean` > 0.
public func poissonUpperTail(_ count: Int, mean: Double) -> Double {
    count <= 0 ? 1 : regularizedIncompleteGamma(Double(count), mean).p
}

/// P(X ≤ `count`) of a binomial variable X of `trials` trials with probability `probability`.
public func binomialLowerTail(_ count: Int, trials: Int, probability: Double) -> Double {
    if count < 0 { return 0 }
    if count >= trials { return 1 }
    return regularizedIncompleteBeta(1 - probability, Double(trials - count), Double(count) + 1)
}

/// P(X ≥ `count`) of a binomial variable X of `trials` trials with probability `probability`.
public func binomialUpperTail(_ count: Int, trials: Int, probability: Double) -> Double {
    if count <= 0 { return 1 }
    if count > trials { return 0 }
    return regularizedIncompleteBeta(probability, Double(count), Double(trials - count) + 1)
}
