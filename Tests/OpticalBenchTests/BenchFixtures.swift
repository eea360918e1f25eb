import LinkTypes
import OpticalBench
import Quantities
import Testing

/// The same symbol in every slot.
struct ConstantPattern: PulsePattern {
    var symbol: PulseSymbol
    init(_ state: QubitState, intensity: UInt8 = 0) {
        symbol = PulseSymbol(state: state, intensity: intensity)
    }
    func symbol(at slot: SlotIndex) -> PulseSymbol { symbol }
}

/// A list of symbols repeated for ever.
struct CyclicPattern: PulsePattern {
    var symbols: [PulseSymbol]
    func symbol(at slot: SlotIndex) -> PulseSymbol {
        symbols[Int(slot.rawValue % UInt64(symbols.count))]
    }
}

let horizontal = QubitState(basis: .z, bit: false)
let vertical = QubitState(basis: .z, bit: true)
let diagonal = QubitState(basis: .x, bit: false)

/// A link without noise, imperfection, drift or loss, whose controller does nothing at angle 0.
func perfectLink() -> LinkBenchConfiguration {
    var link = LinkBenchConfiguration()
    link.source.meanPhotonNumbers = [0.1]
    link.source.intensitySpread = 0
    link.source.preparationSpread = Radians(0)
    link.source.extinction = 0
    link.source.pulseWidth = Picoseconds(0)
    link.fibre.loss = Decibels(0)
    link.fibre.diffusionInRadiansPerRootSecond = 0
    link.fibre.startsAtRandomRotation = false
    link.controller.retardanceSpread = 0
    link.controller.gainSpread = 0
    link.controller.offsetSpread = Radians(0)
    link.controller.play = Radians(0)
    link.receiver.insertionLoss = Decibels(0)
    link.receiver.analyserSpread = Radians(0)
    link.receiver.extinction = 0
    link.receiver.background = Hertz(0)
    link.receiver.cableDelays = [Picoseconds](repeating: Picoseconds(0), count: 4)
    link.sourceOscillator = .ideal
    link.receiverOscillator = .ideal
    for index in 0..<4 {
        link.detectors[index].efficiencySpread = 0
        link.detectors[index].darkRate = Hertz(0)
        link.detectors[index].deadTime = Picoseconds(0)
        link.detectors[index].trapProbability = 0
        link.detectors[index].jitterWidth = Picoseconds(0)
        link.detectors[index].jitterTailFraction = 0
        link.detectors[index].pathDelay = Picoseconds(5_000)
    }
    return link
}

/// A link on which only background light arrives, `rate` photons per second in each diode times
/// its efficiency.
func darkLink(clickRate rate: Double) -> LinkBenchConfiguration {
    var link = perfectLink()
    link.source.meanPhotonNumbers = [0]
    link.receiver.probabilityZ = 0.5
    let efficiency = DetectorOperatingPoint(nominal: link.detectors[0]).efficiency
    link.receiver.background = Hertz(4 * rate / efficiency)
    return link
}

/// The nominal efficiency of the default detector without unit spread.
let nominalEfficiency = DetectorOperatingPoint(nominal: DetectorConfiguration()).efficiency

func seconds(_ value: Double) -> Picoseconds { Picoseconds(seconds: value) }

extension [InputPulse] {
    func count(input: UInt8) -> Int { self.count { $0.input == input } }
    func times(input: UInt8) -> [Int64] { filter { $0.input == input }.map(\.time.rawValue) }
}

/// Expects `observed` within 5.5 standard deviations of `mean`: a false alarm once in 2.6e7 draws,
/// and the draw is fixed by the seed.
func expectNear(
    _ observed: Double, _ mean: Double, deviation: Double, _ what: String, seed: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(
        abs(observed - mean) < 5.5 * deviation,
        "\(what): observed \(observed), expected \(mean) ± \(deviation); seed \(seed)",
        sourceLocation: sourceLocation)
}

/// Expects a Poisson count.
func expectPoisson(
    _ observed: Int, _ mean: Double, _ what: String, seed: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    expectNear(
        Double(observed), mean, deviation: mean.squareRoot(), what, seed: seed,
        sourceLocation: sourceLocation)
}

/// Expects a binomial count.
func expectBinomial(
    _ observed: Int, of trials: Int, probability: Double, _ what: String, seed: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let deviation = max(0.5, (Double(trials) * probability * (1 - probability)).squareRoot())
    expectNear(
        Double(observed), Double(trials) * probability, deviation: deviation, what, seed: seed,
        sourceLocation: sourceLocation)
}

func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

func variance(_ values: [Double]) -> Double {
    let centre = mean(values)
    return values.reduce(0) { $0 + ($1 - centre) * ($1 - centre) } / Double(values.count - 1)
}

/// Expects the variance of normal samples: it spreads by √(2/n).
func expectVariance(
    _ values: [Double], _ expected: Double, _ what: String, seed: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    expectNear(
        variance(values), expected, deviation: expected * (2 / Double(values.count)).squareRoot(),
        what, seed: seed, sourceLocation: sourceLocation)
}
