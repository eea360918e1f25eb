import Quantities

/// Builds the quasi-cyclic code of a shape, edge by edge, keeping cycles long where it matters.
///
/// Bits are placed from low to high degree, as in progressive edge growth (Hu, Eleftheriou,
/// Arnold, IEEE Trans. Inf. Theory 51, 386, 2005), so that bits of low degree, which suffer most
/// from short cycles, see the graph while it is still sparse (the idea of approximate cycle
/// extrinsic degree: Tian, Jones, Villasenor, Wesel, IEEE Trans. Commun. 52, 1242, 2004). Every
/// choice is a comparison of integers and draws from a seeded generator: the same shape gives the
/// same code on every machine.
struct CodeConstruction {
    /// One circulant: check i of `row` holds bit (i + shift) mod lift of `column`.
    struct Edge {
        let row: Int
        let column: Int
        let shift: Int
    }

    /// The seed of the family. Another value is another family.
    static let familySeed: UInt64 = 0x6265_7265_6B00_0001

    private let rows: Int
    private let lift: Int
    private var generator: SeededGenerator
    private var edges: [Edge] = []
    private var rowDegree: [Int]
    /// For rows a ≠ b, at (a * rows + b) * lift + d: the columns holding both with shift_a −
    /// shift_b = d. Two such columns make a cycle of length 4.
    private var pairs: [UInt8]
    /// The same for paths over a third row; with a column of the difference they make a 6-cycle.
    private var paths: [UInt16]
    /// The differences present for each pair of rows.
    private var differences: [[Int]]

    private init(shape: LDPCShape) {
        rows = shape.rowBlocks
        lift = shape.lift
        generator = SeededGenerator(
            seed: Self.familySeed,
            label: "ldpc \(shape.rowBlocks) \(shape.columnBlocks) \(shape.lift)")
        rowDegree = [Int](repeating: 0, count: rows)
        pairs = [UInt8](repeating: 0, count: rows * rows * lift)
        paths = [UInt16](repeating: 0, count: rows * rows * lift)
        differences = [[Int]](repeating: [], count: rows * rows)
    }

    /// The edges of the code of `shape`, ordered by row, then by column.
    static func edges(of shape: LDPCShape) -> [Edge] {
        var construction = CodeConstruction(shape: shape)
        let degrees = DegreeDistribution.columnDegrees(
            rows: shape.rowBlocks, columns: shape.columnBlocks)
        // The columns are spread at random: the last one, which a frame shorter than the code
        // leaves out in part, is then no special one.
        var places = Array(0..<shape.columnBlocks)
        for index in stride(from: places.count - 1, to: 0, by: -1) {
            places.swapAt(index, construction.draw(index + 1))
        }
        for (index, degree) in degrees.enumerated() {
            let selected = construction.selectRows(degree: degree, ordinal: index)
            construction.place(column: places[index], rows: selected)
        }
        return construction.edges.sorted { ($0.row, $0.column) < ($1.row, $1.column) }
    }

    private mutating func draw(_ bound: Int) -> Int {
        Int(generator.next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// The rows of the next column: a chain for degree 2, else the emptiest rows, and among
    /// equals those that share the fewest columns with the rows already selected.
    private mutating func selectRows(degree: Int, ordinal: Int) -> [Int] {
        if degree == 2, ordinal + 1 < rows { return [ordinal, ordinal + 1] }
        var selected: [Int] = []
        var isSelected = [Bool](repeating: false, count: rows)
        while selected.count < degree {
            var best: (degree: Int, shared: Int, tie: Int, row: Int)?
            for row in 0..<rows where !isSelected[row] {
                let shared = selected.reduce(0) { $0 + differences[$1 * rows + row].count }
                let candidate = (rowDegree[row], shared, draw(1 << 30), row)
                if let current = best, current < candidate { continue }
                best = candidate
            }
            guard let best else { break }
            selected.append(best.row)
            isSelected[best.row] = true
        }
        return selected
    }

    /// Chooses the shifts of one column one after the other, each with the fewest new 4-cycles,
    /// and among those the fewest 6-cycles.
    private mutating func place(column: Int, rows selected: [Int]) {
        var shifts: [Int] = []
        for (index, row) in selected.enumerated() {
            let first = draw(lift)
            var best = (four: Int.max, six: Int.max, shift: first)
            for step in 0..<(index == 0 ? 1 : lift) {
                let shift = (first + step) & (lift - 1)
                var (four, six) = (0, 0)
                for other in 0..<index {
                    let at = slot(row, selected[other], shift - shifts[other])
                    four += Int(pairs[at])
                    six += Int(paths[at])
                }
                if (four, six) < (best.four, best.six) { best = (four, six, shift) }
                if four == 0, six == 0 { break }
            }
            shifts.append(best.shift)
        }
        for (row, shift) in zip(selected, shifts) {
            edges.append(Edge(row: row, column: column, shift: shift))
            rowDegree[row] += 1
        }
        for a in selected.indices {
            for b in selected.indices where b < a {
                connect(selected[a], selected[b], shifts[a] - shifts[b])
                connect(selected[b], selected[a], shifts[b] - shifts[a])
            }
        }
    }

    private func slot(_ a: Int, _ b: Int, _ difference: Int) -> Int {
        // The lift is a power of two, so the mask brings negative differences into range too.
        (a * rows + b) * lift + (difference & (lift - 1))
    }

    /// Records a column that holds rows `a` and `b`, and the paths a–b–c and c–a–b it completes.
    private mutating func connect(_ a: Int, _ b: Int, _ difference: Int) {
        let at = slot(a, b, difference)
        pairs[at] = pairs[at] == .max ? .max : pairs[at] + 1
        differences[a * rows + b].append(difference)
        for c in 0..<rows where c != a && c != b {
            for further in differences[b * rows + c] {
                increment(slot(a, c, difference + further))
            }
            for earlier in differences[c * rows + a] {
                increment(slot(c, b, earlier + difference))
            }
        }
    }

    private mutating func increment(_ at: Int) {
        if paths[at] < .max { paths[at] += 1 }
    }
}
