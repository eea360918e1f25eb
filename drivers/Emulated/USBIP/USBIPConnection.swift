import HostIO
import Quantities

/// One client of a USB/IP server: first a request for the list or for a device, then, with a
/// device, its transfers until one side goes.
///
/// One task reads commands and hands them to the device, another writes replies, so that a client
/// that is slow to read holds up only itself. Runs on the reactor.
actor USBIPConnection {
    private let host: EmulatedUSBHost
    private let stream: any ByteStream
    private let reactor: any Reactor
    private let limits: USBIPLimits
    private let outbox: USBIPOutbox
    private let reader: USBIPReader
    private var export: EmulatedUSBExport?

    /// What is written at once; a client that takes less in `stallTimeout` is given up.
    private static let writeChunk = 65_536
    /// How long replies may take to leave once the connection is to end.
    private static let farewell = Duration.seconds(1)

    nonisolated var unownedExecutor: UnownedSerialExecutor { reactor.asUnownedSerialExecutor() }

    init(
        _ stream: any ByteStream, host: EmulatedUSBHost, reactor: any Reactor, limits: USBIPLimits
    ) {
        self.stream = stream
        self.host = host
        self.reactor = reactor
        self.limits = limits
        outbox = USBIPOutbox(limits: limits, reactor: reactor)
        reader = USBIPReader(stream, stallTimeout: limits.stallTimeout)
    }

    /// Serves the client from its first request on. Returns why it ended, nil when the client had
    /// what it wanted.
    func serve(onImport: @Sendable (USBExportIdentity) -> Void) async -> USBIPError? {
        await serve { connection throws(USBIPError) in
            guard let device = try await connection.handshake() else { return }
            onImport(device)
            try await connection.takeCommands()
        }
    }

    /// Serves a client that has been given `device` without asking, over a socket made for it.
    func serve(imported device: USBExportIdentity) async -> USBIPError? {
        await serve { connection throws(USBIPError) in
            guard try connection.take(device.busID) == device else { throw .unplugged }
            try await connection.takeCommands()
        }
    }

    private func serve(
        _ work: @Sendable (isolated USBIPConnection) async throws(USBIPError) -> Void
    ) async -> USBIPError? {
        let writer = reactor.start { await self.writeReplies() }
        var reason: USBIPError?
        do throws(USBIPError) {
            try await work(self)
        } catch {
            reason = error
        }
        finish(reason)
        await writer.value
        export?.end()
        await stream.close()
        return outbox.ending
    }

    /// Ends the connection after the replies queued so far.
    nonisolated func finish(_ reason: USBIPError?) {
        Self.finish(outbox, reason, stream, reactor)
    }

    private static func finish(
        _ outbox: USBIPOutbox, _ reason: USBIPError?, _ stream: any ByteStream,
        _ reactor: any Reactor
    ) {
        guard !outbox.isFinished else { return }
        outbox.finish(reason)
        reactor.schedule(at: reactor.now + Self.farewell) {
            reactor.start { await stream.close() }
        }
    }

    // MARK: - The first request

    /// Answers the first request; returns the device if it was an import that is granted.
    private func handshake() async throws(USBIPError) -> USBExportIdentity? {
        let deadline = reactor.schedule(at: reactor.now + limits.handshakeTimeout) { [self] in
            finish(.stalled("before its request was complete"))
            reactor.start { [stream] in await stream.close() }
        }
        defer { reactor.cancel(deadline) }
        guard let header = try await reader.message(USBIPWire.operationLength) else { return nil }
        switch try USBIPWire.operation(header) {
        case .deviceList:
            outbox.enqueue(USBIPWire.deviceList(host.exportable()))
            return nil
        case .importDevice:
            let busID = try USBIPWire.busID(try await reader.bytes(USBIPWire.busIDLength))
            let device: USBExportIdentity
            do throws(USBIPError) {
                device = try take(busID)
            } catch {
                outbox.enqueue(USBIPWire.importReply(Self.status(error), nil))
                throw error
            }
            outbox.enqueue(USBIPWire.importReply(.done, device))
            return device
        }
    }

    /// Takes the device at `busID` off the bench.
    private func take(_ busID: String) throws(USBIPError) -> USBExportIdentity {
        let (outbox, stream, reactor) = (outbox, stream, reactor)
        do throws(USBTransferError) {
            let export = try host.export(path: busID) {
                // Under the lock of the bench: closing the stream is left to the writing task.
                Self.finish(outbox, .unplugged, stream, reactor)
            }
            self.export = export
            return export.identity
        } catch { throw .refused(busID: busID, reason: error) }
    }

    private static func status(_ error: USBIPError) -> USBIPWire.ImportStatus {
        switch error {
        case .refused(_, .notFound): .noDevice
        case .refused(_, .busy): .busy
        default: .notAvailable
        }
    }

    // MARK: - Commands

    private func takeCommands() async throws(USBIPError) {
        guard let export else { return }
        let deviceID = export.identity.deviceID
        while let header = try await reader.message(USBIPWire.commandLength) {
            let command = try USBIPWire.command(
                header, deviceID: deviceID, longest: limits.transferLength)
            switch command {
            case .submit(let submit): try await take(submit, export)
            case .unlink(let number, let victim):
                if outbox.unlink(victim, by: number) { export.withdraw(victim) }
            }
            while outbox.isFull { _ = await outbox.emptied.wait() }
            if outbox.isFinished { return }
        }
    }

    private func take(
        _ submit: USBIPWire.Submit, _ export: EmulatedUSBExport
    ) async throws(USBIPError) {
        let data = submit.isIn ? [] : try await reader.bytes(submit.length)
        if export.kind(of: submit.endpoint) == .isochronous {
            return try await refuseIsochronous(submit)
        }
        guard try outbox.begin(submit) else { return outbox.refuse(submit, .exhausted) }
        let isControl = submit.endpoint & 0x0F == 0
        // Linux refuses a control URB whose buffer is not as long as its setup stage says.
        if isControl, submit.setupLength != submit.length {
            return outbox.end(submit.number, USBRequestResult(.refused))
        }
        let block = USBRequestBlock(
            endpoint: submit.endpoint, setup: isControl ? submit.setup : nil, data: data,
            length: submit.length, shortIsError: submit.shortIsError,
            endsWithEmptyPacket: submit.endsWithEmptyPacket)
        export.submit(block, number: submit.number) { [outbox] result in
            outbox.end(submit.number, result)
        }
    }

    /// Isochronous transfers are not carried; the packet list behind the data is read all the same,
    /// so that the next command is found.
    private func refuseIsochronous(_ submit: USBIPWire.Submit) async throws(USBIPError) {
        let count = submit.packetCount == 0xFFFF_FFFF ? 0 : Int(submit.packetCount)
        guard count <= Self.isochronousPackets else {
            throw .malformed("at most \(Self.isochronousPackets) packets, not \(count)")
        }
        _ = try await reader.bytes(count * USBIPWire.isochronousPacketLength)
        outbox.refuse(submit, .refused)
    }

    /// What the kernel allows in one URB (USBIP_MAX_ISO_PACKETS).
    private static let isochronousPackets = 1024

    // MARK: - Replies

    /// Writes replies until the connection ends, then closes the stream.
    private func writeReplies() async {
        while true {
            let batch = outbox.take(upTo: Self.writeChunk)
            if batch.isEmpty {
                if outbox.isFinished { break }
                _ = await outbox.filled.wait()
                continue
            }
            do throws(ByteStreamError) {
                try await stream.write(batch, timeout: limits.stallTimeout)
            } catch {
                finish(error == .timedOut ? .stalled("taking its replies") : Self.ending(error))
                break
            }
            outbox.written(batch.count)
        }
        await stream.close()
    }

    /// A client that goes is no error.
    private static func ending(_ error: ByteStreamError) -> USBIPError? {
        error == .closed ? nil : .stream(error)
    }
}
