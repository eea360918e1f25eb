import ProtocolCore
import Quantities
import Testing

/// Known answers of the one-decoy bound: inputs and every intermediate as computed by the
/// formally verified implementation FormalQKD (A. Baliuka, Apache-2.0, interval arithmetic in
/// Lean).
@Suite struct DecoyStatesTests {
    static func knownReport(syndromeBits: Int = 1_776_924) throws -> KeyLengthReport {
        let counts = try DecoyCounts(
            keyDetections: IntensityCounts(signal: 8_875_913, decoy: 1_124_087),
            keyErrors: IntensityCounts(signal: 185_856, decoy: 26_055),
            testDetections: IntensityCounts(signal: 165_048, decoy: 20_902),
            testErrors: IntensityCounts(signal: 3456, decoy: 484))
        let intensities = try DecoyIntensities(signal: 0.51, decoy: 0.15, signalProbability: 0.7)
        let security = try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-15)
        var leakage = LeakageLedger()
        leakage.append(.syndrome, bits: syndromeBits)
        return Rusca2018.keyLength(
            counts: counts, intensities: intensities, security: security, leakage: leakage)
    }

    @Test func everyIntermediateEqualsTheVerifiedImplementation() throws {
        let report = try Self.knownReport()
        let expected: [(String, Double, Double)] = [
            ("n_Z,1+", report.keyDetectionBounds.signal.upper, 2.1141564840596016e7),
            ("n_Z,1-", report.keyDetectionBounds.signal.lower, 2.1089805919420347e7),
            ("n_Z,2+", report.keyDetectionBounds.decoy.upper, 4.395472030980807e6),
            ("n_Z,2-", report.keyDetectionBounds.decoy.lower, 4.31121309172391e6),
            ("n_X,1+", report.testDetectionBounds.signal.upper, 396176.12935093784),
            ("n_X,2-", report.testDetectionBounds.decoy.lower, 75203.94317833845),
            ("m_X,1+", report.testErrorBounds.signal.upper, 8735.473153448527),
            ("m_X,2-", report.testErrorBounds.decoy.lower, 1038.1798167212369),
            ("s_Z,0^u", report.keyVacuumUpper, 167020.1792587285),
            ("s_X,0^u", report.testVacuumUpper, 6645.523136846764),
            ("v_X,1^u", report.testSinglePhotonErrorsUpper, 5411.812583855381),
            ("s_Z,1^l", report.keySinglePhotonLower, 5.396516268816283e6),
            ("s_X,1^l", report.testSinglePhotonLower, 76462.2755485758),
            ("phi", report.phaseErrorRateUpper, 0.07917365937798954),
        ]
        for (name, found, value) in expected {
            #expect(abs(found - value) <= 1e-14 * 8 * value, "\(name): \(found), not \(value)")
        }
        #expect(report.keyVacuumLower == 0)
        #expect(abs(report.unroundedLength - 1464719.0887320058) < 1e-8)
        #expect(report.length == 1_464_719)
        #expect(report.chargedLeakage == 1_776_924)
    }

    @Test func helpersGiveTheKnownAnswers() {
        #expect(abs(FiniteKey.binaryEntropy(0.11) - 0.499915958) < 1e-9)
        #expect(FiniteKey.binaryEntropy(0) == 0)
        #expect(FiniteKey.binaryEntropy(1) == 0)
        #expect(FiniteKey.binaryEntropy(0.5) == 1)
        let gamma = FiniteKey.samplingDeviation(
            epsilon: 0.1, errorRate: 0.1, applied: 0.1, sampled: 0.1,
            terms: Rusca2018.failureTerms)
        #expect(abs(gamma - 7.717529454187349) < 1e-13)
        let delta = FiniteKey.hoeffdingDeviation(count: 1000, epsilon: 1e-6)
        #expect(abs(delta - 83.11290681) < 1e-8)
    }

    /// One bit of leakage more at a time moves the value through every fraction of a floor; the
    /// length must never exceed the exact value, and lose at most one bit to outward rounding.
    @Test func roundingNeverLengthensTheKey() throws {
        let base = try Self.knownReport()
        // 1464719.0887…: leaking all but a sliver leaves a value just above and below 0.
        for extra in 1_464_715...1_464_725 {
            let report = try Self.knownReport(syndromeBits: 1_776_924 + extra)
            let exact = base.unroundedLength - Double(extra)
            #expect(Double(report.length) <= max(0, exact))
            #expect(Double(report.length) >= exact.rounded(.down) - 1)
        }
    }

    @Test func lengthIsNeverNegativeAndZeroWithoutABound() throws {
        let intensities = try DecoyIntensities(signal: 0.51, decoy: 0.15, signalProbability: 0.7)
        let security = try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-15)
        let none = IntensityCounts(signal: 0, decoy: 0)
        let some = IntensityCounts(signal: 10_000_000, decoy: 1_000_000)
        for (key, test) in [(none, none), (some, none), (none, some)] {
            let counts = try DecoyCounts(
                keyDetections: key, keyErrors: none, testDetections: test, testErrors: none)
            let report = Rusca2018.keyLength(
                counts: counts, intensities: intensities, security: security,
                leakage: LeakageLedger())
            #expect(report.length == 0)
            #expect(report.phaseErrorRateUpper == 0.5)
        }
        #expect(try Self.knownReport(syndromeBits: 10_000_000).length == 0)
    }

    /// Without a single observed test error the phase error rate must not vanish: the sampling
    /// tail of an error rate of 0 does not.
    @Test func noTestErrorsStillLeaveAPhaseErrorRate() throws {
        let counts = try DecoyCounts(
            keyDetections: IntensityCounts(signal: 8_875_913, decoy: 1_124_087),
            keyErrors: IntensityCounts(signal: 0, decoy: 0),
            testDetections: IntensityCounts(signal: 165_048, decoy: 20_902),
            testErrors: IntensityCounts(signal: 0, decoy: 0))
        let report = Rusca2018.keyLength(
            counts: counts,
            intensities: try DecoyIntensities(signal: 0.51, decoy: 0.15, signalProbability: 0.7),
            security: try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-15),
            leakage: LeakageLedger())
        #expect(report.testSinglePhotonErrorsUpper == 1)
        #expect(report.phaseErrorRateUpper > 1 / report.testSinglePhotonLower)
        #expect(report.length > 0)
    }

    /// Every bound stays within the count it is part of, and more errors or more leakage never
    /// give more key. Seed 41.
    @Test func boundsAreClippedAndErrorsNeverHelp() throws {
        var generator = SeededGenerator(seed: 41)
        let security = try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-15)
        func count(_ limit: Int) -> Int { Int.random(in: 0...limit, using: &generator) }
        for round in 0..<400 {
            let scale = 1 << Int.random(in: 4...34, using: &generator)
            let key = IntensityCounts(signal: count(scale), decoy: count(scale))
            let test = IntensityCounts(signal: count(scale), decoy: count(scale))
            let share = Int.random(in: 2...60, using: &generator)
            let keyErrors = IntensityCounts(signal: key.signal / share, decoy: key.decoy / share)
            let testErrors = IntensityCounts(
                signal: test.signal / share, decoy: test.decoy / share)
            let intensities = try DecoyIntensities(
                signal: 0.2 + 0.6 * generator.uniform(), decoy: 0.02 + 0.17 * generator.uniform(),
                signalProbability: 0.05 + 0.9 * generator.uniform())
            func report(_ moreErrors: Int, _ leaked: Int) throws -> KeyLengthReport {
                var leakage = LeakageLedger()
                leakage.append(.syndrome, bits: leaked)
                let errors = IntensityCounts(
                    signal: min(test.signal, testErrors.signal + moreErrors),
                    decoy: testErrors.decoy)
                return Rusca2018.keyLength(
                    counts: try DecoyCounts(
                        keyDetections: key, keyErrors: keyErrors, testDetections: test,
                        testErrors: errors),
                    intensities: intensities, security: security, leakage: leakage)
            }
            let plain = try report(0, 0)
            let keyTotal = Double(key.total)
            #expect((0...keyTotal).contains(plain.keyVacuumLower), "round \(round)")
            #expect((0...keyTotal).contains(plain.keyVacuumUpper))
            #expect((0...keyTotal).contains(plain.keySinglePhotonLower))
            #expect(plain.keyVacuumLower + plain.keySinglePhotonLower <= keyTotal * (1 + 1e-12))
            #expect((0...Double(test.total)).contains(plain.testSinglePhotonLower))
            #expect((0...0.5).contains(plain.phaseErrorRateUpper))
            #expect((0...key.total).contains(plain.length))
            #expect(try report(1 + test.signal / 50, 0).length <= plain.length)
            #expect(try report(0, 1 + scale / 100).length <= plain.length)
        }
    }

    @Test func nonsenseIsRefused() throws {
        let one = IntensityCounts(signal: 1, decoy: 1)
        let negative = IntensityCounts(signal: -1, decoy: 1)
        #expect(throws: DecoyStateError.moreErrorsThanDetections(errors: 2, detections: 1)) {
            try DecoyCounts(
                keyDetections: one, keyErrors: IntensityCounts(signal: 2, decoy: 0),
                testDetections: one, testErrors: one)
        }
        #expect(throws: DecoyStateError.countOutOfRange(-1)) {
            try DecoyCounts(
                keyDetections: negative, keyErrors: negative, testDetections: one, testErrors: one)
        }
        #expect(throws: DecoyStateError.self) {
            try DecoyIntensities(signal: 0.1, decoy: 0.2, signalProbability: 0.5)
        }
        #expect(throws: DecoyStateError.self) {
            try DecoyIntensities(signal: 0.5, decoy: 0, signalProbability: 0.5)
        }
        #expect(throws: DecoyStateError.self) {
            try DecoyIntensities(signal: .nan, decoy: 0.1, signalProbability: 0.5)
        }
        #expect(throws: DecoyStateError.self) {
            try SecurityParameters(epsilonSecrecy: 0, epsilonCorrectness: 1e-15)
        }
        #expect(throws: DecoyStateError.self) {
            try SecurityParameters(epsilonSecrecy: .nan, epsilonCorrectness: 1e-15)
        }
    }
}

