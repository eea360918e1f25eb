import Quantities

/// The mean counts of a block of given settings, and the key length they give.
struct SettingsEvaluation {
    let problem: OptimizationProblem
    private var weak: Double? {
        switch problem.scheme {
        case .oneDecoy: nil
        case .twoDecoy(let weak), .twoDecoyAnySize(let weak): weak
        }
    }

    /// Fills in the results of `settings`; `false` when the settings are impossible.
    func evaluate(_ settings: inout LinkSettings) -> Bool {
        let channel = problem.channel
        let (signal, decoy) = (channel.gain(settings.signal), channel.gain(settings.decoy))
        let third = weak.map { channel.gain($0) } ?? (click: 0, error: 0)
        let probabilities = Triple(
            signal: settings.signalProbability, decoy: settings.decoyProbability,
            weak: weak == nil ? 0 : 1 - settings.signalProbability - settings.decoyProbability)
        let clicks = Triple(
            signal: probabilities.signal * signal.click, decoy: probabilities.decoy * decoy.click,
            weak: probabilities.weak * third.click)
        let errors = Triple(
            signal: probabilities.signal * signal.error, decoy: probabilities.decoy * decoy.error,
            weak: probabilities.weak * third.error)
        let (qa, qb) = (settings.senderKeyProbability, settings.receiverKeyProbability)
        let key = qa * qb * channel.live(qb * clicks.total)
        let test = (1 - qa) * (1 - qb) * channel.live((1 - qb) * clicks.total)
        let perPulse = key * clicks.total
        guard perPulse > 0, test > 0 else { return false }
        switch problem.block {
        case .keyDetections(let count): settings.keyDetections = count
        case .seconds(let time, let limit):
            settings.keyDetections = min(
                limit, time * channel.repetitionRate.rawValue * perPulse)
        }
        settings.pulses = settings.keyDetections / perPulse
        settings.keyErrorRate = errors.total / clicks.total
        let tally = Tally(
            key: settings.pulses * key, test: settings.pulses * test, clicks: clicks, errors: errors
        )
        return length(of: tally, &settings)
    }

    /// The mean counts: events per pulse and basis, times these factors.
    struct Tally {
        var key: Double
        var test: Double
        var clicks: Triple<Double>
        var errors: Triple<Double>
    }

    private func length(of tally: Tally, _ settings: inout LinkSettings) -> Bool {
        let charged =
            problem.reconciliationEfficiency * settings.keyDetections
            * FiniteKey.binaryEntropy(settings.keyErrorRate)
        switch problem.promise {
        case .block(let security):
            return length(of: tally, security, charged, &settings)
        case .keyBit(let secrecy, let correctness):
            // A fixed point: the length depends on ε only through its logarithm, and converges at once.
            var guess = max(1, settings.keyDetections * 0.2)
            for _ in 0..<4 {
                guard
                    let security = try? SecurityParameters(
                        epsilonSecrecy: min(0.5, secrecy * guess), epsilonCorrectness: correctness),
                    length(of: tally, security, charged, &settings)
                else { return false }
                // A promise for less than one bit promises nothing.
                guard settings.length > 1 else {
                    settings.length = min(settings.length, 0)
                    return true
                }
                if abs(settings.length - guess) < 1e-7 * guess { break }
                guess = settings.length
            }
            return true
        }
    }

    private func length(
        of tally: Tally, _ security: SecurityParameters, _ charged: Double,
        _ settings: inout LinkSettings
    ) -> Bool {
        guard let weak else {
            return oneDecoyLength(of: tally, security, charged, &settings)
        }
        guard
            let intensities = try? TwoDecoyIntensities(
                signal: settings.signal, decoy: settings.decoy, weak: weak,
                signalProbability: settings.signalProbability,
                decoyProbability: settings.decoyProbability)
        else { return false }
        func scaled(_ values: Triple<Double>, _ factor: Double) -> Triple<Double> {
            Triple(
                signal: factor * values.signal, decoy: factor * values.decoy,
                weak: factor * values.weak)
        }
        let counts = TwoDecoyTally(
            keyDetections: scaled(tally.clicks, tally.key),
            testDetections: scaled(tally.clicks, tally.test),
            testErrors: scaled(tally.errors, tally.test))
        let terms: TwoDecoyTerms<Double>
        if case .twoDecoy = problem.scheme {
            terms = Lim2014.length(
                counts, intensities, security, charged: charged, conditions: problem.conditions)
        } else {
            terms = Tupkary2024.length(
                counts, intensities, security, charged: charged,
                mismatch: problem.conditions.mismatch)
        }
        settings.phaseErrorRate = terms.phaseErrorRateUpper
        settings.length = terms.length
        let empty =
            terms.bounds.keySinglePhotonLower <= 0 || terms.bounds.testSinglePhotonLower <= 0
        if empty { settings.length = min(settings.length, -charged) }
        return true
    }

    private func oneDecoyLength(
        of tally: Tally, _ security: SecurityParameters, _ charged: Double,
        _ settings: inout LinkSettings
    ) -> Bool {
        guard
            let intensities = try? DecoyIntensities(
                signal: settings.signal, decoy: settings.decoy,
                signalProbability: settings.signalProbability)
        else { return false }
        func pair(_ values: Triple<Double>, _ factor: Double) -> OneDecoyTally.Pair {
            OneDecoyTally.Pair(signal: factor * values.signal, decoy: factor * values.decoy)
        }
        let counts = OneDecoyTally(
            keyDetections: pair(tally.clicks, tally.key), keyErrors: pair(tally.errors, tally.key),
            testDetections: pair(tally.clicks, tally.test),
            testErrors: pair(tally.errors, tally.test))
        let bounds = Rusca2018.estimate(
            counts, intensities, security, charged: charged, conditions: problem.conditions)
        settings.phaseErrorRate = bounds.phaseErrorRateUpper
        settings.length = bounds.length
        if bounds.keySinglePhotonLower <= 0 || bounds.testSinglePhotonLower <= 0 {
            settings.length = min(settings.length, -charged)
        }
        return true
    }
}
