import Quantities

/// Standard normal numbers two at a time: the polar method of Marsaglia makes them in pairs, and
/// timing jitter needs so many that the second of each pair is worth keeping.
struct NormalDeviates: Sendable {
    private var spare = 0.0
    private var hasSpare = false

    /// The next number, drawn from `generator` every other time.
    mutating func next(using generator: inout SeededGenerator) -> Double {
        if hasSpare {
            hasSpare = false
            return spare
        }
        while true {
            let u = 2 * generator.uniform() - 1
            let v = 2 * generator.uniform() - 1
            let s = u * u + v * v
            guard s > 0, s < 1 else { continue }
            let scale = (-2 * naturalLog(s) / s).squareRoot()
            (spare, hasSpare) = (v * scale, true)
            return u * scale
        }
    }
}

/// The integer nearest to `value`, whose magnitude is below 2^52; halves go away from zero.
@inline(__always) func nearestInteger(_ value: Double) -> Int64 {
    Int64(value + (value < 0 ? -0.5 : 0.5))
}
