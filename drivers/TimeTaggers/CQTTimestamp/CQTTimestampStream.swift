import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

// The event stream of the CQT card: start, the pump that decodes, the ticker that hands over blocks
// and watches for overflow, and the end.

extension CQTTimestampDriver {
    private static let transferCount = 256
    private static let pollInterval = Duration.milliseconds(50)
    private static let maxFailures = 8
    private static let maxRejected = 65536
    private static let drainQuiet = Duration.milliseconds(30)
    private static let drainLimit = Duration.milliseconds(500)

    /// Initialises the card, which resets its counter, and opens its inputs.
    ///
    /// - Throws: `wrongState` when it is closed or already running; `notSupported` for thresholds
    ///   other than the default unless the unit's code is known.
    public func start(_ plan: AcquisitionPlan) async throws(DriverError) -> any TagBlockSource {
        _ = try openDevice("start")
        guard run == nil else {
            throw DriverError(
                code: .wrongState, instrument: name, operation: "start",
                expected: "no running acquisition", found: "one", advice: "stop it first")
        }
        try checkThresholds(plan)
        let run = try makeRun(plan)
        self.run = run
        do throws(DriverError) {
            try await perform("initialize", plan: plan, operation: "start")
            if let command = profile.record?.flush.command {
                try await send(command, [Double(run.flushTicks)], operation: "start")
            }
            try await perform("start", plan: plan, operation: "start")
        } catch {
            await run.queue?.cancelAll()
            self.run = nil
            throw error
        }
        run.noteStart(at: reactor.now)
        health = .good
        let number = run.number
        reactor.start { await self.pump(number) }
        reactor.start { await self.tick(number) }
        return run.blocks
    }

    /// Inhibits the inputs, lets the last packets through and ends the source.
    public func stop() async throws(DriverError) {
        guard let run, !run.isStopping else { return }
        run.isStopping = true
        run.blocks.drain()
        var failure: DriverError?
        do throws(DriverError) {
            try await perform("stop", operation: "stop")
        } catch {
            failure = error
            await stopReading()
        }
        run.collector.closeLoss(at: run.latestTick(at: reactor.now))
        if let start = run.watch.suspectSince, run.failure == nil {
            run.collector.doubt(from: start, to: run.collector.lastTick)
        }
        deliver(run, completeThrough: run.collector.lastTick)
        run.blocks.finish(run.failure)
        self.run = nil
        if let failure, failure.code != .disconnected { throw failure }
    }

    private func checkThresholds(_ plan: AcquisitionPlan) throws(DriverError) {
        let wanted = plan.thresholds.sorted { $0.key < $1.key }.map(\.value)
        guard let first = wanted.first else { return }
        guard wanted.allSatisfy({ $0 == first }) else {
            throw CQTTimestampError.thresholdsDiffer
                .driverError(instrument: name, operation: "start")
        }
        guard profile.channels.first?.defaultThreshold == first else {
            throw CQTTimestampError.thresholdNotCalibrated(first)
                .driverError(instrument: name, operation: "start")
        }
    }

    private func makeRun(_ plan: AcquisitionPlan) throws(DriverError) -> CQTAcquisition {
        runCount += 1
        let packet = try packetSize()
        let packetRecords = packet / CQTRecordFormat.recordBytes
        let record = try required { () throws(MissingProfileField) in try profile.requireRecord() }
        let flush = CQTAcquisition.FlushTiming(
            wanted: plan.flushInterval,
            unit: .nanoseconds(Int64((record.flush.unitMilliseconds ?? 10) * 1e6)),
            patience: profile.integerQuirk("autoflush_ticks_needed") ?? 2,
            packetRecords: packetRecords)
        var map = [UInt8](repeating: 0, count: 32)
        for channel in profile.channels {
            if let mask = channel.mask, mask != 0 {
                map[mask.trailingZeroBitCount] = UInt8(truncatingIfNeeded: channel.index)
            }
        }
        // The FIFO, and the four packet buffers of the FX2 chip behind it.
        let buffered = (record.fifoRecords ?? 0) + 4 * packetRecords
        let limit = summary.speed == .full ? "event_rate_full_speed" : "event_rate"
        let greatestRate = profile.limits[limit]?.max ?? 1e6
        let overflow = OverflowWatch(
            records: buffered, greatestRate: greatestRate, start: reactor.now)
        return CQTAcquisition(
            number: runCount, blocks: BlockQueue(on: reactor, instrument: name),
            collector: TagCollector(tickPeriod: tickPeriod, provenance: identity.provenance),
            decoder: CQTStreamDecoder(format: wire.format, channelMap: map),
            overflow: overflow,
            watch: CounterWatch(
                tickPeriod: tickPeriod,
                allowance: flush.greatestAge + overflow.drainTime + CQTAcquisition.hostDelay,
                start: reactor.now),
            flush: flush, reactor: reactor)
    }

