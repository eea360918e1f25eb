import ProtocolCore
import Quantities
import Testing

/// The arithmetic that keeps rounding from lengthening a key.
@Suite struct OutwardIntervalTests {
    /// Arguments with the neighbouring binary64 numbers below and above the logarithm, by mpmath with
    /// 60 digits.
    static let logarithms: [(Double, Double, Double)] = [
        (0x1.0000000000000p+1, 0x1.62e42fefa39efp-1, 0x1.62e42fefa39f0p-1),
        (0x1.4000000000000p+3, 0x1.26bb1bbb55515p+1, 0x1.26bb1bbb55516p+1),
        (0x1.0000000800000p-1, -0x1.62e42fdfa39f0p-1, -0x1.62e42fdfa39efp-1),
        (0x1.0000000000001p+0, 0x1.fffffffffffffp-53, 0x1.0000000000000p-52),
        (0x1.fffffffffffffp-1, -0x1.0000000000001p-53, -0x1.0000000000000p-53),
        (0x1.68f5c28f5c28fp+0, 0x1.5fd5fabe64083p-2, 0x1.5fd5fabe64084p-2),
        (0x1.68f5c28f5c28fp+0, 0x1.5fd5fabe64083p-2, 0x1.5fd5fabe64084p-2),
        (0x1.68f5c28f5c28fp-1, -0x1.65f26520e335bp-2, -0x1.65f26520e335ap-2),
        (0x1.56e1fc2f8f359p-997, -0x1.5963447f87fb6p+9, -0x1.5963447f87fb5p+9),
        (0x0.0000000000001p-1022, -0x1.74385446d71c4p+9, -0x1.74385446d71c3p+9),
        (0x1.fffffffffffffp+1023, 0x1.62e42fefa39efp+9, 0x1.62e42fefa39f0p+9),
        (0x1.c6bf526340000p+49, 0x1.144f69ff9ffc4p+5, 0x1.144f69ff9ffc5p+5),
        (0x1.8000000000000p+1, 0x1.193ea7aad030ap+0, 0x1.193ea7aad030bp+0),
        (0x1.1b1f3f8000000p+34, 0x1.7aaeeb3ec961dp+4, 0x1.7aaeeb3ec961ep+4),
        (0x1.2a6d8e1122000p+54, 0x1.2caa98940faafp+5, 0x1.2caa98940fab0p+5),
        (0x1.c28f5c28f5c29p-4, -0x1.1a87fbfeb72e0p+1, -0x1.1a87fbfeb72dfp+1),
        (0x1.81b7eec3ef06ep-24, -0x1.039c10d31e3f4p+4, -0x1.039c10d31e3f3p+4),
        (0x1.8599168331c07p-47, -0x1.01438ac0a31c5p+5, -0x1.01438ac0a31c4p+5),
        (0x1.0a158993ca02ep+20, 0x1.bcd9bb95ecf00p+3, 0x1.bcd9bb95ecf01p+3),
        (0x1.2357393c729d8p-57, -0x1.3b0a63df77c49p+5, -0x1.3b0a63df77c48p+5),
        (0x1.b3e9d0565c924p+4, 0x1.a7057ad1664acp+1, 0x1.a7057ad1664adp+1),
        (0x1.1caaa86c99768p-18, -0x1.8bdb336759d44p+3, -0x1.8bdb336759d43p+3),
        (0x1.344b8f51197f7p-59, -0x1.45adad71e1919p+5, -0x1.45adad71e1918p+5),
        (0x1.fbc5cb785812fp+0, 0x1.5ea57d5a46f8fp-1, 0x1.5ea57d5a46f90p-1),
        (0x1.752fc49fa0485p-62, -0x1.54c929b68d3fap+5, -0x1.54c929b68d3f9p+5),
        (0x1.22a0bcb17ecd5p-9, -0x1.8722225ae3d4dp+2, -0x1.8722225ae3d4cp+2),
        (0x1.cb67ef310548bp-58, -0x1.3cf1366baeb3fp+5, -0x1.3cf1366baeb3ep+5),
        (0x1.881cb38e3899cp-55, -0x1.2d92e454b976dp+5, -0x1.2d92e454b976cp+5),
        (0x1.f593ac6a486e3p-11, -0x1.bcee377bcb680p+2, -0x1.bcee377bcb67fp+2),
        (0x1.592bf24cab0fap+43, 0x1.e1aac67be692fp+4, 0x1.e1aac67be6930p+4),
        (0x1.021e3179990a0p-50, -0x1.153165bf938acp+5, -0x1.153165bf938abp+5),
        (0x1.2b29d15e604d2p-37, -0x1.97d9a26234008p+4, -0x1.97d9a26234007p+4),
    ]
    /// The same for the exponential.
    static let exponentials: [(Double, Double, Double)] = [
        (0x1.051eb851eb852p-1, 0x1.aa5086149bfddp+0, 0x1.aa5086149bfdep+0),
        (0x1.3333333333333p-3, 0x1.296df80be4122p+0, 0x1.296df80be4123p+0),
        (0x1.a36e2eb1c432dp-13, 0x1.000d1bc75d40fp+0, 0x1.000d1bc75d410p+0),
        (0.0, 0x1.0000000000000p+0, 0x1.0000000000000p+0),
        (0x1.0000000000000p+0, 0x1.5bf0a8b145769p+1, 0x1.5bf0a8b14576ap+1),
        (-0x1.0000000000000p-1, 0x1.368b2fc6f9609p-1, 0x1.368b2fc6f960ap-1),
        (0x1.12e0be826d695p-30, 0x1.000000044b82fp+0, 0x1.000000044b830p+0),
        (-0x1.12e0be826d695p-30, 0x1.fffffff768fa0p-1, 0x1.fffffff768fa1p-1),
        (0x1.2c00000000000p+9, 0x1.88a122d234b39p+865, 0x1.88a122d234b3ap+865),
        (-0x1.2c00000000000p+9, 0x1.4dd4d0d12c071p-866, 0x1.4dd4d0d12c072p-866),
        (0x1.62e42fefa39efp-2, 0x1.6a09e667f3bccp+0, 0x1.6a09e667f3bcdp+0),
        (0x1.62e42fefa39f0p-2, 0x1.6a09e667f3bccp+0, 0x1.6a09e667f3bcdp+0),
        (0x1.463aa2fa8f1b0p+0, 0x1.c9c49b1ede784p+1, 0x1.c9c49b1ede785p+1),
        (0x1.1e88a214f2ef4p+2, 0x1.5fe9b5bfcca3fp+6, 0x1.5fe9b5bfcca40p+6),
        (0x1.8ac46076bf1b0p-1, 0x1.14bc1db998fa9p+1, 0x1.14bc1db998faap+1),
        (-0x1.087f7bf021a4ep+0, 0x1.6c68accb4e231p-2, 0x1.6c68accb4e232p-2),
        (0x1.30cda2f1afc18p+2, 0x1.d42d30ce620d7p+6, 0x1.d42d30ce620d8p+6),
        (-0x1.222fe4c37780dp+2, 0x1.5fca3fed9562bp-7, 0x1.5fca3fed9562cp-7),
        (0x1.cad6f1d54ed70p+1, 0x1.2055fdc5e97fap+5, 0x1.2055fdc5e97fbp+5),
        (-0x1.0d4cd43cf010ap+1, 0x1.f3a027b7cb7b3p-4, 0x1.f3a027b7cb7b4p-4),
        (-0x1.c75a7e897d81ap+1, 0x1.d321bb174fd35p-6, 0x1.d321bb174fd36p-6),
        (-0x1.e939d6e4a7602p+1, 0x1.6684fa961c967p-6, 0x1.6684fa961c968p-6),
        (-0x1.ea495a0cb7b98p+0, 0x1.2db383e40d6eap-3, 0x1.2db383e40d6ebp-3),
        (0x1.94a4490d1ed48p+1, 0x1.799b3b4d55081p+4, 0x1.799b3b4d55082p+4),
        (-0x1.98ab946f82d6ap+1, 0x1.505bbda449cddp-5, 0x1.505bbda449cdep-5),
        (0x1.a1caf76d92200p-1, 0x1.2176dafbd4860p+1, 0x1.2176dafbd4861p+1),
    ]

