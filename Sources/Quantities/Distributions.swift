extension RandomNumberGenerator {
    /// A uniform number in [0, 1) with 53 random bits.
    @inlinable public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// A uniform number in (0, 1], safe to take the logarithm of.
    @inlinable public mutating func uniformPositive() -> Double {
        (Double(next() >> 11) + 1) * 0x1p-53
    }

    /// A standard normal number, by the polar method of Marsaglia.
    @inlinable public mutating func gaussian() -> Double {
        while true {
            let u = 2 * uniform() - 1
            let v = 2 * uniform() - 1
            let s = u * u + v * v
            if s > 0, s < 1 { return u * (-2 * naturalLog(s) / s).squareRoot() }
        }
    }

    /// An exponential waiting time with mean 1.
    @inlinable public mutating func exponentialDeviate() -> Double {
        -naturalLog(uniformPositive())
    }

    /// `true` with probability `p`.
    @inlinable public mutating func bernoulli(_ p: Double) -> Bool { uniform() < p }

    /// The number of failures before the first success of probability `p` in (0, 1], by inversion.
    ///
    /// This is what lets a simulation skip empty pulses: its cost is one logarithm a success.
    @inlinable public mutating func geometric(_ p: Double) -> UInt64 {
        guard p < 1 else { return 0 }
        let value = naturalLog(uniformPositive()) / naturalLog1p(-p)
        return value < 0x1p62 ? UInt64(value) : 1 << 62
    }

    /// A Poisson number with the given mean: multiplication below 30, otherwise the transformed
    /// rejection PTRS of Hörmann, "The transformed rejection method for generating Poisson random
    /// variables", 1993.
    @inlinable public mutating func poisson(mean: Double) -> Int {
        guard mean > 0 else { return 0 }
        if mean < 30 {
            let limit = exponential(-mean)
            var product = uniform()
            var count = 0
            while product > limit {
                product *= uniform()
                count += 1
            }
            return count
        }
        let logMean = naturalLog(mean)
        let b = 0.931 + 2.53 * mean.squareRoot()
        let a = -0.059 + 0.02483 * b
        let inverseAlpha = 1.1239 + 1.1328 / (b - 3.4)
        let vr = 0.9277 - 3.6224 / (b - 2)
        while true {
            let u = uniform() - 0.5
            let v = uniformPositive()
            let us = 0.5 - abs(u)
            let k = ((2 * a / us + b) * u + mean + 0.43).rounded(.down)
            if us >= 0.07, v <= vr { return Int(k) }
            if k < 0 || (us < 0.013 && v > us) { continue }
            let left = naturalLog(v) + naturalLog(inverseAlpha) - naturalLog(a / (us * us) + b)
            if left <= -mean + k * logMean - logGamma(k + 1) { return Int(k) }
        }
    }
}
