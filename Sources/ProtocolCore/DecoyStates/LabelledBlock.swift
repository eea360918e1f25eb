import Quantities

/// A channel as an eavesdropper may choose it: what happens to a pulse depends on its photon number
/// alone, which is all that tells her anything. For tests of the statistics, where the truth is known.
package struct LabelledChannel: Sendable {
    /// Y_0, Y_1, and Y_n for n ≥ 2: the probability of a detection, in 0...1.
    package var yields: (none: Double, one: Double, more: Double)
    /// The error rate of detections from one photon in the key basis and in the test basis, and of
    /// those from more photons in both. Empty pulses have error rate 1/2: Bob's result can not depend
    /// on a bit that was not sent.
    package var errorRates: (key: Double, test: Double, more: Double)

    /// Wraps the channel.
    package init(
        yields: (none: Double, one: Double, more: Double),
        errorRates: (key: Double, test: Double, more: Double)
    ) {
        self.yields = yields
        self.errorRates = errorRates
    }
}

extension LabelledChannel {
    /// Loss, dark counts and misalignment, nobody listening.
    package static func honest(
        transmittance: Double, dark: Double, misalignment: Double
    ) -> LabelledChannel {
        func yield(_ photons: Double) -> Double {
            1 - (1 - dark) * power(1 - transmittance, photons)
        }
        func error(_ photons: Double) -> Double {
            (misalignment * (yield(photons) - dark) + dark / 2) / yield(photons)
        }
        return LabelledChannel(
            yields: (dark, yield(1), yield(2)), errorRates: (error(1), error(1), error(2)))
    }

    /// The part `strength` of all pulses is measured in a random basis and sent again: bits of those
    /// are wrong with probability 1/4, and Eve knows half of them.
    package func intercepted(_ strength: Double) -> LabelledChannel {
        func worse(_ rate: Double) -> Double { rate + strength * 0.25 * (1 - 2 * rate) }
        return LabelledChannel(
            yields: yields,
            errorRates: (worse(errorRates.key), worse(errorRates.test), worse(errorRates.more)))
    }

    /// Channels that a bound must survive, by name.
    package static let gallery: [(name: String, channel: LabelledChannel)] = [
        ("honest", honest(transmittance: 0.05, dark: 1e-5, misalignment: 0.01)),
        ("many dark counts", honest(transmittance: 0.03, dark: 2e-3, misalignment: 0.01)),
        (
            "single photons suppressed, others favoured",
            LabelledChannel(yields: (1e-5, 0.03, 0.12), errorRates: (0.01, 0.01, 0.01))
        ),
        (
            "errors in the test basis only",
            LabelledChannel(yields: (1e-5, 0.05, 0.1), errorRates: (0.005, 0.06, 0.01))
        ),
        (
            "half intercepted",
            honest(transmittance: 0.05, dark: 1e-5, misalignment: 0.01).intercepted(0.5)
        ),
    ]
}

extension DecoyIntensities {
    /// The intensities with their probabilities.
    package var source: [(mean: Double, probability: Double)] {
        [(signal, signalProbability), (decoy, 1 - signalProbability)]
    }
}

extension TwoDecoyIntensities {
    /// The intensities with their probabilities.
    package var source: [(mean: Double, probability: Double)] {
        [
            (signal, signalProbability), (decoy, decoyProbability),
            (weak, 1 - signalProbability - decoyProbability),
        ]
    }
}