    @Test func logarithmAndExponentialEncloseTheTruth() {
        for (argument, below, above) in Self.logarithms {
            let found = OutwardInterval(argument).naturalLogarithm
            #expect(found.lowerValue <= below && found.upperValue >= above, "ln \(argument)")
            #expect(found.upperValue - found.lowerValue <= 40 * max(abs(above).ulp, 0x1p-1070))
        }
        for (argument, below, above) in Self.exponentials {
            let found = OutwardInterval(argument).naturalExponential
            #expect(found.lowerValue <= below && found.upperValue >= above, "exp \(argument)")
            #expect(found.upperValue - found.lowerValue <= 40 * above.ulp * max(1, abs(argument)))
        }
    }

    /// Against numbers whose exact values are known: k/2^20 with all basic operations in integers.
    /// Seed 51.
    @Test func basicOperationsEncloseTheTruth() {
        var generator = SeededGenerator(seed: 51)
        for _ in 0..<2000 {
            let p = Int.random(in: -(1 << 40)...(1 << 40), using: &generator)
            let q = Int.random(in: 1...(1 << 40), using: &generator)
            let quotient = OutwardInterval(Double(p)) / OutwardInterval(Double(q))
            // p/q times q is p again, whatever the rounding was.
            let back = quotient * OutwardInterval(Double(q))
            #expect(back.lowerValue <= Double(p) && back.upperValue >= Double(p))
            let root = OutwardInterval(Double(q)).root
            let square = root * root
            #expect(square.lowerValue <= Double(q) && square.upperValue >= Double(q))
            let sum = OutwardInterval(Double(p)) + OutwardInterval(0x1p-30)
            let difference = sum - OutwardInterval(Double(p))
            #expect(difference.lowerValue <= 0x1p-30 && difference.upperValue >= 0x1p-30)
        }
    }

    @Test func whatHasNoBoundIsEverything() {
        let zero = OutwardInterval(from: -1, to: 1)
        for found in [
            OutwardInterval(1) / zero, zero.naturalLogarithm, OutwardInterval(.nan),
            OutwardInterval(0) * OutwardInterval.everything, OutwardInterval(from: 2, to: 1),
            OutwardInterval(-1).naturalLogarithm,
        ] {
            #expect(found.lowerValue == -.infinity && found.upperValue == .infinity)
        }
        #expect(OutwardInterval(.nan).naturalExponential.upperValue == .infinity)
        #expect(OutwardInterval(1000).naturalExponential.upperValue == .infinity)
        #expect(OutwardInterval(1000).naturalExponential.lowerValue <= 1e299)
        #expect(OutwardInterval(-1000).naturalExponential.lowerValue == 0)
    }
}
