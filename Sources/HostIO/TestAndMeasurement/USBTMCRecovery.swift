import Quantities

// How a session of the test and measurement class gets a device back after a transfer that did not
// end: requests on the control pipe, which a device answers whatever its bulk endpoints do.

extension USBTMCSession {
    /// How often the status of an abort or a clear is asked for.
    private static let mostPolls = 50
    private static let pollInterval = Duration.milliseconds(10)
    /// How long the rest of an aborted transfer is waited for, packet by packet.
    private static let drainTimeout = Duration.milliseconds(50)

    // MARK: - Requests

    /// One class request; its answer has at least a status byte.
    func request(
        _ request: USBTMCWire.Request, value: UInt8
    ) async throws(MessageError) -> [UInt8] {
        let index: UInt16 =
            switch request {
            case .initiateAbortBulkOut, .checkAbortBulkOut: UInt16(output.address)
            case .initiateAbortBulkIn, .checkAbortBulkIn: UInt16(input.address)
            default: UInt16(interface.number)
            }
        let setup = USBControlRequest(
            requestType: request.requestType, request: request.rawValue, value: UInt16(value),
            index: index)
        let reply: [UInt8]
        do throws(USBTransferError) {
            reply = try await device.controlIn(
                setup, length: request.replyBytes, timeout: Self.controlTimeout)
        } catch { throw MessageError(error) }
        guard !reply.isEmpty else {
            throw .malformed(expected: "a status after \(request.name)", found: "nothing")
        }
        return reply
    }

    /// A request that must succeed.
    func expectSuccess(_ name: USBTMCWire.Request, value: UInt8) async throws(MessageError) {
        let reply = try await request(name, value: value)
        guard reply[0] == USBTMCWire.Status.success else {
            throw .refused(request: name.name, status: reply[0])
        }
    }

    /// Asks with `name` until the device is done; takes from Bulk-IN what it says is waiting there.
    private func finish(_ name: USBTMCWire.Request, drains: Bool) async throws(MessageError) {
        for _ in 0..<Self.mostPolls {
            let reply = try await request(name, value: 0)
            switch reply[0] {
            case USBTMCWire.Status.success: return
            case USBTMCWire.Status.pending:
                if drains, reply.count > 1, reply[1] & 1 == 1 {
                    try await drain()
                } else {
                    try await pause()
                }
            default: throw .refused(request: name.name, status: reply[0])
            }
        }
        throw .refused(request: name.name, status: USBTMCWire.Status.pending)
    }

    private func pause() async throws(MessageError) {
        do { try await reactor.sleep(for: Self.pollInterval) } catch { throw .usb(.cancelled) }
    }

    /// Reads and drops Bulk-IN up to and including a short packet, or until it is silent.
    private func drain() async throws(MessageError) {
        let size = input.maxPacketSize
        do throws(USBTransferError) {
            for _ in 0..<Self.mostPolls {
                let dropped = try await device.read(
                    from: input.address, upTo: 16 * size, timeout: Self.drainTimeout)
                if dropped.count < 16 * size { return }
            }
        } catch .timedOut { return } catch { throw MessageError(error) }
    }

    // MARK: - Clear and abort

    /// Makes the device forget everything that is under way, and lets it take messages again
    /// (sections 4.2.1.6 and 4.2.1.7): it halts Bulk-OUT, and the host clears that halt.
    public func clear() async throws(MessageError) {
        needsClear = true
        try await expectSuccess(.initiateClear, value: 0)
        try await finish(.checkClear, drains: true)
        try await clearHalt(output)
        needsClear = false
    }

    /// Clears the device if it can be; otherwise the next call tries again.
    func tryToClear() async {
        needsClear = true
        try? await clear()
    }

    /// After a failed write: aborts the transfer, then clears the device.
    func recover(from error: USBTransferError, outgoing tag: UInt8) async {
        needsClear = true
        guard Self.isWorthRecovery(error) else { return }
        if case .timedOut = error { try? await abort(outgoing: tag) }
        await tryToClear()
    }

    /// After a failed read: aborts the transfer or clears the halt, then clears the device, so that
    /// a late answer is not taken for that of the next message.
    func recover(from error: USBTransferError, incoming tag: UInt8) async {
        needsClear = true
        guard Self.isWorthRecovery(error) else { return }
        if error == .stall {
            try? await clearHalt(input)
        } else {
            try? await abort(incoming: tag)
        }
        await tryToClear()
    }

    private static func isWorthRecovery(_ error: USBTransferError) -> Bool {
        switch error {
        case .timedOut, .stall, .overflow, .io: true
        // Nothing can be sent any more, or not on behalf of a task that was cancelled.
        case .cancelled, .disconnected, .accessDenied, .busy, .notFound, .system: false
        }
    }

    private func abort(outgoing tag: UInt8) async throws(MessageError) {
        let reply = try await request(.initiateAbortBulkOut, value: tag)
        // Any other status: the device knows of no such transfer, and there is nothing to abort.
        guard reply[0] == USBTMCWire.Status.success else { return }
        try await finish(.checkAbortBulkOut, drains: false)
        try await clearHalt(output)
    }

    private func abort(incoming tag: UInt8) async throws(MessageError) {
        let reply = try await request(.initiateAbortBulkIn, value: tag)
        guard reply[0] == USBTMCWire.Status.success else { return }
        // The device ends the transfer with a short packet.
        try await drain()
        try await finish(.checkAbortBulkIn, drains: true)
    }

    private func clearHalt(_ endpoint: USBEndpoint) async throws(MessageError) {
        do throws(USBTransferError) { try await device.clearHalt(endpoint: endpoint.address) } catch
        { throw MessageError(error) }
    }
}
