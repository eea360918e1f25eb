import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

// The event stream of the FPGA tagger: start, the pump that decodes, the ticker that hands over
// blocks, sets the packet length and polls the counters, and the end.

extension TimetagDriver {
    private static let transferCount = 256
    private static let pollInterval = Duration.milliseconds(50)
    private static let maxFailures = 8
    private static let maxFailedPolls = 3
    private static let maxSkipped = 65536
    private static let drainQuiet = Duration.milliseconds(30)
    private static let drainLimit = Duration.milliseconds(500)
    /// Nothing is on its way any more when nothing has come for so long.
    private static let quietTime = Duration.milliseconds(200)

    /// Resets counter and FIFO, switches the inputs on and starts counting and capture together.
    ///
    /// - Throws: `wrongState` when it is closed or already running; `notSupported` for thresholds or
    ///   an external reference, which the tagger does not have.
    public func start(_ plan: AcquisitionPlan) async throws(DriverError) -> any TagBlockSource {
        let operation = "start"
        _ = try openDevice(operation)
        guard run == nil else {
            throw DriverError(
                code: .wrongState, instrument: name, operation: operation,
                expected: "no running acquisition", found: "one", advice: "stop it first")
        }
        guard plan.thresholds.isEmpty else {
            throw TimetagError.thresholdsFixed.driverError(instrument: name, operation: operation)
        }
        guard plan.usesExternalReference != true else {
            throw TimetagError.oneReference.driverError(instrument: name, operation: operation)
        }
        let run = try makeRun(plan)
        self.run = run
        do throws(DriverError) {
            try await perform("initialize", operation: operation)
            try await setLength(run.length.records, operation: operation)
            try await request("request_discard", operation: operation)
            try await drain("events", operation)
            let sent = reactor.now
            try await perform("start", operation: operation)
            run.clock.started(between: sent, and: reactor.now)
        } catch {
            run.isCancelling = true
            await run.queue?.cancelAll()
            self.run = nil
            throw error
        }
        run.lastArrival = reactor.now
        health = .good
        let number = run.number
        reactor.start { await self.pump(number) }
        reactor.start { await self.tick(number) }
        return run.blocks
    }

    /// Switches capture off, gets the last records out and ends the source.
    public func stop() async throws(DriverError) {
        guard let run, !run.isStopping else { return }
        run.isStopping = true
        run.blocks.drain()
        var failure: DriverError?
        do throws(DriverError) {
            try await perform("stop", operation: "stop")
            if run.failure == nil { try await account(run) }
        } catch {
            failure = error
            await stopReading()
            run.collector.lose(
                from: run.promise, to: run.clock.latest(at: reactor.now),
                reason: error.code == .disconnected ? .disconnected : .transferFailure)
        }
        run.collector.closeLoss(at: run.clock.latest(at: reactor.now))
        deliver(run, completeThrough: run.collector.lastTick)
        run.blocks.finish(run.failure)
        self.run = nil
        if let failure, failure.code != .disconnected { throw failure }
    }

    /// Compares what has arrived with what the tagger says it has made and lost.
    private func account(_ run: TimetagAcquisition) async throws(DriverError) {
        let records = try await read("register_records", operation: "stop")
        let lost = try await read("register_lost", operation: "stop")
        let now = reactor.now
        let end = run.clock.latest(at: now)
        let count = run.history.note(records: records, asked: now)
        run.history.note(lost: lost, before: count, end: end)
        let arrived = run.decoder.recordCount &+ run.history.missing
        if arrived != count {
            run.collector.lose(
                from: run.collector.promised, to: end, reason: .transferFailure)
        }
        if run.history.takeUnexplainedLoss(arrived: arrived) != nil {
            run.collector.lose(
                from: run.collector.lastTick + 1, to: end, reason: .deviceOverflow)
        }
    }

