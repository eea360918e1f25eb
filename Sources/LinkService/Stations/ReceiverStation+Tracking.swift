import Calibration
import EventPipeline
import HostIO
import Instruments
import LinkTypes
import ProtocolCore
import Quantities

/// Counts disclosed for detections made while the controller stood still.
struct TrackerFrame: Sendable {
    /// The first slot at the present settings.
    let start: SlotIndex
    /// The first slot after the frame; `nil` while it is open.
    var end: SlotIndex?
    private(set) var counts = StateDetectorCounts()
    /// The slots up to which disclosures have arrived.
    private(set) var coveredThrough = SlotIndex(0)

    init(start: SlotIndex) { self.start = start }

    mutating func take(_ more: StateDetectorCounts, slots: Range<SlotIndex>) {
        coveredThrough = max(coveredThrough, slots.upperBound)
        guard slots.lowerBound >= start, slots.upperBound <= end ?? SlotIndex(.max) else { return }
        counts += more
    }
}

/// What the live tracker did, and the errors it saw.
public struct TrackingReport: Sendable {
    /// Frames taken.
    public internal(set) var frames = 0
    /// Long moves to another branch of solutions.
    public internal(set) var retargets = 0
    /// Jumps of the polarization.
    public internal(set) var jumps = 0
    /// Alignments from nothing while keys were produced.
    public internal(set) var realignments = 0
    /// Jumps of the clock.
    public internal(set) var clockJumps = 0
    /// Corrections that the pipeline's clock refused.
    public internal(set) var refusedSteering = 0
    /// Slots that no queue had room for.
    public internal(set) var droppedSlots: UInt64 = 0
    /// The last estimate of the drift, in rad/√s.
    public internal(set) var diffusion = 0.0
    /// The sum of the expected extra QBER of all frames, mean of both bases, dither included.
    var expectedErrors = 0.0
    /// The mean expected extra QBER over all frames, dither included.
    public var meanExpectedError: Double { frames > 0 ? expectedErrors / Double(frames) : 0 }
    /// Disclosed matched detections and errors, by basis.
    public internal(set) var disclosed: [(trials: UInt64, errors: UInt64)] = [(0, 0), (0, 0)]
    /// Why tracking ended before the session.
    public internal(set) var failure: String?

    mutating func take(_ counts: StateDetectorCounts, labels: DetectorLabels) {
        for state in QubitState.all {
            for detector in 0..<4 {
                let outcome = labels.outcome(of: UInt8(detector))
                guard outcome.basis == state.basis else { continue }
                let count = counts[state.index, detector]
                let basis = Int(state.basis.rawValue)
                disclosed[basis].trials += count
                if outcome.bit != state.bit { disclosed[basis].errors += count }
            }
        }
    }
}

extension ReceiverStation {
    /// Has Alice send her secret pattern, and follows polarization until the session ends or
    /// `stop` is called. Returns the first slot of the key pattern.
    ///
    /// - Throws: when Alice does not answer or nothing is aligned.
    public func produceKeys(
        realign: @escaping @Sendable () async throws -> Void
    ) async throws(EnvironmentFailure) -> SlotIndex {
        guard snapshotInForce.polarization != nil else {
            throw EnvironmentFailure(
                code: "BRK-CAL-015",
                message: "expected an aligned link, found no polarization estimate; "
                    + "run the polarization calibration first")
        }
        let slot = try await startPattern(.key)
        isTracking = true
        trackingTask = reactor.start { await self.track(realign: realign) }
        return slot
    }

    private func track(realign: @escaping @Sendable () async throws -> Void) async {
        do {
            while isTracking, let estimate = snapshotInForce.polarization {
                try await follow(estimate)
                guard isTracking else { return }
                // Lost: align from nothing, then go on producing keys.
                tracking.realignments += 1
                try await realign()
                _ = try await startPattern(.key)
            }
        } catch {
            tracking.failure = "\(error)"
            perform(session.step(.cancel("polarization tracking failed: \(error)")))
        }
    }

    /// Follows drift from `estimate` until tracking is stopped or the tracker is lost.
    private func follow(_ estimate: PolarizationEstimate) async throws(EnvironmentFailure) {
        var tracker = PolarizationTracker(estimate: estimate)
        var length = Duration.milliseconds(500)
        var previousEnd = reactor.now
        while isTracking {
            let settings = try await settings(of: .polarizationController)
            guard let clock = clockTracker?.solution else { return }
            let start = clock.slot(at: ticksAfterNow(), tickPeriod)
            frame = TrackerFrame(start: start)
            let began = reactor.now
            try await settle(length)
            let end = (clockTracker?.solution ?? clock).slot(
                at: hostClock.ticks(at: reactor.now) ?? DeviceTicks(0), tickPeriod)
            frame?.end = end
            try await awaitDisclosures(through: end)
            guard isTracking, let finished = frame else { return }
            frame = nil
            let exposure = max(.milliseconds(1), length - .milliseconds(50))
            let decision = tracker.step(
                PolarizationTracker.Frame(
                    counts: finished.counts, settings: settings.values,
                    elapsed: began - previousEnd + length, exposure: exposure))
            previousEnd = began + length
            record(decision)
            if decision.events.contains(where: {
                if case .realignmentNeeded = $0 { true } else { false }
            }) {
                return
            }
            try await apply(decision)
            length = decision.frame
        }
    }

    /// Waits until Alice has disclosed what belongs to the frame, but not for ever.
    private func awaitDisclosures(through slot: SlotIndex) async throws(EnvironmentFailure) {
        for _ in 0..<200 where isTracking {
            if let frame, frame.coveredThrough >= slot { return }
            try await settle(.milliseconds(5))
        }
    }

    private func record(_ decision: PolarizationTracker.Decision) {
        tracking.frames += 1
        tracking.diffusion = decision.diffusion
        tracking.expectedErrors += decision.expectedError.mean
        for event in decision.events {
            switch event {
            case .jump: tracking.jumps += 1
            case .retarget: tracking.retargets += 1
            case .realignmentNeeded: break
            }
        }
    }

    private func apply(
        _ decision: PolarizationTracker.Decision
    ) async throws(EnvironmentFailure) {
        // Axes turn one after the other: on the way from one good setting to another the link may be
        // far off, and detections made meanwhile would only be errors.
        let isLong =
            decision.events.contains(.retarget) || decision.motion.worstError > 0.02
        if isLong, let clock = clockTracker?.solution {
            // The labels change while detections are discarded, so no slot has the wrong ones.
            labelChanges.append((clock.slot(at: ticksAfterNow(), tickPeriod), decision.labels))
        }
        _ = try await move(
            ActuatorSettings(
                actuator: .polarizationController, values: decision.settings),
            order: decision.motion.order, marksLoss: isLong)
    }
}
