import Calibration
import EventPipeline
import HostIO
import Instruments
import LinkTypes
import ProtocolCore
import Quantities

/// The instruments of Bob's node.
public struct ReceiverInstruments: Sendable {
    /// The tagger that the detectors are wired to.
    public var tagger: any TimeTagger
    /// The polarization controller in front of the receiver.
    public var controller: any PolarizationController
    /// The detectors of the H, V, D and A ports.
    public var detectors: [any SinglePhotonDetector]
    /// Instruments that are already open.
    public init(
        tagger: any TimeTagger, controller: any PolarizationController,
        detectors: [any SinglePhotonDetector]
    ) {
        self.tagger = tagger
        self.controller = controller
        self.detectors = detectors
    }

    /// Brings every instrument to its safe state and gives it back.
    public func close() async {
        for detector in detectors { await detector.close() }
        await controller.close()
        await tagger.close()
    }
}

/// What Bob's node needs to know of the link.
public struct ReceiverSettings: Hashable, Sendable {
    /// The nominal length of a slot.
    public var slotPeriod: Picoseconds
    /// When Alice's slot 0 left, by this host's clock.
    public var slotOrigin: HostInstant
    /// The largest disagreement of the two hosts' clocks.
    public var hostClockUncertainty: Duration
    /// The tagger input of the H, V, D and A detectors.
    public var channels: [UInt8]
    /// How long after a click nothing counts, so that all detectors are alive in a slot that does.
    public var guardTime: Picoseconds
    /// The published key of the synchronization and training patterns.
    public var publishedKey: UInt64
    /// The longest time a tag waits in the tagger.
    public var flushInterval: Duration
    /// Settings of a receiver.
    public init(
        slotPeriod: Picoseconds, slotOrigin: HostInstant,
        hostClockUncertainty: Duration = .milliseconds(60), channels: [UInt8] = [0, 1, 2, 3],
        guardTime: Picoseconds = Picoseconds(0), publishedKey: UInt64,
        flushInterval: Duration = .milliseconds(20)
    ) {
        self.slotPeriod = slotPeriod
        self.slotOrigin = slotOrigin
        self.hostClockUncertainty = hostClockUncertainty
        self.channels = channels
        self.guardTime = guardTime
        self.publishedKey = publishedKey
        self.flushInterval = flushInterval
    }
}

