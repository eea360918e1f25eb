import Calibration
import EventPipeline
import FirmwareProfiles
import LinkService
import LinkTypes
import ProtocolCore
import TestSupport
import Testing

/// The main job on byte-level emulated devices, in virtual time.
struct DemoTests {
    private func report(
        _ change: (inout DemoOptions) -> Void
    ) throws -> DemoReport {
        var options = try DemoOptions(catalog: try FirmwareProfiles.catalog())
        change(&options)
        return try DemoRun(options: options) { _ in }.run()
    }

    /// Starting polarization is random: misalignment after calibration stays at or below 0.5 % in
    /// both bases, for every seed.
    @Test(arguments: seeds(20)) func everySeedIsAligned(seed: UInt64) throws {
        let report = try report {
            $0.seed = seed
            // The alignment is judged; one second of key production ends the run.
            $0.duration = .seconds(1)
        }
        #expect(report.alignedTruth.z <= 0.005)
        #expect(report.alignedTruth.x <= 0.005)
        #expect(report.calibrations.count == 4)
        #expect(report.calibrations.allSatisfy { $0.outcome == .committed })
        #expect(report.calibrations.allSatisfy { $0.provenance == .emulated })
    }

    /// Two whole runs with one seed give the same report, byte for byte; both nodes hold the keys;
    /// the key rate is what the physics predicts.
    @Test func sameSeedSameReport() throws {
        let first = try report { $0.seed = 1 }
        let second = try report { $0.seed = 1 }
        #expect(first.isSuccess)
        #expect(first.text == second.text)
        #expect(first.json.text == second.json.text)
        #expect(first.blocks.count == 2)
        #expect(first.keysAgree)
        #expect(first.bob.delivered.allSatisfy { $0.provenance == .emulated })
        let deviation = try #require(first.deviation)
        #expect(abs(deviation) < 5, "\(deviation) σ")
        for block in first.blocks {
            // What is disclosed can not be less than Shannon's limit.
            #expect(try #require(block.efficiency) > 1)
            #expect(block.epsilon.total >= 1e-9 && block.epsilon.total < 1.1e-9)
        }
    }

    @Test func anEavesdropperLeavesNoKey() throws {
        let report = try report {
            $0.seed = 2
            $0.interceptResend = true
        }
        #expect(report.isSuccess)
        #expect(report.bob.delivered.isEmpty && report.alice.delivered.isEmpty)
        guard case .errorRateTooHigh(_, let measured, _, let limit)? = report.bob.abort else {
            Issue.record(
                "expected an error-rate alarm, found \(String(describing: report.bob.abort))")
            return
        }
        #expect(measured > limit)
        #expect(report.text.contains("error rate"))
    }

    /// Live tracking: QBER stays within 1 % of its start while keys are made.
    @Test(arguments: DriftPreset.allCases) func driftIsFollowed(drift: DriftPreset) throws {
        let report = try report {
            $0.seed = 5
            $0.drift = drift
            $0.duration = .seconds(240)
        }
        #expect(report.isSuccess, "\(report.text)")
        #expect(report.blocks.count >= 3)
        #expect(report.largestRise.z < 0.01)
        #expect(report.largestRise.x < 0.01)
        #expect(report.tracking.frames > 20)
    }
}
