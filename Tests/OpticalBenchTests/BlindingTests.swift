import LinkTypes
import OpticalBench
import Quantities
import Testing

/// A detector held in linear mode by bright light.
struct BlindingTests {
    private static func bench() throws -> LinkBench {
        try LinkBench(
            pattern: KeyedPulsePattern(key: 1, probabilityZ: 0.5, probabilitySignal: 1), seed: 3)
    }

    @Test func aBlindedDetectorIsSilentAndOverlit() throws {
        let bench = try Self.bench()
        let second = Picoseconds(1_000_000_000_000)
        func counts(through time: Picoseconds) -> [UInt64] {
            bench.detectors.map { $0.takeCounts(through: time) }
        }
        let before = counts(through: second)
        try bench.setBlinding(true, detector: 1, at: second)
        try bench.setBlinding(false, detector: 1, at: Picoseconds(2_000_000_000_000))
        #expect(bench.detectors[1].isOverlit(at: second + Picoseconds(1_000)))
        #expect(!bench.detectors[0].isOverlit(at: second + Picoseconds(1_000)))
        #expect(bench.blinded(at: second + Picoseconds(1_000)) == [false, true, false, false])
        let during = counts(through: Picoseconds(1_999_999_999_999))
        let after = counts(through: Picoseconds(3_000_000_000_000))
        #expect(before.allSatisfy { $0 > 100 } && after.allSatisfy { $0 > 100 })
        #expect(during[1] == 0 && during[0] > 100)
        #expect(!bench.detectors[1].isOverlit(at: Picoseconds(3_000_000_000_000)))
    }

    @Test func otherDetectorsSeeNoDifference() throws {
        let (one, other) = (try Self.bench(), try Self.bench())
        let end = Picoseconds(500_000_000_000)
        try other.setBlinding(true, detector: 2, at: Picoseconds(100_000_000_000))
        let pulses = [one, other].map { bench in
            bench.receiverInputs.takePulses(through: end).filter { $0.input != 2 }
        }
        #expect(pulses[0] == pulses[1] && pulses[0].count > 1000)
    }

    @Test func thereAreFourDetectors() throws {
        let bench = try Self.bench()
        #expect(throws: BenchError.noSuchDetector(4)) {
            try bench.setBlinding(true, detector: 4, at: Picoseconds(0))
        }
    }
}
