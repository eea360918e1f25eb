import LinkTypes
import Quantities

/// The misalignment QBER of the two bases for a rotation that should leave both bases alone.
public struct MisalignmentError: Hashable, Sendable, Codable {
    /// The extra QBER of the Z basis, (1 − M₁₁)/2.
    public var z: Double
    /// The extra QBER of the X basis, (1 − M₂₂)/2.
    public var x: Double
    /// Two extra QBERs.
    public init(z: Double, x: Double) {
        self.z = z
        self.x = x
    }
    /// The extra QBERs when the whole link turns Stokes vectors by `link` and the ports carry
    /// `labels`.
    public init(link: StokesRotation, labels: DetectorLabels) {
        z = (1 - (labels.invertsZ ? -1 : 1) * link[0, 0]) / 2
        x = (1 - (labels.invertsX ? -1 : 1) * link[1, 1]) / 2
    }
    /// The mean of both bases.
    public var mean: Double { (z + x) / 2 }
    /// The larger of both bases.
    public var worst: Double { max(z, x) }
}

extension DetectorLabels {
    /// The four labels: exchanging the two ports of a basis costs no key, so each is a target.
    package static let all = [
        DetectorLabels(), DetectorLabels(invertsZ: true), DetectorLabels(invertsX: true),
        DetectorLabels(invertsZ: true, invertsX: true),
    ]

    /// The diagonal of the proper rotation that a link with these labels should perform.
    package var targetDiagonal: StokesVector {
        let (z, x) = (invertsZ ? -1.0 : 1.0, invertsX ? -1.0 : 1.0)
        return StokesVector(z, x, z * x)
    }
}

/// Settings of a controller that align both bases.
public struct NullPoint: Hashable, Sendable {
    /// One setting for each element.
    public var settings: [Double]
    /// The labels of the ports at this point.
    public var labels: DetectorLabels
    /// The mean misalignment QBER that remains because the model cannot reach the target exactly.
    public var residual: Double
    /// The sum over the axes of the travel from the starting settings, as fractions of the range.
    public var travel: Double
    /// The smallest rate at which a unit change of the settings turns the link: near zero the
    /// point is a dead spot where one direction of drift can not be followed.
    public var authority: Double
}