@Suite struct ExpectedCountsTests {
    static func channel(loss: Double, deadTime: Picoseconds) throws -> DecoyChannelModel {
        try DecoyChannelModel(
            transmittance: Decibels(loss).transmittance, darkCountProbability: 1e-7,
            misalignment: 0.01, keyBasisProbability: 0.81, testBasisProbability: 0.01,
            repetitionRate: Hertz(1e9), deadTime: deadTime)
    }

    @Test func meansFollowTheModelOfThePaper() throws {
        let intensities = try DecoyIntensities(signal: 0.5, decoy: 0.1, signalProbability: 0.8)
        let channel = try Self.channel(loss: 10, deadTime: Picoseconds(10_000_000))
        let means = ExpectedCounts(pulses: 1e9, channel: channel, intensities: intensities)
        // By hand from B2 to B4 with η = 0.1.
        let signal = 0.81 * 0.8 * (1 - exponential(-0.05) + 1e-7)
        let decoy = 0.81 * 0.2 * (1 - exponential(-0.01) + 1e-7)
        let factor = 1 / (1 + 1e9 * (signal + decoy) * 10e-6)
        let errors = 0.81 * 0.8 * ((1 - exponential(-0.05)) * 0.01 + 0.5e-7)
        #expect(abs(means.keyDeadTimeFactor / factor - 1) < 1e-12)
        #expect(abs(means.keyDetections.signal / (1e9 * factor * signal) - 1) < 1e-12)
        #expect(abs(means.keyDetections.decoy / (1e9 * factor * decoy) - 1) < 1e-12)
        #expect(abs(means.keyErrors.signal / (1e9 * factor * errors) - 1) < 1e-12)
        let block = ExpectedCounts(keyBlock: 1e7, channel: channel, intensities: intensities)
        #expect(abs(block.keyDetections.total - 1e7) < 1)
    }

