import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

// The lines of a TICC: the pump that reads them from opening to closing, and the acquisitions that
// take their tags from it. The board can not be told to be silent, and what nobody reads would
// overflow the buffers on the way; therefore the pump runs without an acquisition too.

extension TICCDriver {
    /// Lines without sense after which the stream is given up.
    private static let maxUnreadable = 16
    /// Times that can not be true after which the board must have started anew.
    private static let maxImplausible = 3
    /// Tags made before `stop` have arrived after this.
    private static let tail = Duration.milliseconds(100)

    /// Takes the tags from now on.
    ///
    /// - Throws: `notSupported` for thresholds, which are set by a jumper and a comparator on the
    ///   board, and for any reference but the external one.
    public func start(_ plan: AcquisitionPlan) async throws(DriverError) -> any TagBlockSource {
        let operation = "start"
        let session = try openSession(operation)
        if let failure = session.failure { throw failure }
        guard session.run == nil else {
            throw TICCError.wrongState(expected: "no running acquisition", found: "one")
                .driverError(instrument: name, operation: operation)
        }
        guard plan.thresholds.isEmpty else {
            throw TICCError.notSupported(
                expected: "the thresholds of the board", found: "others",
                advice: "leave the thresholds out of the plan"
            ).driverError(instrument: name, operation: operation)
        }
        guard plan.usesExternalReference ?? true else {
            throw TICCError.notSupported(
                expected: "the external reference", found: "a plan for an internal one",
                advice: "connect 10 MHz; the board has no clock of its own"
            ).driverError(instrument: name, operation: operation)
        }
        let interval = min(max(plan.flushInterval, .milliseconds(5)), .milliseconds(100))
        let run = TICCAcquisition(
            blocks: BlockQueue(on: reactor, instrument: name),
            order: TICCTagOrder(
                start: session.clock.boardTime(at: reactor.now), tick: tickPeriod,
                group: session.dialect.record.group, busy: session.dialect.busy,
                channels: channelCount,
                collector: TagCollector(tickPeriod: tickPeriod, provenance: identity.provenance)),
            flushInterval: interval, nextDelivery: reactor.now + interval)
        session.run = run
        health = .good
        return run.blocks
    }

    /// Ends the acquisition; the board goes on measuring.
    public func stop() async throws(DriverError) {
        guard let session, let run = session.run, !run.isStopping else { return }
        run.isStopping = true
        run.blocks.drain()
        try? await reactor.sleep(for: Self.tail)
        // A failure or `close` may have ended it meanwhile.
        guard session.run === run else { return }
        endRun(session, silence: nil)
        run.blocks.finish(nil)
        session.run = nil
    }

    /// Hands over all that an acquisition has gathered.
    func endRun(
        _ session: TICCSession, silence: (duration: Duration, reason: LossReason)?
    ) {
        guard let run = session.run else { return }
        if let block = run.order.finish(silence: silence, arrival: session.lastArrival) {
            run.blocks.push(block)
        }
    }

    func pump() async {
        guard let session else { return }
        for line in session.early { take(line, session) }
        session.early = []
        while !session.isClosed, session.failure == nil {
            if let run = session.run { _ = await run.blocks.waitForRoom() }
            let wait = session.run.map { max($0.nextDelivery - reactor.now, .milliseconds(1)) }
            do throws(ByteStreamError) {
                let bytes = try await session.stream.bytes.read(
                    upTo: 65536, timeout: wait ?? .milliseconds(100))
                guard !session.isClosed else { return }
                session.lastArrival = reactor.now
                for line in session.splitter.lines(bytes) where session.failure == nil {
                    take(line, session)
                }
            } catch .timedOut {
                // No pulses, no lines: silence means nothing.
            } catch .lineError {
                session.run?.order.beginLoss()
            } catch {
                fail(session, DriverError(error, instrument: name, operation: "read times"))
            }
            deliver(session)
        }
    }

    private func take(_ line: [UInt8], _ session: TICCSession) {
        guard let (time, channel) = TICCWire.decode(line, session.configuration.format) else {
            takeOther(line, session)
            return
        }
        switch session.clock.judge(time, arrival: session.lastArrival) {
        case .good(let time, let isLate):
            session.unreadableInARow = 0
            session.implausibleInARow = 0
            session.linesOfChannel[Int(channel)] += 1
            guard let run = session.run else { return }
            if !run.order.add(time, channel: channel, isLate: isLate) {
                fail(session, TICCError.countFull)
            }
        case .implausible:
            session.implausibleInARow += 1
            session.run?.order.beginLoss()
            if session.implausibleInARow >= Self.maxImplausible {
                fail(
                    session,
                    TICCError.restarted(
                        found: "times that do not, such as \(time.seconds) s"))
            }
        }
    }

    /// A line that is no tag: a remark of the board, which ends the acquisition, or damage.
    private func takeOther(_ line: [UInt8], _ session: TICCSession) {
        let text = String(decoding: line, as: UTF8.self)
        if let lost = session.dialect.referenceLost, lost.value(in: text) != nil {
            fail(session, TICCError.noReference(found: text))
            return
        }
        if line.first == UInt8(ascii: "#") {
            fail(session, TICCError.restarted(found: "the remark \"\(text.prefix(60))\""))
            return
        }
        session.unreadableInARow += 1
        session.run?.order.beginLoss()
        if session.unreadableInARow >= Self.maxUnreadable {
            fail(session, TICCError.unreadable(lines: session.unreadableInARow))
        }
    }

    private func deliver(_ session: TICCSession) {
        guard let run = session.run, session.failure == nil,
            reactor.now >= run.nextDelivery || run.order.collector.isFull
        else { return }
        run.nextDelivery = reactor.now + run.flushInterval
        if let block = run.order.takeBlock(arrival: session.lastArrival) { run.blocks.push(block) }
    }

    private func fail(_ session: TICCSession, _ error: TICCError) {
        fail(session, error.driverError(instrument: name, operation: "read times"))
    }

    private func fail(_ session: TICCSession, _ error: DriverError) {
        guard session.failure == nil, !session.isClosed else { return }
        session.failure = error
        health = .failed(error.description)
        let reason: LossReason = error.code == .disconnected ? .disconnected : .transferFailure
        endRun(session, silence: (reactor.now - session.lastArrival, reason))
        session.run?.blocks.finish(error)
        session.run = nil
    }
}
