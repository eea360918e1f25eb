import LinkTypes
import Quantities

/// A link as built: the configuration with every hidden imperfection drawn.
public struct LinkParameters: Hashable, Sendable {
    /// The time between pulses on Alice's clock.
    public var slotPeriod: Picoseconds
    /// The mean photon number of each intensity class.
    public var meanPhotonNumbers: [Double]
    /// The Stokes vectors of H, V, D, A as prepared; shorter than 1 by the extinction.
    public var preparedStates: [StokesVector]
    /// The fraction of photons that pass fibre and receiver.
    public var transmittance: Double
    /// The probability that a photon takes the path to the Z analyser.
    public var probabilityZ: Double
    /// The directions of the H and the D port, shorter than 1 by the extinction; V and A are
    /// opposite to them.
    public var analysers: [StokesVector]
    /// The detectors of the H, V, D and A ports.
    public var detectors: [DetectorConfiguration]
    /// The plates of the polarization controller.
    public var plates: [WaveplateParameters]
    /// Unpolarized background photons per second entering the receiver.
    public var background: Hertz

    /// The link without imperfections that are drawn.
    public init(nominal configuration: LinkBenchConfiguration) {
        let source = configuration.source
        let receiver = configuration.receiver
        slotPeriod = source.slotPeriod
        meanPhotonNumbers = source.meanPhotonNumbers
        preparedStates = QubitState.all.map { $0.stokes * (1 - 2 * source.extinction) }
        transmittance =
            configuration.fibre.loss.transmittance * receiver.insertionLoss.transmittance
        probabilityZ = receiver.probabilityZ
        analysers = Basis.allCases.map {
            QubitState(basis: $0, bit: false).stokes * (1 - 2 * receiver.extinction)
        }
        detectors = configuration.detectors
        plates = configuration.controller.retardances.map {
            WaveplateParameters(
                retardance: $0, gain: configuration.controller.gain,
                play: configuration.controller.play)
        }
        background = receiver.background
    }

    /// The unit drawn with `seed`.
    public init(_ configuration: LinkBenchConfiguration, seed: UInt64) {
        self.init(nominal: configuration)
        var generator = SeededGenerator(seed: seed, label: "as built")
        func tilted(_ vector: StokesVector, by sigma: Radians) -> StokesVector {
            let tilt = StokesVector(
                generator.gaussian(), generator.gaussian(), generator.gaussian())
            return StokesRotation(rotationVector: tilt * sigma.rawValue) * vector
        }
        meanPhotonNumbers = meanPhotonNumbers.map {
            $0 * max(0, 1 + configuration.source.intensitySpread * generator.gaussian())
        }
        preparedStates = preparedStates.map {
            tilted($0, by: configuration.source.preparationSpread)
        }
        analysers = analysers.map { tilted($0, by: configuration.receiver.analyserSpread) }
        for index in detectors.indices {
            let factor = max(0, 1 + detectors[index].efficiencySpread * generator.gaussian())
            detectors[index].maximumEfficiency = min(1, detectors[index].maximumEfficiency * factor)
        }
        let controller = configuration.controller
        for index in plates.indices {
            let relative = 1 + controller.retardanceSpread * generator.gaussian()
            plates[index].retardance = plates[index].retardance * relative
            plates[index].gain *= 1 + controller.gainSpread * generator.gaussian()
            plates[index].offset = controller.offsetSpread * generator.gaussian()
        }
    }

    /// The mean photon number of intensity class `intensity`; classes that are not listed are vacuum.
    public func meanPhotonNumber(intensity: Int) -> Double {
        meanPhotonNumbers.indices.contains(intensity) ? meanPhotonNumbers[intensity] : 0
    }

    /// The share of the light in the receiver that each port H, V, D, A gets from the state
    /// `stokes` at Alice when `rotation` lies between; sums to 1.
    public func portShares(of stokes: StokesVector, rotation: StokesRotation) -> [Double] {
        let arriving = rotation * stokes
        let z = analysers[0].dot(arriving)
        let x = analysers[1].dot(arriving)
        let shareX = 1 - probabilityZ
        return [
            0.5 * probabilityZ * (1 + z), 0.5 * probabilityZ * (1 - z), 0.5 * shareX * (1 + x),
            0.5 * shareX * (1 - x),
        ]
    }

    /// The share of unpolarized light that port `detector` gets.
    public func unpolarizedShare(detector: Int) -> Double {
        0.5 * (detector < 2 ? probabilityZ : 1 - probabilityZ)
    }
}
