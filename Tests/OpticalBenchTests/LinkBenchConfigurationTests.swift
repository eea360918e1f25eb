import LinkTypes
import OpticalBench
import Quantities
import Testing

@Suite struct LinkBenchConfigurationTests {
    @Test func presetsAreValid() throws {
        try LinkBenchConfiguration.metropolitan.validate()
        try perfectLink().validate()
        var aerial = LinkBenchConfiguration.metropolitan
        aerial.fibre = .aerial
        try aerial.validate()
    }

    /// One value out of range at a time, and the property the error must name.
    private static let mistakes: [(String, @Sendable (inout LinkBenchConfiguration) -> Void)] = [
        ("source.slotPeriod", { $0.source.slotPeriod = Picoseconds(0) }),
        ("source.meanPhotonNumbers", { $0.source.meanPhotonNumbers = [] }),
        ("source.meanPhotonNumbers[1]", { $0.source.meanPhotonNumbers[1] = -0.1 }),
        ("source.meanPhotonNumbers[0]", { $0.source.meanPhotonNumbers[0] = .nan }),
        ("source.extinction", { $0.source.extinction = 0.6 }),
        ("source.pulseWidth", { $0.source.pulseWidth = Picoseconds(10_000) }),
        ("source.monitorMean", { $0.source.monitorMean = 2 }),
        ("fibre.loss", { $0.fibre.loss = Decibels(-1) }),
        ("fibre.loss", { $0.fibre.loss = Decibels(.infinity) }),
        ("fibre.delay", { $0.fibre.delay = Picoseconds(-1) }),
        ("fibre.delaySwing", { $0.fibre.delaySwing = Picoseconds(2_000_000) }),
        (
            "fibre.diffusionInRadiansPerRootSecond",
            { $0.fibre.diffusionInRadiansPerRootSecond = .nan }
        ),
        ("fibre.windCorrelationInSeconds", { $0.fibre.windCorrelationInSeconds = 0 }),
        ("controller.startAngles", { $0.controller.startAngles.removeLast() }),
        ("controller.gain", { $0.controller.gain = 0 }),
        ("receiver.probabilityZ", { $0.receiver.probabilityZ = 1.01 }),
        ("receiver.background", { $0.receiver.background = Hertz(1e12) }),
        ("receiver.cableDelays", { $0.receiver.cableDelays = [] }),
        ("detectors", { $0.detectors.removeLast() }),
        ("detectors[2].maximumEfficiency", { $0.detectors[2].maximumEfficiency = 1.2 }),
        ("detectors[0].nominalBias", { $0.detectors[0].nominalBias = Volts(100) }),
        ("detectors[1].darkRate", { $0.detectors[1].darkRate = Hertz(-5) }),
        ("detectors[3].trapProbability", { $0.detectors[3].trapProbability = 0.9 }),
        (
            "detectors[3].trapRelease",
            { $0.detectors[3].trapRelease = .singleLevel(lifetime: Picoseconds(0)) }
        ),
        ("detectors[0].latency", { $0.detectors[0].latency = Picoseconds(10) }),
        ("detectors[0].pathDelay", { $0.detectors[0].pathDelay = Picoseconds(0) }),
        (
            "detectors[0].gating",
            {
                $0.detectors[0].gating = .gated(
                    width: Picoseconds(0), edge: Picoseconds(1), delay: Picoseconds(0))
            }
        ),
        ("sourceOscillator.frequencyOffset", { $0.sourceOscillator.frequencyOffset = 0...0.1 }),
        (
            "receiverOscillator.frequencyRandomWalk",
            { $0.receiverOscillator.frequencyRandomWalk = -1 }
        ),
    ]

    @Test(arguments: mistakes.indices)
    func mistakesAreNamed(index: Int) {
        let (field, change) = Self.mistakes[index]
        var link = LinkBenchConfiguration.metropolitan
        change(&link)
        do throws(BenchConfigurationError) {
            _ = try LinkBench(
                configuration: link, pattern: ConstantPattern(horizontal), seed: 1)
            Issue.record("\(field) was accepted")
        } catch {
            #expect(error.field == field)
            #expect(error.description.hasPrefix("\(field): expected "))
        }
    }
}
