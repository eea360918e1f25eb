import LinkTypes
import OpticalBench
import Quantities
import Testing

@Suite struct WaveplateTests {
    private func expectEqual(
        _ a: StokesRotation, _ b: StokesRotation, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        for row in 0..<3 {
            for column in 0..<3 {
                #expect(
                    abs(a[row, column] - b[row, column]) < 1e-12, sourceLocation: sourceLocation)
            }
        }
    }

    @Test func quarterHalfQuarterIsAnEulerSequence() {
        // Three linear retarders make turns about s3, s2, s3, which no single one of them makes:
        // by −2θ₁, by 2θ₁ + 2θ₃ − 4θ₂, by 2θ₃.
        var generator = SeededGenerator(seed: 21)
        let stack = WaveplateStackConfiguration()
        for _ in 0..<100 {
            let angles = (0..<3).map { _ in Radians(2 * .pi * generator.uniform()) }
            let (first, second, third) = (
                angles[0].rawValue, angles[1].rawValue, angles[2].rawValue
            )
            let gamma = 4 * second - 2 * third - 2 * first
            let expected =
                StokesRotation(rotationVector: StokesVector(0, 0, 2 * third))
                * StokesRotation(rotationVector: StokesVector(0, -gamma, 0))
                * StokesRotation(rotationVector: StokesVector(0, 0, -2 * first))
            expectEqual(stack.nominalRotation(at: angles), expected)
        }
    }

    @Test func halfWavePlateAt45DegreesSwapsHAndV() {
        let plate = WaveplateModel(
            plates: [WaveplateParameters(retardance: Radians(.pi))], angles: [Radians(degrees: 45)])
        let image = plate.rotation * horizontal.stokes
        #expect(abs(image.s1 + 1) < 1e-12 && abs(image.s2) < 1e-12 && abs(image.s3) < 1e-12)
    }

    @Test func quarterWavePlateAt45DegreesMakesLightCircular() {
        let plate = WaveplateModel(
            plates: [WaveplateParameters(retardance: Radians(.pi / 2))],
            angles: [Radians(degrees: 45)])
        let image = plate.rotation * horizontal.stokes
        #expect(abs(image.s1) < 1e-12 && abs(image.s2) < 1e-12 && abs(abs(image.s3) - 1) < 1e-12)
    }

    @Test func gainAndOffsetTurnTheAxis() {
        let built = WaveplateParameters(
            retardance: Radians(1.3), gain: 0.92, offset: Radians(0.1), play: Radians(0))
        var model = WaveplateModel(plates: [built], angles: [Radians(0)])
        model.setMountAngle(Radians(0.5), plate: 0)
        expectEqual(
            model.rotation, StokesRotation(retarderAt: Radians(0.56), retardance: Radians(1.3)))
    }

    @Test func playHoldsThePlateUntilItIsPushed() {
        let built = WaveplateParameters(retardance: Radians(.pi), play: Radians(0.02))
        var model = WaveplateModel(plates: [built], angles: [Radians(0)])
        func turn(_ angle: Double) -> Double {
            model.setMountAngle(Radians(angle), plate: 0)
            return model.plateAngles[0].rawValue
        }
        #expect(turn(0.005) == 0)
        #expect(abs(turn(0.1) - 0.09) < 1e-15)
        #expect(abs(turn(0.085) - 0.09) < 1e-15)  // within the play, going back
        #expect(abs(turn(0.05) - 0.06) < 1e-15)
        #expect(abs(turn(0.06) - 0.06) < 1e-15)
    }

    @Test func unitsSpreadAroundTheNominalPlates() {
        let link = LinkBenchConfiguration.metropolitan
        let units = (0..<500).map { LinkParameters(link, seed: UInt64($0)) }
        let relative = units.map { $0.plates[1].retardance.rawValue / .pi - 1 }
        expectVariance(relative, 0.03 * 0.03, "retardance", seed: 0)
        let offsets = units.map { $0.plates[2].offset.degrees }
        expectVariance(offsets, 0.25, "offset", seed: 0)
        let gains = units.map { $0.plates[0].gain - 1 }
        expectVariance(gains, 0.015 * 0.015, "gain", seed: 0)
    }

    @Test func aMountTurnsAtItsTime() throws {
        // Half-wave plate at 45° from 30 ms on: H arrives in the V port from then on.
        var link = perfectLink()
        link.controller.retardances = [Radians(.pi)]
        link.controller.startAngles = [Radians(0)]
        link.receiver.probabilityZ = 1
        let bench = try LinkBench(
            configuration: link, pattern: ConstantPattern(horizontal), seed: 30)
        bench.waveplates.setMountAngle(Radians(degrees: 45), plate: 0, at: seconds(0.03))
        let pulses = bench.receiverInputs.takePulses(through: seconds(0.06))
        let turn = seconds(0.03) + Picoseconds(17_000)  // path and latency of the detector
        #expect(pulses.count > 50_000)
        #expect(pulses.allSatisfy { ($0.input == 0) == ($0.time < turn) })
    }
}