    /// The rate grows with the block, falls with loss, and stays below the capacity of the
    /// channel, −log2(1 − η) bits per pulse (Pirandola et al., Nat. Commun. 8, 15043, 2017).
    @Test func rateHasTheRightLimits() throws {
        let intensities = try DecoyIntensities(signal: 0.5, decoy: 0.15, signalProbability: 0.7)
        let security = try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-15)
        func rate(_ loss: Double, _ block: Double) throws -> Double {
            let channel = try Self.channel(loss: loss, deadTime: Picoseconds(0))
            let means = ExpectedCounts(keyBlock: block, channel: channel, intensities: intensities)
            var leakage = LeakageLedger()
            let entropy = FiniteKey.binaryEntropy(means.keyErrorRate)
            leakage.append(.syndrome, bits: Int(1.16 * block * entropy))
            let report = Rusca2018.keyLength(
                counts: try means.rounded(), intensities: intensities, security: security,
                leakage: leakage)
            return Double(report.length) / means.pulses
        }
        var previous = 0.0
        for exponent in 5...11 {
            let value = try rate(20, exponentialBase10(Double(exponent)))
            #expect(value >= previous)
            previous = value
        }
        #expect(previous > 0)
        var nearer = Double.infinity
        for loss in stride(from: 2.0, through: 60, by: 2) {
            let value = try rate(loss, 1e8)
            #expect(value <= nearer)
            #expect(value < -binaryLog(1 - Decibels(loss).transmittance))
            nearer = value
        }
        #expect(nearer == 0)
    }

    /// The bootstrap scatter agrees with error propagation: the eight Poisson counts, wrong and
    /// right detections of each basis and intensity, times the slope of the length in each.
    /// Seed 42.
    @Test func predictionScattersLikeItsCounts() throws {
        let intensities = try DecoyIntensities(signal: 0.5, decoy: 0.15, signalProbability: 0.7)
        let security = try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-15)
        let channel = try Self.channel(loss: 15, deadTime: Picoseconds(0))
        let means = ExpectedCounts(keyBlock: 1e7, channel: channel, intensities: intensities)
        var generator = SeededGenerator(seed: 42)
        let prediction = try Rusca2018.predictedKeyLength(
            means, intensities: intensities, security: security, reconciliationEfficiency: 1.16,
            samples: 400, using: &generator)
        #expect(prediction.samples == 400)
        #expect(prediction.expected.length > 1_000_000)
        let error = prediction.standardDeviation / 400.0.squareRoot()
        #expect(abs(prediction.mean - Double(prediction.expected.length)) < 5 * error + 2000)

        let pairs = [
            (means.keyDetections, means.keyErrors), (means.testDetections, means.testErrors),
        ]
        let base = pairs.flatMap { detections, errors in
            [
                errors.signal, detections.signal - errors.signal, errors.decoy,
                detections.decoy - errors.decoy,
            ]
        }
        func length(_ cells: [Double]) throws -> Double {
            func pair(_ first: Double, _ second: Double) -> IntensityCounts {
                IntensityCounts(signal: Int(first.rounded()), decoy: Int(second.rounded()))
            }
            let counts = try DecoyCounts(
                keyDetections: pair(cells[0] + cells[1], cells[2] + cells[3]),
                keyErrors: pair(cells[0], cells[2]),
                testDetections: pair(cells[4] + cells[5], cells[6] + cells[7]),
                testErrors: pair(cells[4], cells[6]))
            var leakage = LeakageLedger()
            let bits =
                1.16 * Double(counts.keyDetections.total)
                * FiniteKey.binaryEntropy(counts.keyErrorRate)
            leakage.append(.syndrome, bits: Int(bits.rounded(.up)))
            return Rusca2018.keyLength(
                counts: counts, intensities: intensities, security: security, leakage: leakage
            ).unroundedLength
        }
        var variance = 0.0
        for index in base.indices {
            let step = base[index].squareRoot()
            var (above, below) = (base, base)
            above[index] += step
            below[index] -= step
            let effect = try (length(above) - length(below)) / 2
            variance += effect * effect
        }
        // 400 draws know their own scatter to 3.5 %.
        #expect(abs(prediction.standardDeviation / variance.squareRoot() - 1) < 0.18)
    }

    /// The proof's statistics, tested where the truth is known: with counts drawn from labelled
    /// photon numbers the bounds hold at least as often as promised. ε is inflated to 0.19, so
    /// that every single term is 0.01 and violations would show. Seed 43.
    @Test func boundsBracketTheTruthOfLabelledBlocks() throws {
        let intensities = try DecoyIntensities(signal: 0.5, decoy: 0.15, signalProbability: 0.6)
        let security = try SecurityParameters(epsilonSecrecy: 0.19, epsilonCorrectness: 1e-3)
        var generator = SeededGenerator(seed: 43)
        let (transmittance, dark, misalignment) = (0.02, 2e-5, 0.02)
        func yield(_ photons: Int) -> Double {
            1 - (1 - dark) * power(1 - transmittance, Double(photons))
        }
        func errorRate(_ photons: Int) -> Double {
            photons == 0 ? 0.5 : misalignment + 0.5 * dark / yield(photons)
        }
        struct Block {
            var detections = [0, 0]
            var errors = [0, 0]
            var vacuum = 0
            var single = 0
            var singleErrors = 0
        }
        func block(pulses: Double) -> Block {
            var block = Block()
            for (index, (mean, share)) in [(0.5, 0.6), (0.15, 0.4)].enumerated() {
                var weight = exponential(-mean)
                for photons in 0..<12 {
                    let clicks = generator.poisson(
                        mean: pulses * share * weight * yield(photons))
                    let wrong = (0..<clicks).reduce(0) { sum, _ in
                        generator.bernoulli(errorRate(photons)) ? sum + 1 : sum
                    }
                    block.detections[index] += clicks
                    block.errors[index] += wrong
                    if photons == 0 { block.vacuum += clicks }
                    if photons == 1 {
                        block.single += clicks
                        block.singleErrors += wrong
                    }
                    weight *= mean / Double(photons + 1)
                }
            }
            return block
        }
        var violations = 0
        let rounds = 300
        for _ in 0..<rounds {
            let (key, test) = (block(pulses: 1e6), block(pulses: 1e6))
            let report = Rusca2018.keyLength(
                counts: try DecoyCounts(
                    keyDetections: IntensityCounts(
                        signal: key.detections[0], decoy: key.detections[1]),
                    keyErrors: IntensityCounts(signal: key.errors[0], decoy: key.errors[1]),
                    testDetections: IntensityCounts(
                        signal: test.detections[0], decoy: test.detections[1]),
                    testErrors: IntensityCounts(signal: test.errors[0], decoy: test.errors[1])),
                intensities: intensities, security: security, leakage: LeakageLedger())
            let holds =
                Double(key.vacuum) >= report.keyVacuumLower
                && Double(key.vacuum) <= report.keyVacuumUpper
                && Double(test.vacuum) <= report.testVacuumUpper
                && Double(key.single) >= report.keySinglePhotonLower
                && Double(test.single) >= report.testSinglePhotonLower
                && Double(test.singleErrors) <= report.testSinglePhotonErrorsUpper
            if !holds { violations += 1 }
            #expect(report.keySinglePhotonLower > 0.3 * Double(key.single), "not vacuous")
        }
        #expect(Double(violations) <= 0.19 * Double(rounds), "\(violations) of \(rounds)")
    }
}

