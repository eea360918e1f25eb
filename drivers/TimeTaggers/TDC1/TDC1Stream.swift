import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import Quantities

// The event stream of the TDC1: start, the pump that decodes, and the end.

extension TDC1Driver {
    /// Resets the instrument, sets threshold and reference, and starts the stream.
    public func start(_ plan: AcquisitionPlan) async throws(DriverError) -> any TagBlockSource {
        let operation = "start"
        try requireIdle(operation)
        let thresholds = plan.thresholds.sorted { $0.key < $1.key }.map(\.value)
        if let first = thresholds.first, thresholds.contains(where: { $0 != first }) {
            throw TDC1Error.thresholdsDiffer.driverError(instrument: name, operation: operation)
        }
        var map = [UInt8](repeating: 0, count: 32)
        for channel in profile.channels {
            if let mask = channel.mask, mask != 0 {
                map[mask.trailingZeroBitCount] = UInt8(truncatingIfNeeded: channel.index)
            }
        }
        let run = TDC1Acquisition(
            blocks: BlockQueue(on: reactor, instrument: name),
            collector: TagCollector(tickPeriod: tickPeriod, provenance: identity.provenance),
            decoder: TDC1StreamDecoder(format: format, channelMap: map),
            flushInterval: min(max(plan.flushInterval, .milliseconds(5)), .milliseconds(100)),
            reactor: reactor)
        self.run = run
        do throws(DriverError) {
            try await turns.turn { () async throws(DriverError) in
                try await prepare(plan, threshold: thresholds.first, operation)
                run.watch.started(at: reactor.now)
                try await perform("start", operation: operation)
            }
        } catch {
            self.run = nil
            throw error
        }
        health = .good
        run.isPumping = true
        reactor.start { await self.pump() }
        return run.blocks
    }

    private func prepare(
        _ plan: AcquisitionPlan, threshold: Volts?, _ operation: String
    ) async throws(DriverError) {
        try await perform("initialize", operation: operation)
        if let threshold {
            let command =
                threshold.rawValue < 0 ? "set_threshold_negative" : "set_threshold_positive"
            try await send(command, [threshold.rawValue], operation: operation)
        }
        if let external = plan.usesExternalReference {
            let name = external ? "reference_external" : "reference_internal"
            let source = try required { () throws(MissingProfileField) in
                try profile.constant(name)
            }
            try await send("set_reference", [Double(source)], operation: operation)
        }
        try await send("flush", operation: operation)
        _ = try await openLink(operation).drain(
            quiet: Self.quiet, longest: Self.longestDrain, operation: operation)
    }

    /// Ends the stream, reads what is under way, and asks whether anything was lost.
    public func stop() async throws(DriverError) {
        guard let run, !run.isStopping else { return }
        run.isStopping = true
        run.blocks.drain()
        while run.isPumping {
            if await run.pumpEnded.wait(until: reactor.now + .seconds(2)) != .woken { break }
        }
        var failure: DriverError?
        if run.failure == nil {
            do throws(DriverError) { try await finish(run) } catch { failure = error }
        }
        if run.failure == nil {
            for start in [run.watch.suspectSince, run.decoder.suspectSince] {
                if let start { run.collector.doubt(from: start, to: run.collector.lastTick) }
            }
        }
        deliver(run, completeThrough: run.collector.lastTick)
        run.blocks.finish(run.failure ?? failure)
        self.run = nil
        if let failure { throw failure }
    }

    private func finish(_ run: TDC1Acquisition) async throws(DriverError) {
        let operation = "stop"
        var isQuiet = false
        for _ in 0..<Self.abortAttempts where !isQuiet {
            try await send("abort", operation: operation)
            let rest = try await openLink(operation).drain(
                quiet: Self.quiet, longest: Self.longestDrain, operation: operation)
            run.decoder.decode(rest.bytes, into: &run.collector)
            run.lastArrival = reactor.now
            isQuiet = rest.isQuiet
        }
        run.decoder.decode([], isLast: true, into: &run.collector)
        guard isQuiet else {
            throw TDC1Error.doesNotStop.driverError(instrument: name, operation: operation)
        }
        let status = try await readStatus(operation: operation)
        if hasOverflow(status) {
            health = .degraded("the event FIFO overflowed: reduce the rate")
            run.collector.loseAll(reason: .deviceOverflow)
        }
        try await send("reset", operation: operation)
    }

