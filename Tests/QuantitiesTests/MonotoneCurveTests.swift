import Quantities
import TestSupport
import Testing

struct MonotoneCurveTests {
    @Test func isExactAtItsPointsAndStraightBetween() throws {
        let curve = try #require(MonotoneCurve(inputs: [1, 2, 4], outputs: [10, 6, 5]))
        #expect([1, 2, 4].map { curve.output(at: $0) } == [10, 6, 5])
        #expect(curve.output(at: 1.5) == 8 && curve.output(at: 3) == 5.5)
        #expect(curve.input(for: 8) == 1.5 && curve.input(for: 5.5) == 3)
        #expect(curve.inputRange == 1...4 && curve.outputRange == 5...10)
    }

    @Test func hasNothingToSayOutside() throws {
        let curve = try #require(MonotoneCurve(inputs: [1, 2], outputs: [3, 4]))
        for input in [0.99, 2.01, .nan, .infinity] { #expect(curve.output(at: input) == nil) }
        for output in [2.99, 4.01, .nan, -.infinity] { #expect(curve.input(for: output) == nil) }
    }

    @Test(arguments: [
        ([1.0], [1.0]), ([1, 2], [1]), ([2, 1], [1, 2]), ([1, 1], [1, 2]), ([1, 2, 3], [1, 2, 1]),
        ([1, 2, 3], [1, 2, 2]), ([1, .nan], [1, 2]), ([1, 2], [1, .infinity]),
    ])
    func refusesWhatIsNoCurve(inputs: [Double], outputs: [Double]) {
        #expect(MonotoneCurve(inputs: inputs, outputs: outputs) == nil)
    }

    @Test(arguments: seeds(20)) func theInverseUndoesIt(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, label: "curve")
        func step() -> Double { 0.01 + Double(generator.next() % 1000) / 1000 }
        var (inputs, outputs) = ([0.0], [0.0])
        for _ in 0..<Int(1 + generator.next() % 20) {
            inputs.append(inputs[inputs.count - 1] + step())
            outputs.append(outputs[outputs.count - 1] - step())
        }
        let curve = try #require(MonotoneCurve(inputs: inputs, outputs: outputs))
        for part in 0...50 {
            let end = curve.inputRange.upperBound
            let input = min(end, end * Double(part) / 50)
            let output = try #require(curve.output(at: input))
            let back = try #require(curve.input(for: output))
            #expect(abs(back - input) < 1e-9)
        }
    }
}
