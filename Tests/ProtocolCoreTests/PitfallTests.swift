import LinkTypes
import ProtocolCore
import Quantities
import Testing

/// The ways in which decoy-state key lengths have gone wrong elsewhere, each as a test.
@Suite struct PitfallTests {
    static let security = made {
        try SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-15)
    }
    static let one = made {
        try DecoyIntensities(signal: 0.5, decoy: 0.15, signalProbability: 0.6)
    }
    static let two = made {
        try TwoDecoyIntensities(
            signal: 0.5, decoy: 0.15, weak: 0.01, signalProbability: 0.5, decoyProbability: 0.3)
    }
    static let honest = LabelledChannel.honest(transmittance: 0.05, dark: 1e-5, misalignment: 0.01)

    private static func made<Value>(_ body: () throws -> Value) -> Value {
        do { return try body() } catch { preconditionFailure("\(error)") }
    }

    static func block(two isTwo: Bool, seed: UInt64, pulses: Double = 2e7) -> LabelledBlock {
        var generator = SeededGenerator(seed: seed, label: "pitfalls")
        return LabelledBlock(
            pulses: (pulses, pulses / 4), source: isTwo ? two.source : one.source, channel: honest,
            using: &generator)
    }

    static func ledger(_ bits: Int) -> LeakageLedger {
        var ledger = LeakageLedger()
        ledger.append(.syndrome, bits: bits)
        return ledger
    }

    static func oneDecoy(
        _ counts: DecoyCounts, intensities: DecoyIntensities = one, leaked: Int = 10_000,
        conditions: BoundConditions = .forKeys()
    ) -> KeyLengthReport {
        Rusca2018.keyLength(
            counts: counts, intensities: intensities, security: security, leakage: ledger(leaked),
            conditions: conditions)
    }

    /// The single-photon bound of one decoy subtracts the *upper* bound of the vacuum events, that of
    /// two decoys adds the *lower* one. Both are computed again from the intermediates.
    @Test func pitfall01_signOfTheVacuumBound() throws {
        let report = Self.oneDecoy(try #require(Self.block(two: false, seed: 1).oneDecoyCounts))
        let (m1, m2) = (0.5, 0.15)
        func single(vacuum: Double) -> Double {
            report.singlePhotonProbability * m1 / (m2 * (m1 - m2))
                * (report.keyDetectionBounds.decoy.lower
                    - m2 * m2 / (m1 * m1) * report.keyDetectionBounds.signal.upper
                    - (1 - m2 * m2 / (m1 * m1)) * vacuum / report.vacuumProbability)
        }
        let right = single(vacuum: report.keyVacuumUpper)
        #expect(abs(report.keySinglePhotonLower / right - 1) < 1e-12)
        #expect(report.keySinglePhotonLower < single(vacuum: report.keyVacuumLower))

        // With two decoys more vacuum events make the single photons more, not fewer: the weakest
        // intensity's counts raise s_0 and lower the rest of s_1.
        let counts = try #require(Self.block(two: true, seed: 1).twoDecoyCounts)
        let length = Lim2014.keyLength(
            counts: counts, intensities: Self.two, security: Self.security, leakage: Self.ledger(0))
        let deviation = (Double(counts.keyDetections.total) / 2 * naturalLog(21e9)).squareRoot()
        func bound(_ count: Int, _ mean: Double, _ p: Double, _ sign: Double) -> Double {
            exponential(mean) / p * (Double(count) + sign * deviation)
        }
        let signal = bound(counts.keyDetections.signal, 0.5, 0.5, 1)
        let decoy = bound(counts.keyDetections.decoy, 0.15, 0.3, -1)
        let weak = bound(counts.keyDetections.weak, 0.01, 0.2, 1)
        let squares = 0.15 * 0.15 - 0.01 * 0.01
        let expected =
            length.singlePhotonProbability * 0.5
            * (decoy - weak
                - squares / 0.25 * (signal - length.keyVacuumLower / length.vacuumProbability))
            / (0.5 * 0.14 - squares)
        #expect(abs(length.keySinglePhotonLower / expected - 1) < 1e-9)
    }

    /// δ has a natural logarithm, γ a binary one outside and a natural one in its denominator.
    @Test func pitfall02_naturalAndBinaryLogarithms() {
        let delta = FiniteKey.hoeffdingDeviation(count: 1000, epsilon: 1e-6)
        #expect(abs(delta - 83.11290681) < 1e-8)
        let gamma = FiniteKey.samplingDeviation(
            epsilon: 1e-9, errorRate: 0.05, applied: 1e6, sampled: 1e5, terms: 19)
        let harmonic = 1.1e6 / 1e11
        let bits = binaryLog(harmonic / 0.0475 * 361e18)
        #expect(abs(gamma - (harmonic * 0.0475 / naturalLog(2) * bits).squareRoot()) < 1e-14)
    }

    /// Every proof has its own number of failure terms and its own price of secrecy.
    @Test func pitfall03_constantsBelongToTheirProof() throws {
        #expect(Rusca2018.budget.shares == 19)
        #expect(Rusca2018.budgetWithMismatch.shares == 23)
        #expect(Lim2014.budget.shares == 21)
        #expect(Lim2014.budgetWithMismatch.shares == 25)
        #expect(Tupkary2024.budget.shares == 8)
        let counts = try #require(Self.block(two: true, seed: 3).twoDecoyCounts)
        let lim = Lim2014.keyLength(
            counts: counts, intensities: Self.two, security: Self.security, leakage: Self.ledger(0))
        #expect(abs(lim.secrecyCost - 6 * binaryLog(21e9)) < 1e-9)
        let any = Tupkary2024.keyLength(
            counts: counts, intensities: Self.two, security: Self.security, leakage: Self.ledger(0))
        #expect(abs(any.secrecyCost - (2 * binaryLog(8e9) - 2)) < 1e-9)
        let rusca = Self.oneDecoy(try #require(Self.block(two: false, seed: 3).oneDecoyCounts))
        #expect(abs(rusca.secrecyCost - 6 * binaryLog(19e9)) < 1e-9)
        for budget in [Rusca2018.budget, Lim2014.budget, Tupkary2024.budget] {
            var ledger = EpsilonLedger()
            for entry in budget.entries(Self.security) { ledger.add(entry) }
            #expect(ledger.total >= 1e-9 && ledger.total < 1.000001e-9)
        }
    }

    /// A proof that wants sizes fixed beforehand says so, and what could not be checked makes no keys.
    @Test func pitfall04_sizesFixedBeforehandOrNot() {
        #expect(FiniteKeyProof.rusca2018.availability == .available(.fixedBeforehand))
        #expect(FiniteKeyProof.lim2014.availability == .available(.fixedBeforehand))
        #expect(FiniteKeyProof.tupkary2024.availability == .available(.anyObservation))
        guard case .unavailable = FiniteKeyProof.wiesemann2024.availability else {
            Issue.record("a proof whose text was not read must not make keys")
            return
        }
    }

    /// What was sent is charged, whether it helped or not: nothing can be taken off a ledger, and each
    /// bit more makes the key one bit shorter.
    @Test func pitfall05_everyDisclosedBitIsCharged() throws {
        let counts = try #require(Self.block(two: false, seed: 5).oneDecoyCounts)
        func length(_ ledger: LeakageLedger) -> Int {
            Rusca2018.keyLength(
                counts: counts, intensities: Self.one, security: Self.security, leakage: ledger,
                conditions: .forKeys()
            ).length
        }
        let base = length(LeakageLedger())
        #expect(base > 20_000)
        for kind in LeakageLedger.Kind.allCases {
            var ledger = LeakageLedger()
            ledger.append(kind, bits: 10_000, frame: 0)
            // Of a tag, log2(2/ε_cor) bits are part of the formula already.
            let paid = kind == .verificationTag ? 50 : 0
            #expect(length(ledger) == base - 10_000 + paid, "\(kind)")
        }
        var failed = LeakageLedger()
        failed.append(.syndrome, bits: 700, frame: 1)
        failed.append(.blindReveal, bits: 50, frame: 1)
        failed.appendDroppedFrame(1, frameBits: 2000)
        #expect(length(failed) == base - 2000)
    }

    /// A key length with a tolerance holds for every pair of intensities inside. Seed 6.
    @Test func pitfall06_intensitiesAreMeasured() throws {
        var generator = SeededGenerator(seed: 6)
        let counts = try #require(Self.block(two: false, seed: 6).oneDecoyCounts)
        let pair = try #require(Self.block(two: true, seed: 6).twoDecoyCounts)
        let wide = try DecoyIntensities(
            signal: 0.5, decoy: 0.15, signalProbability: 0.6, relativeTolerance: 0.01)
        let safe = Self.oneDecoy(counts, intensities: wide).length
        #expect(safe > 0)
        func lim(_ intensities: TwoDecoyIntensities) -> Int {
            Lim2014.keyLength(
                counts: pair, intensities: intensities, security: Self.security,
                leakage: Self.ledger(1000)
            ).length
        }
        func triple(_ a: Double, _ b: Double, _ c: Double, _ t: Double) throws -> Int {
            lim(
                try TwoDecoyIntensities(
                    signal: a, decoy: b, weak: c, signalProbability: 0.5, decoyProbability: 0.3,
                    relativeTolerance: t))
        }
        let safeOfThree = try triple(0.5, 0.15, 0.01, 0.01)
        #expect(safeOfThree > 0)
        for _ in 0..<200 {
            func near(_ value: Double) -> Double { value * (1 + 0.02 * generator.uniform() - 0.01) }
            let inside = try DecoyIntensities(
                signal: near(0.5), decoy: near(0.15), signalProbability: 0.6)
            #expect(Self.oneDecoy(counts, intensities: inside).length >= safe)
            #expect(try triple(near(0.5), near(0.15), near(0.01), 0) >= safeOfThree)
        }
    }

    /// No formula can see it: what a node must guarantee is stated with the proofs.
    @Test func pitfall07_phaseRandomisationIsAssumed() {
        let assumptions = FiniteKeyProof.assumptions
        #expect(assumptions.contains { $0.contains("phase of every pulse") })
        #expect(assumptions.contains { $0.contains("independent of the other pulses") })
    }

    /// A detection counts only when no detector had clicked within the dead time before it.
    @Test func pitfall08_deadTimeOfAnyDetector() {
        func batch(_ slots: [UInt64], _ range: Range<UInt64>, _ losses: [Range<UInt64>] = [])
            -> DetectionBatch
        {
            DetectionBatch(
                slots: SlotIndex(range.lowerBound)..<SlotIndex(range.upperBound),
                detections: slots.map {
                    Detection(slot: SlotIndex($0), phase: 0, detector: UInt8($0 % 4))
                },
                losses: losses.map {
                    LossMark(
                        start: SlotIndex($0.lowerBound), end: SlotIndex($0.upperBound), count: nil,
                        reason: .deviceOverflow)
                }, provenance: .emulated)
        }
        var filter = CommonDeadTime(deadTime: Picoseconds(9500), slotPeriod: Picoseconds(1000))
        #expect(filter.slots == 10)
        let first = filter.filter(batch([5, 12, 20, 31, 41, 52], 0..<60))
        // 12 falls to 5, 20 to the removed 12; 31 is 11 slots after 20; 41 falls to 31.
        #expect(first.batch.detections.map(\.slot.rawValue) == [5, 31, 52])
        #expect(first.removed == 3)
        // The memory crosses batches, and nobody knows what clicked in a lost interval.
        let second = filter.filter(batch([60, 80, 105, 130], 60..<200, [90..<100]))
        #expect(second.batch.detections.map(\.slot.rawValue) == [80, 130])
        let third = filter.filter(batch([205], 200..<300))
        #expect(third.batch.detections.map(\.slot.rawValue) == [205])
        var none = CommonDeadTime(slots: 0)
        #expect(none.filter(batch([1, 2, 3], 0..<9)).removed == 0)
    }

    /// An error rate that ends a session is public data, and the end makes no key: a rate above any
    /// limit already gives none.
    @Test func pitfall09_errorRateOnlyEverWithholds() throws {
        let block = Self.block(two: false, seed: 9)
        let counts = try #require(block.oneDecoyCounts)
        let wrong = try DecoyCounts(
            keyDetections: counts.keyDetections, keyErrors: counts.keyErrors,
            testDetections: counts.testDetections,
            testErrors: IntensityCounts(
                signal: counts.testDetections.signal * 11 / 100,
                decoy: counts.testDetections.decoy * 11 / 100))
        let leaked = Int(
            Double(counts.keyDetections.total) * FiniteKey.binaryEntropy(0.11))
        #expect(Self.oneDecoy(wrong, leaked: leaked).length == 0)
        #expect(Self.oneDecoy(counts, leaked: leaked).length >= 0)
    }

    /// Every bound lies between 0 and the count it is part of; a bound of 0 gives no key. Seed 10.
    @Test func pitfall10_boundsAreClipped() throws {
        var generator = SeededGenerator(seed: 10)
        func triple(_ limit: Int) -> IntensityTriple {
            func count() -> Int { Int.random(in: 0...limit, using: &generator) }
            return IntensityTriple(signal: count(), decoy: count(), weak: count())
        }
        for _ in 0..<300 {
            let scale = 1 << Int.random(in: 3...30, using: &generator)
            let (key, test) = (triple(scale), triple(scale))
            let counts = try TwoDecoyCounts(
                keyDetections: key, testDetections: test,
                testErrors: IntensityTriple(
                    signal: test.signal / 20, decoy: test.decoy / 20, weak: test.weak / 20))
            for report in [
                Lim2014.keyLength(
                    counts: counts, intensities: Self.two, security: Self.security,
                    leakage: LeakageLedger()),
                Tupkary2024.keyLength(
                    counts: counts, intensities: Self.two, security: Self.security,
                    leakage: LeakageLedger()),
            ] {
                let total = Double(key.total)
                #expect((0...total).contains(report.keyVacuumLower))
                #expect((0...total).contains(report.keySinglePhotonLower))
                #expect((0...Double(test.total)).contains(report.testSinglePhotonLower))
                #expect((0...0.5).contains(report.phaseErrorRateUpper))
                #expect((0...key.total).contains(report.length))
                if report.keySinglePhotonLower == 0 { #expect(report.length == 0) }
            }
        }
        let none = IntensityTriple(signal: 0, decoy: 0, weak: 0)
        let empty = try TwoDecoyCounts(
            keyDetections: none, testDetections: none, testErrors: none)
        #expect(
            Lim2014.keyLength(
                counts: empty, intensities: Self.two, security: Self.security,
                leakage: LeakageLedger()
            ).length == 0)
    }

    /// The length used never exceeds the formula and lacks at most one bit of its floor.
    @Test func pitfall11_roundingIsOutward() throws {
        for seed in 0..<60 as Range<UInt64> {
            let counts = try #require(Self.block(two: false, seed: 1100 + seed).oneDecoyCounts)
            let pair = try #require(Self.block(two: true, seed: 1100 + seed).twoDecoyCounts)
            let one = Self.oneDecoy(counts, leaked: Int(seed))
            let lim = Lim2014.keyLength(
                counts: pair, intensities: Self.two, security: Self.security,
                leakage: Self.ledger(Int(seed)), conditions: .forKeys())
            let any = Tupkary2024.keyLength(
                counts: pair, intensities: Self.two, security: Self.security,
                leakage: Self.ledger(Int(seed)))
            for (length, value) in [
                (one.length, one.unroundedLength), (lim.length, lim.unroundedLength),
                (any.length, any.unroundedLength),
            ] {
                #expect(length > 0)
                #expect(Double(length) <= value + 1e-6 && Double(length) > value - 1.001)
            }
        }
    }

    /// Key comes from one basis, and its phase errors from the other: errors of the key basis do not
    /// touch φ with two decoys, and exchanging the bases changes the answer.
    @Test func pitfall12_basesHaveTheirOwnEstimates() throws {
        let counts = try #require(Self.block(two: false, seed: 12).oneDecoyCounts)
        let swapped = try DecoyCounts(
            keyDetections: counts.testDetections, keyErrors: counts.testErrors,
            testDetections: counts.keyDetections, testErrors: counts.keyErrors)
        #expect(Self.oneDecoy(counts).length != Self.oneDecoy(swapped).length)
        let more = try DecoyCounts(
            keyDetections: counts.keyDetections, keyErrors: counts.keyErrors,
            testDetections: counts.testDetections,
            testErrors: IntensityCounts(
                signal: 2 * counts.testErrors.signal, decoy: counts.testErrors.decoy))
        #expect(
            Self.oneDecoy(more).phaseErrorRateUpper > Self.oneDecoy(counts).phaseErrorRateUpper)
    }

    /// Detectors that may differ cost key, the more the more they may differ, until there is none.
    /// δ₁ and δ₂ are compared with the authors' expressions evaluated with 30 digits.
    @Test func pitfall13_detectorsDiffer() throws {
        func bounds(_ efficiency: Double, _ dark: Double) throws -> DetectorMismatch {
            try DetectorMismatch(
                efficiencies: [0.2, 0.2], relativeError: efficiency,
                darkCountProbabilities: [1e-6, 1e-6], darkCountRelativeError: dark)
        }
        for (efficiency, dark, first, second) in [
            (0.01, 0.01, 0.03980190594484209, 0.01980197039603465),
            (0.05, 0.05, 0.1952406946789399, 0.09523804999997625),
            (0.1, 0, 0.3818630610370757, 0.181817818182),
        ] {
            let deltas = try bounds(efficiency, dark).deltas
            #expect(deltas.first >= first * (1 - 1e-12) && deltas.first < first * (1 + 1e-7))
            #expect(deltas.second >= second * (1 - 1e-12) && deltas.second < second * (1 + 1e-7))
        }
        let counts = try #require(Self.block(two: false, seed: 13).oneDecoyCounts)
        let pair = try #require(Self.block(two: true, seed: 13).twoDecoyCounts)
        var previous = [Self.oneDecoy(counts).length, Int.max, Int.max]
        #expect(previous[0] > 0)
        for efficiency in [0, 1e-4, 1e-3, 0.01, 0.03, 0.3] {
            let mismatch = try bounds(efficiency, efficiency / 2)
            let conditions = BoundConditions.forKeys(mismatch: mismatch)
            let lengths = [
                Self.oneDecoy(counts, conditions: conditions).length,
                Lim2014.keyLength(
                    counts: pair, intensities: Self.two, security: Self.security,
                    leakage: Self.ledger(1000), conditions: conditions
                ).length,
                Tupkary2024.keyLength(
                    counts: pair, intensities: Self.two, security: Self.security,
                    leakage: Self.ledger(1000), mismatch: mismatch
                ).length,
            ]
            for index in 0..<3 { #expect(lengths[index] <= previous[index], "\(efficiency)") }
            if efficiency <= 0.001 { #expect(lengths.min() ?? 0 > 0) }
            if efficiency == 0.3 { #expect(lengths == [0, 0, 0]) }
            previous = lengths
        }
        #expect(throws: DecoyStateError.self) {
            try DetectorMismatch(efficiencyRatio: 0, darkCountProbability: 0...0)
        }
        // Detectors one of which may be silent in the dark leave no key.
        let silent = try DetectorMismatch(efficiencyRatio: 1, darkCountProbability: 0...1e-6)
        #expect(Self.oneDecoy(counts, conditions: .forKeys(mismatch: silent)).length == 0)
    }
}
