import LinkTypes
import OpticalBench
import Quantities
import Testing

@Suite struct PhotonStatisticsTests {
    private let slotsPerSecond = 2e7

    @Test func rotatedHalfWavePlateFollowsMalus() throws {
        // A half-wave plate at θ turns H by 2θ: the V port gets sin²(2θ).
        let seed: UInt64 = 40
        for degrees in stride(from: 0.0, through: 45, by: 7.5) {
            var link = perfectLink()
            link.controller.retardances = [Radians(.pi)]
            link.controller.startAngles = [Radians(degrees: degrees)]
            link.receiver.probabilityZ = 0.7
            let bench = try LinkBench(
                configuration: link, pattern: ConstantPattern(horizontal), seed: seed)
            let pulses = bench.receiverInputs.takePulses(through: seconds(0.05))
            let (h, v) = (pulses.count(input: 0), pulses.count(input: 1))
            let twist = 2 * degrees * .pi / 180
            expectBinomial(
                v, of: h + v, probability: sine(twist) * sine(twist), "V at \(degrees)°",
                seed: seed)
            expectBinomial(
                h + v, of: pulses.count, probability: 0.7, "Z split at \(degrees)°", seed: seed)
            // The same light in X: D gets (1 + sin 4θ)/2.
            let (d, a) = (pulses.count(input: 2), pulses.count(input: 3))
            expectBinomial(
                d, of: d + a, probability: 0.5 * (1 + sine(2 * twist)), "D at \(degrees)°",
                seed: seed)
        }
    }

