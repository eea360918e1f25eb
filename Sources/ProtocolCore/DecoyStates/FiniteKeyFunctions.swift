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

    static func entropy<S: KeyLengthScalar>(_ x: S) -> S {
        let rest = S(1) - x
        let nats = S(0) - x * x.naturalLogarithm - rest * rest.naturalLogarithm
        return nats / S(2).naturalLogarithm
    }

    static func deviation<S: KeyLengthScalar>(_ count: S, inverseEpsilon: S) -> S {
        (count * inverseEpsilon.naturalLogarithm / S(2)).root
    }

    static func sampling<S: KeyLengthScalar>(_ a: S, _ b: S, _ c: S, _ d: S, terms: S) -> S {
        let spread = (S(1) - b) * b
        let harmonic = (c + d) / (c * d)
        let logTwo = S(2).naturalLogarithm
        let bits = (harmonic / spread * (terms * terms) / (a * a)).naturalLogarithm / logTwo
        return S.greatest(harmonic * spread / logTwo * bits, S(0)).root
    }
}