/// Bob's node: instruments, event path, calibration and his end of the session.
///
/// Everything runs on the reactor. Tag blocks come in from the tagger, pass the pipeline, and feed
/// whoever wants them: a running measurement, the clock tracker, the session.
public actor ReceiverStation {
    let reactor: any Reactor
    let instruments: ReceiverInstruments
    let settings: ReceiverSettings
    private(set) var channel: any MessageChannel
    var session: BobSession
    /// Which session of this station is the present one: tasks of an earlier one end.
    private var generation = 0
    var outbox: SessionOutbox?
    /// Blocks and the reason of the end, as far as they are known.
    public internal(set) var outcome = StationOutcome()

    // The event path.
    var snapshotInForce = CalibrationSnapshot.empty
    var pipeline: DetectionPipeline?
    var hostClock: HostClockEstimator
    var clockTracker: ClockTracker?
    private var provisionalDelay: Int64?
    var lastSteered = DeviceTicks(0)
    var tickPeriod = TickPeriod(picoseconds: 1)
    var provenance = Provenance.device
    /// Clicks, losses and phases since the start.
    public internal(set) var tally = LinkTally(phaseBins: 64)
    /// Why acquisition ended before it was stopped.
    public internal(set) var acquisitionFailure: String?
    private var safetyWatches: [Task<Void, Never>] = []
    private let multipleClickGenerator: SeededGenerator

    // Patterns and labels.
    var patternStarts: [PatternSegment] = []
    var labelChanges: [(slot: SlotIndex, labels: DetectorLabels)] = []

    // Measurements and motion.
    var collector: MeasurementCollector?
    var collectorWaiter: CheckedContinuation<Void, Never>?
    var motions: [MotionInterval] = []
    var frame: TrackerFrame?
    /// What the live tracker did.
    public internal(set) var tracking = TrackingReport()
    var isTracking = false
    var trackingTask: Task<Void, Never>?

    /// The executor of the reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// A node that has not started.
    ///
    /// `multipleClicks` draws the outcome of slots with several clicks; its draws become key bits.
    public init(
        instruments: ReceiverInstruments, settings: ReceiverSettings,
        session: consuming BobSession, channel: any MessageChannel,
        multipleClicks: SeededGenerator, reactor: any Reactor
    ) {
        self.instruments = instruments
        self.settings = settings
        self.session = session
        self.channel = channel
        self.reactor = reactor
        multipleClickGenerator = multipleClicks
        hostClock = HostClockEstimator(tickPeriod: TickPeriod(picoseconds: 1))
    }

    // MARK: - Session

    /// Greets Alice and returns once both ends agreed to talk.
    ///
    /// - Throws: the reason when the session ends instead.
    public func connect() async throws(AbortReason) {
        let present = generation
        outbox = SessionOutbox(channel: channel, reactor: reactor) { [weak self] in
            await self?.channelFailed(present)
        }
        perform(session.step(.start(now: reactor.now)))
        reactor.start { await self.receiveUntilOver(present) }
        reactor.start { await self.tickUntilOver(present) }
        while outcome.session == nil {
            if let reason = outcome.abort { throw reason }
            do throws(CancellationError) {
                try await reactor.sleep(for: .milliseconds(2))
            } catch {
                perform(session.step(.cancel("connecting was cancelled")))
            }
        }
    }

    /// Ends the session in good order.
    public func stop(_ reason: String) {
        isTracking = false
        perform(session.step(.cancel(reason)))
    }

    /// What a click of each port stands for at present.
    public var labelsInForce: DetectorLabels { labelChanges.last?.labels ?? session.labels }

    /// Whether the session has ended.
    public var isOver: Bool { session.isOver }

    /// Takes up another session after the last one ended; instruments, acquisition and calibration
    /// go on as they are. `connect` comes next.
    public func resume(
        session: consuming BobSession, channel: any MessageChannel
    ) async {
        precondition(self.session.isOver, "the last session has not ended")
        isTracking = false
        await trackingTask?.value
        generation += 1
        let labels = labelsInForce
        self.session = session
        self.session.labels = labels
        self.channel = channel
        outcome.session = nil
        outcome.abort = nil
        (patternStarts, labelChanges, frame) = ([], [], nil)
    }

    private func channelFailed(_ session: Int) {
        if session == generation { perform(self.session.step(.closed)) }
    }

    private func receiveUntilOver(_ session: Int) async {
        let channel = channel
        while session == generation, !self.session.isOver {
            let bytes = try? await channel.receive()
            guard session == generation else { return }
            guard let bytes else {
                perform(self.session.step(.closed))
                return
            }
            perform(self.session.step(.received(bytes)))
        }
    }

    private func tickUntilOver(_ session: Int) async {
        while session == generation, !self.session.isOver {
            try? await reactor.sleep(for: .milliseconds(100))
            guard session == generation else { return }
            perform(self.session.step(.tick(now: reactor.now)))
        }
    }

    func perform(_ actions: [SessionAction]) {
        for action in actions {
            switch action {
            case .send(let bytes): outbox?.send(bytes)
            case .established(let session): outcome.session = session
            case .patternStarted(let kind, let slot):
                patternStarts.append(PatternSegment(kind: kind, start: slot))
            case .calibrationCounts(let counts, let slots):
                frame?.take(counts, slots: slots)
                tracking.take(counts, labels: session.labels)
            case .dropped(let slots):
                tracking.droppedSlots += slots.upperBound.rawValue - slots.lowerBound.rawValue
            case .deliver(let block): outcome.delivered.append(block)
            case .recovered(let key): outcome.recovered.append(key)
            case .discarded(let report): outcome.discarded.append(report)
            case .aborted(let reason):
                outcome.abort = reason
                isTracking = false
                outbox?.finish()
                finishMeasurement()
            case .preparePattern: preconditionFailure("an action of the other end")
            }
        }
    }

    // MARK: - Event path

    /// Arms the detectors, starts the tagger, and reads it until it is stopped.
    ///
    /// - Throws: the first failure of an instrument; the detectors are then disarmed.
    public func startAcquisition() async throws(DriverError) {
        let started = reactor.now
        do throws(DriverError) {
            for detector in instruments.detectors { try await detector.arm() }
            tickPeriod = await instruments.tagger.tickPeriod
            provenance = await instruments.tagger.identity.provenance
            hostClock = HostClockEstimator(tickPeriod: tickPeriod)
            let source = try await instruments.tagger.start(
                AcquisitionPlan(flushInterval: settings.flushInterval))
            reactor.start { await self.read(source) }
        } catch {
            await stopAcquisition()
            throw error
        }
        for detector in instruments.detectors {
            guard let gating = await detector.gating else { continue }
            let name = await detector.identity.shortName
            safetyWatches.append(
                reactor.start { await self.watchSafety(of: gating, name, since: started) })
        }
    }

    /// Ends the session when a detector switched itself off: with a dead detector the measured
    /// error rates no longer speak for the pulses that make the key.
    private func watchSafety(
        of gating: any DetectorGating, _ name: String, since started: HostInstant
    ) async {
        while let event = try? await gating.nextSafetyEvent() {
            guard event.time >= started, !Task.isCancelled else { continue }
            let failure = "\(name) switched off for safety: \(event.cause.rawValue)"
            acquisitionFailure = acquisitionFailure ?? failure
            perform(session.step(.cancel(failure)))
            finishMeasurement()
        }
    }

    /// Stops the tagger and disarms the detectors, whatever the state of either.
    public func stopAcquisition() async {
        for watch in safetyWatches { watch.cancel() }
        safetyWatches = []
        try? await instruments.tagger.stop()
        for detector in instruments.detectors { try? await detector.disarm() }
    }

    private func read(_ source: any TagBlockSource) async {
        do throws(DriverError) {
            while let block = try await source.next() { take(block) }
        } catch {
            acquisitionFailure = error.description
            perform(session.step(.cancel("acquisition failed: \(error)")))
        }
        finishMeasurement()
    }

    private func take(_ block: TagBlock) {
        hostClock.add(ticks: block.completeThrough, host: block.arrival)
        collector?.take(block)
        if pipeline != nil {
            do throws(PipelineError) {
                try pipeline?.push(block, from: 0)
            } catch {
                acquisitionFailure = error.description
                perform(session.step(.cancel("\(error)")))
                return
            }
            followClock(block)
            if let batch = pipeline?.drain(), !batch.slots.isEmpty { process(batch) }
        }
        if collector?.isComplete == true { finishMeasurement() }
    }

    private func process(_ batch: DetectionBatch) {
        var batch = batch
        let moved = motionLosses(in: batch.slots)
        batch.losses += moved
        if var part = pipeline?.takeTally() {
            // Motions do not overlap; what the pipeline lost meanwhile is counted already.
            let slots = moved.reduce(UInt64(0)) { $0 + $1.end.rawValue - $1.start.rawValue }
            part.lostSlots = min(part.slots, part.lostSlots + slots)
            tally += part
        }
        if let startTicks = collector?.startTicks, let endTicks = collector?.endTicks,
            let clock = clockTracker?.solution
        {
            collector?.take(
                batch, from: clock.slot(at: startTicks, tickPeriod),
                before: clock.slot(at: endTicks, tickPeriod),
                delays: snapshotInForce.detectorDelays)
        }
        while let change = labelChanges.first, change.slot < batch.slots.upperBound {
            labelChanges.removeFirst()
            let (before, after) = batch.split(at: max(change.slot, batch.slots.lowerBound))
            if !before.slots.isEmpty { perform(session.announce(before)) }
            session.labels = change.labels
            batch = after
        }
        if !session.isOver, !batch.slots.isEmpty { perform(session.announce(batch)) }
    }

    // MARK: - Clock

    /// Follows the oscillators on running data and steers the pipeline's clock.
    private func followClock(_ block: TagBlock) {
        guard clockTracker != nil, !block.tags.isEmpty else { return }
        let times = trackedTimes(of: block)
        guard let update = clockTracker?.update(clickTimes: times) else { return }
        if update.isJump { tracking.clockJumps += 1 }
        let since =
            block.completeThrough.rawValue
            - min(
                lastSteered.rawValue, block.completeThrough.rawValue)
        guard Double(since) * tickPeriod.picoseconds > 1e11 else { return }  // 0.1 s
        lastSteered = block.completeThrough
        // A block may hold tags later than what it is complete through; they keep the old line.
        let start = DeviceTicks(
            max(block.completeThrough.rawValue, block.tags.last?.ticks ?? 0) + 1)
        guard let model = pipeline?.clock(of: 0), let solution = clockTracker?.solution,
            let offset = solution.steering(
                of: model, from: start, over: Picoseconds(100_000_000_000))
        else { return }
        do throws(PipelineError) {
            try pipeline?.steer(tagger: 0, from: start, fractionalOffset: offset)
        } catch {
            // A refused change leaves the present line in force; the next block tries again.
            tracking.refusedSteering += 1
        }
    }

    /// The clicks of a block that the clock tracker follows: nominal times in one peak, rising.
    ///
    /// Until the channel delays are known the detectors' peaks lie apart, so one detector is
    /// followed, from wherever its peak was when the clock was locked.
    private func trackedTimes(of block: TagBlock) -> [Picoseconds] {
        // A few hundred clicks a block determine the phase far below the jitter of one.
        let limit = 256
        var delays = snapshotInForce.detectorDelays.map { Int64($0.rounded()) }
        let isWithoutDelays = snapshotInForce.delays == nil
        if isWithoutDelays {
            guard let delay = provisionalDelay ?? estimateProvisionalDelay(block) else { return [] }
            provisionalDelay = delay
            delays[0] = delay
        }
        var times: [Picoseconds] = []
        for tag in block.tags where times.count < limit {
            guard let detector = settings.channels.firstIndex(of: tag.channel),
                !isWithoutDelays || detector == 0
            else { continue }
            times.append(
                Picoseconds(tickPeriod.picoseconds(of: tag.ticks) - delays[detector]))
        }
        return times.sorted()
    }

    /// How late the first detector's clicks come against the clock just locked: the median, which
    /// background does not move. `nil` until a block has enough of them.
    private func estimateProvisionalDelay(_ block: TagBlock) -> Int64? {
        guard let clock = clockTracker?.solution else { return nil }
        let phases = block.tags.filter { $0.channel == settings.channels[0] }.compactMap {
            clock.position(of: Picoseconds(tickPeriod.picoseconds(of: $0.ticks)))?.phase
        }.sorted()
        guard phases.count >= 50 else { return nil }
        return Int64(phases[phases.count / 2].rounded())
    }

    /// Puts a snapshot in force from the first slot not yet handed on.
    func install(_ snapshot: CalibrationSnapshot) throws(PipelineError) {
        let previous = snapshotInForce
        snapshotInForce = snapshot
        guard let clock = snapshot.clock else { return }
        if previous.clock != clock {
            clockTracker = ClockTracker(solution: clock)
            provisionalDelay = nil
        }
        session.labels = snapshot.labels
        guard
            previous.clock != clock || previous.delays != snapshot.delays
                || previous.gate != snapshot.gate
        else { return }
        let ticks = hostClock.ticks(at: reactor.now) ?? DeviceTicks(0)
        let solution = clockTracker?.solution ?? clock
        let firstSlot = max(
            pipeline?.nextSlot ?? SlotIndex(0), solution.slot(at: ticks, tickPeriod))
        var current = snapshot
        current.clock = solution
        guard
            let configuration = current.pipelineConfiguration(
                tickPeriod: tickPeriod, at: ticks, channels: settings.channels,
                firstSlot: firstSlot, guardTime: settings.guardTime)
        else { return }
        pipeline = try DetectionPipeline(configuration, drawing: multipleClickGenerator)
    }
}

