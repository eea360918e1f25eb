/// A measured relation between two quantities that only rises or only falls: a table of points with
/// straight lines between them.
///
/// Straight lines keep what a table of measurements says and nothing more: no overshoot, an exact
/// inverse, and a slope that is the one of the table. Not for relations whose slope must be
/// continuous.
public struct MonotoneCurve: Hashable, Sendable {
    /// The inputs, rising.
    public let inputs: [Double]
    /// The outputs, rising or falling throughout.
    public let outputs: [Double]

    /// A curve through points in the order of their inputs.
    ///
    /// Nil unless there are at least two points, all finite, with inputs that rise from point to
    /// point and outputs that rise throughout or fall throughout.
    public init?(inputs: [Double], outputs: [Double]) {
        guard inputs.count == outputs.count, inputs.count >= 2,
            (inputs + outputs).allSatisfy(\.isFinite)
        else { return nil }
        let isRising = outputs[1] > outputs[0]
        for index in 1..<inputs.count {
            guard inputs[index] > inputs[index - 1], outputs[index] != outputs[index - 1],
                (outputs[index] > outputs[index - 1]) == isRising
            else { return nil }
        }
        self.inputs = inputs
        self.outputs = outputs
    }

    /// The inputs the curve covers.
    public var inputRange: ClosedRange<Double> { inputs[0]...inputs[inputs.count - 1] }

    /// The outputs the curve covers.
    public var outputRange: ClosedRange<Double> {
        let (first, last) = (outputs[0], outputs[outputs.count - 1])
        return min(first, last)...max(first, last)
    }

    /// The output at `input`; nil outside the inputs the curve covers, and for not-a-number.
    public func output(at input: Double) -> Double? {
        guard inputRange.contains(input) else { return nil }
        let index = segment { inputs[$0] >= input }
        return Self.line(inputs, outputs, index, at: input)
    }

    /// The input that gives `output`; nil outside the outputs the curve covers, and for not-a-number.
    public func input(for output: Double) -> Double? {
        guard outputRange.contains(output) else { return nil }
        let isRising = outputs[1] > outputs[0]
        let index = segment { isRising ? outputs[$0] >= output : outputs[$0] <= output }
        return Self.line(outputs, inputs, index, at: output)
    }

    /// The first point after the start that `isBeyond`; the points before it are not, so halving
    /// finds it.
    private func segment(_ isBeyond: (Int) -> Bool) -> Int {
        var (low, high) = (1, inputs.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if isBeyond(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }

    private static func line(
        _ from: [Double], _ to: [Double], _ index: Int, at value: Double
    ) -> Double {
        // Exact at the points themselves.
        if value == from[index] { return to[index] }
        let share = (value - from[index - 1]) / (from[index] - from[index - 1])
        return to[index - 1] + share * (to[index] - to[index - 1])
    }
}
