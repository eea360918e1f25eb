import CKernels
import Quantities

/// The order in which Cascade asks for parities. Both ends run the same search on the same
/// announced differences, so a question never has to be stated.
protocol CascadeSearch: AnyObject {
    /// How many parities the step asks for; 0 when there is nothing left to ask.
    var questionCount: Int { get }
    /// The own parities for all questions of the step.
    func ownParities() -> BitBuffer
    /// Takes, for each question, whether the parities of the two ends differ, and moves on.
    func take(_ differences: BitBuffer)
    /// The own string with the corrections made so far.
    var corrected: BitBuffer { get }
    /// How many corrections were made so far.
    var flipCount: Int { get }
}

/// The smallest odd segments first, one pass at a time.
///
/// A step of a window halves all odd segments of the first pass that has any. Being disjoint, they
/// never hunt the same error, which is what two passes searched at once often do. When they have
/// shrunk to single bits, those are corrected, and that makes segments of other passes odd. When all
/// passes are even the next one begins. Windows know nothing of each other, so all of them move on
/// in every step; when the last one is done, random subsets of the whole string are compared.
final class CascadeSmallestFirst: CascadeSearch {
    /// How many odd subsets are searched at once: several may hunt the same error.
    private static let subsetsAtOnce = 4

    /// One window and what it asks for.
    private final class Part {
        var window: CascadeWindow
        var search = CascadeWindowSearch()

        init(_ window: consuming CascadeWindow) {
            self.window = window
            search.advance(&self.window)
        }
    }

    private let parameters: CascadeParameters
    private let parts: [Part]
    private var subsets: CascadeSubsets
    /// The odd subsets that the step cuts; empty when it compares fresh ones, or none.
    private var oddSubsets: [Int] = []
    private var subsetFlips = 0
    private(set) var questionCount = 0

    init(
        _ parameters: CascadeParameters, seed: UInt64, bits: BitBuffer, flipsOwnBits: Bool,
        kernel: berek_kernel
    ) {
        self.parameters = parameters
        let permutations = CascadePermutations(
            count: parameters.windowLength, passes: parameters.blockSizes.count, seed: seed)
        let words = parameters.windowWords
        parts = (0..<parameters.windows).map { index in
            let first = min(index * words, bits.words.count)
            let filled = min(max(parameters.bits - 64 * words * index, 0), parameters.windowLength)
            return Part(
                CascadeWindow(
                    parameters, permutations,
                    bits: bits.words[first..<min(first + words, bits.words.count)], filled: filled,
                    flipsOwnBits: flipsOwnBits, kernel: kernel))
        }
        subsets = CascadeSubsets(
            seed: seed, wordsPerWindow: words, windows: parameters.windows, kernel: kernel)
        findQuestions()
    }

    var flipCount: Int { parts.reduce(0) { $0 + $1.window.flipCount } }

    var corrected: BitBuffer {
        let needed = (parameters.bits + 63) / 64
        let words = [UInt64](unsafeUninitializedCapacity: needed) { buffer, filled in
            for (index, part) in parts.enumerated() {
                let first = index * parameters.windowWords
                for word in 0..<max(0, min(parameters.windowWords, needed - first)) {
                    buffer.initializeElement(at: first + word, to: part.window.bits[word])
                }
            }
            filled = needed
        }
        return BitBuffer(words: words, count: parameters.bits)
    }

    func ownParities() -> BitBuffer {
        var parities = [UInt64](repeating: 0, count: (questionCount + 63) / 64)
        var first = 0
        for part in parts {
            part.search.ownParities(part.window, into: &parities, first: first)
            first += part.search.questionCount
        }
        if first == questionCount { return BitBuffer(words: parities, count: questionCount) }
        let bits = parts.map { $0.window.bits }
        if oddSubsets.isEmpty { return subsets.parities(of: bits) }
        return BitBuffer(oddSubsets.map { subsets.halfParity($0, of: bits) })
    }

