import Quantities

/// An optimiser that remembers: settings stay until the channel has changed enough to matter, and a new
/// search starts from those of the nearest channel known.
public struct SettingsCache: Sendable {
    private struct Entry: Sendable {
        var problem: OptimizationProblem
        var settings: LinkSettings
    }

    /// The relative change of transmittance, dark counts or block size that calls for new settings;
    /// of the misalignment 0.05 times this as an absolute change, of the afterpulses 0.2 times.
    public let tolerance: Double
    /// How many problems are remembered.
    public let capacity: Int
    /// Searches made so far.
    public private(set) var searches = 0
    private var entries: [Entry] = []
    private var optimizer = ParameterOptimizer()

    /// An empty memory.
    public init(tolerance: Double = 0.1, capacity: Int = 64) {
        precondition(tolerance > 0 && capacity > 0)
        self.tolerance = tolerance
        self.capacity = capacity
    }

    /// Settings for `problem`, with their results for exactly this problem.
    public mutating func settings(for problem: OptimizationProblem) -> LinkSettings {
        let nearest =
            entries
            .map { (entry: $0, distance: distance($0.problem, problem)) }
            .min { $0.distance < $1.distance }
        if let nearest, nearest.distance <= 1,
            let settings = ParameterOptimizer.evaluated(nearest.entry.settings, for: problem)
        {
            return settings
        }
        searches += 1
        let start = nearest.flatMap { $0.distance < .infinity ? $0.entry.settings : nil }
        let settings = optimizer.settings(for: problem, from: start)
        if entries.count == capacity { entries.removeFirst() }
        entries.append(Entry(problem: problem, settings: settings))
        return settings
    }

    /// Distance in units of the tolerance; infinite between problems of different kind.
    private func distance(_ one: OptimizationProblem, _ other: OptimizationProblem) -> Double {
        var aligned = one
        aligned.channel = other.channel
        aligned.block = other.block
        guard aligned == other else { return .infinity }
        func size(_ block: OptimizationProblem.BlockSize) -> Double? {
            if case .keyDetections(let count) = block { return count }
            return nil
        }
        let sizes = (size(one.block), size(other.block))
        guard one.block == other.block || (sizes.0 != nil && sizes.1 != nil) else {
            return .infinity
        }
        func change(_ first: Double, _ second: Double) -> Double {
            if first == second { return 0 }
            guard first > 0, second > 0 else { return .infinity }
            return abs(naturalLog(first / second)) / naturalLog1p(tolerance)
        }
        let (a, b) = (one.channel, other.channel)
        guard a.deadTime == b.deadTime, a.repetitionRate == b.repetitionRate else {
            return .infinity
        }
        return max(
            max(
                change(a.transmittance, b.transmittance),
                change(a.darkCountProbability, b.darkCountProbability)),
            max(
                abs(a.misalignment - b.misalignment) / (0.05 * tolerance),
                max(
                    abs(a.afterpulseProbability - b.afterpulseProbability) / (0.2 * tolerance),
                    change(sizes.0 ?? 1, sizes.1 ?? 1))))
    }
}
