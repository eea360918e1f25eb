import Calibration
import EventPipeline
import HostIO
import Instruments
import LinkTypes
import ProtocolCore
import Quantities

// The bench as calibration sees it.

extension ReceiverStation: CalibrationEnvironment {
    /// The host's clock.
    public func now() async -> HostInstant { reactor.now }

    /// The snapshot in force, with the clock as it is being followed.
    public func snapshot() async throws(EnvironmentFailure) -> CalibrationSnapshot {
        var snapshot = snapshotInForce
        if let clock = clockTracker?.solution { snapshot.clock = clock }
        return snapshot
    }

    /// Where the polarization controller stands, by its own readback.
    public func settings(
        of actuator: ActuatorName
    ) async throws(EnvironmentFailure) -> ActuatorSettings {
        guard actuator == .polarizationController else {
            throw EnvironmentFailure(
                code: "BRK-CAL-011",
                message: "expected an actuator of this node, found '\(actuator.rawValue)'; "
                    + "check the procedure's list of actuators")
        }
        do throws(DriverError) {
            let settings = try await instruments.controller.settings()
            return ActuatorSettings(actuator: actuator, values: settings.map(\.value))
        } catch {
            throw EnvironmentFailure(error)
        }
    }

    /// Moves the polarization controller, one axis after the other.
    public func move(
        _ target: ActuatorSettings
    ) async throws(EnvironmentFailure) -> ActuatorSettings {
        if Task.isCancelled {
            throw EnvironmentFailure(
                code: "BRK-CAL-003", message: "the calibration was cancelled",
                isCancellation: true)
        }
        return try await move(target, order: Array(target.values.indices), marksLoss: true)
    }