/// A pattern that Alice sends from a slot on.
struct PatternSegment: Sendable {
    let kind: PulsePatternKind
    let start: SlotIndex
}

/// Ticks during which an actuator moved; open while it still does.
struct MotionInterval: Sendable {
    let start: DeviceTicks
    var end: DeviceTicks?
}

extension ClockSolution {
    /// The slot at a tick; slot 0 for earlier ticks.
    func slot(at ticks: DeviceTicks, _ tickPeriod: TickPeriod) -> SlotIndex {
        position(of: Picoseconds(tickPeriod.picoseconds(of: ticks.rawValue)))?.slot ?? SlotIndex(0)
    }
}

extension DetectionBatch {
    /// The parts before and from `slot` on, which must lie in the batch's range or at its ends.
    func split(at slot: SlotIndex) -> (before: DetectionBatch, after: DetectionBatch) {
        func part(_ range: Range<SlotIndex>) -> DetectionBatch {
            DetectionBatch(
                slots: range, detections: detections.filter { range.contains($0.slot) },
                losses: losses.compactMap { loss in
                    let start = max(loss.start, range.lowerBound)
                    let end = min(loss.end, range.upperBound)
                    guard start < end else { return nil }
                    return LossMark(start: start, end: end, count: loss.count, reason: loss.reason)
                }, provenance: provenance)
        }
        return (part(slots.lowerBound..<slot), part(slot..<slots.upperBound))
    }
}
