/// A small dense symmetric matrix: the precisions and covariances of the fits, at most about
/// twenty rows.
package struct SquareMatrix: Hashable, Sendable, Codable {
    /// The number of rows and columns.
    package let order: Int
    /// The elements, row by row.
    package var elements: [Double]

    /// The zero matrix.
    package init(order: Int) {
        self.order = order
        elements = [Double](repeating: 0, count: order * order)
    }

    /// The matrix with `diagonal` on its diagonal and zero elsewhere.
    package init(diagonal: [Double]) {
        self.init(order: diagonal.count)
        for index in diagonal.indices { self[index, index] = diagonal[index] }
    }

    @inlinable package subscript(row: Int, column: Int) -> Double {
        get { elements[row * order + column] }
        set { elements[row * order + column] = newValue }
    }

    /// Adds `scale · vector · vectorᵀ`.
    package mutating func addOuterProduct(_ vector: [Double], scale: Double) {
        for row in 0..<order where vector[row] != 0 {
            let factor = scale * vector[row]
            for column in 0..<order { self[row, column] += factor * vector[column] }
        }
    }

    /// The matrix with every element of `other` added.
    package static func + (left: Self, right: Self) -> Self {
        precondition(left.order == right.order)
        var result = left
        for index in result.elements.indices { result.elements[index] += right.elements[index] }
        return result
    }

    /// The product with a vector.
    package static func * (matrix: Self, vector: [Double]) -> [Double] {
        (0..<matrix.order).map { row in
            var sum = 0.0
            for column in 0..<matrix.order { sum += matrix[row, column] * vector[column] }
            return sum
        }
    }

    /// The rows and columns named by `indices`.
    package func block(_ indices: [Int]) -> Self {
        var result = SquareMatrix(order: indices.count)
        for (row, from) in indices.enumerated() {
            for (column, other) in indices.enumerated() { result[row, column] = self[from, other] }
        }
        return result
    }

    /// The sum of the diagonal.
    package var trace: Double { (0..<order).reduce(0) { $0 + self[$1, $1] } }

    /// The lower triangular factor L with L·Lᵀ equal to the matrix, or `nil` when the matrix is
    /// not positive definite.
    package func choleskyFactor() -> SquareMatrix? {
        var factor = SquareMatrix(order: order)
        for column in 0..<order {
            var pivot = self[column, column]
            for k in 0..<column { pivot -= factor[column, k] * factor[column, k] }
            guard pivot > 0, pivot.isFinite else { return nil }
            let root = pivot.squareRoot()
            factor[column, column] = root
            for row in column + 1..<max(order, column + 1) {
                var sum = self[row, column]
                for k in 0..<column { sum -= factor[row, k] * factor[column, k] }
                factor[row, column] = sum / root
            }
        }
        return factor
    }

    /// The solution x of L·Lᵀ·x = right-hand side, where the receiver is L.
    package func solveAsFactor(_ rightHandSide: [Double]) -> [Double] {
        var x = rightHandSide
        for row in 0..<order {
            for k in 0..<row { x[row] -= self[row, k] * x[k] }
            x[row] /= self[row, row]
        }
        for row in (0..<order).reversed() {
            for k in row + 1..<max(order, row + 1) { x[row] -= self[k, row] * x[k] }
            x[row] /= self[row, row]
        }
        return x
    }

    /// The inverse of a positive definite matrix, or `nil` when it is not.
    package func positiveDefiniteInverse() -> SquareMatrix? {
        guard let factor = choleskyFactor() else { return nil }
        var result = SquareMatrix(order: order)
        var unit = [Double](repeating: 0, count: order)
        for column in 0..<order {
            unit[column] = 1
            let solution = factor.solveAsFactor(unit)
            for row in 0..<order { result[row, column] = solution[row] }
            unit[column] = 0
        }
        return result
    }
}