    private func pump() async {
        guard let run, let stream else { return }
        var nextDelivery = reactor.now + run.flushInterval
        var lastData = reactor.now
        var lastFlush = reactor.now
        while !run.isStopping, run.failure == nil {
            if await run.blocks.waitForRoom() { run.watch.holdBack() }
            do throws(ByteStreamError) {
                let bytes = try await stream.bytes.read(
                    upTo: 65536, timeout: max(nextDelivery - reactor.now, .milliseconds(1)))
                run.lastArrival = reactor.now
                lastData = reactor.now
                let compared = run.collector.lastTick
                run.decoder.decode(bytes, into: &run.collector)
                checkCounter(run, since: compared)
                if run.decoder.skippedInARow > Self.maxSkipped {
                    fail(
                        run,
                        TDC1Error.lostAlignment(bytes: run.decoder.skippedInARow)
                            .driverError(instrument: name, operation: "read events"))
                }
            } catch .timedOut {
                if reactor.now - lastData > Self.silenceLimit {
                    fail(run, TDC1Error.silent.driverError(instrument: name, operation: "read"))
                } else if isFlushDue(since: max(lastData, lastFlush)) {
                    lastFlush = reactor.now
                    await flush(run)
                }
            } catch .lineError {
                run.collector.beginLoss(from: run.collector.lastTick, reason: .transferFailure)
            } catch {
                fail(run, DriverError(error, instrument: name, operation: "read events"))
            }
            if run.collector.isFull || reactor.now >= nextDelivery {
                deliver(run)
                nextDelivery = reactor.now + run.flushInterval
            }
        }
        run.isPumping = false
        run.pumpEnded.wake()
    }

    /// Ends the acquisition when the counter can not be trusted, and marks since when.
    private func checkCounter(_ run: TDC1Acquisition, since compared: UInt64) {
        var fault = run.decoder.fault
        let last = run.collector.lastTick
        if fault == nil, last > compared {
            fault = run.watch.note(ticks: last, at: reactor.now).map {
                ($0, run.watch.suspectSince ?? compared)
            }
        }
        guard let fault else { return }
        run.collector.doubt(from: fault.since, to: last)
        fail(run, fault.what.driverError(instrument: name))
    }

    /// Whether nothing has come for as long as the reference client waits before it asks for the words
    /// that do not fill a packet: at less than a hundred a second a packet takes more than a second.
    private func isFlushDue(since last: HostInstant) -> Bool {
        guard let wait = profile.timing["flush_after_ms"] else { return false }
        return reactor.now - last >= .nanoseconds(Int64(wait * 1e6))
    }

    private func flush(_ run: TDC1Acquisition) async {
        do throws(DriverError) { try await send("flush", operation: "read events") } catch {
            fail(run, error)
        }
    }

    private func fail(_ run: TDC1Acquisition, _ error: DriverError) {
        guard run.failure == nil else { return }
        run.failure = error
        health = .failed(error.description)
        let reason: LossReason = error.code == .disconnected ? .disconnected : .transferFailure
        let last = run.collector.lastTick
        // Up to the present the instrument may have made tags that nobody will see.
        let silent = UInt64(max(0, (reactor.now - run.lastArrival).inSeconds) * run.ticksPerSecond)
        run.collector.closeLoss(at: last)
        run.collector.lose(from: last, to: last + silent, reason: reason)
        deliver(run)
        run.blocks.finish(error)
    }

    /// Words come in order of time, and dummy words keep coming, so the last settled one is the
    /// promise; when the stream has ended, it is the last one.
    private func deliver(_ run: TDC1Acquisition, completeThrough: UInt64? = nil) {
        if let block = run.collector.takeBlock(
            completeThrough: completeThrough ?? run.decoder.settledTick, arrival: run.lastArrival)
        {
            run.blocks.push(block)
        }
    }
}
