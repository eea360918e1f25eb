import LinkTypes
import Quantities

/// In which order to turn the axes of a controller that moves one axis after the other.
public struct MotionPlan: Hashable, Sendable {
    /// The axes that move, in order.
    public var order: [Int]
    /// The largest mean extra QBER on the way, by the controller's model.
    public var worstError: Double

    /// The order with the smallest worst error on the way from `start` to `end`.
    package static func best(
        stack: RetarderStack, channel: StokesRotation, labels: DetectorLabels,
        from start: [Double], to end: [Double]
    ) -> MotionPlan {
        let moving = start.indices.filter { abs(end[$0] - start[$0]) > 1e-9 }
        guard !moving.isEmpty, moving.count <= 4 else {
            return MotionPlan(order: moving, worstError: moving.isEmpty ? 0 : 1)
        }
        var best = MotionPlan(order: moving, worstError: .infinity)
        for order in permutations(moving) {
            var settings = start
            var worst = 0.0
            for axis in order {
                for part in [0.25, 0.5, 0.75, 1] {
                    settings[axis] = start[axis] + part * (end[axis] - start[axis])
                    let link = stack.rotation(at: settings) * channel
                    worst = max(worst, MisalignmentError(link: link, labels: labels).mean)
                }
                if worst >= best.worstError { break }
            }
            if worst < best.worstError { best = MotionPlan(order: order, worstError: worst) }
        }
        return best
    }

    private static func permutations(_ items: [Int]) -> [[Int]] {
        guard items.count > 1 else { return [items] }
        return items.indices.flatMap { index -> [[Int]] in
            var rest = items
            let first = rest.remove(at: index)
            return permutations(rest).map { [first] + $0 }
        }
    }
}
