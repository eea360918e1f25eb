import OpticalBench
import Quantities
import Testing

@Suite struct FibreTests {
    private func fibre(_ diffusion: Double, wind: Double = 0) -> FibreConfiguration {
        var configuration = FibreConfiguration()
        configuration.diffusionInRadiansPerRootSecond = diffusion
        configuration.windInRadiansPerSecond = wind
        return configuration
    }

    /// The rotations between time zero and `time` of fibres with seeds 0..<count.
    private func rotations(
        _ configuration: FibreConfiguration, after time: Double, count: Int
    ) -> [StokesRotation] {
        (0..<count).map { seed in
            var fibre = FibreRotation(configuration: configuration, seed: UInt64(seed))
            let start = fibre.rotation
            _ = fibre.advance(to: seconds(time).rawValue)
            return fibre.rotation * start.inverse
        }
    }

    @Test(arguments: [(1.0, 0.1), (1.0, 0.5), (0.7, 1.5)])
    func stokesVectorsDecorrelateExponentially(diffusion: Double, time: Double) {
        let count = 1500
        let rotations = rotations(fibre(diffusion), after: time, count: count)
        let expected = exponential(-diffusion * diffusion * time)
        for axis in 0..<3 {
            let dots = rotations.map { $0[axis, axis] }
            let spread = (variance(dots) / Double(count)).squareRoot()
            expectNear(mean(dots), expected, deviation: spread, "axis \(axis)", seed: 0)
        }
    }

    @Test func errorRateGrowsWithHalfTheDiffusionTime() {
        // ē = D·t/2 to first order: 0.01 rad²/s for 2 s from alignment gives 1 %.
        let rotations = rotations(fibre(0.1), after: 2, count: 1500)
        let errors = rotations.map { 0.25 * (2 - $0[0, 0] - $0[1, 1]) }
        let spread = (variance(errors) / 1500).squareRoot()
        expectNear(mean(errors), 0.01, deviation: spread + 0.0001 / 5.5, "mean error", seed: 0)
    }

    @Test func startRotationsCoverTheSphere() {
        let count = 2000
        let starts = (0..<count).map {
            FibreRotation(configuration: .buried, seed: UInt64($0)).rotation
        }
        for row in 0..<3 {
            for column in 0..<3 {
                // An element of a uniform rotation has mean 0 and variance 1/3.
                let elements = starts.map { $0[row, column] }
                expectNear(
                    mean(elements), 0, deviation: (1.0 / 3 / Double(count)).squareRoot(),
                    "element \(row)\(column)", seed: 0)
                expectNear(
                    mean(elements.map { $0 * $0 }), 1.0 / 3,
                    deviation: (4.0 / 45 / Double(count)).squareRoot(), "square", seed: 0)
            }
        }
    }

    @Test func windTurnsSteadilyWithinItsCorrelationTime() {
        // For t ≪ τ the angle is the rate times t, with variance 3·σ²·t² over three axes.
        var configuration = fibre(0, wind: 0.4)
        configuration.windCorrelationInSeconds = 50
        let squares = rotations(configuration, after: 0.1, count: 1500).map {
            let vector = $0.rotationVector
            return vector.dot(vector)
        }
        let spread = (variance(squares) / 1500).squareRoot()
        expectNear(mean(squares), 3 * 0.04 * 0.04, deviation: spread, "square angle", seed: 0)
    }

    @Test func windLosesMemory() {
        // For t ≫ τ the angle diffuses: variance 2·σ²·τ·t about each axis.
        var configuration = fibre(0, wind: 1)
        configuration.windCorrelationInSeconds = 0.02
        let dots = rotations(configuration, after: 4, count: 600).map { $0[0, 0] }
        let spread = (variance(dots) / 600).squareRoot()
        // The first correlation time does not diffuse yet: t is shorter by τ.
        expectNear(
            mean(dots), exponential(-2 * 0.02 * (4 - 0.02)), deviation: spread + 0.0005, "dot",
            seed: 0)
    }

    @Test func stepsDoNotDependOnQueries() {
        var configuration = FibreConfiguration.aerial
        configuration.dailySwing = Radians(2)
        var whole = FibreRotation(configuration: configuration, seed: 4)
        var pieces = whole
        _ = whole.advance(to: seconds(3).rawValue)
        for time in stride(from: 0.0, through: 3.0, by: 0.000_37) {
            _ = pieces.advance(to: seconds(time).rawValue)
        }
        _ = pieces.advance(to: seconds(3).rawValue)
        #expect(whole.rotation == pieces.rotation)
    }

    @Test func rotationStaysOrthonormalAndJumps() {
        var fibre = FibreRotation(configuration: .aerial, seed: 8)
        _ = fibre.advance(to: seconds(200).rawValue)
        let product = fibre.rotation * fibre.rotation.inverse
        for row in 0..<3 {
            for column in 0..<3 {
                #expect(abs(product[row, column] - (row == column ? 1 : 0)) < 1e-12)
            }
        }
        let before = fibre.rotation
        fibre.jump()
        #expect((fibre.rotation * before.inverse).rotationVector.norm > 0.1)
    }

    @Test func dailySwingReturnsAfterHalfADay() {
        var configuration = fibre(0)
        configuration.dailySwing = Radians(1.2)
        var fibre = FibreRotation(configuration: configuration, seed: 3)
        let start = fibre.rotation
        _ = fibre.advance(to: seconds(21_600).rawValue)
        #expect(abs((fibre.rotation * start.inverse).rotationVector.norm - 1.2) < 1e-9)
        _ = fibre.advance(to: seconds(43_200).rawValue)
        #expect((fibre.rotation * start.inverse).rotationVector.norm < 1e-9)
    }
}
