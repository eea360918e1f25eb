import CKernels
import Quantities

/// What is known of one window of the string: for each pass the permuted bits of this end, cut into
/// segments whose parity both ends know.
///
/// The parity that counts is that of the remaining differences between the ends: a segment is even
/// or odd in that sense, and only odd ones are cut further. All that is known about a pass is where
/// its segments start and which of them are odd: two bits for each bit of the window. It follows
/// from the seed and the announced differences, so both ends hold the same.
struct CascadeWindow: ~Copyable {
    let blockSizes: [Int]
    /// The bits of the window, and those of them that are not zeros added at the end.
    let length: Int
    private let filled: Int
    private let flipsOwnBits: Bool
    private let asksEveryBlock: Bool
    private let kernel: berek_kernel
    private let permutations: CascadePermutations

    /// For each pass `words` words with one bit for each place: the own bits, where segments start,
    /// and, at such starts, which of them are odd.
    private let own: UnsafeMutablePointer<UInt64>
    private let starts: UnsafeMutablePointer<UInt64>
    private let odd: UnsafeMutablePointer<UInt64>
    let words: Int
    /// The passes that have begun.
    private(set) var begun = 0
    /// For each pass, starts of segments that became odd since they were last collected.
    private var touched: [[UInt32]]
    /// Places of `pass` where a single bit was found to differ, to be corrected.
    private var singles: [(pass: Int, place: UInt32)] = []
    /// The bits corrected since they were last taken, and how many were so far.
    private var recentFlips: [UInt32] = []
    private(set) var flipCount = 0

    /// The window with the given words of the own string, of which `filled` bits count.
    init(
        _ parameters: CascadeParameters, _ permutations: CascadePermutations,
        bits: ArraySlice<UInt64>, filled: Int, flipsOwnBits: Bool, kernel: berek_kernel
    ) {
        blockSizes = parameters.blockSizes
        length = permutations.count
        self.filled = filled
        self.flipsOwnBits = flipsOwnBits
        asksEveryBlock = parameters.revisit == .wholeBlock
        self.kernel = kernel
        self.permutations = permutations
        words = (length + 63) / 64
        touched = .init(repeating: [], count: blockSizes.count)
        let capacity = blockSizes.count * words
        own = .allocate(capacity: 3 * capacity)
        own.initialize(repeating: 0, count: 3 * capacity)
        starts = own + capacity
        odd = starts + capacity
        for (index, word) in bits.enumerated() { own[index] = word }
    }

    deinit {
        berek_zeroize(own, 8 * blockSizes.count * words)
        own.deallocate()
    }

    /// The own bits as they are now.
    var bits: UnsafePointer<UInt64> { UnsafePointer(own) }

    // MARK: Blocks

    /// Permutes the own bits for the next pass and starts its blocks.
    mutating func beginPass() {
        let pass = begun
        if pass > 0 {
            berek_cascade_gather(
                own + pass * words, own, permutations.order(pass), length, kernel)
        }
        for start in stride(from: 0, to: length, by: blockSizes[pass]) { set(starts, pass, start) }
        begun += 1
    }

    /// The blocks of `pass` whose parity must be asked for: not those that hold nothing but zeros
    /// known to both, nor the last one of a later pass, which follows from the others.
    func askedBlocks(_ pass: Int) -> Int {
        let size = blockSizes[pass]
        if asksEveryBlock { return (length + size - 1) / size }
        guard filled > 0 else { return 0 }
        return pass == 0 ? (filled + size - 1) / size : (length + size - 1) / size - 1
    }

    /// Writes the own parities of the blocks of `pass` that are asked for, from bit `first` on.
    func blockParities(_ pass: Int, into parities: inout [UInt64], first: Int) {
        berek_cascade_block_parities(
            &parities, first, own + pass * words, length, blockSizes[pass], askedBlocks(pass),
            kernel)
    }