    @Test func extinctionLimitsTheVisibility() throws {
        var link = perfectLink()
        link.source.extinction = 0.02
        link.receiver.extinction = 0.01
        link.receiver.probabilityZ = 1
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(vertical), seed: 41)
        let pulses = bench.receiverInputs.takePulses(through: seconds(0.1))
        expectBinomial(
            pulses.count(input: 0), of: pulses.count, probability: 0.5 * (1 - 0.96 * 0.98), "wrong",
            seed: 41)
    }

    @Test func countsArePoissonian() throws {
        let seed: UInt64 = 42
        var link = perfectLink()
        link.receiver.probabilityZ = 1
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(horizontal), seed: seed)
        let window = 0.000_1
        let mean = 0.1 * nominalEfficiency * slotsPerSecond * window
        let counts = (1...4000).map {
            Double(bench.receiverInputs.takePulses(through: seconds(window * Double($0))).count)
        }
        let total = counts.reduce(0, +)
        expectPoisson(Int(total), mean * 4000, "total", seed: seed)
        // Σ(n − m)²/m is chi-square; for Poisson counts its variance per term is 2 + 1/m.
        let chiSquare = counts.reduce(0) { $0 + ($1 - mean) * ($1 - mean) / mean }
        expectNear(
            chiSquare, 4000, deviation: ((2 + 1 / mean) * 4000).squareRoot(), "χ²", seed: seed)
        let products = zip(counts, counts.dropFirst()).reduce(0) {
            $0 + ($1.0 - mean) * ($1.1 - mean) / mean
        }
        expectNear(products, 0, deviation: 3999.0.squareRoot(), "correlation", seed: seed)
    }

    @Test func photonsPerSlotArePoissonian() throws {
        // Bright pulses and no dead time: every photon clicks, so slots show photon numbers.
        let seed: UInt64 = 43
        var link = perfectLink()
        link.source.meanPhotonNumbers = [2]
        link.receiver.probabilityZ = 1
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(diagonal), seed: seed)
        let slots = 200_000
        var photons = [Int](repeating: 0, count: slots)
        let end = Picoseconds(Int64(slots) * 50_000 - 1) + bench.arrival(of: SlotIndex(0))
        for pulse in bench.receiverInputs.takePulses(through: end) {
            let slot = (pulse.time - bench.arrival(of: SlotIndex(0))).rawValue / 50_000
            photons[Int(slot)] += 1
        }
        let mean = 2 * nominalEfficiency
        var probability = exponential(-mean)
        for number in 0..<5 {
            expectBinomial(
                photons.count { $0 == number }, of: slots, probability: probability,
                "slots with \(number) photons", seed: seed)
            probability *= mean / Double(number + 1)
        }
    }

    @Test func portsOfOneSlotAreIndependent() throws {
        // D measured in Z: both ports click with (1 − e^(−λ/2))², no Hong–Ou–Mandel, no exclusion.
        let seed: UInt64 = 44
        var link = perfectLink()
        link.source.meanPhotonNumbers = [1]
        link.receiver.probabilityZ = 1
        for index in 0..<4 { link.detectors[index].deadTime = Picoseconds(20_000) }
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(diagonal), seed: seed)
        let slots = 400_000
        let start = bench.arrival(of: SlotIndex(0))
        let pulses = bench.receiverInputs.takePulses(
            through: start + Picoseconds(Int64(slots) * 50_000 - 1))
        let (h, v) = (Set(pulses.times(input: 0)), Set(pulses.times(input: 1)))
        let single = 1 - exponential(-nominalEfficiency / 2)
        expectBinomial(h.count, of: slots, probability: single, "H", seed: seed)
        expectBinomial(
            h.intersection(v).count, of: slots, probability: single * single, "double clicks",
            seed: seed)
    }

    @Test func decoysAreDimmerByTheirRatio() throws {
        let seed: UInt64 = 45
        var link = perfectLink()
        link.source.meanPhotonNumbers = [0.5, 0.15, 0]
        link.fibre.loss = Decibels(10)
        let symbols = [0, 1, 2, 1].map { PulseSymbol(state: horizontal, intensity: $0) }
        let bench = try LinkBench(
            configuration: link, pattern: CyclicPattern(symbols: symbols), seed: seed)
        bench.startRecordingClickTruth()
        bench.advance(through: seconds(0.5))
        var clicks = [0, 0, 0, 0]
        for truth in bench.takeClickTruth() { clicks[Int(truth.slot.rawValue % 4)] += 1 }
        let slots = 0.25 * slotsPerSecond * (0.5 - 29.4e-6)
        let efficiency = 0.1 * nominalEfficiency
        for (index, mean) in [0.5, 0.15, 0, 0.15].enumerated() {
            expectNear(
                Double(clicks[index]), slots * mean * efficiency,
                deviation: max(0.1, (slots * mean * efficiency).squareRoot()), "class", seed: seed)
        }
    }

    @Test func photonNumbersOfClickedPulsesFollowTheYields() throws {
        // P(n | click) = Yₙ·e^(−µ)·µⁿ/n! / Q with Yₙ = 1 − (1 − η)ⁿ and Q = 1 − e^(−ηµ).
        let seed: UInt64 = 46
        let mu = 0.8
        let eta = nominalEfficiency * 0.5
        var link = perfectLink()
        link.source.meanPhotonNumbers = [mu]
        link.fibre.loss = Decibels(-10 * naturalLog(0.5) / naturalLog(10))
        link.receiver.probabilityZ = 1
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(horizontal), seed: seed)
        bench.startRecordingClickTruth()
        bench.advance(through: seconds(0.03))
        var numbers: [UInt64: Int] = [:]
        for truth in bench.takeClickTruth() { numbers[truth.slot.rawValue] = truth.photonNumber }
        let gain = 1 - exponential(-eta * mu)
        var poisson = exponential(-mu)
        for number in 0..<6 {
            let yield = 1 - power(1 - eta, Double(number))
            expectBinomial(
                numbers.values.count { $0 == number }, of: numbers.count,
                probability: yield * poisson / gain, "clicks of \(number) photons", seed: seed)
            poisson *= mu / Double(number + 1)
        }
    }

    @Test(arguments: [1.0, 0.5])
    func interceptResendCausesAQuarterOfErrors(fraction: Double) throws {
        let seed: UInt64 = 47
        var link = perfectLink()
        link.receiver.probabilityZ = 0.5
        let pattern = KeyedPulsePattern(key: 5, probabilityZ: 0.5, probabilitySignal: 1)
        let bench = try LinkBench(configuration: link, pattern: pattern, seed: seed)
        let attacked = SlotIndex(4_000_000)
        try bench.setAttack(.interceptResend(fraction: fraction), from: attacked)
        bench.startRecordingClickTruth()
        bench.advance(through: seconds(0.4))
        var matched = [[0, 0], [0, 0]]
        var errors = [[0, 0], [0, 0]]
        var total = [0, 0]
        for truth in bench.takeClickTruth() {
            let phase = truth.slot < attacked ? 0 : 1
            total[phase] += 1
            let sent = bench.symbol(at: truth.slot).state
            let found = QubitState(index: Int(truth.detector))
            guard sent.basis == found.basis else { continue }
            matched[phase][Int(sent.basis.rawValue)] += 1
            if sent.bit != found.bit { errors[phase][Int(sent.basis.rawValue)] += 1 }
        }
        for basis in 0..<2 {
            #expect(errors[0][basis] == 0)
            expectBinomial(
                errors[1][basis], of: matched[1][basis], probability: 0.25 * fraction,
                "errors in basis \(basis)", seed: seed)
        }
        // The rate betrays nothing.
        let perSlot = 0.1 * nominalEfficiency
        expectPoisson(total[0], 4e6 * perSlot, "before", seed: seed)
        expectPoisson(total[1], (0.4 - 29.4e-6 - 0.2) * 2e7 * perSlot, "after", seed: seed)
    }

    @Test func extraLossDimsTheLight() throws {
        let bench = try LinkBench(
            configuration: perfectLink(), pattern: ConstantPattern(horizontal), seed: 48)
        try bench.setExtraLoss(Decibels(10), at: seconds(0.1))
        let before = bench.receiverInputs.takePulses(through: seconds(0.1)).count
        let after = bench.receiverInputs.takePulses(through: seconds(0.2)).count
        let perSecond = 0.1 * nominalEfficiency * slotsPerSecond
        expectPoisson(before, perSecond * (0.1 - 29.4e-6), "before", seed: 48)
        expectPoisson(after, perSecond * 0.01, "after", seed: 48)
    }
}
