import CKernels
import Quantities

/// The search as published: all passes at once, from the whole blocks of a pass.
///
/// A corrected bit sends every other pass back to its block around the bit, which is searched from
/// the top along the parities known by then. Blocks wait in a queue; all questions that come up
/// until it is empty go into one step. Searches of different passes can hunt the same error and ask
/// the same question twice, which then counts twice. Kept as the measure of what the other order
/// gains, and to be compared with other people's programs.
final class CascadePublished: CascadeSearch {
    private enum Item {
        case block(pass: Int, start: Int)
        /// The answered question about the lower half of a segment.
        case answered(pass: Int, start: Int, length: Int)
    }

    private let bits: Int
    private var window: CascadeWindow
    private var asksBlocks = true
    private var asked: [berek_cascade_segment] = []
    /// The pass of each segment asked about.
    private var askedPasses: [Int] = []
    private var queue: [Item] = []
    private(set) var questionCount = 0

    init(
        _ parameters: CascadeParameters, seed: UInt64, bits: BitBuffer, flipsOwnBits: Bool,
        kernel: berek_kernel
    ) {
        precondition(parameters.windows == 1, "published variants have one window")
        self.bits = parameters.bits
        let permutations = CascadePermutations(
            count: parameters.bits, passes: parameters.blockSizes.count, seed: seed)
        window = CascadeWindow(
            parameters, permutations, bits: bits.words[...], filled: parameters.bits,
            flipsOwnBits: flipsOwnBits, kernel: kernel)
        beginPass()
    }

    var flipCount: Int { window.flipCount }

    var corrected: BitBuffer {
        let words = UnsafeBufferPointer(start: window.bits, count: window.words)
        return BitBuffer(words: Array(words), count: bits)
    }

    private func beginPass() {
        asksBlocks = true
        window.beginPass()
        questionCount = window.askedBlocks(window.begun - 1)
    }

    func ownParities() -> BitBuffer {
        var parities = [UInt64](repeating: 0, count: (questionCount + 63) / 64)
        if asksBlocks {
            window.blockParities(window.begun - 1, into: &parities, first: 0)
        } else {
            for (index, pass) in askedPasses.enumerated() {
                window.halfParities(pass, [asked[index]], into: &parities, first: index)
            }
        }
        return BitBuffer(words: parities, count: questionCount)
    }

    func take(_ differences: BitBuffer) {
        queue.removeAll(keepingCapacity: true)
        if asksBlocks {
            asksBlocks = false
            let pass = window.begun - 1
            window.markBlocks(pass, differences: differences.words, first: 0)
            for start in stride(from: 0, to: bits, by: window.blockSizes[pass]) {
                queue.append(.block(pass: pass, start: start))
            }
        } else {
            for (index, pass) in askedPasses.enumerated() {
                let (start, length) = (Int(asked[index].start), Int(asked[index].length))
                window.split(pass, start, length: length, lowerIsOdd: differences[index])
                queue.append(.answered(pass: pass, start: start, length: length))
            }
        }
        asked.removeAll(keepingCapacity: true)
        askedPasses.removeAll(keepingCapacity: true)
        work()
        questionCount = asked.count
        if asked.isEmpty, window.begun < window.blockSizes.count { beginPass() }
    }

    private func work() {
        var next = 0
        while next < queue.count {
            switch queue[next] {
            case .block(let pass, let start):
                let size = window.blockSizes[pass]
                descend(pass, start, min(size, bits - start))
            case .answered(let pass, let start, let length):
                let half = length / 2
                if window.isOdd(pass, start..<start + half) {
                    descend(pass, start, half)
                } else {
                    descend(pass, start + half, length - half)
                }
            }
            next += 1
        }
    }

    /// Follows odd halves from a block down to a bit, which it corrects, or to an open question.
    private func descend(_ pass: Int, _ start: Int, _ length: Int) {
        guard window.isOdd(pass, start..<start + length) else { return }
        var (start, length) = (start, length)
        while length > 1 {
            let half = length / 2
            guard window.isStart(pass, start + half) else {
                asked.append(.init(start: UInt32(start), length: UInt32(length)))
                askedPasses.append(pass)
                return
            }
            if window.isOdd(pass, start..<start + half) {
                length = half
            } else {
                (start, length) = (start + half, length - half)
            }
        }
        let bit = window.bit(pass, at: start)
        window.flip(bit, foundIn: nil)
        for other in 0..<window.begun where other != pass {
            let size = window.blockSizes[other]
            let place = window.place(other, of: bit)
            queue.append(.block(pass: other, start: place - place % size))
        }
    }
}
