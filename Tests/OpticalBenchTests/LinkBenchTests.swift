import LinkTypes
import OpticalBench
import Quantities
import Testing

@Suite struct LinkBenchTests {
    private let pattern = KeyedPulsePattern(key: 17, probabilityZ: 0.8, probabilitySignal: 0.7)

    /// Total variation of a count of clicks with dead time and afterpulses stays near Poisson.
    @Test func metropolitanLinkClicksAtThePredictedRates() throws {
        let seed: UInt64 = 80
        var link = LinkBenchConfiguration.metropolitan
        link.fibre.diffusionInRadiansPerRootSecond = 0
        let bench = try LinkBench(configuration: link, pattern: pattern, seed: seed)
        let rotation = bench.truth(at: Picoseconds(0)).totalRotation
        let prediction = ChannelPrediction(
            parameters: bench.parameters, rotation: rotation, probabilityZ: 0.8,
            intensityProbabilities: [0.7, 0.3], window: Picoseconds(1000))
        #expect((30_000...40_000).contains(prediction.clickRates.reduce(0, +)))
        let pulses = bench.receiverInputs.takePulses(through: seconds(10))
        for input: UInt8 in 0..<4 {
            let expected = prediction.clickRates[Int(input)] * 10
            // Alice's oscillator is off by up to 20 ppm, and dead time acts on whole slots.
            expectNear(
                Double(pulses.count(input: input)), expected,
                deviation: (1.05 * expected).squareRoot() + 1e-4 * expected,
                "detector \(input)", seed: seed)
        }
    }

    @Test func gainsAndErrorsFollowTheClosedForm() throws {
        let seed: UInt64 = 81
        var link = LinkBenchConfiguration.metropolitan
        link.fibre.loss = Decibels(3)
        link.fibre.startsAtRandomRotation = false
        link.fibre.diffusionInRadiansPerRootSecond = 0
        link.controller.offsetSpread = Radians(degrees: 4)
        for index in 0..<4 {
            link.detectors[index].deadTime = Picoseconds(20_000)
            link.detectors[index].darkRate = Hertz(20_000)
            link.detectors[index].trapProbability = 0
        }
        let bench = try LinkBench(configuration: link, pattern: pattern, seed: seed)
        let rotation = bench.truth(at: Picoseconds(0)).totalRotation
        // Every click counts, so the window is the whole slot.
        let prediction = ChannelPrediction(
            parameters: bench.parameters, rotation: rotation, probabilityZ: 0.8,
            intensityProbabilities: [0.7, 0.3], window: link.source.slotPeriod)
        bench.startRecordingClickTruth()
        bench.advance(through: seconds(0.5))
        var ports: [UInt64: UInt8] = [:]
        for truth in bench.takeClickTruth() {
            ports[truth.slot.rawValue, default: 0] |= 1 << truth.detector
        }
        let slots = Int((0.5 - 29.4e-6) * 2e7)
        for basis in Basis.allCases {
            for intensity in 0..<2 {
                let sent = 2e7 * 0.5 * (basis == .z ? 0.8 : 0.2) * (intensity == 0 ? 0.7 : 0.3)
                var gained = 0
                var errors = 0.0
                for (slot, mask) in ports {
                    let symbol = bench.symbol(at: SlotIndex(slot))
                    guard symbol.state.basis == basis, symbol.intensity == intensity else {
                        continue
                    }
                    let pair = mask >> (2 * basis.rawValue) & 3
                    guard pair != 0 else { continue }
                    gained += 1
                    errors += pair == 3 ? 0.5 : pair == (symbol.state.bit ? 1 : 2) ? 1 : 0
                }
                let gain = prediction.gain(intensity: intensity, basis: basis)
                // The number of slots of a class is itself binomial among all slots.
                expectNear(
                    Double(gained), sent * gain,
                    deviation: (sent * gain).squareRoot() + 2e-4 * sent * gain,
                    "gain \(basis) \(intensity) of \(slots) slots", seed: seed)
                let rate = prediction.errorRate(intensity: intensity, basis: basis)
                expectNear(
                    errors, Double(gained) * rate,
                    deviation: (Double(gained) * rate).squareRoot(), "errors \(basis) \(intensity)",
                    seed: seed)
                #expect(rate > 0.005)
            }
        }
    }

    @Test func predictionReducesToTheTextbookFormula() {
        // Small means: Q ≈ Y₀ + ηµ per basis and E·Q ≈ Y₀/2 + e_d·ηµ.
        var link = perfectLink()
        link.source.meanPhotonNumbers = [0.5]
        link.source.extinction = 0.01
        link.fibre.loss = Decibels(30)
        for index in 0..<4 { link.detectors[index].darkRate = Hertz(500) }
        let prediction = ChannelPrediction(
            parameters: LinkParameters(nominal: link), probabilityZ: 0.8,
            intensityProbabilities: [1], window: Picoseconds(1000))
        let signal = 0.5 * 1e-3 * nominalEfficiency * 0.8
        let vacuum = 2 * 500 * 1e-9
        let gain = prediction.gain(intensity: 0, basis: .z)
        #expect(abs(gain - (vacuum + 1 - exponential(-signal))) < 1e-3 * gain)
        let errors = prediction.errorRate(intensity: 0, basis: .z) * gain
        let expected = 0.5 * vacuum + 0.01 * (1 - exponential(-signal))
        #expect(abs(errors - expected) < 2e-3 * expected)
    }