@Suite struct LedgerTests {
    @Test func epsilonSumIsRoundedUp() {
        var ledger = EpsilonLedger()
        ledger.add(name: "a", value: 1, source: "test")
        for _ in 0..<1000 { ledger.add(name: "b", value: 0x1p-53, source: "test") }
        // In plain binary64 every addition would be rounded away.
        #expect(ledger.total >= 1 + 1000 * 0x1p-53)
        #expect(ledger.total < 1 + 1e-12)
        #expect(EpsilonLedger().total == 0)
    }

    @Test func tagBitsAreChargedOnlyBeyondTheCorrectnessTerm() throws {
        let security = try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 0x1p-50)
        var ledger = LeakageLedger()
        ledger.append(.syndrome, bits: 1000, frame: 0)
        ledger.append(.blindReveal, bits: 30, frame: 0)
        #expect(ledger.chargedBits(beside: security) == 1030)
        // log2(2/ε_cor) is 51; rounding may make it 50, never 52.
        ledger.append(.verificationTag, bits: 40)
        #expect(ledger.chargedBits(beside: security) == 1030)
        ledger.append(.verificationTag, bits: 24)
        #expect((1043...1044).contains(ledger.chargedBits(beside: security)))
        #expect(ledger.totalBits == 1094)
        #expect(ledger.bits(of: .verificationTag) == 64)
    }

    @Test func droppedFrameDisclosesAtMostItself() {
        var ledger = LeakageLedger()
        ledger.append(.syndrome, bits: 400, frame: 3)
        ledger.append(.blindReveal, bits: 100, frame: 3)
        ledger.append(.syndrome, bits: 400, frame: 4)
        ledger.appendDroppedFrame(3, frameBits: 2000)
        #expect(ledger.bits(of: .droppedFrame) == 1500)
        #expect(ledger.totalBits == 2400)
    }
}
