import DeviceProfiles
import HostIO
import Quantities

/// The USB test and measurement class with its USB488 subclass, in front of an instrument that
/// understands SCPI.
///
/// Written from USBTMC 1.0, chapters 3 (bulk transfers) and 4 (requests), and USB488 1.0. A request
/// for an answer that is not there is not refused: Bulk-IN says "not yet" until there is one. A frame
/// that breaks the rules halts Bulk-OUT, and so does INITIATE_CLEAR, until the host clears the halt.
public final class USBTMCFunction: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The descriptors.
    public let descriptors: USBDescriptorSet
    let device: any EmulatedSCPIDevice
    let capabilities: Capabilities
    let output: Endpoint
    let input: Endpoint
    let notification: Endpoint?
    private let needsRemote: Bool
    private var packetSize: Int
    private var commandsToIgnore = 0

    // Bulk-OUT.
    var arriving: Arriving?
    private var message: [UInt8] = []
    var isOutHalted = false
    /// Bytes taken of the transfer that was aborted last.
    var bytesTaken = 0

    // Bulk-IN.
    private var request: Request?
    var leaving: Leaving?
    private var answer: [UInt8] = []
    /// The empty packet that ends an aborted transfer; kept until it is fetched.
    var endsWithEmptyPacket = false
    /// Whether the host must fetch it before an abort or a clear is complete.
    var mustBeDrained = false
    /// Bytes given of the transfer that was aborted last.
    var bytesGiven = 0

    // USB488.
    var notifications: [[UInt8]] = []
    var isRemote = false

    /// The bytes of GET_CAPABILITIES that differ between models.
    struct Capabilities {
        let interface: UInt8
        let device: UInt8
        let usb488Interface: UInt8
        let usb488Device: UInt8
        /// Whether the interface follows the subclass at all.
        let isUSB488: Bool
        var hasIndicator: Bool { interface & 4 != 0 }
        var takesRemoteRequests: Bool { isUSB488 && usb488Interface & 2 != 0 }
        var takesTrigger: Bool { isUSB488 && usb488Interface & 1 != 0 }
        var hasTermination: Bool { device & 1 != 0 }
    }

    /// A Bulk-OUT transfer that is not complete.
    struct Arriving {
        let tag: UInt8
        let size: Int
        let isEnd: Bool
        var payload: [UInt8]
        /// Bytes that are still to come, with those that fill up the last four.
        var rest: Int
    }

    /// A REQUEST_DEV_DEP_MSG_IN that waits for an answer.
    private struct Request {
        let tag: UInt8
        let size: Int
        let termination: UInt8?
    }

    /// A Bulk-IN transfer under way.
    struct Leaving {
        let tag: UInt8
        let bytes: [UInt8]
        var position = 0
    }

    /// Longer messages than this overrun the input buffer.
    private static let longestMessage = 1 << 16

    /// The interface of `device`, with the numbers and strings of `profile`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such an interface.
    init(
        profile: DeviceProfile, serial: String, device: any EmulatedSCPIDevice
    ) throws(MissingProfileField) {
        self.device = device
        let usb = try profile.requireUSB()
        guard let triple = usb.interfaceClass else {
            throw MissingProfileField(profile: profile.id, path: "usb.interface_class")
        }
        output = try profile.endpoint("command")
        input = try profile.endpoint("reply")
        notification = usb.endpoints["notification"]
        capabilities = Capabilities(
            interface: UInt8(try profile.constant("interface_capabilities")),
            device: UInt8(try profile.constant("device_capabilities")),
            usb488Interface: UInt8(try profile.constant("usb488_interface_capabilities")),
            usb488Device: UInt8(try profile.constant("usb488_device_capabilities")),
            isUSB488: triple.protocolCode == 1)
        needsRemote = profile.hasQuirk("needs_remote_enable")
        packetSize = input.maxPacketFullSpeed
        let endpoints = usb.endpoints.entries.map(\.value)
        descriptors = try USBDescriptorSet(
            profile: profile, serial: serial,
            highSpeed: endpoints.allSatisfy { $0.maxPacketHighSpeed != nil },
            interfaces: { speed in
                [
                    USBInterface(
                        number: UInt8(usb.interface), alternate: UInt8(usb.alternateSetting),
                        classTriple: [triple.code, triple.subclass, triple.protocolCode],
                        endpoints: endpoints.map { $0.usbEndpoint(at: speed) })
                ]
            })
    }

    // MARK: - Bus

    /// A bus reset empties everything but the instrument's settings.
    public func busReset(speed: USBSpeed, at now: HostInstant) {
        packetSize = input.usbEndpoint(at: speed).maxPacketSize
        isRemote = false
        notifications = []
        isOutHalted = false
        forgetTransfers()
        endsWithEmptyPacket = false
        mustBeDrained = false
        device.interpreter.deviceClear()
    }

    /// There is one setting; selecting it starts the endpoints anew.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {
        isOutHalted = false
        forgetTransfers()
    }

    /// Bulk-OUT takes messages again.
    public func haltCleared(endpoint: UInt8, at now: HostInstant) {
        if endpoint == output.address {
            isOutHalted = false
            arriving = nil
        }
    }

    /// Drops what is under way on both bulk endpoints.
    func forgetTransfers() {
        arriving = nil
        message = []
        request = nil
        leaving = nil
        answer = []
    }

    /// The next instant at which an answer, a notification or the instrument itself is due.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        var next = device.nextWake(after: now)
        if polled.contains(input.address), request != nil, leaving == nil,
            let ready = device.interpreter.answerReady, ready > now
        {
            next = min(next ?? ready, ready)
        }
        return next
    }

    /// Lets the instrument's inner life happen.
    public func advance(to now: HostInstant) { device.advance(to: now) }

    // MARK: - Bulk-OUT

    /// A packet of a command message.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        guard endpoint == output.address, !isOutHalted else { return .stall }
        if arriving != nil { return proceed(packet, at: now) }
        guard let (tag, command) = USBTMCFrames.command(packet) else { return halt() }
        switch command {
        case .message(let size, let isEnd):
            let whole = USBTMCFrames.headerBytes + (size + 3) / 4 * 4
            arriving = Arriving(
                tag: tag, size: size, isEnd: isEnd, payload: [],
                rest: whole - USBTMCFrames.headerBytes)
            return proceed(
                UnsafeRawBufferPointer(rebasing: packet[USBTMCFrames.headerBytes...]),
                isShort: packet.count < outPacketSize, at: now)
        case .request(let size, let termination):
            if termination != nil, !capabilities.hasTermination { return halt() }
            ask(Request(tag: tag, size: size, termination: termination), at: now)
            return .ack
        case .trigger:
            // There is nothing to trigger in the instruments here.
            return capabilities.takesTrigger ? .ack : halt()
        }
    }

    private var outPacketSize: Int {
        packetSize == input.maxPacketFullSpeed
            ? output.maxPacketFullSpeed : output.maxPacketHighSpeed ?? output.maxPacketFullSpeed
    }

    private func halt() -> USBHandshake {
        isOutHalted = true
        arriving = nil
        return .stall
    }

    private func proceed(
        _ bytes: UnsafeRawBufferPointer, isShort: Bool? = nil, at now: HostInstant
    ) -> USBHandshake {
        guard var transfer = arriving else { return halt() }
        let isShort = isShort ?? (bytes.count < outPacketSize)
        // More than the header announced.
        guard bytes.count <= transfer.rest else { return halt() }
        transfer.payload += bytes.prefix(transfer.size - transfer.payload.count)
        transfer.rest -= bytes.count
        bytesTaken = transfer.payload.count
        if transfer.payload.count == transfer.size, transfer.rest == 0 || isShort {
            arriving = nil
            accept(transfer, at: now)
        } else if isShort {
            // A transfer that ends before its data are complete.
            return halt()
        } else {
            arriving = transfer
        }
        return .ack
    }

    private func accept(_ transfer: Arriving, at now: HostInstant) {
        guard message.count + transfer.payload.count <= Self.longestMessage else {
            message = []
            device.interpreter.report(.inputOverrun)
            return
        }
        message += transfer.payload
        guard transfer.isEnd else { return }
        let whole = message
        message = []
        // The empty packet after the last one may be left behind; the answer has arrived without it.
        let isInterrupting =
            leaving.map { $0.position < $0.bytes.count } ?? false || !answer.isEmpty
        leaving = nil
        answer = []
        request = nil
        endsWithEmptyPacket = false
        if commandsToIgnore > 0 {
            commandsToIgnore -= 1
        } else if isRemote || !needsRemote {
            device.advance(to: now)
            device.interpreter.receive(whole, isInterrupting: isInterrupting, at: now)
        }
        notifyOfService()
    }

    // MARK: - Bulk-IN

    private func ask(_ request: Request, at now: HostInstant) {
        self.request = request
        endsWithEmptyPacket = false
        mustBeDrained = false
        if answer.isEmpty, device.interpreter.answerReady == nil, !needsRemote || isRemote {
            device.interpreter.unterminated()
            notifyOfService()
        }
    }

    /// A packet of an answer.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        if endpoint == notification?.address { return notify(into: buffer) }
        guard endpoint == input.address else { return .stall }
        if endsWithEmptyPacket {
            endsWithEmptyPacket = false
            mustBeDrained = false
            return .data(count: 0)
        }
        if leaving == nil { start(at: now) }
        guard var transfer = leaving else { return .nak }
        let rest = transfer.bytes[transfer.position...]
        let count = min(buffer.count, rest.count)
        buffer.copyBytes(from: rest.prefix(count))
        transfer.position += count
        // A transfer ends with a packet that is not full, which may be empty.
        leaving = rest.count == count && count < packetSize ? nil : transfer
        return .data(count: count)
    }

    /// Begins the transfer that was asked for, once there is an answer.
    private func start(at now: HostInstant) {
        guard let request else { return }
        if answer.isEmpty {
            guard let whole = device.interpreter.takeAnswer(at: now) else { return }
            answer = whole
        }
        var count = min(request.size, answer.count)
        var isTerminated = false
        if let termination = request.termination,
            let index = answer.prefix(count).firstIndex(of: termination)
        {
            count = index + 1
            isTerminated = true
        }
        let payload = answer.prefix(count)
        leaving = Leaving(
            tag: request.tag,
            bytes: USBTMCFrames.transfer(
                payload, tag: request.tag, isEnd: count == answer.count,
                isTerminated: isTerminated))
        answer.removeFirst(count)
        self.request = nil
    }

    /// The tag of the answer that is asked for or under way.
    var answeringTag: UInt8? { leaving?.tag ?? request?.tag }

    /// Ends the answer that is asked for or under way; its last packet is an empty one.
    func abortAnswer() {
        bytesGiven = leaving?.position ?? 0
        mustBeDrained = (leaving?.position ?? 0) > 0
        endsWithEmptyPacket = true
        leaving = nil
        request = nil
        answer = []
    }

    // MARK: - Notifications

    private func notify(into buffer: UnsafeMutableRawBufferPointer) -> USBInHandshake {
        guard let first = notifications.first else { return .nak }
        notifications.removeFirst()
        buffer.copyBytes(from: first)
        return .data(count: first.count)
    }

    /// Requests service with the status byte (USB488, section 3.4.1).
    private func notifyOfService() {
        guard device.interpreter.takeServiceRequest(), notification != nil,
            capabilities.usb488Device & 4 != 0
        else { return }
        notifications.append([0x81, device.interpreter.statusByte])
    }

    /// The faults of the interface; the others are the instrument's.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        device.advance(to: now)
        switch fault.kind {
        case .ignoredCommand:
            commandsToIgnore += max(1, fault.detail ?? 1)
            return true
        case .reboot:
            forgetTransfers()
            commandsToIgnore = 0
            device.interpreter.powerUp()
            return device.inject(fault, at: now)
        default: return device.inject(fault, at: now)
        }
    }
}