    /// Puts the polarization controller back, cancelled or not.
    public func restore(
        _ target: ActuatorSettings
    ) async throws(EnvironmentFailure) -> ActuatorSettings {
        // Drivers give up when their task is cancelled; a task of its own does not inherit that. The
        // reactor starts it, so that on virtual time none of it runs anywhere else.
        let outcome = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<ActuatorSettings, EnvironmentFailure>, Never>)
            in
            reactor.start {
                do throws(EnvironmentFailure) {
                    let order = Array(target.values.indices)
                    continuation.resume(
                        returning: .success(
                            try await self.move(target, order: order, marksLoss: true)))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try outcome.get()
    }

    func move(
        _ target: ActuatorSettings, order: [Int], marksLoss: Bool
    ) async throws(EnvironmentFailure) -> ActuatorSettings {
        let before = try await settings(of: target.actuator)
        if marksLoss { beginMotion() }
        defer { if marksLoss { endMotion() } }
        do throws(DriverError) {
            for axis in order where abs(target.values[axis] - before.values[axis]) > 1e-6 {
                _ = try await instruments.controller.move(
                    axis, to: .angle(Radians(target.values[axis])))
            }
        } catch {
            throw EnvironmentFailure(error)
        }
        return try await settings(of: target.actuator)
    }

    private func beginMotion() {
        guard let ticks = hostClock.ticks(at: reactor.now) else { return }
        // The estimate may lag by what tags wait in the tagger.
        let lead = ticksOf(settings.flushInterval)
        motions.append(
            MotionInterval(start: DeviceTicks(ticks.rawValue - min(ticks.rawValue, lead))))
    }

    private func endMotion() {
        guard let last = motions.indices.last, motions[last].end == nil else { return }
        motions[last].end = ticksAfterNow()
        if motions.count > 64 { motions.removeFirst() }
    }

    /// The slots of a batch during which an actuator moved.
    func motionLosses(in slots: Range<SlotIndex>) -> [LossMark<SlotIndex>] {
        guard let clock = clockTracker?.solution else { return [] }
        return motions.compactMap { motion in
            let start = max(clock.slot(at: motion.start, tickPeriod), slots.lowerBound)
            let end = min(
                motion.end.map { clock.slot(at: $0, tickPeriod) } ?? slots.upperBound,
                slots.upperBound)
            guard start < end else { return nil }
            return LossMark(start: start, end: end, count: nil, reason: .actuatorMoving)
        }
    }

    /// Whether detections are being discarded because an actuator moves.
    public var isMoving: Bool { motions.last.map { $0.end == nil } ?? false }

    func ticksOf(_ duration: Duration) -> UInt64 {
        UInt64(duration.inSeconds * 1e12 / tickPeriod.picoseconds)
    }

    /// A tick that is certainly later than everything the tagger has stamped so far: host time is
    /// mapped through blocks that arrive late by up to the flush interval and a transfer.
    func ticksAfterNow() -> DeviceTicks {
        let ticks = hostClock.ticks(at: reactor.now) ?? DeviceTicks(0)
        return DeviceTicks(
            ticks.rawValue + 2 * ticksOf(settings.flushInterval) + ticksOf(.milliseconds(10)))
    }

    /// Waits.
    public func settle(_ duration: Duration) async throws(EnvironmentFailure) {
        do throws(CancellationError) {
            try await reactor.sleep(for: duration)
        } catch {
            throw EnvironmentFailure(
                code: "BRK-CAL-003", message: "the calibration was cancelled",
                isCancellation: true)
        }
    }

    /// Takes data as requested, under the pattern requested.
    public func measure(
        _ request: MeasurementRequest
    ) async throws(EnvironmentFailure) -> CalibrationMeasurement {
        precondition(collector == nil, "one measurement at a time")
        let pattern = try await ensurePattern(request.pattern)
        let started = reactor.now
        let start = ticksAfterNow()
        let end = DeviceTicks(start.rawValue + ticksOf(request.maximumDuration))
        let before = try await settings(of: .polarizationController)
        collector = MeasurementCollector(
            request: request, startTicks: start, endTicks: end, pattern: pattern)
        // A tagger that falls silent must not hold the calibration for ever.
        let deadline = started + request.maximumDuration + .seconds(10)
        let timer = reactor.schedule(at: deadline) { [weak self] in
            self?.assumeIsolated { $0.finishMeasurement() }
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                // What ends a measurement may have happened while the settings were read.
                if acquisitionFailure != nil || outcome.abort != nil {
                    continuation.resume()
                } else {
                    collectorWaiter = continuation
                }
            }
        } onCancel: {
            reactor.schedule(at: reactor.now) { [weak self] in
                self?.assumeIsolated { $0.finishMeasurement() }
            }
        }
        reactor.cancel(timer)
        guard let finished = collector else {
            preconditionFailure("a measurement has its collector until it is over")
        }
        collector = nil
        try checkMeasurement(finished, request: request)
        return CalibrationMeasurement(
            payload: payload(of: finished), settings: [before], started: started,
            finished: reactor.now, provenance: provenance)
    }

    private func checkMeasurement(
        _ collector: MeasurementCollector, request: MeasurementRequest
    ) throws(EnvironmentFailure) {
        if Task.isCancelled {
            throw EnvironmentFailure(
                code: "BRK-CAL-003", message: "the calibration was cancelled",
                isCancellation: true)
        }
        if let acquisitionFailure {
            throw EnvironmentFailure(code: "BRK-CAL-012", message: acquisitionFailure)
        }
        if let reason = outcome.abort {
            throw EnvironmentFailure(
                code: "BRK-CAL-013", message: "the session ended while measuring: \(reason)")
        }
        guard collector.isComplete else {
            throw EnvironmentFailure(
                code: "BRK-CAL-012",
                message: "expected data of the tagger within \(request.maximumDuration), found "
                    + "none after the end; check that the tagger is connected and acquiring")
        }
    }

