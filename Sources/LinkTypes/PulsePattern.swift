import Quantities

/// The two bases of polarization BB84.
public enum Basis: UInt8, Hashable, Sendable, CaseIterable, Codable {
    /// The key basis: H is 0, V is 1; Stokes axis s1.
    case z = 0
    /// The test basis: D is 0, A is 1; Stokes axis s2.
    case x = 1
}

/// One of the four BB84 states.
public struct QubitState: Hashable, Sendable {
    /// The basis.
    public var basis: Basis
    /// The bit value.
    public var bit: Bool
    /// The state of `bit` in `basis`.
    @inlinable public init(basis: Basis, bit: Bool) {
        self.basis = basis
        self.bit = bit
    }
    /// A number 0…3: H, V, D, A.
    @inlinable public var index: Int { Int(basis.rawValue) * 2 + (bit ? 1 : 0) }
    /// The state with number 0…3: H, V, D, A.
    @inlinable public init(index: Int) {
        precondition(index >= 0 && index < 4)
        self.init(basis: index < 2 ? .z : .x, bit: index & 1 == 1)
    }
    /// H, V, D and A.
    public static let all = (0..<4).map(QubitState.init(index:))
    /// The Stokes vector of the ideal state.
    public var stokes: StokesVector {
        let sign = bit ? -1.0 : 1.0
        return basis == .z ? StokesVector(sign, 0, 0) : StokesVector(0, sign, 0)
    }
}

/// What Alice prepares in one slot.
public struct PulseSymbol: Hashable, Sendable {
    /// The polarization state.
    public var state: QubitState
    /// The intensity class: 0 is the signal µ1, 1 the decoy µ2.
    public var intensity: UInt8
    /// A symbol of a state and an intensity class.
    @inlinable public init(state: QubitState, intensity: UInt8) {
        self.state = state
        self.intensity = intensity
    }
}

/// What Alice prepares, readable at any slot without storing pulses.
public protocol PulsePattern: Sendable {
    /// The symbol of slot `slot`.
    func symbol(at slot: SlotIndex) -> PulseSymbol
}

/// A pseudo-random BB84 pattern: independent symbols with given probabilities, from one key.
///
/// With a published key it is a training pattern; with a private key it stands for Alice's
/// quantum random numbers on an emulated source. Philox is not a cryptographic generator, so a
/// real source replaces this type by stored quantum randomness.
public struct KeyedPulsePattern: PulsePattern, Hashable {
    /// The key; as secret as the pattern is meant to be.
    public let key: UInt64
    /// The probability of the key basis.
    public let probabilityZ: Double
    /// The probability of the signal intensity.
    public let probabilitySignal: Double
    private let generator: Philox4x32
    private let basisThreshold: UInt32
    private let signalThreshold: UInt32

    /// A pattern with probability `probabilityZ` of the key basis and `probabilitySignal` of the
    /// signal intensity, both in 0…1 and applied with 32-bit resolution.
    public init(key: UInt64, probabilityZ: Double, probabilitySignal: Double) {
        precondition((0...1).contains(probabilityZ) && (0...1).contains(probabilitySignal))
        self.key = key
        self.probabilityZ = probabilityZ
        self.probabilitySignal = probabilitySignal
        generator = Philox4x32(key: key)
        basisThreshold = Self.threshold(probabilityZ)
        signalThreshold = Self.threshold(probabilitySignal)
    }

    private static func threshold(_ p: Double) -> UInt32 {
        UInt32(min(4_294_967_295, (p * 4_294_967_296).rounded()))
    }

    /// The symbol of slot `slot`.
    public func symbol(at slot: SlotIndex) -> PulseSymbol {
        let (first, second) = generator.block(low: slot.rawValue)
        let basis: Basis = UInt32(truncatingIfNeeded: first) < basisThreshold ? .z : .x
        let intensity: UInt8 =
            UInt32(truncatingIfNeeded: first >> 32) < signalThreshold ? 0 : 1
        return PulseSymbol(
            state: QubitState(basis: basis, bit: second & 1 == 1), intensity: intensity)
    }
}

/// The pattern Alice sends while clocks and slot numbers are being found: three interleaved
/// Legendre sequences on the intensity, random states from a published key.
///
/// Slot n carries chip `n mod pᵢ` of sequence i = n mod 3, with primes p = 127, 131, 139 (all
/// 3 mod 4, so each sequence has the ideal two-valued autocorrelation). Intensity is immune to
/// polarization, so slot numbers are found before any alignment, up to the period 3·127·131·139 =
/// 6,937,629 slots. The idea of combining short codes is that of ranging codes (CCSDS 414.1-B).
public struct SynchronizationPattern: PulsePattern, Hashable {
    /// The lengths of the three component sequences.
    public static let primes: [UInt64] = [127, 131, 139]
    /// The slot numbers are found modulo this.
    public static let period: UInt64 = 3 * 127 * 131 * 139
    private static let bright: [[Bool]] = primes.map { prime in
        var residue = [Bool](repeating: false, count: Int(prime))
        for value in 1..<prime { residue[Int(value * value % prime)] = true }
        return residue
    }
    private let states: KeyedPulsePattern
    /// The published key.
    public var key: UInt64 { states.key }

    /// The pattern whose polarization states come from `key`, both bases equally often.
    public init(key: UInt64) {
        states = KeyedPulsePattern(key: key, probabilityZ: 0.5, probabilitySignal: 1)
    }

    /// Whether chip `slot` of component `component` (0…2) is bright.
    public static func isBright(component: Int, chip: UInt64) -> Bool {
        bright[component][Int(chip % primes[component])]
    }

    /// The symbol of slot `slot`: signal intensity on bright chips, decoy on dark ones.
    public func symbol(at slot: SlotIndex) -> PulseSymbol {
        let n = slot.rawValue
        let isBright = Self.isBright(component: Int(n % 3), chip: n)
        return PulseSymbol(state: states.symbol(at: slot).state, intensity: isBright ? 0 : 1)
    }
}
