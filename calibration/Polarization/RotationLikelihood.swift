import LinkTypes
import Quantities

/// Agreements and disagreements of Alice's bit with the detector's bit, for each pair of bases.
///
/// Given that a detector fired, the chance that Alice's bit equals the detector's is
/// (1 + V·M_jk)/2 whatever the detector's efficiency and the splitting of the receiver, as long as
/// Alice sends both bits of a basis equally often. So these eight numbers carry all that the
/// sixteen cells say about the rotation M.
package struct BasisAgreement: Hashable, Sendable {
    /// Agreements, at `2·(Bob's basis) + (Alice's basis)`.
    package var same: [Double] = [0, 0, 0, 0]
    /// Disagreements, at `2·(Bob's basis) + (Alice's basis)`.
    package var different: [Double] = [0, 0, 0, 0]

    package init(_ counts: StateDetectorCounts) {
        for state in 0..<4 {
            for detector in 0..<4 {
                let cell = 2 * (detector >> 1) + (state >> 1)
                let count = Double(counts[state, detector])
                if state & 1 == detector & 1 {
                    same[cell] += count
                } else {
                    different[cell] += count
                }
            }
        }
    }

    /// All detections.
    package var total: Double { same.reduce(0, +) + different.reduce(0, +) }
}

/// Finds the channel rotation from nothing but counts at a few known settings.
package enum RotationLikelihood {
    /// Correlations this close to ±1 are cut: a single dark count must not dominate.
    package static let correlationLimit = 0.9995

    /// The log likelihood of rotation `channel` for one set of counts, up to a constant.
    package static func logLikelihood(
        _ counts: BasisAgreement, link: StokesRotation, visibility: (z: Double, x: Double)
    ) -> Double {
        var sum = 0.0
        for bob in 0..<2 {
            let v = bob == 0 ? visibility.z : visibility.x
            for alice in 0..<2 {
                let x = clamp(v * link[bob, alice])
                let cell = 2 * bob + alice
                sum += counts.same[cell] * naturalLog1p(x)
                sum += counts.different[cell] * naturalLog1p(-x)
            }
        }
        return sum
    }

    package static func clamp(_ x: Double) -> Double {
        max(-correlationLimit, min(correlationLimit, x))
    }

    /// The most likely rotation, from a linear start, `guess` and several spread starts.
    ///
    /// One setting leaves a two-fold ambiguity; give at least two whose analysed directions span
    /// all three axes.
    package static func mostLikelyRotation(
        _ data: [(controller: StokesRotation, counts: BasisAgreement)], visibility: Double,
        guess: StokesRotation? = nil
    ) -> (rotation: StokesRotation, logLikelihood: Double) {
        var spread = SeededGenerator(seed: 0x5357_4152_5453, label: "rotation starts")
        var starts = [linearStart(data)]
        if let guess { starts.append(guess) }
        for _ in 0..<8 { starts.append(StokesRotation.random(using: &spread)) }
        var best: (rotation: StokesRotation, logLikelihood: Double)?
        for start in starts {
            let end = climb(data, from: start, visibility: visibility)
            if best.map({ end.logLikelihood > $0.logLikelihood }) ?? true { best = end }
        }
        return best ?? (.identity, -.infinity)
    }

    /// Least squares for the image of each of Alice's axes, made orthonormal symmetrically.
    private static func linearStart(
        _ data: [(controller: StokesRotation, counts: BasisAgreement)]
    ) -> StokesRotation {
        var images: [StokesVector] = []
        for alice in 0..<2 {
            var normal = SquareMatrix(diagonal: [1e-3, 1e-3, 1e-3])
            var right = [0.0, 0.0, 0.0]
            for (controller, counts) in data {
                for bob in 0..<2 {
                    let cell = 2 * bob + alice
                    let total = counts.same[cell] + counts.different[cell]
                    let row = [controller[bob, 0], controller[bob, 1], controller[bob, 2]]
                    normal.addOuterProduct(row, scale: total)
                    let excess = counts.same[cell] - counts.different[cell]
                    for axis in 0..<3 { right[axis] += row[axis] * excess }
                }
            }
            let solution = normal.choleskyFactor()?.solveAsFactor(right) ?? [1, 0, 0]
            images.append(StokesVector(solution[0], solution[1], solution[2]))
        }
        let (a, b) = (unit(images[0]), unit(images[1]))
        let (sum, difference) = (unit(a + b), unit(a - b))
        let first = unit(sum + difference)
        let second = unit(sum - difference)
        return StokesRotation(columns: first, second, first.cross(second)).orthonormalized
    }

    private static func unit(_ v: StokesVector) -> StokesVector {
        let norm = v.norm
        return norm > 1e-9 ? v * (1 / norm) : StokesVector(1, 0, 0)
    }

    /// Fisher scoring on the rotation with steps of at most 0.7 rad.
    private static func climb(
        _ data: [(controller: StokesRotation, counts: BasisAgreement)],
        from start: StokesRotation, visibility: Double
    ) -> (rotation: StokesRotation, logLikelihood: Double) {
        func value(_ rotation: StokesRotation) -> Double {
            data.reduce(0) { sum, item in
                sum
                    + logLikelihood(
                        item.counts, link: item.controller * rotation,
                        visibility: (visibility, visibility))
            }
        }
        var rotation = start.orthonormalized
        var best = value(rotation)
        for _ in 0..<25 {
            var gradient = [0.0, 0.0, 0.0]
            var information = SquareMatrix(diagonal: [1e-6, 1e-6, 1e-6])
            for (controller, counts) in data {
                accumulate(
                    counts, link: controller * rotation, visibility: visibility,
                    gradient: &gradient, information: &information)
            }
            guard let factor = information.choleskyFactor() else { break }
            let change = factor.solveAsFactor(gradient)
            var step = StokesVector(change[0], change[1], change[2])
            if step.norm > 0.7 { step = step * (0.7 / step.norm) }
            var improved = false
            for _ in 0..<6 {
                let trial = (rotation * StokesRotation(rotationVector: step)).orthonormalized
                let trialValue = value(trial)
                if trialValue > best {
                    improved = trialValue - best > 1e-6
                    (rotation, best) = (trial, trialValue)
                    break
                }
                step = step * 0.5
            }
            if !improved { break }
        }
        return (rotation, best)
    }

    private static func accumulate(
        _ counts: BasisAgreement, link: StokesRotation, visibility: Double,
        gradient: inout [Double], information: inout SquareMatrix
    ) {
        for bob in 0..<2 {
            for alice in 0..<2 {
                let cell = 2 * bob + alice
                let x = clamp(visibility * link[bob, alice])
                let rate = rightRate(link, row: bob, column: alice) * visibility
                let slope = counts.same[cell] / (1 + x) - counts.different[cell] / (1 - x)
                let weight = (counts.same[cell] + counts.different[cell]) / (1 - x * x)
                let r = [rate.s1, rate.s2, rate.s3]
                for axis in 0..<3 { gradient[axis] += slope * r[axis] }
                information.addOuterProduct(r, scale: weight)
            }
        }
    }

    /// The derivative of M_jk when M becomes M·exp(ω): the row j of M crossed into axis k.
    package static func rightRate(
        _ link: StokesRotation, row: Int, column: Int
    ) -> StokesVector {
        let r = StokesVector(link[row, 0], link[row, 1], link[row, 2])
        // r·(ω × e_k) = ω·(e_k × r)
        return column == 0
            ? StokesVector(0, -r.s3, r.s2)
            : column == 1 ? StokesVector(r.s3, 0, -r.s1) : StokesVector(-r.s2, r.s1, 0)
    }
}
