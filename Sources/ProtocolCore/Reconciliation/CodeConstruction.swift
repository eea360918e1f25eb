import Quantities

/// Builds the quasi-cyclic code of a shape, column by column, without short cycles where the shape
/// allows it.
///
/// Columns are placed from low to high degree, as in progressive edge growth (Hu, Eleftheriou,
/// Arnold, IEEE Trans. Inf. Theory 51, 386, 2005). Those of degree 2 form one chain through all
/// rows: no cycle consists of them alone, and one sweep in the order of the rows carries what is
/// known from one end to the other. Every choice is a comparison of integers and draws from a
/// seeded generator: the same shape gives the same code on every machine.
struct CodeConstruction {
    /// One circulant: check i of `row` holds bit (i + shift) mod lift of `column`.
    struct Edge {
        let row: Int
        let column: Int
        let shift: Int
    }

    /// The seed of the family. Another value is another family.
    static let familySeed: UInt64 = 0x6265_7265_6B00_0002

    /// Rows this close along the chain are treated as if a column held both, so that no column
    /// closes a cycle with a short piece of the chain.
    static let chainReach = 12
    /// The shifts tried for one edge before a cycle of length 4 is accepted.
    private static let attempts = 64

    private let rows: Int
    private let lift: Int
    private var generator: SeededGenerator
    private var edges: [Edge] = []
    private var rowDegree: [Int]
    /// The differences of shifts by which columns hold two rows; a repeated one is a 4-cycle.
    private var pairs: PairSet
    /// The shift differences of neighbouring rows along the chain.
    private var links: [Int] = []

    private init(shape: LDPCShape) {
        rows = shape.rowBlocks
        lift = shape.lift
        generator = SeededGenerator(
            seed: Self.familySeed,
            label: "ldpc \(shape.rowBlocks) \(shape.columnBlocks) \(shape.lift)")
        rowDegree = [Int](repeating: 0, count: rows)
        pairs = PairSet(lift: lift)
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
            if degree == 2, index + 1 < construction.rows {
                construction.extendChain(column: places[index], row: index)
            } else {
                let selected = construction.emptiestRows(degree)
                construction.place(column: places[index], rows: selected)
            }
        }
        return construction.edges.sorted { ($0.row, $0.column) < ($1.row, $1.column) }
    }

    private mutating func draw(_ bound: Int) -> Int {
        Int(generator.next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// The `count` rows with the fewest edges, equal ones at random.
    private mutating func emptiestRows(_ count: Int) -> [Int] {
        let keys = (0..<rows).map { row in
            (rowDegree[row] << 32 | draw(1 << 20) << 12 | row)
        }
        return keys.sorted().prefix(count).map { $0 & 0xFFF }
    }

    /// A column of degree 2 between `row` and the next.
    private mutating func extendChain(column: Int, row: Int) {
        let shifts = [draw(lift), draw(lift)]
        append(column: column, rows: [row, row + 1], shifts: shifts)
        links.append(shifts[0] - shifts[1])
        // The new row is as good as connected to those the chain reaches from it.
        var difference = shifts[0] - shifts[1]
        for back in 1..<Self.chainReach where back <= row {
            difference += links[row - back]
            pairs.insert(row - back, row + 1, difference & (lift - 1))
        }
    }

    /// Chooses the shifts of one column one after the other.
    private mutating func place(column: Int, rows selected: [Int]) {
        var shifts: [Int] = []
        for (index, row) in selected.enumerated() {
            var best = (cycles: Int.max, shift: 0)
            for _ in 0..<Self.attempts {
                let shift = draw(lift)
                var cycles = 0
                for other in 0..<index
                where pairs.contains(row, selected[other], difference(shift, shifts[other])) {
                    cycles += 1
                }
                if cycles < best.cycles { best = (cycles, shift) }
                if cycles == 0 { break }
            }
            shifts.append(best.shift)
        }
        append(column: column, rows: selected, shifts: shifts)
    }

    private mutating func append(column: Int, rows selected: [Int], shifts: [Int]) {
        for (index, row) in selected.enumerated() {
            edges.append(Edge(row: row, column: column, shift: shifts[index]))
            rowDegree[row] += 1
            for other in 0..<index {
                pairs.insert(row, selected[other], difference(shifts[index], shifts[other]))
            }
        }
    }

    /// The lift is a power of two, so the mask brings negative differences into range too.
    private func difference(_ left: Int, _ right: Int) -> Int { (left - right) & (lift - 1) }
}

extension CodeConstruction {
    /// The set of (row a, row b, shift a − shift b) that columns have, whichever row comes first.
    struct PairSet {
        private var slots = [UInt64](repeating: .max, count: 1 << 12)
        private var count = 0
        private let lift: Int

        init(lift: Int) { self.lift = lift }

        func contains(_ a: Int, _ b: Int, _ difference: Int) -> Bool {
            slots[place(of: key(a, b, difference))] != .max
        }

        mutating func insert(_ a: Int, _ b: Int, _ difference: Int) {
            let key = key(a, b, difference)
            let at = place(of: key)
            guard slots[at] == .max else { return }
            slots[at] = key
            count += 1
            if 2 * count > slots.count { grow() }
        }

        /// Rows are below 2^12, differences 0..<lift; the smaller row comes first.
        private func key(_ a: Int, _ b: Int, _ difference: Int) -> UInt64 {
            a < b
                ? UInt64(a << 36 | b << 24 | difference)
                : UInt64(b << 36 | a << 24 | (-difference & (lift - 1)))
        }

        /// Where the key is, or the empty slot where it would be.
        private func place(of key: UInt64) -> Int {
            var at = Int(truncatingIfNeeded: SplitMix64.mix(key)) & (slots.count - 1)
            while slots[at] != .max && slots[at] != key { at = (at + 1) & (slots.count - 1) }
            return at
        }

        private mutating func grow() {
            let old = slots
            slots = [UInt64](repeating: .max, count: 2 * old.count)
            for key in old where key != .max { slots[place(of: key)] = key }
        }
    }
}
