/// Variable-degree distributions optimised for the binary symmetric channel.
///
/// Source: Elkouss, Leverrier, Alléaume, Boutros, "Efficient reconciliation protocol for
/// discrete-variable quantum key distribution", ISIT 2009, arXiv:0901.2140, table I. An entry
/// (degree, fraction) gives the fraction of edges at bits of that degree. Between two rates of the
/// table the fractions are interpolated; outside it the nearest entry is used. Checks all get
/// nearly the same degree.
enum DegreeDistribution {
    private static let table: [(syndromeRate: Double, edges: [(degree: Int, fraction: Double)])] = [
        (
            0.10,
            [
                (2, 0.07689), (3, 0.28096), (5, 0.08933), (9, 0.19620), (12, 0.30631),
                (21, 0.05031),
            ]
        ),
        (
            0.15,
            [
                (2, 0.04528), (3, 0.20537), (4, 0.05878), (5, 0.094274), (6, 0.08454),
                (7, 0.01176), (9, 0.05137), (21, 0.50015),
            ]
        ),
        (
            0.20,
            [
                (2, 0.09420), (3, 0.18088), (6, 0.11972), (7, 0.08550), (8, 0.09816),
                (17, 0.07194), (26, 0.34960),
            ]
        ),
        (
            0.25,
            [
                (2, 0.10805), (3, 0.09511), (4, 0.01449), (5, 0.13764), (6, 0.10667),
                (7, 0.05288), (28, 0.01107), (31, 0.47408),
            ]
        ),
        (
            0.30,
            [
                (2, 0.05343), (3, 0.29406), (6, 0.00896), (9, 0.15571), (12, 0.12189),
                (25, 0.19872), (46, 0.09572), (62, 0.02741), (65, 0.04056), (73, 0.00354),
            ]
        ),
        (
            0.35,
            [
                (2, 0.10451), (3, 0.15652), (4, 0.08057), (5, 0.00056), (9, 0.12151),
                (13, 0.10485), (15, 0.10719), (21, 0.00771), (51, 0.31656),
            ]
        ),
        (
            0.40,
            [
                (2, 0.11040), (3, 0.20804), (8, 0.14163), (9, 0.14858), (26, 0.14438),
                (27, 0.08909), (46, 0.00748), (71, 0.15038),
            ]
        ),
        (
            0.45,
            [
                (2, 0.16880), (3, 0.20994), (6, 0.18095), (15, 0.03846), (16, 0.02635),
                (18, 0.23454), (19, 0.05815), (31, 0.08280),
            ]
        ),
        (
            0.50,
            [
                (2, 0.14438), (3, 0.19026), (4, 0.01836), (5, 0.00233), (6, 0.04697),
                (8, 0.053943), (9, 0.05590), (10, 0.01290), (11, 0.00162), (14, 0.06159),
                (15, 0.13115), (17, 0.01481), (47, 0.00879), (49, 0.00650), (55, 0.00210),
                (56, 0.00099), (57, 0.11178), (58, 0.06238), (59, 0.05094), (66, 0.02230),
            ]
        ),
    ]

    /// The degrees of `columns` columns, ascending, for a code with `rows` rows.
    ///
    /// No degree exceeds `rows`, and at most `rows - 1` columns have degree 2, so that these can
    /// form a chain without a cycle; the surplus gets degree 3.
    static func columnDegrees(rows: Int, columns: Int) -> [Int] {
        let shares = nodeShares(syndromeRate: Double(rows) / Double(columns), largest: rows)
        // Largest remainders: every degree gets its whole part, the rest goes where most is lost.
        let exact = shares.map { $0.share * Double(columns) }
        var counts = exact.map { Int($0) }
        let order = exact.indices.sorted {
            let (left, right) = (exact[$0] - Double(counts[$0]), exact[$1] - Double(counts[$1]))
            return left != right ? left > right : $0 < $1
        }
        for index in order.prefix(columns - counts.reduce(0, +)) { counts[index] += 1 }
        var degrees: [Int] = []
        for (share, count) in zip(shares, counts) {
            degrees += [Int](repeating: share.degree, count: count)
        }
        for index in degrees.indices where degrees[index] == 2 && index >= rows - 1 {
            degrees[index] = 3
        }
        return degrees
    }

    /// The fraction of bits of each degree, degrees ascending.
    private static func nodeShares(
        syndromeRate: Double, largest: Int
    ) -> [(degree: Int, share: Double)] {
        let upper = table.firstIndex { $0.syndromeRate >= syndromeRate } ?? table.count - 1
        let lower = max(0, upper - 1)
        let span = table[upper].syndromeRate - table[lower].syndromeRate
        let position = span > 0 ? (syndromeRate - table[lower].syndromeRate) / span : 1
        let weight = min(1, max(0, position))
        var edges = [Double](repeating: 0, count: largest + 1)
        for (index, share) in [(lower, 1 - weight), (upper, weight)] {
            for (degree, fraction) in table[index].edges {
                edges[min(degree, largest)] += share * fraction
            }
        }
        let nodes = edges.enumerated().map { $0 > 0 ? $1 / Double($0) : 0 }
        let sum = nodes.reduce(0, +)
        return nodes.enumerated().compactMap { $1 > 0 ? ($0, $1 / sum) : nil }
    }
}