    /// Marks the blocks of `pass` that are odd by the differences from bit `first` on.
    mutating func markBlocks(_ pass: Int, differences: [UInt64], first: Int) {
        let size = blockSizes[pass]
        let count = askedBlocks(pass)
        var isWindowOdd = false
        for block in 0..<count where CascadeBit.at(first + block, in: differences) {
            isWindowOdd.toggle()
            markOdd(pass, block * size)
        }
        guard pass > 0, filled > 0, !asksEveryBlock else { return }
        // The blocks of any pass sum up to the window, whose parity the first pass knows.
        if isWindowOdd != isOdd(0, 0..<length) { markOdd(pass, count * size) }
    }

    private mutating func markOdd(_ pass: Int, _ start: Int) {
        set(odd, pass, start)
        if isSingle(pass, start) {
            singles.append((pass, UInt32(start)))
        } else {
            touched[pass].append(UInt32(start))
        }
    }

    // MARK: Segments

    /// Writes the own parities of the lower halves of `segments` of `pass`, from bit `first` on.
    func halfParities(
        _ pass: Int, _ segments: [berek_cascade_segment], into parities: inout [UInt64], first: Int
    ) {
        berek_cascade_half_parities(
            &parities, first, own + pass * words, segments, segments.count, kernel)
    }

    /// Moves the odd segments of `pass`, which have several bits each, to `segments`; they count as
    /// even until they are cut.
    mutating func collectOdd(_ pass: Int, into segments: inout [berek_cascade_segment]) {
        let (starts, odd) = (starts + pass * words, odd + pass * words)
        for start in touched[pass] {
            let word = Int(start >> 6)
            let bit: UInt64 = 1 << UInt64(start & 63)
            guard odd[word] & bit != 0 else { continue }
            odd[word] &= ~bit
            let length = end(starts, after: Int(start)) - Int(start)
            segments.append(.init(start: start, length: UInt32(length)))
        }
        touched[pass].removeAll(keepingCapacity: true)
    }

    /// Cuts each of `segments` of `pass` in halves, of which the lower one is odd where
    /// `differences` from bit `first` on is one. Keeps the odd halves; single bits await
    /// correction.
    mutating func cut(
        _ pass: Int, _ segments: inout [berek_cascade_segment], differences: [UInt64], first: Int
    ) {
        let starts = starts + pass * words
        var kept = 0
        for index in segments.indices {
            let segment = segments[index]
            let isLower: UInt32 = CascadeBit.at(first + index, in: differences) ? 1 : 0
            let half = segment.length / 2
            let middle = segment.start + half
            starts[Int(middle >> 6)] |= 1 << UInt64(middle & 63)
            // Without a branch: which half is odd can not be predicted.
            let length = (segment.length - half) & (isLower &- 1) | half & (0 &- isLower)
            let start = segment.start + half & (isLower &- 1)
            segments[kept] = .init(start: start, length: length)
            kept += length > 1 ? 1 : 0
            if length == 1 { singles.append((pass, start)) }
        }
        segments.removeLast(segments.count - kept)
    }

    /// Where the segment that starts at `start` ends.
    private func end(_ starts: UnsafeMutablePointer<UInt64>, after start: Int) -> Int {
        var word = (start + 1) >> 6
        guard word < words else { return length }
        var bits = starts[word] & (~0 << UInt64((start + 1) & 63))
        while bits == 0 {
            word += 1
            if word == words { return length }
            bits = starts[word]
        }
        return word << 6 + bits.trailingZeroBitCount
    }

    /// The start of the segment of `pass` that holds the bit at `place`.
    private func start(_ pass: Int, around place: Int) -> Int {
        let starts = starts + pass * words
        var word = place >> 6
        var bits = starts[word] & (~0 >> UInt64(63 - place & 63))
        while bits == 0 {
            word -= 1
            bits = starts[word]
        }
        return word << 6 + 63 - bits.leadingZeroBitCount
    }

    // MARK: Corrections

