import CKernels
import Quantities

/// Random subsets of the whole string whose parities are compared after the passes.
///
/// Each holds every bit with probability 1/2, so a remaining difference makes it odd with
/// probability 1/2. Few of them are ever searched: their segments are kept as lists. The bits of a
/// subset keep the order of the string.
struct CascadeSubsets {
    /// One subset: the words of its mask are those of its round, rotated.
    private struct Subset {
        let round: UInt64
        let rotation: UInt64
        /// Where its segments start, in order, and which of them are odd.
        var starts = [0]
        var odd = [false]
    }

    private let seed: UInt64
    private let wordsPerWindow: Int
    private let words: Int
    private let kernel: berek_kernel
    private var subsets: [Subset] = []
    private var count = 0
    /// How often fresh subsets were drawn.
    private(set) var rounds = 0
    /// How many segments were cut.
    private(set) var cuts = 0
    /// Whether all of the last fresh subsets were even when first compared.
    private(set) var isClean = false

    /// Subsets, drawn from `seed`, of strings of so many windows.
    init(seed: UInt64, wordsPerWindow: Int, windows: Int, kernel: berek_kernel) {
        self.seed = seed
        self.wordsPerWindow = wordsPerWindow
        words = wordsPerWindow * windows
        self.kernel = kernel
    }

    /// Draws `count` fresh subsets, 1...64, to be compared next.
    mutating func begin(count: Int) {
        self.count = count
        let round = CascadeSeed.word(seed, .subset, UInt64(rounds))
        for rotation in 0..<UInt64(count) {
            subsets.append(Subset(round: round, rotation: rotation))
        }
        rounds += 1
    }

    /// The parities of the fresh subsets.
    func parities(of windows: [UnsafePointer<UInt64>]) -> BitBuffer {
        guard let round = subsets.last?.round else { return BitBuffer() }
        var folds = [UInt64](repeating: 0, count: count)
        for (index, bits) in windows.enumerated() {
            berek_cascade_subset_folds(
                &folds, count, bits, wordsPerWindow, round, UInt64(index * wordsPerWindow), kernel)
        }
        return BitBuffer(folds.map { $0.nonzeroBitCount & 1 == 1 })
    }

    /// Marks the fresh subsets that are odd.
    mutating func mark(_ differences: BitBuffer) {
        let first = subsets.count - count
        for index in 0..<count { subsets[first + index].odd[0] = differences[index] }
        isClean = differences.populationCount == 0
    }

    /// The first subsets with an odd segment that can be cut.
    func odd(atMost limit: Int) -> [Int] {
        Array(subsets.indices.lazy.filter { oddSegment(subsets[$0]) != nil }.prefix(limit))
    }

    /// The parity of the lower part of the first odd segment of subset `index`.
    func halfParity(_ index: Int, of windows: [UnsafePointer<UInt64>]) -> Bool {
        let subset = subsets[index]
        guard let (_, lower, upper) = oddSegment(subset) else { return false }
        let middle = middle(subset, lower, upper)
        var fold: UInt64 = 0
        for word in lower >> 6...(middle - 1) >> 6 {
            let bits = windows[word / wordsPerWindow][word % wordsPerWindow]
            fold ^= bits & mask(subset, word, lower, middle)
        }
        return fold.nonzeroBitCount & 1 == 1
    }

    /// Cuts the first odd segment of subset `index`.
    mutating func cut(_ index: Int, lowerIsOdd: Bool) {
        guard let (place, lower, upper) = oddSegment(subsets[index]) else { return }
        let middle = middle(subsets[index], lower, upper)
        subsets[index].starts.insert(middle, at: place + 1)
        subsets[index].odd[place] = lowerIsOdd
        subsets[index].odd.insert(!lowerIsOdd, at: place + 1)
        cuts += 1
    }

    /// The bit of the string that is the only member of an odd segment, if there is one.
    var oddSingle: Int? {
        for subset in subsets {
            for place in subset.odd.indices where subset.odd[place] {
                let (lower, upper) = range(subset, place)
                let members = members(subset, lower, upper)
                if members.nonzeroBitCount == 1 {
                    return lower & ~63 + members.trailingZeroBitCount
                }
            }
        }
        return nil
    }

    /// Bit `bit` was corrected: the segments that hold it change their parity.
    mutating func flip(_ bit: Int) {
        for index in subsets.indices {
            guard mask(subsets[index], bit >> 6, bit, bit + 1) != 0 else { continue }
            let starts = subsets[index].starts
            let place = (starts.firstIndex { $0 > bit } ?? starts.count) - 1
            subsets[index].odd[place].toggle()
        }
    }

    // MARK: Segments

    /// The first odd segment with several members.
    private func oddSegment(_ subset: Subset) -> (place: Int, lower: Int, upper: Int)? {
        for place in subset.odd.indices where subset.odd[place] {
            let (lower, upper) = range(subset, place)
            let isWide = lower >> 6 < (upper - 1) >> 6
            if isWide || members(subset, lower, upper).nonzeroBitCount > 1 {
                return (place, lower, upper)
            }
        }
        return nil
    }

    private func range(_ subset: Subset, _ place: Int) -> (lower: Int, upper: Int) {
        let next = place + 1
        return (
            subset.starts[place], next < subset.starts.count ? subset.starts[next] : 64 * words
        )
    }

    /// The bits of the subset in lower..<upper if that is in one word, else none.
    private func members(_ subset: Subset, _ lower: Int, _ upper: Int) -> UInt64 {
        lower >> 6 == (upper - 1) >> 6 ? mask(subset, lower >> 6, lower, upper) : 0
    }

    /// Where a segment is cut: between words while it has several, then among its members.
    private func middle(_ subset: Subset, _ lower: Int, _ upper: Int) -> Int {
        let (first, last) = (lower >> 6, (upper - 1) >> 6)
        if first < last { return (first + last + 1) / 2 * 64 }
        var members = mask(subset, first, lower, upper)
        for _ in 0..<members.nonzeroBitCount / 2 { members &= members - 1 }
        return first * 64 + members.trailingZeroBitCount
    }

    /// The bits of word `word` that are in the subset and in lower..<upper.
    private func mask(_ subset: Subset, _ word: Int, _ lower: Int, _ upper: Int) -> UInt64 {
        var mask = Self.rotated(Self.mask(subset.round, word), subset.rotation)
        if lower >> 6 == word { mask &= ~0 << UInt64(lower & 63) }
        if upper >> 6 == word { mask &= 1 << UInt64(upper & 63) - 1 }
        return mask
    }

    private static func mask(_ round: UInt64, _ word: Int) -> UInt64 {
        SplitMix64.mix(round &+ UInt64(word) &* 0x9E37_79B9_7F4A_7C15)
    }

    private static func rotated(_ value: UInt64, _ by: UInt64) -> UInt64 {
        value << by | value >> ((64 - by) & 63)
    }
}
