import Quantities

/// The functions every finite-key formula is made of.
public enum FiniteKey {
    /// The binary entropy h(x) = −x log₂ x − (1−x) log₂(1−x) in bits, 0 at and outside the ends.
    public static func binaryEntropy(_ x: Double) -> Double {
        guard x > 0, x < 1 else { return 0 }
        return entropy(x)
    }

    /// Hoeffding's deviation δ(n, ε) = √(n ln(1/ε) / 2) of a count out of `n` (Lim et al. 2014,
    /// Rusca et al. 2018, equation A2).
    public static func hoeffdingDeviation(count: Double, epsilon: Double) -> Double {
        precondition(count >= 0 && epsilon > 0 && epsilon < 1)
        return deviation(count, inverseEpsilon: 1 / epsilon)
    }

    /// The deviation γ(a, b, c, d) of random sampling without replacement,
    ///
    /// γ = √{ (c+d)(1−b)b / (c d ln 2) · log₂[ (c+d) / (c d (1−b) b) · K² / a² ] },
    ///
    /// for the failure probability `a`, the error rate `b` in (0, 1) of the sampled `d` events and
    /// the `c` events it is applied to; `terms` is the K of the proof (21 in Lim et al. 2014,
    /// 19 in Rusca et al. 2018). Source: Fung, Ma, Chau, Phys. Rev. A 81, 012318 (2010).
    public static func samplingDeviation(
        epsilon a: Double, errorRate b: Double, applied c: Double, sampled d: Double,
        terms: Double
    ) -> Double {
        precondition(a > 0 && b > 0 && b < 1 && c > 0 && d > 0)
        return sampling(a, b, c, d, terms: terms)
    }

    /// The bound that keys are made with: of `applied` + `sampled` events whose errors are a random
    /// split, with the rate `observed` among the sampled ones, the rate of the others exceeds this
    /// value with probability at most ε²; 1/2 where no smaller bound can be given. See the formula at
    /// `BoundConditions.Sampling.hoeffding` in docs/key-from-detections.md.
    public static func sampledRateUpper(
        observed: Double, applied: Double, sampled: Double, epsilon: Double
    ) -> Double {
        precondition(observed >= 0 && applied > 0 && sampled > 0 && epsilon > 0 && epsilon < 1)
        guard observed < 0.5 else { return 0.5 }
        return hoeffdingRate(
            observed, applied: applied, sampled: sampled, limit: sampled,
            inverseEpsilon: 1 / epsilon)
    }

    /// The deviation of random sampling without replacement in the form of Serfling (Ann. Statist.
    /// 2, 39, 1974): of `c` + `d` events whose errors are a random split, the rate among the `c`
    /// exceeds that among the `d` by √(ln(1/ε) / f), f = c d² / ((c + d)(d + 1)), with probability
    /// at most ε². Decreases in both sizes, so lower bounds may be put in for them.
    static func serfling<S: KeyLengthScalar>(applied c: S, sampled d: S, inverseEpsilon: S) -> S {
        let size = c * d * d / ((c + d) * (d + S(1)))
        return (inverseEpsilon.naturalLogarithm / size).root
    }

    /// The deviation of a binomial count by Bernstein's inequality: out of `n` trials whose
    /// probability of success given the past is at most δ ≤ 1/2, more than n(δ + c) succeed with
    /// probability at most ε²/2, c = L/3 + √(L²/9 + 2Lδ(1 − δ)), L = ln(2/ε²)/n (Boucheron, Lugosi,
    /// Massart, "Concentration Inequalities", 2013, corollary 2.11). Decreases in n.
    static func bernstein<S: KeyLengthScalar>(trials n: S, probability: S, inverseEpsilon: S) -> S {
        let scale = (S(2) * inverseEpsilon * inverseEpsilon).naturalLogarithm / n
        let third = scale / S(3)
        return third + (third * third + S(2) * scale * probability * (S(1) - probability)).root
    }

    static func entropy<S: KeyLengthScalar>(_ x: S) -> S {
        let rest = S(1) - x
        let nats = S(0) - x * x.naturalLogarithm - rest * rest.naturalLogarithm
        return nats / S.logTwo
    }

    static func deviation<S: KeyLengthScalar>(_ count: S, inverseEpsilon: S) -> S {
        (count * inverseEpsilon.naturalLogarithm / S(2)).root
    }

    static func sampling<S: KeyLengthScalar>(_ a: S, _ b: S, _ c: S, _ d: S, terms: S) -> S {
        let spread = (S(1) - b) * b
        let harmonic = (c + d) / (c * d)
        let bits = (harmonic / spread * (terms * terms) / (a * a)).binaryLogarithm
        return S.greatest(harmonic * spread / S.logTwo * bits, S(0)).root
    }

    /// The error rate of `c` events when the other `d` of a random split have rate at most `b`, by
    /// Hoeffding (J. Am. Stat. Assoc. 58, 13, 1963, theorems 1 and 4), whose bound for independent
    /// trials holds for sampling without replacement too: the rate p of all obeys d D(b‖p) ≤
    /// 2 ln(1/ε) but with probability ε², D the relative entropy. As D(b‖p) ≥ (p − b)²/(2p(1 − p))
    /// for b ≤ p ≤ 1/2, with L = 2 ln(1/ε)/d
    ///
    /// p ≤ b + √(2Lb(1 − b)) + 2L, and the rate of the rest is b + (p − b)(c + d)/c.
    ///
    /// Grows with b and falls with c, so bounds may stand for them. As a function of √d the second
    /// is convex, so for any d between `d` and `limit` it is at most the larger of its values there.
    /// 1/2 where no smaller bound can be given.
    static func hoeffdingRate<S: KeyLengthScalar>(
        _ b: S, applied c: S, sampled d: S, limit: S, inverseEpsilon: S
    ) -> S {
        let half = S(0.5)
        let logarithm = S(2) * inverseEpsilon.naturalLogarithm
        func excess(_ size: S) -> S {
            let scale = logarithm / size
            return (S(2) * scale * b * (S(1) - b)).root + S(2) * scale
        }
        let more = excess(d)
        guard (b + more).upperValue < 0.5 else { return half }
        let rest = S.greatest(more * (c + d) / c, excess(limit) * (c + limit) / c)
        return S.least(b + rest, half)
    }

    /// The phase error rate of `applied` single photons in the key basis, (A23) of Rusca et al. 2018
    /// and (5) of Lim et al. 2014; with `mismatch`, the bound for detectors that differ. 1/2 where no
    /// smaller bound can be given.
    static func phaseErrorRate<S: KeyLengthScalar>(
        errors: S, sampled: S, applied: S, testTotal: S, epsilon: S, terms: S,
        conditions: BoundConditions
    ) -> S {
        let half = S(0.5)
        guard sampled.lowerValue > 0, applied.lowerValue > 0 else { return half }
        let rate = errors / sampled
        guard rate.upperValue < 0.5 else { return half }
        let inverse = terms / epsilon
        let whole =
            switch conditions.sampling {
            case .published: rate + sampling(epsilon, rate, applied, sampled, terms: terms)
            case .hoeffding:
                hoeffdingRate(
                    rate, applied: applied, sampled: sampled, limit: testTotal,
                    inverseEpsilon: inverse)
            }
        guard let mismatch = conditions.mismatch else { return S.least(whole, half) }
        return mismatch.phaseErrorRate(
            testRate: whole, applied: applied, inverseEpsilon: inverse)
    }
}
