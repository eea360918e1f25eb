import HostIO
import LinkTypes
import Quantities

/// A time tagger that survives being unplugged: it waits for the same unit, opens it, restarts the
/// acquisition with the same plan, and continues one stream with an exact gap.
///
/// The instrument's counter begins anew when it returns. Its ticks are shifted so that they go on
/// rising, by what the host's clock says has passed, rounded up beyond everything handed out. From the
/// tick the stream was complete through to the first tick of the new run there is one `LossMark`;
/// nothing before it was lost with the absence, nothing after it is. A block with
/// `TagStreamEvent.interrupted` comes as soon as the tagger is away, one with `.resumed` when it
/// acquires again. Ticks of different runs are tied to each other by the host's clock only
/// (`docs/decisions/0014-gaps-in-a-tag-stream.md`).
public actor ResumingTimeTagger: TimeTagger {
    private let reactor: any Reactor
    private let returning: Returning
    private var current: any TimeTagger
    private var unit: DeviceUnit
    private var counter: ReturnCounter
    /// Who the tagger is; the same before and after an absence, unless another was accepted.
    public private(set) var identity: InstrumentIdentity
    /// How it is doing; degraded while it is away.
    public private(set) var health = InstrumentHealth.good
    /// The length of a tick.
    public let tickPeriod: TickPeriod
    /// The number of inputs.
    public let channelCount: Int
    /// Counting by the instrument that is open at present, where it has it.
    public private(set) var counting: (any PulseCounting)?
    private var plan: AcquisitionPlan?
    private var isOpen = false

    /// The executor of the reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// Wraps `tagger`, the driver of `unit`, which is not open yet.
    ///
    /// - Parameters:
    ///   - returns: tells when the unit is back.
    ///   - make: makes the driver of a device that is back.
    public init(
        _ tagger: any TimeTagger, unit: DeviceUnit, returns: any DeviceReturns,
        policy: ResumePolicy = ResumePolicy(), reactor: any Reactor,
        make: @escaping @Sendable (DiscoveredDevice) async throws(DriverError) -> any TimeTagger
    ) async {
        self.reactor = reactor
        self.unit = unit
        current = tagger
        counter = ReturnCounter(policy)
        returning = Returning(
            returns: returns, policy: policy, reactor: reactor,
            make: { device async throws(DriverError) in try await make(device) })
        identity = await tagger.identity
        tickPeriod = await tagger.tickPeriod
        channelCount = await tagger.channelCount
        counting = await tagger.counting
    }

    /// Opens the tagger. It is not waited for: what is not there at first is not missing.
    public func open() async throws(DriverError) {
        try await current.open()
        isOpen = true
        await takeState()
    }

    /// Ends waiting and acquisition, and closes the tagger.
    public func close() async {
        isOpen = false
        plan = nil
        await current.close()
    }

    /// Tests the tagger that is open.
    public func selfTest() async throws(DriverError) -> SelfTestReport {
        try await current.selfTest()
    }

    /// Starts an acquisition, which goes on over absences.
    public func start(_ plan: AcquisitionPlan) async throws(DriverError) -> any TagBlockSource {
        let begun = reactor.now
        let source = try await current.start(plan)
        self.plan = plan
        await takeState()
        return ResumingSource(
            tagger: self, inner: source, tickPeriod: tickPeriod,
            provenance: identity.provenance, start: begun)
    }

    /// Stops the acquisition; an absence ends with it.
    public func stop() async throws(DriverError) {
        plan = nil
        try await current.stop()
    }

    private func takeState() async {
        identity = await current.identity
        health = await current.health
        counting = await current.counting
    }

    // MARK: Absence

    /// Whether `error` ended the acquisition because the unit left.
    fileprivate func isAway(after error: DriverError) async -> Bool {
        guard isOpen, plan != nil else { return false }
        guard await returning.hasLeft(unit, after: error), plan != nil else { return false }
        health = .degraded("away since \(reactor.now.seconds) s: \(error.found)")
        return true
    }

    /// Waits for the unit and restarts its acquisition; nil when the acquisition was stopped.
    fileprivate func resume(
        noticed: HostInstant
    ) async throws(DriverError) -> (source: any TagBlockSource, begun: HostInstant)? {
        await current.close()
        guard let plan else { return nil }
        do throws(DriverError) {
            // What leaves again while it is started is waited for within the same absence.
            while true {
                let reopened = try await returning.reopen(
                    unit, identity: identity, since: noticed,
                    isWanted: { self.isOpen && self.plan != nil })
                guard let reopened else { return nil }
                guard let tagger = reopened.instrument as? any TimeTagger else {
                    throw Self.wrongKind(identity)
                }
                guard self.plan != nil, isOpen else {
                    await tagger.close()
                    return nil
                }
                guard counter.note(at: reactor.now) else {
                    await tagger.close()
                    throw tooManyReturns
                }
                current = tagger
                unit = reopened.unit
                guard await tagger.tickPeriod == tickPeriod else { throw Self.wrongKind(identity) }
                let begun = reactor.now
                do throws(DriverError) {
                    let source = try await tagger.start(plan)
                    await takeState()
                    return (source, begun)
                } catch {
                    await tagger.close()
                    guard await returning.hasLeft(unit, after: error) else { throw error }
                }
            }
        } catch {
            health = .failed(error.description)
            throw error
        }
    }

    fileprivate var now: HostInstant { reactor.now }

    fileprivate var tooManyTicks: DriverError {
        DriverError(
            code: .outOfRange, instrument: identity.shortName, operation: "resume",
            expected: "fewer than 2^55 ticks", found: "a stream that has run longer",
            advice: "stop the acquisition and start a new one")
    }

    private var tooManyReturns: DriverError {
        let policy = returning.policy
        return DriverError(
            code: .disconnected, instrument: identity.shortName, operation: "resume",
            expected: "at most \(policy.maximumReturns) returns within "
                + "\(policy.window.wholeNanoseconds / 1_000_000_000) s",
            found: "another one", advice: "replace the cable or the hub, then start anew")
    }

    private static func wrongKind(_ identity: InstrumentIdentity) -> DriverError {
        DriverError(
            code: .wrongDevice, instrument: identity.shortName, operation: "resume",
            expected: "a time tagger with the same tick", found: "another instrument",
            advice: "plug the former unit in again, or start anew to use this one")
    }
}