/// The counts of a block together with the photon numbers they came from.
package struct LabelledBlock: Sendable {
    /// n_k and m_k of one basis by intensity, and the truth behind them.
    package struct Basis: Sendable {
        package var detections: [Int]
        package var errors: [Int]
        /// Detections from empty pulses and from single photons.
        package var vacuum = 0
        package var single = 0
        /// Errors of the single-photon detections in this basis.
        package var singleErrors = 0
        /// Errors that the single-photon detections of the key would have had in the test basis.
        package var phaseErrors = 0
    }

    package var key: Basis
    package var test: Basis

    /// Draws a block: numbers of events are Poissonian and independent, the exact law for a number of
    /// pulses that is itself Poissonian, so given the totals they are multinomial.
    ///
    /// - Parameters:
    ///   - pulses: mean pulses with both ends in the key basis, and in the test basis.
    ///   - source: the intensities and the probability of each.
    package init(
        pulses: (key: Double, test: Double), source: [(mean: Double, probability: Double)],
        channel: LabelledChannel, using generator: inout some RandomNumberGenerator
    ) {
        key = Self.basis(
            pulses.key, source, channel, channel.errorRates.key, channel.errorRates.test,
            &generator)
        test = Self.basis(
            pulses.test, source, channel, channel.errorRates.test, channel.errorRates.key,
            &generator)
    }

    private static func basis(
        _ pulses: Double, _ source: [(mean: Double, probability: Double)],
        _ channel: LabelledChannel, _ own: Double, _ other: Double,
        _ generator: inout some RandomNumberGenerator
    ) -> Basis {
        let none = [Int](repeating: 0, count: source.count)
        var basis = Basis(detections: none, errors: none)
        for (index, (mean, probability)) in source.enumerated() {
            let empty = exponential(-mean)
            let sent = pulses * probability
            let vacuum = sent * empty * channel.yields.none
            let single = sent * mean * empty * channel.yields.one
            let more =
                sent * max(0, -exponentialMinus1(-mean) - mean * empty) * channel.yields.more
            func draw(_ mean: Double) -> Int { generator.poisson(mean: mean) }
            let (vacuumRight, vacuumWrong) = (draw(vacuum / 2), draw(vacuum / 2))
            let both = draw(single * own * other)
            let bitOnly = draw(single * own * (1 - other))
            let phaseOnly = draw(single * (1 - own) * other)
            let neither = draw(single * (1 - own) * (1 - other))
            let moreWrong = draw(more * channel.errorRates.more)
            let moreRight = draw(more * (1 - channel.errorRates.more))
            let singles = both + bitOnly + phaseOnly + neither
            basis.vacuum += vacuumRight + vacuumWrong
            basis.single += singles
            basis.singleErrors += both + bitOnly
            basis.phaseErrors += both + phaseOnly
            basis.detections[index] = vacuumRight + vacuumWrong + singles + moreWrong + moreRight
            basis.errors[index] = vacuumWrong + both + bitOnly + moreWrong
        }
        return basis
    }

    /// The counts of a block drawn with two intensities, as the nodes see them.
    package var oneDecoyCounts: DecoyCounts? {
        func pair(_ values: [Int]) -> IntensityCounts {
            IntensityCounts(signal: values[0], decoy: values[1])
        }
        return try? DecoyCounts(
            keyDetections: pair(key.detections), keyErrors: pair(key.errors),
            testDetections: pair(test.detections), testErrors: pair(test.errors))
    }

    /// The counts of a block drawn with three intensities, as the nodes see them.
    package var twoDecoyCounts: TwoDecoyCounts? {
        func triple(_ values: [Int]) -> IntensityTriple {
            IntensityTriple(signal: values[0], decoy: values[1], weak: values[2])
        }
        return try? TwoDecoyCounts(
            keyDetections: triple(key.detections), testDetections: triple(test.detections),
            testErrors: triple(test.errors))
    }

    /// Whether every bound of a one-decoy report holds for this block.
    package func satisfies(_ report: KeyLengthReport) -> Bool {
        holds(report.keyVacuumLower, key.vacuum) && report.keyVacuumUpper >= Double(key.vacuum)
            && report.testVacuumUpper >= Double(test.vacuum)
            && holds(report.keySinglePhotonLower, key.single)
            && holds(report.testSinglePhotonLower, test.single)
            && report.testSinglePhotonErrorsUpper >= Double(test.singleErrors)
            && phaseErrorsAtMost(report.phaseErrorRateUpper)
    }

    /// Whether every bound of a two-decoy length holds for this block.
    package func satisfies(_ report: TwoDecoyKeyLength) -> Bool {
        holds(report.keyVacuumLower, key.vacuum) && holds(report.testVacuumLower, test.vacuum)
            && holds(report.keySinglePhotonLower, key.single)
            && holds(report.testSinglePhotonLower, test.single)
            && report.testSinglePhotonErrorsUpper >= Double(test.singleErrors)
            && phaseErrorsAtMost(report.phaseErrorRateUpper)
    }

    private func holds(_ lower: Double, _ truth: Int) -> Bool { lower <= Double(truth) }

    /// φ = 1/2 claims nothing.
    private func phaseErrorsAtMost(_ rate: Double) -> Bool {
        rate >= 0.5 || Double(key.phaseErrors) <= rate * Double(key.single)
    }
}
