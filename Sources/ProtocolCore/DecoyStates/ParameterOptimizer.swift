import Quantities

/// Chooses intensities, their probabilities, the basis bias and with it the block size for a measured
/// channel, so that the key rate is largest.
///
/// The variables are mapped to the real line by logits: q, p1, p2/(1 − p1), µ1/µ_max, µ2/µ1. The
/// objective is log₁₀ of the rate where there is a key and ℓ/n below, which keeps a slope towards the
/// region where there is one. Nelder–Mead runs from several starts, the best is refined with fresh
/// simplices. Where no start finds a key, the channel is made better and brought back in steps.
/// Nothing is random: one problem has one answer.
///
/// Not for security: whatever the settings are, the length of a key follows from its own counts.
public struct ParameterOptimizer: Sendable {
    /// Values of the key length spent on the last problem.
    public private(set) var evaluations = 0

    /// An optimiser without memory; see `SettingsCache` for one with.
    public init() {}

    /// Starts for cold problems, from small blocks to large ones: q, p1, p2/(1 − p1), µ1, µ2/µ1.
    private static let starts: [[Double]] = [
        [0.5, 0.05, 0.5, 0.45, 0.2], [0.75, 0.2, 0.6, 0.42, 0.4], [0.9, 0.65, 0.7, 0.42, 0.45],
        [0.6, 0.6, 0.7, 0.5, 0.3],
    ]

    /// The best settings found; their `length` is 0 or below when there is no key at all.
    ///
    /// - Parameters:
    ///   - problem: the channel and the conditions.
    ///   - previous: the settings of a similar problem, which are tried first; with them about a
    ///     third of the work is done.
    public mutating func settings(
        for problem: OptimizationProblem, from previous: LinkSettings? = nil
    ) -> LinkSettings {
        evaluations = 0
        let search = Search(problem)
        var method = NelderMead()
        var best: (point: [Double], value: Double) = ([], .infinity)
        func tried(_ start: [Double], _ step: Double, _ budget: Int, _ search: Search) {
            let found = method.minimize(from: start, step: step, budget: budget, search.objective)
            if found.value < best.value { best = found }
        }
        if let previous { tried(search.point(of: previous), 0.1, 400, search) }
        if best.value >= 0 {
            for start in Self.starts { tried(search.point(of: start), 0.5, 350, search) }
        }
        if best.value >= 0 {
            for factor in [300.0, 100, 30, 10, 4, 2, 1.4, 1.15, 1] {
                var easier = problem
                easier.channel.transmittance = min(1, problem.channel.transmittance * factor)
                let start = best.point
                best.value = .infinity
                tried(start, 0.3, 300, Search(easier))
            }
        }
        for step in [0.3, 0.1, 0.03] {
            let before = best.value
            tried(best.point, step, 500, search)
            if before - best.value < 1e-7 { break }
        }
        evaluations = method.evaluations
        var settings = search.settings(at: best.point)
        _ = search.evaluation.evaluate(&settings)
        return settings
    }

    /// The settings with their results filled in, for this problem; `nil` when they are impossible.
    public static func evaluated(
        _ settings: LinkSettings, for problem: OptimizationProblem
    ) -> LinkSettings? {
        var settings = settings
        return SettingsEvaluation(problem: problem).evaluate(&settings) ? settings : nil
    }
}

/// The mapping between settings and unbounded variables, and the objective.
private struct Search {
    let evaluation: SettingsEvaluation
    private let largest: Double
    private let fixedReceiver: Double?
    private let hasWeak: Bool

    init(_ problem: OptimizationProblem) {
        evaluation = SettingsEvaluation(problem: problem)
        largest = problem.largestIntensity
        fixedReceiver = problem.receiverKeyProbability
        hasWeak = problem.scheme != .oneDecoy
    }

    private func logit(_ value: Double) -> Double {
        let inside = min(max(value, 1e-9), 1 - 1e-9)
        return naturalLog(inside / (1 - inside))
    }

    private func logistic(_ value: Double) -> Double { 1 / (1 + exponential(-value)) }

    /// Variables for natural values q, p1, p2/(1 − p1), µ1, µ2/µ1; p2 is left out with one decoy.
    func point(of values: [Double]) -> [Double] {
        let all = [values[0], values[1], values[2], values[3] / largest, values[4]].map(logit)
        return hasWeak ? all : [all[0], all[1], all[3], all[4]]
    }

    func point(of settings: LinkSettings) -> [Double] {
        point(of: [
            settings.senderKeyProbability, settings.signalProbability,
            settings.decoyProbability / (1 - settings.signalProbability), settings.signal,
            settings.decoy / settings.signal,
        ])
    }

    func settings(at point: [Double]) -> LinkSettings {
        let q = logistic(point[0])
        let p1 = logistic(point[1])
        let shift = hasWeak ? 1 : 0
        let signal = largest * logistic(point[2 + shift])
        return LinkSettings(
            senderKeyProbability: q, receiverKeyProbability: fixedReceiver ?? q,
            signalProbability: p1,
            decoyProbability: hasWeak ? (1 - p1) * logistic(point[2]) : 1 - p1, signal: signal,
            decoy: signal * logistic(point[3 + shift]))
    }

    /// −log₁₀ R − 30 where there is a key, which is below 0 for any rate a link could have, and
    /// −ℓ/n ≥ 0 where there is none.
    func objective(_ point: [Double]) -> Double {
        var settings = settings(at: point)
        guard evaluation.evaluate(&settings), settings.length.isFinite else { return .infinity }
        if settings.length > 0 { return -naturalLog(settings.rate) / naturalLog(10) - 30 }
        return -settings.length / settings.keyDetections
    }
}
