/// Degree distributions of the family, optimised for the binary symmetric channel.
///
/// Source: `scripts/codes/optimise_degrees.py`, density evolution of this decoder's quantised
/// messages (Richardson, Shokrollahi, Urbanke, IEEE Trans. Inf. Theory 47, 619, 2001; Chung, Forney,
/// Richardson, Urbanke, IEEE Commun. Lett. 5, 58, 2001): for a number of edges per bit and of
/// iterations the distribution that corrects the highest error rate, with fewer bits of degree 2
/// than checks. An entry (degree, fraction) gives the fraction of edges at bits of that degree; the
/// comment gives the edges per bit, the highest error rate corrected within 160 iterations and the
/// efficiency there. Between two rates of the table the fractions are interpolated; outside it the
/// nearest entry is used. Checks all get nearly the same degree.
enum DegreeDistribution {
    private static let table: [(syndromeRate: Double, edges: [(degree: Int, fraction: Double)])] = [
        (
            0.050,  // dv 8.0, e* 0.005228, f* 1.0606
            [
                (2, 0.0121), (3, 0.2019), (8, 0.0666), (9, 0.1799), (10, 0.0965), (14, 0.0247),
                (26, 0.0535), (30, 0.0873), (40, 0.2774),
            ]
        ),
        (
            0.075,  // dv 7.4, e* 0.008523, f* 1.0588
            [
                (2, 0.0197), (3, 0.2227), (8, 0.0266), (9, 0.2215), (10, 0.1075), (26, 0.0527),
                (30, 0.1939), (40, 0.1554),
            ]
        ),
        (
            0.100,  // dv 7.0, e* 0.012115, f* 1.0581
            [
                (2, 0.0277), (3, 0.2358), (8, 0.0629), (9, 0.1583), (10, 0.1222), (26, 0.1313),
                (30, 0.1358), (40, 0.1260),
            ]
        ),
        (
            0.120,  // dv 6.7, e* 0.015185, f* 1.0575
            [
                (2, 0.0348), (3, 0.2437), (8, 0.0650), (9, 0.1632), (10, 0.1196), (26, 0.1439),
                (30, 0.1398), (40, 0.0901),
            ]
        ),
        (
            0.150,  // dv 6.4, e* 0.020104, f* 1.0562
            [
                (2, 0.0455), (3, 0.2522), (7, 0.0144), (8, 0.0420), (9, 0.1397), (10, 0.1113),
                (14, 0.0480), (23, 0.0383), (26, 0.1752), (30, 0.0393), (40, 0.0943),
            ]
        ),
        (
            0.200,  // dv 6.0, e* 0.02915, f* 1.052
            [
                (2, 0.0647), (3, 0.2521), (7, 0.0564), (8, 0.0426), (9, 0.1473), (10, 0.0476),
                (14, 0.0422), (20, 0.0317), (23, 0.1051), (26, 0.0423), (30, 0.0959),
                (40, 0.0721),
            ]
        ),
        (
            0.250,  // dv 5.8, e* 0.038874, f* 1.0544
            [
                (2, 0.0700), (3, 0.2597), (4, 0.0271), (7, 0.0616), (8, 0.0229), (9, 0.0806),
                (10, 0.0131), (14, 0.0303), (16, 0.0803), (20, 0.1234), (23, 0.1383),
                (26, 0.0225), (30, 0.0154), (40, 0.0547),
            ]
        ),
        (
            0.300,  // dv 5.5, e* 0.049785, f* 1.0508
            [
                (2, 0.0987), (3, 0.2521), (7, 0.0292), (8, 0.0514), (9, 0.0905), (10, 0.1056),
                (14, 0.0916), (16, 0.0267), (20, 0.0542), (23, 0.0415), (30, 0.0637),
                (40, 0.0948),
            ]
        ),
        (
            0.350,  // dv 5.3, e* 0.061892, f* 1.0451
            [
                (2, 0.1051), (3, 0.2512), (4, 0.0372), (7, 0.0764), (8, 0.0295), (9, 0.0070),
                (10, 0.0789), (14, 0.0754), (16, 0.1034), (20, 0.0089), (23, 0.0287),
                (26, 0.0270), (30, 0.1127), (40, 0.0586),
            ]
        ),
        (
            0.400,  // dv 5.1, e* 0.074896, f* 1.0418
            [
                (2, 0.1192), (3, 0.2722), (7, 0.1107), (8, 0.0697), (9, 0.0051), (10, 0.0051),
                (14, 0.0531), (16, 0.1135), (23, 0.1069), (26, 0.0504), (30, 0.0371),
                (40, 0.0569),
            ]
        ),
        (
            0.450,  // dv 5.0, e* 0.089045, f* 1.0386
            [
                (2, 0.1366), (3, 0.2481), (4, 0.0201), (7, 0.1301), (8, 0.0185), (9, 0.0164),
                (10, 0.0320), (14, 0.0611), (16, 0.0729), (20, 0.0089), (23, 0.0712),
                (26, 0.0103), (30, 0.1056), (40, 0.0683),
            ]
        ),
        (
            0.500,  // dv 4.6, e* 0.103336, f* 1.0428
            [
                (2, 0.1470), (3, 0.2934), (4, 0.0164), (5, 0.0167), (6, 0.0159), (7, 0.0595),
                (8, 0.0092), (9, 0.0092), (10, 0.0092), (12, 0.0130), (14, 0.1326),
                (16, 0.1111), (18, 0.0436), (23, 0.0437), (26, 0.0100), (30, 0.0516),
                (35, 0.0181),
            ]
        ),
        (
            0.550,  // dv 4.5, e* 0.120065, f* 1.0386
            [
                (2, 0.1661), (3, 0.2874), (5, 0.0112), (6, 0.0418), (7, 0.0745), (10, 0.0130),
                (12, 0.0092), (14, 0.1066), (16, 0.0851), (18, 0.0176), (20, 0.0221),
                (23, 0.0706), (26, 0.0360), (30, 0.0588),
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