    private func packetSize() throws(DriverError) -> Int {
        let endpoint = try required { () throws(MissingProfileField) in
            try profile.endpoint("events")
        }
        let found = summary.interfaces.flatMap(\.endpoints).first {
            $0.address == endpoint.address
        }
        return found?.maxPacketSize ?? endpoint.maxPacketFullSpeed
    }

    // MARK: The pump

    func startReading(operation: String) throws(DriverError) {
        guard let run else { return }
        let device = try openDevice(operation)
        let endpoint = try required { () throws(MissingProfileField) in
            try profile.endpoint("events")
        }
        let size = try packetSize()
        do throws(USBTransferError) {
            run.queue = try device.openQueue(
                endpoint: endpoint.address, transferCount: Self.transferCount, transferSize: size)
        } catch { throw DriverError(error, instrument: name, operation: operation) }
        run.outstanding = Self.transferCount
    }

    /// Waits for the packets that are under way, then cancels the transfers.
    func stopReading() async {
        guard let run, let queue = run.queue else { return }
        let limit = reactor.now + Self.drainLimit
        while run.outstanding > 0, reactor.now < limit {
            if run.waitingSince != nil, reactor.now - run.lastArrival > Self.drainQuiet { break }
            guard (try? await reactor.sleep(for: .milliseconds(10))) != nil else { break }
        }
        run.isCancelling = true
        await queue.cancelAll()
        // Every pending transfer still comes back; the pump ends with the last.
        while run.outstanding > 0 {
            if await run.pumpEnded.wait(until: reactor.now + .seconds(1)) != .woken { break }
        }
    }

    private func pump(_ number: UInt64) async {
        guard let run, run.number == number, let queue = run.queue else { return }
        while run.outstanding > 0 {
            if await run.blocks.waitForRoom() {
                run.overflow.heldBack = true
                run.watch.holdBack()
            }
            run.waitingSince = reactor.now
            let completion = await queue.next()
            run.waitingSince = nil
            let now = reactor.now
            if completion.byteCount > 0 {
                let count = completion.byteCount
                let latest = run.latestTick(at: now)
                completion.buffer.withBytes { bytes in
                    run.decoder.decode(
                        UnsafeRawBufferPointer(rebasing: bytes[..<count]), notAfter: latest,
                        into: &run.collector)
                }
                run.noteArrival(at: now)
                checkCounter(run, at: now)
            }
            if take(completion.error, run) {
                queue.submit(completion.takeBuffer())
            } else {
                run.outstanding -= 1
            }
            if run.decoder.rejectedInARow > Self.maxRejected, run.failure == nil {
                fail(
                    run,
                    CQTTimestampError.lostAlignment(records: run.decoder.rejectedInARow)
                        .driverError(instrument: name, operation: "read events"))
            }
            if run.collector.isFull { deliver(run, completeThrough: promise(run)) }
        }
        run.pumpEnded.wake()
    }

    /// Ends the acquisition when the counter can not be trusted, and marks since when.
    private func checkCounter(_ run: CQTAcquisition, at now: HostInstant) {
        guard run.failure == nil else { return }
        var fault = run.decoder.fault
        if fault == nil, run.decoder.rejectedInARow == 0, run.decoder.recordCount > 0 {
            let compared = run.watch.comparedThrough
            fault = run.watch.note(ticks: run.collector.lastTick, at: now).map {
                ($0, run.watch.suspectSince ?? compared)
            }
        }
        guard let fault else { return }
        run.collector.doubt(from: fault.since, to: run.latestTick(at: now))
        fail(run, fault.what.driverError(instrument: name))
    }

