import Calibration
import DeviceProfiles
import Emulated
import HostIO
import Instruments
import LinkService
import LinkTypes
import ProtocolCore
import Quantities
import TestSupport
import Testing

/// What breaks on a bench, and what both nodes make of it.
struct LinkFaultTests {
    /// Runs `body` on a fresh emulated link and leaves it disarmed.
    private func withLink(
        seed: UInt64 = 3, _ body: @escaping @Sendable (LinkFixture) async throws -> Void
    ) throws {
        let reactor = VirtualReactor()
        try reactor.run {
            let fixture = try await LinkFixture.make(seed: seed, reactor: reactor)
            try await body(fixture)
        }
    }

    @Test func unpluggedTaggerEndsKeyProduction() throws {
        try withLink { link in
            try await link.calibrate()
            try await link.produceKeys()
            try await link.reactor.sleep(for: .seconds(2))
            link.inject(.disconnect, into: "CQT-1")
            #expect(try await link.sessionEnds(within: 30))
            let bob = await link.pair.bob.outcome
            #expect("\(String(describing: bob.abort))".contains("Timestamp Card"), "\(bob)")
            #expect(await link.pair.bob.acquisitionFailure?.contains("BRK-DRV") != nil)
            let delivered = bob.delivered.count
            await link.pair.bob.stopAcquisition()
            #expect(await link.countingDetectors() == [])
            try await link.reactor.sleep(for: .seconds(5))
            #expect(await link.pair.bob.outcome.delivered.count == delivered)
            let alice = await link.pair.alice.outcome
            #expect(alice.delivered.count <= delivered)
            guard case .peerAborted = alice.abort else {
                Issue.record("Alice: \(String(describing: alice.abort))")
                return
            }
        }
    }

    @Test func unpluggedTaggerEndsACalibrationAndRestoresTheController() throws {
        try withLink { link in
            try await link.calibrate(before: .polarization)
            let before = try await link.settings()
            link.inject(.disconnect, into: "CQT-1", after: .seconds(1))
            let failure = await #expect(throws: CalibrationFailure.self) {
                _ = try await link.pair.sequence.run(.polarization)
            }
            #expect(failure?.code == .environment)
            #expect(failure?.isRestored == true)
            #expect(
                failure?.found.contains("Timestamp Card") == true, "\(String(describing: failure))")
            for (was, now) in zip(before, try await link.settings()) {
                #expect(abs(was - now) < 0.005)
            }
            #expect(await link.pair.bob.isOver)
            await link.pair.bob.stopAcquisition()
        }
    }

    @Test func unpluggedControllerEndsAnAlignmentByName() throws {
        try withLink { link in
            try await link.calibrate(before: .polarization)
            link.inject(.disconnect, into: "38000001", after: .seconds(1))
            let failure = await #expect(throws: CalibrationFailure.self) {
                _ = try await link.pair.sequence.run(.polarization)
            }
            // Nothing can be restored on a controller that is gone.
            #expect(failure?.code == .restoreFailed)
            #expect(failure?.found.contains("MPC320") == true, "\(String(describing: failure))")
            await link.pair.bob.stop("the alignment failed")
            await link.pair.bob.stopAcquisition()
            #expect(await link.countingDetectors() == [])
        }
    }

    @Test(arguments: [InjectableFault.disconnect, .stuckMotion])
    func failingControllerEndsTrackingByName(kind: InjectableFault) throws {
        try withLink { link in
            try await link.calibrate()
            try await link.produceKeys()
            try await link.reactor.sleep(for: .seconds(1))
            link.inject(kind, into: "38000001")
            #expect(try await link.sessionEnds(within: 60))
            let tracking = await link.pair.bob.tracking
            #expect(tracking.failure?.contains("MPC320") == true, "\(tracking)")
            guard case .cancelled(let why) = await link.pair.bob.outcome.abort else {
                Issue.record("not cancelled")
                return
            }
            #expect(why.contains("MPC320"))
            await link.pair.bob.stopAcquisition()
        }
    }

    @Test func overflowOfTheTaggerIsMarkedAsLossAndKeysAgree() throws {
        try withLink { link in
            try await link.calibrate()
            let before = await link.pair.bob.tally.lostSlots
            try await link.produceKeys()
            link.inject(
                .overflow, into: "CQT-1", after: .milliseconds(500), lasting: .milliseconds(300))
            for _ in 0..<120 {
                try await link.reactor.sleep(for: .seconds(1))
                if await link.pair.bob.outcome.delivered.count >= 1 { break }
                if await link.pair.bob.isOver { break }
            }
            let after = await link.pair.bob.tally.lostSlots
            await link.pair.bob.stop("enough")
            try await link.reactor.sleep(for: .seconds(1))
            await link.pair.bob.stopAcquisition()
            #expect(after > before)
            let (alice, bob) = (await link.pair.alice.outcome, await link.pair.bob.outcome)
            #expect(!bob.delivered.isEmpty, "\(String(describing: bob.abort)) \(bob.discarded)")
            for (mine, theirs) in zip(bob.delivered, alice.delivered) {
                #expect(mine.digest() == theirs.digest())
            }
        }
    }

    @Test func cancelledAlignmentRestoresTheController() throws {
        try withLink { link in
            try await link.calibrate(before: .polarization)
            let before = try await link.settings()
            let task = Task(executorPreference: link.reactor) {
                try await link.pair.sequence.run(.polarization)
            }
            try await link.reactor.sleep(for: .seconds(2))
            task.cancel()
            switch await task.result {
            case .success: Issue.record("the alignment was over before it was cancelled")
            case .failure(let error):
                let failure = error as? CalibrationFailure
                #expect(failure?.isRestored == true, "\(error)")
                #expect(failure?.code == .cancelled, "\(error)")
            }
            for (was, now) in zip(before, try await link.settings()) {
                #expect(abs(was - now) < 0.005)
            }
            #expect(await link.pair.bob.isOver == false)
            await link.pair.bob.stop("done")
            await link.pair.bob.stopAcquisition()
        }
    }

    @Test func openInterlockClosesTheGateAndEndsTheSession() throws {
        try withLink { link in
            try await link.calibrate(before: .clock)
            #expect(await link.countingDetectors() == [0, 1, 2, 3])
            link.link.devices.gatedDetector("detector-d")?.setInterlockClosed(false)
            try await link.reactor.sleep(for: .milliseconds(10))
            #expect(await link.countingDetectors() == [0, 1, 3])
            #expect(try await link.sessionEnds(within: 1))
            guard case .cancelled(let why) = await link.pair.bob.outcome.abort else {
                Issue.record("not cancelled")
                return
            }
            #expect(why.contains("detector-d") && why.contains("interlockOpened"), "\(why)")
            await link.pair.bob.stopAcquisition()
            #expect(await link.countingDetectors() == [])
        }
    }
}