    /// Corrects the bits that are known to differ.
    mutating func correctSingles() {
        for (pass, place) in singles {
            clear(odd, pass, Int(place))
            flip(permutations.bit(pass, at: Int(place)), foundIn: pass)
        }
        singles.removeAll(keepingCapacity: true)
    }

    /// Corrects `bit`: the segments around it change their parity in all passes, except in
    /// `source`, where the bit was found and is accounted for.
    mutating func flip(_ bit: Int, foundIn source: Int?) {
        flipCount += 1
        recentFlips.append(UInt32(bit))
        for pass in 0..<begun {
            let place = permutations.place(pass, of: bit)
            if flipsOwnBits { own[pass * words + place >> 6] ^= 1 << UInt64(place & 63) }
            guard pass != source else { continue }
            let start = start(pass, around: place)
            let mask: UInt64 = 1 << UInt64(start & 63)
            odd[pass * words + start >> 6] ^= mask
            guard odd[pass * words + start >> 6] & mask != 0 else { continue }
            // A single bit of known parity is right; only a peer that contradicts himself gets here
            // with one, and must not make two passes turn it back and forth.
            if start != place || !isSingle(pass, place) { touched[pass].append(UInt32(start)) }
        }
    }

    /// The bit at `place` of `pass`.
    func bit(_ pass: Int, at place: Int) -> Int { permutations.bit(pass, at: place) }

    /// The place of `bit` in `pass`.
    func place(_ pass: Int, of bit: Int) -> Int { permutations.place(pass, of: bit) }

    /// The bits corrected since the last call.
    mutating func takeFlips() -> [UInt32] {
        defer { recentFlips.removeAll(keepingCapacity: true) }
        return recentFlips
    }

    /// Whether the segment of `pass` that starts at `place` has one bit.
    private func isSingle(_ pass: Int, _ place: Int) -> Bool {
        place + 1 == length || isStart(pass, place + 1)
    }

    // MARK: Single segments

    /// Cuts the segment of `pass` at `start` in halves, unless it is cut already.
    mutating func split(_ pass: Int, _ start: Int, length: Int, lowerIsOdd: Bool) {
        let middle = start + length / 2
        guard !isStart(pass, middle) else { return }
        let upperIsOdd = isOdd(pass, start..<start + 1) != lowerIsOdd
        set(starts, pass, middle)
        if lowerIsOdd { set(odd, pass, start) } else { clear(odd, pass, start) }
        if upperIsOdd { set(odd, pass, middle) }
    }

    /// Whether a segment of `pass` starts at `place`.
    func isStart(_ pass: Int, _ place: Int) -> Bool {
        starts[pass * words + place >> 6] >> UInt64(place & 63) & 1 == 1
    }

    /// Whether the segments that start in `range` of `pass` are odd together.
    func isOdd(_ pass: Int, _ range: Range<Int>) -> Bool {
        var fold: UInt64 = 0
        for word in range.lowerBound >> 6...(range.upperBound - 1) >> 6 {
            var bits = odd[pass * words + word]
            if word == range.lowerBound >> 6 { bits &= ~0 << UInt64(range.lowerBound & 63) }
            if word == range.upperBound >> 6 { bits &= 1 << UInt64(range.upperBound & 63) - 1 }
            fold ^= bits
        }
        return fold.nonzeroBitCount & 1 == 1
    }

    private func set(_ map: UnsafeMutablePointer<UInt64>, _ pass: Int, _ place: Int) {
        map[pass * words + place >> 6] |= 1 << UInt64(place & 63)
    }

    private func clear(_ map: UnsafeMutablePointer<UInt64>, _ pass: Int, _ place: Int) {
        map[pass * words + place >> 6] &= ~(1 << UInt64(place & 63))
    }
}

enum CascadeBit {
    /// Bit `index` of `words`.
    @inline(__always) static func at(_ index: Int, in words: [UInt64]) -> Bool {
        words[index >> 6] >> UInt64(index & 63) & 1 == 1
    }
}