    func take(_ differences: BitBuffer) {
        let words = differences.words
        var first = 0
        for (index, part) in parts.enumerated() {
            let count = part.search.questionCount
            guard count > 0 else { continue }
            part.search.take(&part.window, differences: words, first: first)
            first += count
            pass(on: index)
        }
        if first == 0 { takeSubsets(differences) }
        findQuestions()
    }

    private func takeSubsets(_ differences: BitBuffer) {
        if oddSubsets.isEmpty {
            subsets.mark(differences)
            return
        }
        for (place, index) in oddSubsets.enumerated() {
            subsets.cut(index, lowerIsOdd: differences[place])
        }
        correctSubsets()
    }

    /// Corrects the bits that are left alone in odd segments of subsets, while no window asks.
    private func correctSubsets() {
        let stride = 64 * parameters.windowWords
        var changed: [Int] = []
        // Every such bit takes an answer; a peer that contradicts himself must not get more.
        while subsets.cuts > subsetFlips, let bit = subsets.oddSingle {
            let index = bit / stride
            parts[index].window.flip(bit % stride, foundIn: nil)
            _ = parts[index].window.takeFlips()
            subsets.flip(bit)
            subsetFlips += 1
            if !changed.contains(index) { changed.append(index) }
        }
        for index in changed {
            parts[index].search.advance(&parts[index].window)
            pass(on: index)
        }
    }

    /// Tells the subsets which bits of window `index` were corrected.
    private func pass(on index: Int) {
        let flips = parts[index].window.takeFlips()
        guard subsets.rounds > 0 else { return }
        for bit in flips { subsets.flip(64 * parameters.windowWords * index + Int(bit)) }
    }

    private func findQuestions() {
        questionCount = parts.reduce(0) { $0 + $1.search.questionCount }
        guard questionCount == 0, parameters.checks > 0 else { return }
        correctSubsets()
        questionCount = parts.reduce(0) { $0 + $1.search.questionCount }
        guard questionCount == 0 else { return }
        oddSubsets = subsets.odd(atMost: Self.subsetsAtOnce)
        if !oddSubsets.isEmpty {
            questionCount = oddSubsets.count
        } else if !subsets.isClean, subsets.rounds < CascadeParameters.checkRounds {
            subsets.begin(count: parameters.checks)
            questionCount = parameters.checks
        }
    }
}

/// Where the search of one window stands.
struct CascadeWindowSearch {
    /// The pass that is asked about.
    private var pass = 0
    /// Whether its blocks are, instead of `segments`.
    private var asksBlocks = false
    private var segments: [berek_cascade_segment] = []
    /// How many parities the window asks for.
    private(set) var questionCount = 0

    /// Writes the own parities for all questions, from bit `first` on.
    func ownParities(
        _ window: borrowing CascadeWindow, into parities: inout [UInt64], first: Int
    ) {
        guard questionCount > 0 else { return }
        if asksBlocks {
            window.blockParities(pass, into: &parities, first: first)
        } else {
            window.halfParities(pass, segments, into: &parities, first: first)
        }
    }

    /// Takes the differences, one for each question, from bit `first` on.
    mutating func take(_ window: inout CascadeWindow, differences: [UInt64], first: Int) {
        if asksBlocks {
            window.markBlocks(pass, differences: differences, first: first)
        } else {
            window.cut(pass, &segments, differences: differences, first: first)
        }
        advance(&window)
    }

    /// Corrects what is known to differ and finds the next questions.
    mutating func advance(_ window: inout CascadeWindow) {
        asksBlocks = false
        window.correctSingles()
        if segments.isEmpty {
            for next in 0..<window.begun {
                window.collectOdd(next, into: &segments)
                pass = next
                if !segments.isEmpty { break }
            }
        }
        questionCount = segments.count
        while questionCount == 0, window.begun < window.blockSizes.count {
            pass = window.begun
            window.beginPass()
            asksBlocks = true
            questionCount = window.askedBlocks(pass)
        }
    }
}
