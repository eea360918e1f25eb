/// The downhill simplex method of Nelder and Mead (Comput. J. 7, 308, 1965) with the usual
/// coefficients 1, 2, 1/2, 1/2, for a handful of unbounded variables.
struct NelderMead {
    /// Function values spent so far.
    private(set) var evaluations = 0
    /// Stop when the values at the corners differ by less than this.
    var tolerance = 1e-10

    /// Walks from `start`, with corners `step` apart, until `budget` evaluations are spent, and
    /// returns the best point and its value. `function` may return +∞ for points it refuses.
    mutating func minimize(
        from start: [Double], step: Double, budget: Int, _ function: ([Double]) -> Double
    ) -> (point: [Double], value: Double) {
        let dimension = start.count
        var corners = [start]
        for index in 0..<dimension {
            var corner = start
            corner[index] += step
            corners.append(corner)
        }
        var values = corners.map(function)
        var spent = values.count
        var (centre, trial, second) = (start, start, start)
        while spent < budget {
            sort(&corners, &values)
            if values[dimension] - values[0] < tolerance { break }
            for index in 0..<dimension {
                var sum = 0.0
                for corner in 0..<dimension { sum += corners[corner][index] }
                centre[index] = sum / Double(dimension)
            }
            func place(_ factor: Double, _ point: inout [Double]) {
                for index in 0..<dimension {
                    point[index] =
                        centre[index] + factor * (corners[dimension][index] - centre[index])
                }
            }
            place(-1, &trial)
            let value = function(trial)
            spent += 1
            if value < values[0] {
                place(-2, &second)
                let further = function(second)
                spent += 1
                corners[dimension] = further < value ? second : trial
                values[dimension] = min(value, further)
                continue
            }
            if value < values[dimension - 1] {
                (corners[dimension], values[dimension]) = (trial, value)
                continue
            }
            place(value < values[dimension] ? -0.5 : 0.5, &second)
            let closer = function(second)
            spent += 1
            if closer < min(value, values[dimension]) {
                (corners[dimension], values[dimension]) = (second, closer)
                continue
            }
            for corner in 1...dimension {
                for index in 0..<dimension {
                    corners[corner][index] = 0.5 * (corners[corner][index] + corners[0][index])
                }
                values[corner] = function(corners[corner])
            }
            spent += dimension
        }
        sort(&corners, &values)
        evaluations += spent
        return (corners[0], values[0])
    }

    /// By insertion: after the first step only the last corner is out of place.
    private func sort(_ corners: inout [[Double]], _ values: inout [Double]) {
        for index in 1..<values.count {
            var place = index
            while place > 0, values[place] < values[place - 1] {
                values.swapAt(place, place - 1)
                corners.swapAt(place, place - 1)
                place -= 1
            }
        }
    }
}
