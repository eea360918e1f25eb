import Quantities
import TestSupport
import Testing

struct RotationTests {
    private func distance(_ a: StokesRotation, _ b: StokesRotation) -> Double {
        (a.column1 - b.column1).norm + (a.column2 - b.column2).norm + (a.column3 - b.column3).norm
    }

    /// A half-wave plate at 22.5° turns H into D; a quarter-wave plate at 45° turns H into a
    /// circular state (Collett, "Polarized Light", §5.3).
    @Test func retardersDoWhatTheTextbookSays() {
        let half = StokesRotation(
            retarderAt: Radians(degrees: 22.5), retardance: Radians(degrees: 180))
        #expect((half * StokesVector(1, 0, 0) - StokesVector(0, 1, 0)).norm < 1e-12)
        let quarter = StokesRotation(
            retarderAt: Radians(degrees: 45), retardance: Radians(degrees: 90))
        let circular = quarter * StokesVector(1, 0, 0)
        #expect(abs(abs(circular.s3) - 1) < 1e-12)
    }

    @Test(arguments: seeds(200)) func logarithmInvertsExponential(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let rotation = StokesRotation.random(using: &generator)
        let again = StokesRotation(rotationVector: rotation.rotationVector)
        #expect(distance(rotation, again) < 1e-9)
        #expect(distance(rotation * rotation.inverse, .identity) < 1e-12)
    }

    @Test(arguments: [0.0, 1e-9, 1e-3, 1, 3.1, .pi - 1e-8, .pi])
    func logarithmIsExactAtTheEnds(angle: Double) {
        let axis = StokesVector(0.6, 0, -0.8)
        let rotation = StokesRotation(rotationVector: axis * angle)
        #expect(
            distance(StokesRotation(rotationVector: rotation.rotationVector), rotation) < 1e-7)
    }

    @Test func randomRotationsCoverTheSphereEvenly() {
        var generator = SeededGenerator(seed: 3)
        var sum = StokesVector.zero
        var squares = 0.0
        let count = 20_000
        for _ in 0..<count {
            let image = StokesRotation.random(using: &generator) * StokesVector(0, 1, 0)
            sum = sum + image
            squares += image.s3 * image.s3
        }
        #expect(sum.norm / Double(count) < 6 / Double(count).squareRoot())
        #expect(abs(squares / Double(count) - 1 / 3) < 0.015)
    }
}
