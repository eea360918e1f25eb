import CKernels
import Quantities

/// The size of a code of the family: all that the two ends must agree on to build the same code.
public struct LDPCShape: Hashable, Sendable {
    /// The number of circulant rows; the syndrome has `rowBlocks * lift` bits.
    public let rowBlocks: Int
    /// The number of circulant columns; a full frame has `columnBlocks * lift` bits.
    public let columnBlocks: Int
    /// Z, the size of the circulants: 64, 128, 256 or 512.
    public let lift: Int

    /// The column counts of the family.
    public static let columnBlockRange = 24...1600
    /// The circulant sizes of the family.
    public static let lifts = [64, 128, 256, 512]
    /// The bits of the longest frame, 819 200.
    public static let largestFrame = 1600 * 512

    /// The row counts of codes with `columnBlocks` columns: syndrome rates of about 0.05 to 0.55
    /// in steps of one row, but never fewer than 6 rows. With 1600 columns a step is 1.25 % of the
    /// syndrome at the rate 0.05, and 0.1 % at 0.55.
    public static func rowBlockRange(columnBlocks: Int) -> ClosedRange<Int> {
        max(6, columnBlocks / 20)...columnBlocks * 11 / 20
    }

    /// Wraps the three numbers, or returns `nil` when the family has no such code.
    public init?(rowBlocks: Int, columnBlocks: Int = 1600, lift: Int) {
        guard Self.columnBlockRange.contains(columnBlocks), Self.lifts.contains(lift),
            Self.rowBlockRange(columnBlocks: columnBlocks).contains(rowBlocks)
        else { return nil }
        self.init(unchecked: rowBlocks, columnBlocks: columnBlocks, lift: lift)
    }

    init(unchecked rowBlocks: Int, columnBlocks: Int, lift: Int) {
        self.rowBlocks = rowBlocks
        self.columnBlocks = columnBlocks
        self.lift = lift
    }

    /// n, the number of key bits of a full frame.
    public var bitCount: Int { columnBlocks * lift }
    /// The number of syndrome bits.
    public var syndromeBits: Int { rowBlocks * lift }
    /// The syndrome bits per bit of a full frame.
    public var syndromeRate: Double { Double(rowBlocks) / Double(columnBlocks) }
}

/// One quasi-cyclic low-density parity-check code, generated deterministically from its shape.
///
/// Generating a code takes some 10 to 100 milliseconds; keep it when many frames share a shape.
public struct LDPCCode: Hashable, Sendable {
    /// The shape the code was generated from.
    public let shape: LDPCShape
    let rowStart: [Int32]
    let column: [Int32]
    let shift: [Int32]
    private let place: [Int32]

    /// Generates the code of `shape`; the same shape always gives the same code.
    public init(shape: LDPCShape) {
        self.shape = shape
        let edges = CodeConstruction.edges(of: shape)
        var rowStart = [Int32](repeating: 0, count: shape.rowBlocks + 1)
        for edge in edges { rowStart[edge.row + 1] += 1 }
        for row in 0..<shape.rowBlocks { rowStart[row + 1] += rowStart[row] }
        self.rowStart = rowStart
        column = edges.map { Int32($0.column) }
        shift = edges.map { Int32($0.shift) }
        let stride = shape.lift + Int(BEREK_LDPC_TILE)
        place = edges.map { Int32($0.column * stride) }
        precondition(
            (0..<shape.rowBlocks).allSatisfy {
                rowStart[$0 + 1] - rowStart[$0] <= BEREK_LDPC_MAX_DEGREE
            })
    }

    /// The bits check `index` of the syndrome is the parity of, in no particular order.
    public func bits(ofCheck index: Int) -> [Int] {
        precondition(index >= 0 && index < shape.syndromeBits)
        let (row, lane) = index.quotientAndRemainder(dividingBy: shape.lift)
        return (Int(rowStart[row])..<Int(rowStart[row + 1])).map { edge in
            Int(column[edge]) * shape.lift + (lane + Int(shift[edge])) % shape.lift
        }
    }

    /// The syndrome H·x of a frame of at most `shape.bitCount` bits; missing bits count as zero.
    public func syndrome(of frame: BitBuffer) -> BitBuffer {
        precondition(frame.count <= shape.bitCount, "the frame is longer than the code")
        var words = frame.words
        words.append(contentsOf: repeatElement(0, count: shape.bitCount / 64 - words.count))
        return BitBuffer(words: syndromeWords(words), count: shape.syndromeBits)
    }

    func syndromeWords(_ words: [UInt64]) -> [UInt64] {
        var result = [UInt64](repeating: 0, count: shape.syndromeBits / 64)
        withKernelCode { code in
            words.withUnsafeBufferPointer { bits in
                result.withUnsafeMutableBufferPointer { sums in
                    guard let from = bits.baseAddress, let to = sums.baseAddress else { return }
                    berek_ldpc_syndrome(code, from, to)
                }
            }
        }
        return result
    }

    func withKernelCode<R>(_ body: (UnsafePointer<berek_ldpc_code>) -> R) -> R {
        rowStart.withUnsafeBufferPointer { rowStart in
            column.withUnsafeBufferPointer { column in
                shift.withUnsafeBufferPointer { shift in
                    place.withUnsafeBufferPointer { place in
                        var code = berek_ldpc_code(
                            rows: Int32(self.shape.rowBlocks),
                            columns: Int32(self.shape.columnBlocks),
                            lift: Int32(self.shape.lift), row_start: rowStart.baseAddress,
                            column: column.baseAddress, shift: shift.baseAddress,
                            place: place.baseAddress)
                        return withUnsafePointer(to: &code, body)
                    }
                }
            }
        }
    }

    /// The error rate, in 0...0.5, that a syndrome difference of the given weight is most likely
    /// for, when the frame has `frameBits` bits.
    ///
    /// A check over d bits is violated with probability (1 − (1 − 2e)^d) / 2 (Gallager 1963), so
    /// the rate is estimated without disclosing anything beyond the syndrome.
    public func errorRate(syndromeWeight: Int, frameBits: Int) -> Double {
        precondition(syndromeWeight >= 0 && frameBits > 0 && frameBits <= shape.bitCount)
        // Bits left out of the frame are never wrong: degrees shrink in proportion.
        let share = Double(frameBits) / Double(shape.bitCount)
        var rows: [Int32: Int] = [:]
        for row in 0..<shape.rowBlocks { rows[rowStart[row + 1] - rowStart[row], default: 0] += 1 }
        let degrees = rows.sorted { $0.key < $1.key }
        func expectedWeight(_ rate: Double) -> Double {
            var sum = 0.0
            for (degree, count) in degrees {
                sum += Double(count) * (1 - power(1 - 2 * rate, Double(degree) * share)) / 2
            }
            return sum * Double(shape.lift)
        }
        var low = 0.0
        var high = 0.5
        for _ in 0..<50 {
            let middle = 0.5 * (low + high)
            if expectedWeight(middle) < Double(syndromeWeight) {
                low = middle
            } else {
                high = middle
            }
        }
        return 0.5 * (low + high)
    }
}
