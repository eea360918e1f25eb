import Quantities

/// How one quantity of a device follows another, as a table of measurements.
public struct ResponseCurve: Hashable, Sendable {
    /// The unit of the quantity that is set.
    public let input: Unit
    /// The unit of the quantity that follows.
    public let output: Unit
    /// The points, and what lies between them.
    public let curve: MonotoneCurve
}

extension ResponseCurve {
    /// Reads a table of points; nil, with an error, when they are no monotone curve.
    static func read(_ reader: SectionReader) -> ResponseCurve? {
        let errorsBefore = reader.sink.errors.count
        let input = reader.choice("input", default: Unit.none)
        let output = reader.choice("output", default: Unit.none)
        var inputs: [Double] = []
        var outputs: [Double] = []
        for point in reader.required("points")?.items(2...256) ?? [] {
            let numbers = point.items(2...2).map { $0.number(-1e12...1e12) ?? .nan }
            guard numbers.count == 2 else { continue }
            if let last = inputs.last, numbers[0] <= last {
                reader.sink.report(
                    point.path + ".0", expected: "more than the input before it",
                    found: ValueReader.show(numbers[0]))
            }
            inputs.append(numbers[0])
            outputs.append(numbers[1])
        }
        guard let curve = MonotoneCurve(inputs: inputs, outputs: outputs) else {
            if reader.sink.errors.count == errorsBefore {
                reader.sink.report(
                    reader.join("points"),
                    expected: "outputs that rise throughout or fall throughout",
                    found: "some of both, or the same twice")
            }
            return nil
        }
        return ResponseCurve(input: input, output: output, curve: curve)
    }
}
