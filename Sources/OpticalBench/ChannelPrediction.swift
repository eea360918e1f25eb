import LinkTypes
import Quantities

/// Gains, error rates and click rates of a link in closed form.
///
/// Detector j sees a Poisson number of photons of mean λ_j = µ·T·share_j·η_j in a slot, where
/// share_j is the part of the light that leaves by its port (Malus' law), and y_j other clicks in
/// the acceptance window, so it clicks with p_j = 1 − (1 − y_j)·exp(−λ_j). Summed over the two
/// ports of a basis this is the gain Q_µ = Y₀ + 1 − exp(−ηµ) and the error rate
/// E_µ·Q_µ = e₀·Y₀ + e_d·(1 − exp(−ηµ)) of Lo, Ma and Chen, Phys. Rev. Lett. 94, 230504 (2005),
/// without the approximation that at most one port clicks. A double click gets a random bit.
///
/// The window is taken to hold all signal clicks; dead time is left out of gains and error rates
/// and applied to click rates as r/(1 + r·τ).
public struct ChannelPrediction: Hashable, Sendable {
    private let parameters: LinkParameters
    private let rotation: StokesRotation
    private let probabilityZ: Double
    private let intensityProbabilities: [Double]
    private let points: [DetectorOperatingPoint]
    /// The probability of a click that is not of the slot's own light, for each detector.
    public let noiseProbabilities: [Double]
    /// The clicks per second of each detector, all causes, not restricted to the window.
    public let clickRates: [Double]

    /// The prediction for free-running detectors at their nominal operating points.
    ///
    /// `rotation` leads from Alice's Stokes axes to the receiver's; `probabilityZ` and
    /// `intensityProbabilities`, one for each class, describe what Alice sends; `window` is the
    /// part of a slot in which clicks are accepted.
    public init(
        parameters: LinkParameters, rotation: StokesRotation = .identity, probabilityZ: Double,
        intensityProbabilities: [Double], window: Picoseconds
    ) {
        precondition(
            intensityProbabilities.count == parameters.meanPhotonNumbers.count,
            "one probability for each intensity class")
        self.parameters = parameters
        self.rotation = rotation
        self.probabilityZ = probabilityZ
        self.intensityProbabilities = intensityProbabilities
        let points = parameters.detectors.map(DetectorOperatingPoint.init(nominal:))
        self.points = points
        let perSecond = 1e12 / Double(parameters.slotPeriod.rawValue)
        let stateProbabilities = QubitState.all.map {
            0.5 * ($0.basis == .z ? probabilityZ : 1 - probabilityZ)
        }
        let meanIntensity = zip(parameters.meanPhotonNumbers, intensityProbabilities)
            .reduce(0) { $0 + $1.0 * $1.1 }
        var noise: [Double] = []
        var rates: [Double] = []
        for detector in 0..<4 {
            let configuration = parameters.detectors[detector]
            var share = 0.0
            for (state, weight) in zip(parameters.preparedStates, stateProbabilities) {
                share += weight * parameters.portShares(of: state, rotation: rotation)[detector]
            }
            let efficiency = points[detector].efficiency
            let light = perSecond * meanIntensity * parameters.transmittance * share * efficiency
            let background =
                parameters.background.rawValue * parameters.unpolarizedShare(detector: detector)
                * efficiency
            let other = points[detector].darkRate + background
            let released =
                points[detector].releaseMean
                * configuration.trapRelease.survival(configuration.deadTime)
            // Each click makes `released` more, which make more in turn.
            let all = (light + other) / (1 - released)
            let rate = all / (1 + all * Double(configuration.deadTime.rawValue) * 1e-12)
            rates.append(rate)
            noise.append(
                -exponentialMinus1(
                    -(other + released * rate) * Double(window.rawValue) * 1e-12))
        }
        noiseProbabilities = noise
        clickRates = rates
    }

    /// The mean number of photons of `state` that fire each detector, for intensity class
    /// `intensity`.
    public func meanDetections(state: QubitState, intensity: Int) -> [Double] {
        let shares = parameters.portShares(
            of: parameters.preparedStates[state.index], rotation: rotation)
        let arriving = parameters.meanPhotonNumber(intensity: intensity) * parameters.transmittance
        return zip(shares, points).map { arriving * $0 * $1.efficiency }
    }

    /// The probability that each detector clicks in a slot with `state` and class `intensity`.
    public func clickProbabilities(state: QubitState, intensity: Int) -> [Double] {
        zip(meanDetections(state: state, intensity: intensity), noiseProbabilities).map {
            1 - (1 - $1) * exponential(-$0)
        }
    }

    /// The probability that a slot of class `intensity` sent in `basis` gives a click in the
    /// receiver's analyser of the same basis.
    public func gain(intensity: Int, basis: Basis) -> Double {
        outcomes(intensity: intensity, basis: basis).gain
    }

    /// The fraction of those clicks with the wrong bit; 0 when there are none.
    public func errorRate(intensity: Int, basis: Basis) -> Double {
        let (gain, errors) = outcomes(intensity: intensity, basis: basis)
        return gain > 0 ? errors / gain : 0
    }

    private func outcomes(intensity: Int, basis: Basis) -> (gain: Double, errors: Double) {
        var gain = 0.0
        var errors = 0.0
        for bit in [false, true] {
            let right = QubitState(basis: basis, bit: bit)
            let wrong = QubitState(basis: basis, bit: !bit)
            let p = clickProbabilities(state: right, intensity: intensity)
            let (a, b) = (p[right.index], p[wrong.index])
            gain += 0.5 * (a + b - a * b)
            errors += 0.5 * (b - 0.5 * a * b)
        }
        return (gain, errors)
    }
}