    @Test func truthStatesTheMisalignment() throws {
        var link = perfectLink()
        link.controller.retardances = [Radians(.pi)]
        link.controller.startAngles = [Radians(degrees: 3)]
        let bench = try LinkBench(configuration: link, pattern: pattern, seed: 82)
        let truth = bench.truth(at: seconds(0.01))
        let error = sine(6 * .pi / 180) * sine(6 * .pi / 180)
        #expect(abs(truth.misalignmentZ - error) < 1e-12)
        #expect(abs(truth.opticalErrorZ - error) < 1e-12)
        // A half-wave plate near 0° inverts X.
        #expect(abs(truth.misalignmentX - (1 - error)) < 1e-12)
        #expect(abs(truth.opticalErrorX - (1 - error)) < 1e-12)
        #expect(truth.time == seconds(0.01) && truth.receiverReading == seconds(0.01))
        #expect(truth.temperatures == [Celsius](repeating: Celsius(-20), count: 4))
    }

    @Test func slotsArriveByAlicesClock() throws {
        var link = perfectLink()
        link.sourceOscillator.frequencyOffset = 15e-6...15e-6
        link.sourceOscillator.initialReading = seconds(0.25)...seconds(0.25)
        link.receiver.cableDelays[0] = Picoseconds(3_000)
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(horizontal), seed: 83)
        #expect(bench.earliestOpenSlot == SlotIndex(5_000_000))
        // Slot 5 000 000 leaves at once, slot 25 000 000 after 1 s on a clock 15 ppm fast.
        #expect(bench.arrival(of: SlotIndex(5_000_000)) == link.fibre.delay)
        let arrival = bench.arrival(of: SlotIndex(25_000_000)) - link.fibre.delay
        #expect(abs(arrival.seconds - 1 / (1 + 15e-6)) < 2e-12)
        bench.startRecordingClickTruth()
        _ = bench.receiverInputs.takePulses(through: seconds(0.2))
        for click in bench.takeClickTruth() where click.detector == 0 {
            #expect(click.time == bench.arrival(of: click.slot) + Picoseconds(20_000))
        }
    }

    @Test func patternsFollowEachOther() throws {
        var link = perfectLink()
        link.receiver.probabilityZ = 1
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(horizontal), seed: 84)
        bench.advance(through: seconds(0.01))
        #expect(bench.earliestOpenSlot == SlotIndex(200_001))
        try bench.send(ConstantPattern(vertical), from: SlotIndex(400_000))
        #expect(
            throws: BenchError.slotAlreadySent(
                slot: SlotIndex(200_000), earliest: SlotIndex(200_001))
        ) {
            try bench.send(ConstantPattern(vertical), from: SlotIndex(200_000))
        }
        #expect(
            throws: BenchError.segmentOutOfOrder(
                slot: SlotIndex(300_000), latest: SlotIndex(400_000))
        ) {
            try bench.send(ConstantPattern(vertical), from: SlotIndex(300_000))
        }
        let change = bench.arrival(of: SlotIndex(400_000))
        let pulses = bench.receiverInputs.takePulses(through: seconds(0.04))
        #expect(pulses.count > 40_000)
        #expect(pulses.allSatisfy { ($0.input == 0) == ($0.time < change) })
        #expect(bench.symbol(at: SlotIndex(399_999)).state == horizontal)
        #expect(bench.symbol(at: SlotIndex(400_000)).state == vertical)
    }

    @Test func aliceSeesSecondsAndHerOwnPulses() throws {
        let seed: UInt64 = 85
        var link = perfectLink()
        link.source.meanPhotonNumbers = [0.5, 0.1]
        link.source.monitorMean = 0.002
        let symbols = [0, 0, 1, 1].map { PulseSymbol(state: vertical, intensity: $0) }
        let bench = try LinkBench(
            configuration: link, pattern: CyclicPattern(symbols: symbols), seed: seed)
        let pulses = bench.sourceInputs.takePulses(through: seconds(40.5))
        let ticks = pulses.times(input: 0)
        #expect(ticks.count == 41)
        let errors = ticks.enumerated().map { Double($1 - Int64($0) * 1_000_000_000_000) }
        expectVariance(errors, 15_000.0 * 15_000, "pulse per second", seed: seed)
        let slots = pulses.times(input: 1).map { $0 / 50_000 }
        let bright = slots.count { $0 % 4 < 2 }
        expectPoisson(bright, 40.5 * 1e7 * (1 - exponential(-0.002)), "signal", seed: seed)
        expectPoisson(
            slots.count - bright, 40.5 * 1e7 * (1 - exponential(-0.000_4)), "decoy", seed: seed)
        #expect(pulses.times(input: 1).allSatisfy { $0 % 50_000 == 0 })
    }

    @Test func aJumpOfTheFibreIsSeen() throws {
        let bench = try LinkBench(pattern: pattern, seed: 86)
        bench.disturbFibre(at: seconds(0.5))
        let before = bench.truth(at: seconds(0.499)).fibreRotation
        let after = bench.truth(at: seconds(0.5)).fibreRotation
        #expect((after * before.inverse).rotationVector.norm > 0.05)
        let drifted = bench.truth(at: seconds(0.6)).fibreRotation
        #expect((drifted * after.inverse).rotationVector.norm < 0.05)
    }
}