    private func makeRun(_ plan: AcquisitionPlan) throws(DriverError) -> TimetagAcquisition {
        runCount += 1
        var map = [UInt8](repeating: 0, count: 32)
        for channel in profile.channels {
            if let mask = channel.mask, mask != 0 {
                map[mask.trailingZeroBitCount] = UInt8(truncatingIfNeeded: channel.index)
            }
        }
        let largest = min(try packetSize(), profile.record?.flush.packetBytes ?? 510)
        return TimetagAcquisition(
            number: runCount, blocks: BlockQueue(on: reactor, instrument: name),
            collector: TagCollector(tickPeriod: tickPeriod, provenance: identity.provenance),
            decoder: TimetagStreamDecoder(format: wire.format, channelMap: map),
            length: PacketLengthControl(
                largest: largest / TimetagRecordFormat.recordBytes,
                interval: max(plan.flushInterval, .milliseconds(1)), start: reactor.now),
            interval: plan.flushInterval, reactor: reactor)
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

    /// Sets the length of packets, which also sends the one that is being filled.
    private func setLength(_ records: Int, operation: String) async throws(DriverError) {
        try await request(
            "request_packet_length", value: records * TimetagRecordFormat.recordBytes,
            operation: operation)
        run?.length.set(records)
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

    /// Waits for the packets that are under way, sends what is left, then cancels the transfers.
    func stopReading() async {
        guard let run, let queue = run.queue else { return }
        let limit = reactor.now + Self.drainLimit
        if run.failure == nil, !run.isCancelling {
            await waitUntilQuiet(run, limit)
            // Single records, so that nothing stays behind; setting the length sends the rest.
            try? await setLength(1, operation: "stop")
            run.lastArrival = reactor.now
            await waitUntilQuiet(run, limit + Self.drainQuiet)
        }
        run.isCancelling = true
        await queue.cancelAll()
        // Every pending transfer still comes back; the pump ends with the last.
        while run.outstanding > 0 {
            if await run.pumpEnded.wait(until: reactor.now + .seconds(1)) != .woken { break }
        }
    }

    private func waitUntilQuiet(_ run: TimetagAcquisition, _ limit: HostInstant) async {
        while run.outstanding > 0, reactor.now < limit {
            if run.waitingSince != nil, reactor.now - run.lastArrival > Self.drainQuiet { return }
            guard (try? await reactor.sleep(for: .milliseconds(10))) != nil else { return }
        }
    }

    private func pump(_ number: UInt64) async {
        guard let run, run.number == number, let queue = run.queue else { return }
        while run.outstanding > 0 {
            _ = await run.blocks.waitForRoom()
            run.waitingSince = reactor.now
            let completion = await queue.next()
            run.waitingSince = nil
            let now = reactor.now
            if completion.byteCount > 0 {
                let (count, bounds) = (completion.byteCount, run.bounds(at: now))
                completion.buffer.withBytes { bytes in
                    run.decoder.decode(
                        UnsafeRawBufferPointer(rebasing: bytes[..<count]), within: bounds,
                        into: &run.collector)
                }
                run.lastArrival = now
                run.clock.note(ticks: run.collector.lastTick, at: now)
                run.history.prune(before: run.decoder.recordCount)
            }
            if take(completion.error, run) {
                queue.submit(completion.takeBuffer())
            } else {
                run.outstanding -= 1
            }
            if run.decoder.skippedInARow > Self.maxSkipped, run.failure == nil {
                fail(
                    run,
                    TimetagError.lostAlignment(bytes: run.decoder.skippedInARow)
                        .driverError(instrument: name, operation: "read events"))
            }
            if run.collector.isFull { deliver(run, completeThrough: run.promise) }
        }
        run.pumpEnded.wake()
    }

    /// Judges the end of a transfer; true if its buffer is to be used again.
    private func take(_ error: USBTransferError?, _ run: TimetagAcquisition) -> Bool {
        guard let error else {
            run.failuresInARow = 0
            return run.failure == nil && !run.isCancelling
        }
        if run.isCancelling || run.failure != nil { return false }
        switch error {
        case .cancelled, .disconnected, .stall, .accessDenied, .busy, .notFound:
            run.collector.lose(
                from: run.promise, to: run.clock.latest(at: reactor.now),
                reason: error == .disconnected ? .disconnected : .transferFailure)
            fail(run, DriverError(error, instrument: name, operation: "read events"))
            return false
        case .overflow, .timedOut, .io, .system:
            // The content of this transfer is gone; the next ones may be good.
            run.decoder.dropPartialRecord()
            run.collector.beginLoss(from: run.decoder.settledTick, reason: .transferFailure)
            run.failuresInARow += 1
            guard run.failuresInARow >= Self.maxFailures else { return true }
            fail(
                run,
                TimetagError.transfersFailing(run.failuresInARow)
                    .driverError(instrument: name, operation: "read events"))
            return false
        }
    }

    private func fail(_ run: TimetagAcquisition, _ error: DriverError) {
        guard run.failure == nil else { return }
        run.failure = error
        health = .failed(error.description)
        run.collector.closeLoss(at: run.clock.latest(at: reactor.now))
        deliver(run, completeThrough: run.collector.promised)
        run.blocks.finish(error)
    }

    private func deliver(_ run: TimetagAcquisition, completeThrough: UInt64) {
        if let block = run.collector.takeBlock(
            completeThrough: completeThrough, arrival: run.lastArrival)
        {
            run.blocks.push(block)
        }
    }

    // MARK: The ticker

    /// Hands over what has been gathered, sets the packet length, polls the counters.
    private func tick(_ number: UInt64) async {
        var nextPoll = reactor.now
        var failedPolls = 0
        while let run, run.number == number, !run.isStopping, run.failure == nil {
            let isQuiet = reactor.now - run.lastArrival >= run.interval
            if isQuiet || reactor.now >= nextPoll {
                nextPoll = reactor.now + Self.pollInterval
                do throws(DriverError) {
                    try await poll(run)
                    failedPolls = 0
                } catch {
                    failedPolls += 1
                    guard failedPolls >= Self.maxFailedPolls || error.code != .timedOut else {
                        continue
                    }
                    if !run.isStopping {
                        run.collector.beginLoss(
                            from: run.promise,
                            reason: error.code == .disconnected
                                ? .disconnected : .transferFailure)
                        fail(run, error)
                    }
                    return
                }
            }
            guard !run.isStopping, run.failure == nil else { return }
            if run.blocks.hasRoom { deliver(run, completeThrough: run.promise) }
            guard (try? await reactor.sleep(for: run.interval)) != nil else { return }
        }
    }

    private func poll(_ run: TimetagAcquisition) async throws(DriverError) {
        let operation = "poll the counters"
        if let records = run.length.next(records: run.decoder.recordCount, at: reactor.now) {
            try await setLength(records, operation: operation)
        }
        let asked = reactor.now
        let records = try await read("register_records", operation: operation)
        let lost = try await read("register_lost", operation: operation)
        guard !run.isStopping, run.failure == nil else { return }
        run.note(records: records, lost: lost, asked: asked, answered: reactor.now)
        run.noteMissing(quiet: Self.quietTime, at: reactor.now)
        if run.history.hasLost {
            health = .degraded("the event FIFO overflowed: reduce the rate")
        }
    }
}
