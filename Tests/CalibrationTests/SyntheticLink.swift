import Calibration
import LinkTypes
import Quantities

/// A polarization link with everything the aligner's model does not know: retardances, gains and
/// offsets off nominal, backlash, quantisation, unequal detectors, dark counts, a drifting fibre.
struct SyntheticLink {
    var channel: StokesRotation
    let truth: RetarderStack
    let nominal: RetarderStack
    var mounts: [Double]
    /// Where the plates really are: a play operator follows the mounts.
    private var plates: [Double]
    var play: Double
    var resolution: Double
    var visibility = 0.98
    var efficiencies = [1.0, 0.85, 1.1, 0.95]
    var darkFraction = 0.0005
    /// Diffusion in rad/√s.
    var diffusion = 0.0
    /// The standard deviation of the rate of turn by wind about each axis, in rad/s.
    var wind = 0.0
    private var gust = StokesVector.zero
    /// Alice's and Bob's probability of Z.
    var probabilityZ = (alice: 0.5, bob: 0.5)
    /// Alice's four states and Bob's two analysers, a little off their axes.
    private var states = QubitState.all.map(\.stokes)
    private var analysers = [StokesVector(1, 0, 0), StokesVector(0, 1, 0)]
    var generator: SeededGenerator

    init(
        seed: UInt64, nominal: RetarderStack, imperfection: Double = 1, play: Double = 0.002,
        resolution: Double = 170 * Double.pi / 180 / 1370
    ) {
        generator = SeededGenerator(seed: seed, label: "synthetic link")
        channel = StokesRotation.random(using: &generator)
        self.nominal = nominal
        var stack = nominal
        for index in stack.elements.indices {
            let element = stack.elements[index]
            stack.elements[index].fixedAngle +=
                imperfection * element.fixedAngleDeviation * generator.gaussian()
            stack.elements[index].gain +=
                imperfection * element.gainDeviation * (2 * generator.uniform() - 1)
            stack.elements[index].offset +=
                imperfection * element.offsetDeviation * (2 * generator.uniform() - 1)
        }
        truth = stack
        for index in states.indices {
            states[index] = Self.tilted(states[index], 0.009 * imperfection, &generator)
        }
        for index in analysers.indices {
            analysers[index] = Self.tilted(analysers[index], 0.01 * imperfection, &generator)
        }
        self.play = play
        self.resolution = resolution
        mounts = nominal.elements.map {
            let middle = $0.lowerLimit + 0.5 * $0.span
            return resolution > 0 ? (middle / resolution).rounded() * resolution : middle
        }
        plates = mounts
    }

    private static func tilted(
        _ v: StokesVector, _ sigma: Double, _ generator: inout SeededGenerator
    ) -> StokesVector {
        let w = StokesVector(generator.gaussian(), generator.gaussian(), generator.gaussian())
        return StokesRotation(rotationVector: w * sigma) * v
    }

    mutating func move(to settings: [Double]) -> [Double] {
        for index in settings.indices {
            let element = nominal.elements[index]
            let clipped = max(element.lowerLimit, min(element.upperLimit, settings[index]))
            mounts[index] =
                resolution > 0 ? (clipped / resolution).rounded() * resolution : clipped
            plates[index] = max(
                mounts[index] - play / 2, min(mounts[index] + play / 2, plates[index]))
        }
        return mounts
    }

    mutating func drift(seconds: Double) {
        guard diffusion > 0 || wind > 0, seconds > 0 else { return }
        func normal(_ sigma: Double) -> StokesVector {
            StokesVector(
                sigma * generator.gaussian(), sigma * generator.gaussian(),
                sigma * generator.gaussian())
        }
        var turn = normal(diffusion * seconds.squareRoot())
        if wind > 0 {
            let memory = exponential(-seconds / 3)
            gust = gust * memory + normal(wind * (1 - memory * memory).squareRoot())
            turn = turn + gust * seconds
        }
        channel = (StokesRotation(rotationVector: turn) * channel).orthonormalized
    }

    var link: StokesRotation { truth.rotation(at: plates) * channel }

    func trueError(labels: DetectorLabels) -> MisalignmentError {
        MisalignmentError(link: link, labels: labels)
    }

    /// Sixteen cells from about `detections` detections; `disclosed` thins matched Z cells.
    mutating func counts(detections: Double, matchedZ disclosed: Double = 1) -> StateDetectorCounts
    {
        var counts = StateDetectorCounts()
        let m = link
        for state in 0..<4 {
            let arriving = m * states[state]
            for detector in 0..<4 {
                let (alice, bob) = (state >> 1, detector >> 1)
                let pA = (alice == 0 ? probabilityZ.alice : 1 - probabilityZ.alice) / 2
                let pB = bob == 0 ? probabilityZ.bob : 1 - probabilityZ.bob
                let sign = detector & 1 == 0 ? 1.0 : -1.0
                let overlap = sign * visibility * analysers[bob].dot(arriving)
                let signal = efficiencies[detector] * (1 + overlap) / 2
                var mean = detections * pA * (pB * signal + darkFraction / 2)
                if alice == 0, bob == 0 { mean *= disclosed }
                counts[state, detector] = UInt64(generator.poisson(mean: mean))
            }
        }
        return counts
    }
}