    /// Judges the end of a transfer; true if its buffer is to be used again.
    private func take(_ error: USBTransferError?, _ run: CQTAcquisition) -> Bool {
        guard let error else {
            run.failuresInARow = 0
            return run.failure == nil && !run.isCancelling
        }
        if run.isCancelling || run.failure != nil { return false }
        switch error {
        case .cancelled, .disconnected, .stall, .accessDenied, .busy, .notFound:
            let reason: LossReason = error == .disconnected ? .disconnected : .transferFailure
            run.collector.lose(
                from: run.collector.lastTick, to: run.latestTick(at: reactor.now), reason: reason)
            fail(run, DriverError(error, instrument: name, operation: "read events"))
            return false
        case .overflow, .timedOut, .io, .system:
            // The content of this transfer is gone; the next ones may be good.
            run.decoder.dropPartialRecord()
            run.collector.beginLoss(from: run.collector.lastTick, reason: .transferFailure)
            run.failuresInARow += 1
            guard run.failuresInARow >= Self.maxFailures else { return true }
            fail(
                run,
                CQTTimestampError.transfersFailing(run.failuresInARow)
                    .driverError(instrument: name, operation: "read events"))
            return false
        }
    }

    private func fail(_ run: CQTAcquisition, _ error: DriverError) {
        guard run.failure == nil else { return }
        run.failure = error
        health = .failed(error.description)
        run.collector.closeLoss(at: run.latestTick(at: reactor.now))
        deliver(run, completeThrough: run.collector.promised)
        run.blocks.finish(error)
    }

    // MARK: Handing over

    /// What may be promised now: everything has arrived and no overflow is possible.
    private func promise(_ run: CQTAcquisition) -> UInt64 {
        min(run.arrivedThrough(at: reactor.now), run.overflow.cleanThrough)
    }

    private func deliver(_ run: CQTAcquisition, completeThrough: UInt64) {
        if let block = run.collector.takeBlock(
            completeThrough: completeThrough, arrival: run.lastArrival)
        {
            run.blocks.push(block)
        }
    }

    /// Hands over what has been gathered and polls the overflow status, until the run ends.
    private func tick(_ number: UInt64) async {
        var nextPoll = reactor.now + Self.pollInterval
        var failedPolls = 0
        while let run, run.number == number, !run.isStopping, run.failure == nil {
            if reactor.now >= nextPoll {
                nextPoll = reactor.now + Self.pollInterval
                failedPolls = await poll(run) ? 0 : failedPolls + 1
                if failedPolls >= 3, run.failure == nil, !run.isStopping {
                    run.collector.beginLoss(
                        from: run.overflow.cleanThrough, reason: .transferFailure)
                    fail(
                        run,
                        DriverError(
                            .timedOut(transferred: 0), instrument: name,
                            operation: "ask for the overflow status"))
                }
            }
            guard !run.isStopping, run.failure == nil else { return }
            if run.blocks.hasRoom { deliver(run, completeThrough: promise(run)) }
            let pause = min(run.tickInterval, max(nextPoll - reactor.now, .milliseconds(1)))
            guard (try? await reactor.sleep(for: pause)) != nil else { return }
        }
    }

    private func poll(_ run: CQTAcquisition) async -> Bool {
        let arrived = run.arrivedThrough(at: reactor.now)
        guard
            let answer = try? await status("status_overflow", operation: "poll overflow")
        else { return false }
        guard !run.isStopping, run.failure == nil else { return true }
        if answer != 0 { health = .degraded("the event FIFO overflowed: reduce the rate") }
        run.overflow.note(
            overflow: answer != 0, arrivedBefore: arrived, isWaiting: run.waitingSince != nil,
            at: reactor.now,
            decoder: &run.decoder, collector: &run.collector)
        return true
    }
}
