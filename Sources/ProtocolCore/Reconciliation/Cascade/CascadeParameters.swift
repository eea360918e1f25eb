import Quantities

/// How a string is reconciled by Cascade: both ends derive everything else from this and a seed.
///
/// A pass cuts a permutation of the string into blocks and compares their parities. Permutations
/// act within windows of at most `windowBits` bits, so that the tables and the bits they move stay
/// in the cache; the last random subsets are drawn from the whole string.
public struct CascadeParameters: Hashable, Sendable {
    /// Which blocks are looked at again when a corrected bit changes their parity.
    public enum Revisit: Hashable, Sendable {
        /// The smallest block of known parity around the bit, in each pass; one pass at a time, so
        /// that two searches never hunt the same error.
        case smallestBlock
        /// The whole block of the pass around the bit, in all passes at once, as in the protocol as
        /// it was published (Brassard and Salvail, EUROCRYPT '93).
        case wholeBlock
    }

    /// The bits of the strings, 1...2^30.
    public let bits: Int
    /// The most bits that a permutation moves among each other, 64...65 536.
    public let windowBits: Int
    /// The block size of each pass, 2 or more. The first pass does not permute.
    public let blockSizes: [Int]
    /// What is looked at again.
    public let revisit: Revisit
    /// How many random subsets of the whole string are compared at the end, 0...64, again and
    /// again until all of them agree: an error then remains with a probability of 2^-`checks` for
    /// each time they were compared.
    public let checks: Int

    /// The subsets compared at the end by default.
    public static let defaultChecks = 24
    /// How often the subsets are compared before the rest is left to verification.
    static let checkRounds = 32

    /// Parameters as given; `nil` when one is out of its range.
    public init?(
        bits: Int, windowBits: Int = 1 << 16, blockSizes: [Int], revisit: Revisit = .smallestBlock,
        checks: Int = defaultChecks
    ) {
        guard (1...1 << 30).contains(bits), (64...1 << 16).contains(windowBits),
            (1...32).contains(blockSizes.count), blockSizes.allSatisfy({ $0 >= 2 }),
            (0...64).contains(checks)
        else { return nil }
        self.bits = bits
        self.windowBits = windowBits
        self.blockSizes = blockSizes
        self.revisit = revisit
        self.checks = checks
    }

    /// Parameters for strings of `bits` bits, 1...2^30, that differ in a fraction `errorRate`,
    /// 0...0.5, of them.
    ///
    /// Blocks of powers of two, so that halving never leaves an odd bit: the first ones hold 0.6 to
    /// 1.2 errors, the second ones about five, the third ones 4096 bits or four of the second.
    /// Found by running the protocol on strings of 2^20 bits: larger blocks in the second pass
    /// announce 0.5 % fewer parities and take twice as many steps (compare "option 8" of
    /// Martinez-Mateo et al., Quantum Inf. Comput. 15, 453, 2015, arXiv:1407.3257).
    public static func optimized(bits: Int, errorRate: Double) -> CascadeParameters {
        precondition((1...1 << 30).contains(bits) && errorRate >= 0 && errorRate <= 0.5)
        let rate = min(max(errorRate, 1e-4), 0.25)
        let first = 1 << Int(binaryLog(1.2 / rate).rounded(.down))
        let second = min(1 << Int(binaryLog(5 / rate).rounded()), 1 << 15)
        return CascadeParameters(
            unchecked: bits, blockSizes: [first, second, min(max(4096, 4 * second), 1 << 16)],
            revisit: .smallestBlock, checks: defaultChecks)
    }

    private init(unchecked bits: Int, blockSizes: [Int], revisit: Revisit, checks: Int) {
        self.bits = bits
        windowBits = 1 << 16
        self.blockSizes = blockSizes
        self.revisit = revisit
        self.checks = checks
    }

    /// The number of windows.
    var windows: Int { (bits + windowBits - 1) / windowBits }

    /// The words from one window to the next.
    var windowWords: Int { ((bits + windows - 1) / windows + 63) / 64 }

    /// The bits of each window; with several windows, the last ones are zeros known to both ends.
    var windowLength: Int { windows == 1 ? bits : 64 * windowWords }
}

// MARK: Published variants

extension CascadeParameters {
    /// A variant as it was published, for strings of 64...65 536 bits that fit one window. Kept to
    /// be compared with other programs; block sizes as in cascade-cpp, after Martinez-Mateo et al.,
    /// arXiv:1407.3257.
    public enum Variant: String, CaseIterable, Sendable {
        /// Four passes, 0.73 errors a block in the first, each block twice as large as before
        /// (Brassard and Salvail, EUROCRYPT '93).
        case original
        /// Ten passes: 0.80 errors a block, five times as many, then halves (Yan et al., 2008).
        case yanEtAl
        /// Fourteen passes: a power of two of at least one error a block, four times as many, then
        /// halves.
        case option7
    }

    /// The variant for strings of `bits` bits, 64...65 536, at an error rate of 1e-5...0.25.
    public static func published(
        _ variant: Variant, bits: Int, errorRate: Double
    ) -> CascadeParameters {
        precondition((64...1 << 16).contains(bits) && errorRate <= 0.25)
        let rate = max(errorRate, 1e-5)
        func size(_ errors: Double) -> Int { Int((errors / rate).rounded(.up)) }
        let sizes: [Int]
        switch variant {
        case .original:
            sizes = (0..<4).map { size(0.73) << $0 }
        case .yanEtAl:
            sizes = [size(0.8), 5 * size(0.8)] + Array(repeating: bits / 2, count: 8)
        case .option7:
            let first = 1 << Int(binaryLog(1 / rate).rounded(.up))
            sizes = [first, 4 * first] + Array(repeating: bits / 2, count: 12)
        }
        return CascadeParameters(
            unchecked: bits, blockSizes: sizes, revisit: .wholeBlock, checks: 0)
    }
}