/// The one stream of an acquisition over absences. Belongs to the task that reads it.
private actor ResumingSource: TagBlockSource {
    private let tagger: ResumingTimeTagger
    private let tickPeriod: TickPeriod
    private var provenance: Provenance
    private var inner: any TagBlockSource
    private var state = State.running

    private enum State {
        case running
        case away(since: HostInstant, noticed: HostInstant)
        case over
    }

    nonisolated var unownedExecutor: UnownedSerialExecutor { tagger.unownedExecutor }

    /// Added to the ticks of the present run.
    private var offset: UInt64 = 0
    private var epoch: UInt32 = 0
    /// The tick the stream was promised to be complete through.
    private var completeThrough: UInt64 = 0
    /// The first tick beyond everything handed out.
    private var end: UInt64 = 0
    /// A tick and when it reached the host; before the first block, the start.
    private var tie: (ticks: UInt64, host: HostInstant)

    init(
        tagger: ResumingTimeTagger, inner: any TagBlockSource, tickPeriod: TickPeriod,
        provenance: Provenance, start: HostInstant
    ) {
        self.tagger = tagger
        self.inner = inner
        self.tickPeriod = tickPeriod
        self.provenance = provenance
        tie = (0, start)
    }

    func next() async throws(DriverError) -> TagBlock? {
        switch state {
        case .over: return nil
        case .away(let since, let noticed): return try await resume(since, noticed: noticed)
        case .running: break
        }
        do throws(DriverError) {
            guard let block = try await inner.next() else {
                state = .over
                return nil
            }
            return try handOn(block)
        } catch {
            guard await tagger.isAway(after: error) else {
                state = .over
                throw error
            }
            let since = tie.host
            state = .away(since: since, noticed: await tagger.now)
            return TagBlock(
                tickPeriod: tickPeriod, tags: [], completeThrough: DeviceTicks(completeThrough),
                arrival: since, provenance: provenance,
                event: .interrupted(since: since, reason: error.description))
        }
    }

    /// A block of the present run, with ticks that continue those of the runs before.
    private func handOn(_ block: TagBlock) throws(DriverError) -> TagBlock {
        var block = block
        provenance = block.provenance
        if offset > 0 {
            let shift = offset << 8
            for index in block.tags.indices { block.tags[index].rawValue += shift }
            block.losses = block.losses.map { loss in
                LossMark(
                    start: DeviceTicks(loss.start.rawValue + offset),
                    end: DeviceTicks(loss.end.rawValue + offset), count: loss.count,
                    reason: loss.reason)
            }
            block.completeThrough = DeviceTicks(block.completeThrough.rawValue + offset)
        }
        completeThrough = max(completeThrough, block.completeThrough.rawValue)
        end = max(end, completeThrough, block.tags.last.map { $0.ticks + 1 } ?? 0)
        end = max(end, block.losses.map(\.end.rawValue).max() ?? 0)
        tie = (block.completeThrough.rawValue, block.arrival)
        return block
    }

    private func resume(
        _ since: HostInstant, noticed: HostInstant
    ) async throws(DriverError) -> TagBlock? {
        let resumed: (source: any TagBlockSource, begun: HostInstant)?
        do throws(DriverError) { resumed = try await tagger.resume(noticed: noticed) } catch {
            state = .over
            throw error
        }
        guard let resumed else {
            state = .over
            return nil
        }
        inner = resumed.source
        state = .running
        epoch += 1
        let gap = TagGap(
            epoch: epoch,
            loss: LossMark(
                start: DeviceTicks(completeThrough), end: DeviceTicks(firstTick(at: resumed.begun)),
                count: nil, reason: .disconnected),
            lostSince: since, resumed: resumed.begun)
        guard gap.loss.end.rawValue < 1 << 55 else {
            state = .over
            throw await tagger.tooManyTicks
        }
        offset = gap.loss.end.rawValue
        completeThrough = offset
        end = offset
        tie = (offset, resumed.begun)
        return TagBlock(
            tickPeriod: tickPeriod, tags: [], losses: [gap.loss], completeThrough: gap.loss.end,
            arrival: resumed.begun, provenance: provenance, event: .resumed(gap))
    }

    /// The tick of the new run's beginning: what the host's clock says, but beyond everything handed
    /// out.
    private func firstTick(at instant: HostInstant) -> UInt64 {
        let elapsed = max(0, Double((instant - tie.host).wholeNanoseconds) * 1000)
        let nominal = tie.ticks + UInt64((elapsed / tickPeriod.picoseconds).rounded(.up))
        return max(nominal, end + 1)
    }
}