/// Finds the settings at which a stack undoes a channel.
///
/// With plates off their nominal retardance no closed form holds, and a few rotations can not be
/// reached exactly. The search therefore refines the best points of a grid by Levenberg–Marquardt
/// on the misalignment itself, e = (ω₁² + ω₂² + 2ω₃²)/8, inside the allowed range.
package struct NullSearch: Sendable {
    package var stack: RetarderStack
    /// The fraction of the range kept free at either end.
    package var margin: Double

    package init(stack: RetarderStack, margin: Double) {
        precondition(margin >= 0 && margin < 0.5)
        self.stack = stack
        self.margin = margin
    }

    /// All distinct null points for `channel`, best first for a controller standing at `current`.
    package func nullPoints(channel: StokesRotation, from current: [Double]) -> [NullPoint] {
        let grid = gridPoints()
        var found: [NullPoint] = []
        for labels in DetectorLabels.all {
            let seeds = bestSeeds(grid, channel: channel, labels: labels, count: 20)
            for seed in seeds {
                let point = refine(from: seed, channel: channel, labels: labels, current: current)
                guard point.residual < 0.01 else { continue }
                let isNew = !found.contains { other in
                    other.labels == labels
                        && zip(other.settings, point.settings).allSatisfy { abs($0 - $1) < 1e-3 }
                }
                if isNew { found.append(point) }
            }
        }
        return found.sorted { Self.cost($0) < Self.cost($1) }
    }

    /// What makes a null point bad, in units of one full range of travel: distance, a residual
    /// (0.02 % counts like a full range) and a lack of authority.
    package static func cost(_ point: NullPoint) -> Double {
        point.travel + point.residual / 2e-4 + 4 * max(0, 0.6 - point.authority)
    }

    /// The null point reached from `start` by descent; keeps to the branch the controller is on.
    package func refine(
        from start: [Double], channel: StokesRotation, labels: DetectorLabels, current: [Double]
    ) -> NullPoint {
        let target = labels.targetDiagonal
        var settings = start
        var (error, rates) = misalignment(settings, channel: channel, target: target)
        var damping = 1e-3
        for _ in 0..<40 {
            guard error.reduce(0, { $0 + $1 * $1 }) > 1e-18 else { break }
            let trial = step(settings, error: error, rates: rates, damping: damping)
            let (trialError, trialRates) = misalignment(trial, channel: channel, target: target)
            let gain = Self.squaredNorm(error) - Self.squaredNorm(trialError)
            if gain > 0 {
                let isDone = gain < 1e-9 * Self.squaredNorm(error) + 1e-20
                (settings, error, rates) = (trial, trialError, trialRates)
                damping = max(1e-9, damping * 0.2)
                if isDone { break }
            } else {
                damping *= 8
                if damping > 1e6 { break }
            }
        }
        var travel = 0.0
        for index in settings.indices {
            travel += abs(settings[index] - current[index]) / stack.elements[index].span
        }
        return NullPoint(
            settings: settings, labels: labels, residual: Self.squaredNorm(error) / 8,
            travel: travel, authority: Self.smallestRate(rates))
    }

    private static func squaredNorm(_ error: [Double]) -> Double {
        error.reduce(0) { $0 + $1 * $1 }
    }

    /// The weighted rotation error and its derivative by each setting.
    private func misalignment(
        _ settings: [Double], channel: StokesRotation, target: StokesVector
    ) -> (error: [Double], rates: [StokesVector]) {
        let model = stack.linearized(at: settings)
        let link = model.rotation * channel
        func flip(_ v: StokesVector) -> StokesVector {
            StokesVector(v.s1 * target.s1, v.s2 * target.s2, v.s3 * target.s3)
        }
        let weight = 2.0.squareRoot()
        let omega = StokesRotation(
            columns: flip(link.column1), flip(link.column2), flip(link.column3)
        ).rotationVector
        let rates = model.settingRates.map { rate in
            let flipped = flip(rate)
            return StokesVector(flipped.s1, flipped.s2, weight * flipped.s3)
        }
        return ([omega.s1, omega.s2, weight * omega.s3], rates)
    }

    private func step(
        _ settings: [Double], error: [Double], rates: [StokesVector], damping: Double
    ) -> [Double] {
        let count = rates.count
        var normal = SquareMatrix(order: count)
        var gradient = [Double](repeating: 0, count: count)
        let residual = StokesVector(error[0], error[1], error[2])
        for row in 0..<count {
            gradient[row] = -rates[row].dot(residual)
            for column in 0..<count { normal[row, column] = rates[row].dot(rates[column]) }
            normal[row, row] += damping + 1e-12
        }
        guard let factor = normal.choleskyFactor() else { return settings }
        let change = factor.solveAsFactor(gradient)
        return settings.indices.map { index in
            let limits = allowedRange(index)
            let capped = max(-0.5, min(0.5, change[index]))
            return max(limits.lowerBound, min(limits.upperBound, settings[index] + capped))
        }
    }

    /// The settings of element `index` with the margin at both ends.
    package func allowedRange(_ index: Int) -> ClosedRange<Double> {
        let element = stack.elements[index]
        let free = margin * element.span
        return (element.lowerLimit + free)...(element.upperLimit - free)
    }

    /// Points spread over the allowed range, with their rotations.
    package func gridPoints() -> [(settings: [Double], rotation: StokesRotation)] {
        let perAxis = stack.elements.count <= 3 ? 12 : stack.elements.count == 4 ? 7 : 4
        var points: [(settings: [Double], rotation: StokesRotation)] = [([], .identity)]
        for (index, element) in stack.elements.enumerated() {
            let limits = allowedRange(index)
            let rotations = (0..<perAxis).map { step in
                let setting =
                    limits.lowerBound + (limits.upperBound - limits.lowerBound)
                    * (Double(step) + 0.5) / Double(perAxis)
                return (setting, element.rotation(at: setting))
            }
            points = points.flatMap { point in
                rotations.map { (point.settings + [$0.0], $0.1 * point.rotation) }
            }
        }
        return points
    }

    private func bestSeeds(
        _ grid: [(settings: [Double], rotation: StokesRotation)], channel: StokesRotation,
        labels: DetectorLabels, count: Int
    ) -> [[Double]] {
        let target = labels.targetDiagonal
        // The trace of gᵀ·C·R falls with the angle of the remaining rotation.
        let scored = grid.indices.map { index in
            let link = grid[index].rotation
            var trace = 0.0
            trace += target.s1 * row(link, 0).dot(channel.column1)
            trace += target.s2 * row(link, 1).dot(channel.column2)
            trace += target.s3 * row(link, 2).dot(channel.column3)
            return (trace, index)
        }
        return scored.sorted { $0.0 > $1.0 }.prefix(count).map { grid[$0.1].settings }
    }

    private func row(_ rotation: StokesRotation, _ index: Int) -> StokesVector {
        StokesVector(rotation.column1[index], rotation.column2[index], rotation.column3[index])
    }

    /// The square root of the smallest eigenvalue of Σ a·aᵀ over the rates of the settings.
    package static func smallestRate(_ rates: [StokesVector]) -> Double {
        var gram = SquareMatrix(order: 3)
        for rate in rates { gram.addOuterProduct([rate.s1, rate.s2, rate.s3], scale: 1) }
        return max(0, smallestEigenvalue(gram)).squareRoot()
    }

    /// The smallest eigenvalue of a symmetric 3×3 matrix, in closed form (Smith, "Eigenvalues of a
    /// symmetric 3 × 3 matrix", CACM 4, 1961).
    package static func smallestEigenvalue(_ m: SquareMatrix) -> Double {
        precondition(m.order == 3)
        let offDiagonal = m[0, 1] * m[0, 1] + m[0, 2] * m[0, 2] + m[1, 2] * m[1, 2]
        let mean = m.trace / 3
        let (a, b, c) = (m[0, 0] - mean, m[1, 1] - mean, m[2, 2] - mean)
        let spread = ((a * a + b * b + c * c + 2 * offDiagonal) / 6).squareRoot()
        guard spread > 1e-300 else { return mean }
        let determinant =
            a * (b * c - m[1, 2] * m[1, 2]) - m[0, 1] * (m[0, 1] * c - m[1, 2] * m[0, 2])
            + m[0, 2] * (m[0, 1] * m[1, 2] - b * m[0, 2])
        let angle = arcCosine(determinant / (2 * spread * spread * spread)) / 3
        return mean + 2 * spread * cosine(angle + 2 * .pi / 3)
    }
}