    private func payload(of collector: MeasurementCollector) -> CalibrationMeasurement.Payload {
        switch collector.request.quantity {
        case .timeTags:
            let instant = hostClock.instant(of: collector.startTicks) ?? reactor.now
            return .timeTags(
                TimeTagSample(
                    tickPeriod: tickPeriod, tags: collector.tags,
                    coarse: CoarseSlotTime(
                        ticks: collector.startTicks, slot: coarseSlot(at: instant),
                        uncertainty: UInt64(
                            settings.hostClockUncertainty.inSeconds * slotRate))))
        case .arrivalPhases: return .arrivalPhases(collector.phases)
        case .stateCounts: return .stateCounts(collector.counts)
        }
    }

    func finishMeasurement() {
        collectorWaiter?.resume()
        collectorWaiter = nil
    }

    private var slotRate: Double { 1e12 / Double(settings.slotPeriod.rawValue) }

    /// The slot at Bob at a host instant, as far as the hosts' clocks tell.
    func coarseSlot(at instant: HostInstant) -> SlotIndex {
        let seconds = (instant - settings.slotOrigin).inSeconds
        return SlotIndex(UInt64(max(0, seconds * slotRate)))
    }

    /// Has Alice send the pattern, unless she does, and waits until it certainly arrives.
    private func ensurePattern(
        _ wanted: TrainingPattern
    ) async throws(EnvironmentFailure) -> any PulsePattern {
        let kind: PulsePatternKind =
            switch wanted {
            case .synchronization: .synchronization(key: settings.publishedKey)
            case .training:
                .training(
                    key: settings.publishedKey, probabilityZ: 0.5, probabilitySignal: 1)
            }
        let start = try await startPattern(kind)
        guard let pattern = kind.publishedPattern else {
            preconditionFailure("training patterns are published")
        }
        let arrival =
            settings.slotOrigin + .nanoseconds(Int64(Double(start.rawValue) / slotRate * 1e9))
            + settings.hostClockUncertainty + .milliseconds(5)
        if arrival > reactor.now { try await settle(arrival - reactor.now) }
        return pattern
    }

    /// Has Alice send `kind`, unless she does already; returns its first slot.
    func startPattern(_ kind: PulsePatternKind) async throws(EnvironmentFailure) -> SlotIndex {
        if let last = patternStarts.last, last.kind == kind { return last.start }
        let count = patternStarts.count
        // Late enough for the request to arrive before the slot leaves.
        let lead = settings.hostClockUncertainty + .milliseconds(50)
        perform(session.request(kind, earliestSlot: coarseSlot(at: reactor.now + lead)))
        for _ in 0..<2000 {
            if patternStarts.count > count { return patternStarts[count].start }
            if let reason = outcome.abort {
                throw EnvironmentFailure(
                    code: "BRK-CAL-013", message: "the session ended: \(reason)")
            }
            try await settle(.milliseconds(5))
        }
        throw EnvironmentFailure(
            code: "BRK-CAL-014",
            message: "expected Alice to start a pattern within 10 s, found no answer; "
                + "check her node")
    }

    /// Puts a snapshot in force.
    public func publish(_ snapshot: CalibrationSnapshot) async throws(EnvironmentFailure) {
        do throws(PipelineError) {
            try install(snapshot)
        } catch {
            throw EnvironmentFailure(code: error.code, message: error.description)
        }
    }
}

extension EnvironmentFailure {
    /// The failure of an instrument.
    init(_ error: DriverError) {
        self.init(
            code: error.code.rawValue, message: error.description,
            isCancellation: error.code == .cancelled)
    }
}

extension LinkTally {
    /// Adds the counts of `right`; the phase histograms must have the same bins.
    static func += (left: inout LinkTally, right: LinkTally) {
        for index in left.clicks.indices {
            left.clicks[index] += right.clicks[index]
            left.outsideGate[index] += right.outsideGate[index]
            for bin in left.phaseHistogram[index].indices {
                left.phaseHistogram[index][bin] += right.phaseHistogram[index][bin]
            }
        }
        left.multipleClicks += right.multipleClicks
        left.lostSlots += right.lostSlots
        left.slots += right.slots
    }
}
