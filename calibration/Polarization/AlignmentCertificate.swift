import LinkTypes
import Quantities

/// What an alignment cost and how good it is, beside what physics allows.
///
/// The limit: with N detections and visibility V no method reaches a mean extra QBER below
/// (2+√2)²/(8·N·V²) = 1.457/(N·V²). It follows from the trace bound on the Fisher information of
/// separate measurements (Gill and Massar, Phys. Rev. A 61, 042312, 2000), Tr F ≤ N·V², and
/// ē = (ω₁² + ω₂² + 2ω₃²)/8.
public struct AlignmentCertificate: Hashable, Sendable, Codable {
    /// Detections used, verification not counted.
    public var detections: Double
    /// Settings measured at.
    public var settingsMeasured: Int
    /// The posterior mean of the extra QBER, averaged over both bases.
    public var expectedError: Double
    /// The 95 % posterior quantile of the larger extra QBER of both bases.
    public var quantile95: Double
    /// The visibility, averaged over both bases.
    public var visibility: Double
    /// (2+√2)²/8.
    public static let limitConstant = 1.457_106_781_186_547_5
    /// The smallest mean extra QBER that these detections allow.
    public var limit: Double { Self.limitConstant / (detections * visibility * visibility) }
    /// `expectedError` over `limit`.
    public var ratio: Double { expectedError / limit }

    /// A certificate.
    public init(
        detections: Double, settingsMeasured: Int, expectedError: Double, quantile95: Double,
        visibility: Double
    ) {
        self.detections = detections
        self.settingsMeasured = settingsMeasured
        self.expectedError = expectedError
        self.quantile95 = quantile95
        self.visibility = visibility
    }
}

/// The posterior of the misalignment of a link.
package enum MisalignmentPosterior {
    /// Standard normal triples, the same on every machine and in every run.
    private static let deviates: [StokesVector] = {
        var generator = SeededGenerator(seed: 0x4245_5245_4B, label: "posterior quantile")
        return (0..<2000).map { _ in
            StokesVector(generator.gaussian(), generator.gaussian(), generator.gaussian())
        }
    }()

    /// The `probability` quantile of max(e_Z, e_X) for ω normal with mean `mean` and covariance
    /// `covariance`; infinite when the covariance is not positive definite.
    package static func quantile(
        _ probability: Double, mean: StokesVector, covariance: SquareMatrix
    ) -> Double {
        guard let factor = covariance.choleskyFactor() else { return .infinity }
        let errors = deviates.map { d -> Double in
            let w1 = mean.s1 + factor[0, 0] * d.s1
            let w2 = mean.s2 + factor[1, 0] * d.s1 + factor[1, 1] * d.s2
            let w3 =
                mean.s3 + factor[2, 0] * d.s1 + factor[2, 1] * d.s2 + factor[2, 2] * d.s3
            return (max(w1 * w1, w2 * w2) + w3 * w3) / 4
        }
        let rank = Int((probability * Double(errors.count)).rounded(.down))
        return min(1, errors.sorted()[min(errors.count - 1, rank)])
    }
}

/// Channel, controller and receiver as an alignment left them: where live tracking starts.
public struct PolarizationEstimate: Hashable, Sendable, Codable {
    /// The estimate and its covariance, actuator parameters included.
    public var filter: AlignmentFilter
    /// Where the controller stands.
    public var settings: [Double]
    /// The labels of the receiver's ports.
    public var labels: DetectorLabels
    /// What the alignment cost and reached.
    public var certificate: AlignmentCertificate

    /// An estimate.
    public init(
        filter: AlignmentFilter, settings: [Double], labels: DetectorLabels,
        certificate: AlignmentCertificate
    ) {
        self.filter = filter
        self.settings = settings
        self.labels = labels
        self.certificate = certificate
    }
}
