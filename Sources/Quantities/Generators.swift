/// SplitMix64: a 64-bit state stepped by a constant and mixed.
///
/// Used to expand seeds and as a stateless mixing function. Source: Steele, Lea, Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014. Not for secrets.
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64
    /// A generator whose first output mixes `seed + 0x9E3779B97F4A7C15`.
    @inlinable public init(seed: UInt64) { self.init(state: seed) }
    @usableFromInline init(state: UInt64) { self.state = state }
    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mix(state)
    }
    /// The finaliser of the generator: a bijection that spreads every input bit.
    public static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// xoshiro256**, the seeded generator of simulations and tests.
///
/// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018. Every
/// consumer of randomness takes its own labelled stream, so that adding a consumer does not change
/// what the others draw. Not for secrets.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    @usableFromInline var s0: UInt64
    @usableFromInline var s1: UInt64
    @usableFromInline var s2: UInt64
    @usableFromInline var s3: UInt64

    /// The generator of the stream `label` under `seed`.
    public init(seed: UInt64, label: String = "") {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a over the label
        for byte in label.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        var expand = SplitMix64(seed: seed ^ SplitMix64.mix(hash))
        s0 = expand.next()
        s1 = expand.next()
        s2 = expand.next()
        s3 = expand.next()
    }

    /// The generator with the given state words, which must not all be zero.
    public init(state: (UInt64, UInt64, UInt64, UInt64)) {
        precondition(state.0 | state.1 | state.2 | state.3 != 0)
        (s0, s1, s2, s3) = state
    }

    /// The next 64 bits.
    @inlinable public mutating func next() -> UInt64 {
        let multiplied = s1 &* 5
        let result = (multiplied << 7 | multiplied >> 57) &* 9
        let shifted = s1 << 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        s3 = s3 << 45 | s3 >> 19
        return result
    }
}

/// Philox4x32-10: a keyed bijection of a 128-bit counter, so that any position of the stream can
/// be read without the ones before it.
///
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11. Statistical
/// quality, not cryptographic: fit for emulation and published patterns, never for secrets.
public struct Philox4x32: Hashable, Sendable {
    private let key0: UInt32
    private let key1: UInt32

    /// The stream selected by a 64-bit key.
    public init(key: UInt64) {
        key0 = UInt32(truncatingIfNeeded: key)
        key1 = UInt32(truncatingIfNeeded: key >> 32)
    }

    /// The 128 bits at position (`low`, `high`) as two 64-bit words.
    public func block(low: UInt64, high: UInt64 = 0) -> (UInt64, UInt64) {
        var c0 = UInt32(truncatingIfNeeded: low)
        var c1 = UInt32(truncatingIfNeeded: low >> 32)
        var c2 = UInt32(truncatingIfNeeded: high)
        var c3 = UInt32(truncatingIfNeeded: high >> 32)
        var k0 = key0
        var k1 = key1
        for _ in 0..<10 {
            let product0 = UInt64(0xD251_1F53 as UInt32) * UInt64(c0)
            let product1 = UInt64(0xCD9E_8D57 as UInt32) * UInt64(c2)
            let next0 = UInt32(truncatingIfNeeded: product1 >> 32) ^ c1 ^ k0
            let next2 = UInt32(truncatingIfNeeded: product0 >> 32) ^ c3 ^ k1
            c1 = UInt32(truncatingIfNeeded: product1)
            c3 = UInt32(truncatingIfNeeded: product0)
            c0 = next0
            c2 = next2
            k0 &+= 0x9E37_79B9
            k1 &+= 0xBB67_AE85
        }
        return (UInt64(c0) | UInt64(c1) << 32, UInt64(c2) | UInt64(c3) << 32)
    }
}
