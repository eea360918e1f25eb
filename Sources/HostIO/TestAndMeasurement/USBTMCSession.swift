import Quantities

/// A message port on an interface of the USB test and measurement class, without a kernel driver.
///
/// Bulk-IN transfers are read a packet first: its header says how much follows. The empty packet that
/// ends a transfer of whole packets is taken if it comes, because not every device sends it, and a
/// transfer that a device cuts short is read on until the announced bytes are there.
///
/// After a time-out the transfer is aborted and the instrument is cleared (USBTMC 1.0, sections
/// 4.2.1.2 to 4.2.1.7). Where that is not possible at once, because the caller was cancelled or the
/// device is silent on every endpoint, the next call does it first.
public actor USBTMCSession: MessagePort {
    /// Whether the device is a model.
    public nonisolated let isEmulated: Bool
    nonisolated let reactor: any Reactor
    let device: any USBDevice
    let interface: USBInterface
    let input: USBEndpoint
    let output: USBEndpoint
    private var capabilities = USBTMCWire.Capabilities(takesRemoteRequests: false, isUSB488: false)
    private var lastTag: UInt8 = 0
    var needsClear = false
    private var isClosed = false

    /// The reactor: completions and calls run on its thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// The time for a control request, which every device answers at once.
    static let controlTimeout = Duration.seconds(1)
    /// How long the empty packet at the end of a transfer is waited for.
    private static let trailerTimeout = Duration.milliseconds(20)
    /// The most message bytes in one transfer.
    static let largestTransfer = 1 << 16
    /// How many empty packets in a row are passed over.
    private static let mostEmptyPackets = 4

    private init(
        device: any USBDevice, interface: USBInterface, input: USBEndpoint, output: USBEndpoint,
        reactor: any Reactor
    ) {
        self.device = device
        self.interface = interface
        self.input = input
        self.output = output
        self.reactor = reactor
        isEmulated = device.summary.isEmulated
    }

    /// Claims the interface, clears the device, and takes it from its front panel where it can be.
    ///
    /// The session owns `device` and closes it, also when this throws.
    ///
    /// - Parameter number: the number of the interface.
    /// - Throws: `notSupported` when the interface is not of this class, `refused`, or `usb`.
    public static func open(
        _ device: any USBDevice, interface number: UInt8, reactor: any Reactor
    ) async throws(MessageError) -> USBTMCSession {
        let interface = device.summary.interfaces.first {
            $0.number == number && $0.classTriple.starts(with: USBTMCWire.interfaceClass)
        }
        guard let interface,
            let input = interface.endpoints.first(where: { $0.kind == .bulk && $0.isIn }),
            let output = interface.endpoints.first(where: { $0.kind == .bulk && !$0.isIn })
        else {
            await device.close()
            throw .notSupported("a USB device without test and measurement interface \(number)")
        }
        let session = USBTMCSession(
            device: device, interface: interface, input: input, output: output, reactor: reactor)
        do throws(MessageError) {
            try await session.start()
        } catch {
            await session.close()
            throw error
        }
        return session
    }

    private func start() async throws(MessageError) {
        do throws(USBTransferError) {
            try await device.claim(interface: interface.number, alternate: interface.alternate)
        } catch { throw MessageError(error) }
        let reply = try await request(.getCapabilities, value: 0)
        guard
            let capabilities = USBTMCWire.capabilities(
                reply, protocolCode: interface.classTriple[2])
        else {
            throw .malformed(
                expected: "\(USBTMCWire.capabilityBytes) bytes of capabilities",
                found: "\(reply.count) bytes")
        }
        self.capabilities = capabilities
        try await clear()
        if capabilities.takesRemoteRequests {
            try await expectSuccess(.remoteEnable, value: 1)
        }
    }

    // MARK: - Messages

    /// Sends one whole message.
    public func send(_ message: [UInt8], timeout: Duration) async throws(MessageError) {
        try await prepare()
        let deadline = reactor.now + timeout
        var start = 0
        repeat {
            let end = min(start + Self.largestTransfer, message.count)
            let tag = nextTag()
            let frame = USBTMCWire.messageOut(
                message[start..<end], tag: tag, isEnd: end == message.count)
            do throws(USBTransferError) {
                try await device.write(frame, to: output.address, timeout: left(deadline))
            } catch {
                await recover(from: error, outgoing: tag)
                throw MessageError(error)
            }
            start = end
        } while start < message.count
    }

    /// Asks for the answer, transfer by transfer, until its end.
    public func receive(limit: Int, timeout: Duration) async throws(MessageError) -> [UInt8] {
        precondition(limit > 0, "an answer has at least one byte")
        try await prepare()
        let deadline = reactor.now + timeout
        var message: [UInt8] = []
        while true {
            let room = min(limit - message.count, Self.largestTransfer)
            guard room > 0 else {
                await tryToClear()
                throw .tooLong(limit: limit)
            }
            let part = try await part(room: room, deadline: deadline)
            message += part.bytes
            if part.isEnd { return message }
            guard !part.bytes.isEmpty else {
                await tryToClear()
                throw .malformed(
                    expected: "data or the end of the message", found: "an empty transfer")
            }
        }
    }

    /// One request and its Bulk-IN transfer.
    private func part(
        room: Int, deadline: HostInstant
    ) async throws(MessageError) -> (bytes: [UInt8], isEnd: Bool) {
        let tag = nextTag()
        do throws(USBTransferError) {
            try await device.write(
                USBTMCWire.requestIn(size: room, tag: tag), to: output.address,
                timeout: left(deadline))
        } catch {
            await recover(from: error, outgoing: tag)
            throw MessageError(error)
        }
        do throws(PartError) {
            return try await transfer(tag: tag, room: room, deadline: deadline)
        } catch {
            switch error {
            case .usb(let error):
                await recover(from: error, incoming: tag)
                throw MessageError(error)
            case .malformed(let error):
                await tryToClear()
                throw .malformed(expected: error.expected, found: error.found)
            }
        }
    }

    private enum PartError: Error {
        case usb(USBTransferError)
        case malformed(USBTMCWire.Malformed)
    }

    /// What has arrived of a Bulk-IN transfer.
    private struct Received {
        var bytes: [UInt8] = []
        /// Whether the last packet was full, so that the transfer goes on.
        var isOpen = false
    }

    private func transfer(
        tag: UInt8, room: Int, deadline: HostInstant
    ) async throws(PartError) -> (bytes: [UInt8], isEnd: Bool) {
        var received = try await read(
            Received(), atLeast: USBTMCWire.headerBytes, until: deadline)
        let reply: USBTMCWire.Reply
        do throws(USBTMCWire.Malformed) {
            reply = try USBTMCWire.reply(received.bytes, tag: tag, room: room)
        } catch { throw .malformed(error) }
        let end = USBTMCWire.headerBytes + reply.size
        received = try await read(received, atLeast: end, until: deadline)
        if received.isOpen { try await takeTrailer() }
        return (Array(received.bytes[USBTMCWire.headerBytes..<end]), reply.isEnd)
    }

    /// `received` and what follows, to at least `count` bytes.
    private func read(
        _ received: Received, atLeast count: Int, until deadline: HostInstant
    ) async throws(PartError) -> Received {
        var received = received
        var emptyPackets = 0
        let size = input.maxPacketSize
        while received.bytes.count < count {
            let packets = (count - received.bytes.count + size - 1) / size
            let chunk = try await packet(packets * size, until: deadline)
            received.isOpen = !chunk.isEmpty && chunk.count % size == 0
            received.bytes += chunk
            emptyPackets = chunk.isEmpty ? emptyPackets + 1 : 0
            guard emptyPackets < Self.mostEmptyPackets else {
                throw .malformed(
                    USBTMCWire.Malformed(
                        expected: "\(count) bytes",
                        found: "\(received.bytes.count) and empty packets"))
            }
        }
        return received
    }

    private func packet(
        _ count: Int, until deadline: HostInstant
    ) async throws(PartError) -> [UInt8] {
        do throws(USBTransferError) {
            return try await device.read(
                from: input.address, upTo: count, timeout: left(deadline))
        } catch { throw .usb(error) }
    }

    /// A transfer that filled its last packet goes on with an empty packet, or with the rest of the
    /// bytes that fill it up to a multiple of four.
    private func takeTrailer() async throws(PartError) {
        do throws(USBTransferError) {
            _ = try await device.read(
                from: input.address, upTo: input.maxPacketSize, timeout: Self.trailerTimeout)
        } catch .timedOut {} catch { throw .usb(error) }
    }

    // MARK: - Housekeeping

    private func nextTag() -> UInt8 {
        lastTag = USBTMCWire.tag(after: lastTag)
        return lastTag
    }

    /// Never zero, which libusb takes for "without limit".
    private func left(_ deadline: HostInstant) -> Duration {
        max(deadline - reactor.now, .milliseconds(1))
    }

    /// Refuses a closed session; brings a session that broke off to where it can go on.
    private func prepare() async throws(MessageError) {
        guard !isClosed else { throw .closed }
        if needsClear { try await clear() }
    }

    /// Gives the instrument back to its front panel and closes the device.
    public func close() async {
        guard !isClosed else { return }
        isClosed = true
        if capabilities.takesRemoteRequests { _ = try? await request(.goToLocal, value: 0) }
        await device.release(interface: interface.number)
        await device.close()
    }
}
