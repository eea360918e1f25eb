import ProtocolCore
import Quantities
import Testing

/// The published variants against the results stored with cascade-cpp (Rijsman, MIT licence,
/// commit 8240cab, `study/data/papers`), which ran each 10 000 times on strings of 10 000 bits with
/// round(10 000 e) errors.
@Suite struct CascadeReferenceTests {
    /// Mean and standard deviation of single runs.
    struct Moments: Sendable {
        let mean: Double
        let deviation: Double
    }

    struct Reference: Sendable, CustomTestStringConvertible {
        let variant: CascadeParameters.Variant
        let rate: Double
        let efficiency: Moments
        let messages: Moments
        let frameErrorRate: Double

        var testDescription: String { "\(variant.rawValue) at \(rate)" }
    }

    static let references: [Reference] = [
        reference(.original, 0.005, (1.133886, 0.017624), (44.2102, 10.922287), 0.0014),
        reference(.original, 0.02, (1.159373, 0.008881), (45.4825, 10.288794), 0.0003),
        reference(.original, 0.05, (1.184570, 0.005252), (40.4596, 8.461249), 0),
        reference(.yanEtAl, 0.005, (1.122932, 0.069889), (88.8293, 22.724282), 0.0016),
        reference(.yanEtAl, 0.02, (1.084399, 0.029633), (117.3097, 34.409740), 0.0019),
        reference(.yanEtAl, 0.05, (1.076706, 0.016863), (120.6748, 34.318503), 0.0020),
        reference(.option7, 0.005, (1.172362, 0.118627), (129.1133, 30.432661), 0.0002),
        reference(.option7, 0.02, (1.097589, 0.058699), (204.3575, 62.363704), 0.0001),
        reference(.option7, 0.05, (1.113537, 0.072152), (344.1606, 111.296359), 0.0005),
    ]

    static func reference(
        _ variant: CascadeParameters.Variant, _ rate: Double, _ efficiency: (Double, Double),
        _ messages: (Double, Double), _ frameErrorRate: Double
    ) -> Reference {
        Reference(
            variant: variant, rate: rate,
            efficiency: Moments(mean: efficiency.0, deviation: efficiency.1),
            messages: Moments(mean: messages.0, deviation: messages.1),
            frameErrorRate: frameErrorRate)
    }

    /// 300 runs each, seed 8900: parities, messages and failures agree within three standard
    /// deviations of the difference.
    @Test(arguments: references) func variantBehavesLikeTheReference(
        _ reference: Reference
    ) throws {
        let (runs, bits) = (300, 10_000)
        var generator = SeededGenerator(seed: 8900)
        let parameters = CascadeParameters.published(
            reference.variant, bits: bits, errorRate: reference.rate)
        var (parities, messages, failures) = (0, 0, 0)
        for seed in 0..<runs {
            let errors = Int((reference.rate * Double(bits)).rounded())
            let (alice, bob) = stringWithErrors(bits, errors: errors, using: &generator)
            let run = try CascadeRun(parameters, seed: UInt64(seed), alice: alice, bob: bob)
            parities += run.parityBits
            messages += run.steps
            if run.corrected != alice { failures += 1 }
        }
        let scale = (1 / Double(runs) + 1e-4).squareRoot()
        func check(_ name: String, _ found: Double, _ moments: Moments) {
            let off = (found - moments.mean) / (moments.deviation * scale)
            #expect(abs(off) < 3, "\(name) \(found), stored \(moments.mean): \(off) σ")
        }
        let entropy = Double(runs * bits) * FiniteKey.binaryEntropy(reference.rate)
        check("f", Double(parities) / entropy, reference.efficiency)
        check("messages", Double(messages) / Double(runs), reference.messages)
        let expected = reference.frameErrorRate * Double(runs)
        #expect(
            Double(failures) < expected + 3 * expected.squareRoot() + 1, "\(failures) failures")
    }

    /// The other order announces over 1 % fewer parities for the same blocks and leaves no errors.
    /// Seed 8950.
    @Test func smallestFirstAnnouncesLess() throws {
        var generator = SeededGenerator(seed: 8950)
        let published = CascadeParameters.published(.original, bits: 10_000, errorRate: 0.02)
        let parameters = try #require(
            CascadeParameters(
                bits: 10_000, blockSizes: published.blockSizes, checks: 0))
        var (before, after) = (0, 0)
        for seed in 0..<50 {
            let (alice, bob) = stringWithErrors(10_000, errors: 200, using: &generator)
            before += try CascadeRun(published, seed: UInt64(seed), alice: alice, bob: bob)
                .parityBits
            let run = try CascadeRun(parameters, seed: UInt64(seed), alice: alice, bob: bob)
            #expect(run.corrected == alice)
            after += run.parityBits
        }
        #expect(Double(after) < 0.99 * Double(before), "\(after) of \(before)")
    }
}
