import LinkTypes
import Quantities

/// The state of a bench at one instant, for tests: no receiver can know it.
public struct BenchTruth: Hashable, Sendable {
    /// The instant.
    public let time: Picoseconds
    /// The rotation by the fibre.
    public let fibreRotation: StokesRotation
    /// The rotation by the polarization controller.
    public let controllerRotation: StokesRotation
    /// The rotation from Alice's Stokes axes to the receiver's.
    public let totalRotation: StokesRotation
    /// The error rate in Z that misalignment alone causes between perfect states and analysers,
    /// (1 − M₁₁)/2.
    public let misalignmentZ: Double
    /// The error rate in X that misalignment alone causes between perfect states and analysers,
    /// (1 − M₂₂)/2.
    public let misalignmentX: Double
    /// The error rate in Z of Alice's photons with the states and analysers as built.
    public let opticalErrorZ: Double
    /// The error rate in X of Alice's photons with the states and analysers as built.
    public let opticalErrorX: Double
    /// What Alice's clock shows.
    public let sourceReading: Picoseconds
    /// What the clock of Bob's tagger shows.
    public let receiverReading: Picoseconds
    /// The fractional frequency errors of the two oscillators.
    public let sourceFrequencyError, receiverFrequencyError: Double
    /// The temperatures of the detectors.
    public let temperatures: [Celsius]
    /// The operating points of the detectors.
    public let operatingPoints: [DetectorOperatingPoint]

    init(engine: BenchEngine, receiverOscillator: Oscillator) {
        time = Picoseconds(max(0, engine.horizon))
        fibreRotation = engine.fibre.rotation
        controllerRotation = engine.waveplates.rotation
        let rotation = engine.totalRotation
        totalRotation = rotation
        misalignmentZ = 0.5 * (1 - rotation[0, 0])
        misalignmentX = 0.5 * (1 - rotation[1, 1])
        let parameters = engine.parameters
        func opticalError(_ first: Int) -> Double {
            let errors = [first, first + 1].map { state in
                let wrong = state == first ? first + 1 : first
                let shares = parameters.portShares(
                    of: parameters.preparedStates[state], rotation: rotation)
                return shares[wrong] / max(shares[first] + shares[first + 1], .leastNormalMagnitude)
            }
            return 0.5 * (errors[0] + errors[1])
        }
        opticalErrorZ = opticalError(0)
        opticalErrorX = opticalError(2)
        sourceReading = engine.sourceOscillator.reading(at: time)
        receiverReading = receiverOscillator.reading(at: time)
        sourceFrequencyError = engine.sourceOscillator.fractionalFrequency(at: time)
        receiverFrequencyError = receiverOscillator.fractionalFrequency(at: time)
        let instant = engine.horizon
        temperatures = (0..<4).map { engine.temperature(of: $0, at: instant) }
        operatingPoints = (0..<4).map { engine.operatingPoint(of: $0) }
    }
}
