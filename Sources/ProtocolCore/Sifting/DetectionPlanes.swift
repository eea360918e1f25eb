import CKernels
import LinkTypes
import Quantities

/// Detections as one end knows them, in bit planes: bit value, basis (one for X) and, at Alice,
/// intensity (one for decoy). Three bits a detection, zeroed on release.
package final class DetectionPlanes: @unchecked Sendable {
    // @unchecked: filled by its maker, read-only once it is shared.
    private let storage: UnsafeMutablePointer<UInt64>
    private let wordsPerPlane: Int
    private let capacity: Int
    /// The number of detections.
    package private(set) var count = 0

    /// Empty planes with room for `capacity` detections.
    package init(capacity: Int) {
        self.capacity = capacity
        wordsPerPlane = (capacity + 63) / 64
        storage = .allocate(capacity: 3 * wordsPerPlane)
        storage.initialize(repeating: 0, count: 3 * wordsPerPlane)
    }

    /// Appends one detection.
    package func append(_ state: QubitState, isDecoy: Bool = false) {
        precondition(count < capacity)
        let word = storage + (count >> 6)
        let place = UInt64(count & 63)
        word.pointee |= (state.bit ? 1 : 0) << place
        word[wordsPerPlane] |= (state.basis == .x ? 1 : 0) << place
        word[2 * wordsPerPlane] |= (isDecoy ? 1 : 0) << place
        count += 1
    }

    private func plane(_ index: Int) -> UnsafeBufferPointer<UInt64> {
        UnsafeBufferPointer(start: storage + index * wordsPerPlane, count: (count + 63) / 64)
    }

    /// The bit values; they must not outlive the planes.
    package var values: UnsafeBufferPointer<UInt64> { plane(0) }
    /// The bases, one for X.
    package var bases: UnsafeBufferPointer<UInt64> { plane(1) }
    /// The intensity classes, one for decoy.
    package var decoys: UnsafeBufferPointer<UInt64> { plane(2) }

    deinit {
        berek_zeroize(storage, 3 * wordsPerPlane * MemoryLayout<UInt64>.size)
        storage.deallocate()
    }
}

/// A choice of detections: one for each that is chosen. Public, unlike the values it picks.
package struct DetectionMask {
    package private(set) var words: [UInt64]
    /// The number of ones.
    package private(set) var ones: Int

    /// The mask with `word(i)` as its word `i`; words past bit `count` are cleared.
    package init(count: Int, _ word: (Int) -> UInt64) {
        words = [UInt64](unsafeUninitializedCapacity: (count + 63) / 64) { memory, initialized in
            for index in 0..<(count + 63) / 64 {
                memory.initializeElement(at: index, to: word(index))
            }
            initialized = (count + 63) / 64
        }
        if count & 63 != 0 { words[words.count - 1] &= 1 << UInt64(count & 63) - 1 }
        ones = words.reduce(0) { $0 + $1.nonzeroBitCount }
    }

    /// The place of one number `rank`, counted from 0, which must exist.
    package func place(of rank: Int) -> Int {
        var rank = rank
        for (index, word) in words.enumerated() {
            let ones = word.nonzeroBitCount
            if rank < ones {
                var rest = word
                for _ in 0..<rank { rest &= rest - 1 }
                return index * 64 + rest.trailingZeroBitCount
            }
            rank -= ones
        }
        preconditionFailure("the mask has fewer ones")
    }

    /// The ones before place `end`.
    package func prefix(_ end: Int) -> DetectionMask {
        DetectionMask(count: min(end, 64 * words.count)) { words[$0] }
    }

    /// The bits of `plane` at the ones of the mask, in order.
    package func compress(_ plane: UnsafeBufferPointer<UInt64>) -> BitBuffer {
        precondition(plane.count >= words.count)
        let size = ones
        let kept = [UInt64](unsafeUninitializedCapacity: size / 64 + 2) { memory, initialized in
            _ = berek_bits_compress(
                memory.baseAddress, 0, plane.baseAddress, words, words.count, BEREK_KERNEL_BEST)
            initialized = (size + 63) / 64
        }
        return BitBuffer(words: kept, count: size)
    }

    /// The bits of `plane`, which has as many as the detections chosen from, at the ones.
    package func compress(_ plane: BitBuffer) -> BitBuffer {
        plane.words.withUnsafeBufferPointer(compress)
    }
}

extension BitBuffer {
    /// The words of a plane of `count` bits as a string.
    init(_ plane: UnsafeBufferPointer<UInt64>, count: Int) {
        self.init(words: Array(plane), count: count)
    }
}
