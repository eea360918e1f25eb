import HostIO
import Quantities

/// One transfer on an endpoint, from submission to completion.
final class USBTransfer {
    /// The memory of an IN transfer; taken out when the completion is handed over.
    var buffer: USBBuffer?
    /// The bytes of an OUT transfer.
    let outgoing: [UInt8]
    /// How many bytes were asked for.
    let length: Int
    /// How many bytes were moved.
    var moved = 0
    /// Whether an OUT transfer that fills its last packet is followed by an empty one.
    let endsWithEmptyPacket: Bool
    /// How many packets an OUT transfer has sent.
    var packetsSent = 0
    var error: USBTransferError?
    private var onCompletion: ((USBTransfer) -> Void)?
    private var timeout: TimerToken?

    init(
        buffer: consuming USBBuffer?, length: Int, outgoing: [UInt8] = [],
        endsWithEmptyPacket: Bool = false, onCompletion: @escaping (USBTransfer) -> Void
    ) {
        self.buffer = buffer
        self.length = length
        self.outgoing = outgoing
        self.endsWithEmptyPacket = endsWithEmptyPacket
        self.onCompletion = onCompletion
    }

    func setTimeout(_ token: TimerToken) { timeout = token }

    /// Stops the clock of the timeout; once the data have moved it no longer counts.
    func cancelTimeout(on reactor: any Reactor) {
        if let timeout { reactor.cancel(timeout) }
        timeout = nil
    }

    /// Hands the transfer to whoever submitted it, once.
    func complete() {
        let handler = onCompletion
        onCompletion = nil
        handler?(self)
    }
}

/// What the host moves per microframe and how long a transfer takes.
struct USBBusTiming {
    /// The length of a (micro)frame.
    let frame: Int64
    /// How many bulk packets fit in one.
    let packetsPerFrame: Int

    /// The bulk capacity of USB 2.0, tables 5-9 and 5-10: 13 packets of 512 bytes in 125 µs at high
    /// speed, 19 packets of 64 bytes in 1 ms at full speed.
    init(speed: USBSpeed) {
        (frame, packetsPerFrame) = speed == .full || speed == .low ? (1_000_000, 19) : (125_000, 13)
    }

    /// The start of the frame after `instant`.
    private func nextFrame(_ instant: HostInstant) -> Int64 {
        (instant.nanoseconds / frame + 1) * frame
    }

    /// When `packets` packets, started at `start`, have been moved and reported.
    func completion(of packets: Int, from start: HostInstant) -> HostInstant {
        let more = Int64(max(0, packets - 1) / packetsPerFrame)
        return HostInstant(nanoseconds: nextFrame(start) + more * frame)
    }

    /// How many bulk packets the bus can carry between two instants.
    func packets(from start: HostInstant, to end: HostInstant) -> Int {
        Int(max(0, end.nanoseconds - start.nanoseconds) / frame) * packetsPerFrame
    }

    /// When a control transfer started at `start` has ended: setup, data and status stages.
    func controlCompletion(from start: HostInstant) -> HostInstant {
        HostInstant(nanoseconds: nextFrame(start) + 2 * frame)
    }
}

/// One endpoint of an attached device with the transfers that wait at it.
final class USBPipe {
    let endpoint: USBEndpoint
    /// Transfers whose data are not complete, in order of submission.
    private(set) var pending: [USBTransfer] = []
    /// The bus is occupied with an earlier transfer of this endpoint until then.
    private(set) var busyUntil = HostInstant.zero
    /// Packets of the present transfer that the bus has not had time for.
    private var packetsOwed = 0
    private var lastRun = HostInstant.zero
    private let scratch: UnsafeMutableRawBufferPointer

    init(endpoint: USBEndpoint) {
        self.endpoint = endpoint
        scratch = .allocate(byteCount: max(8, endpoint.maxPacketSize), alignment: 8)
    }

    deinit { scratch.deallocate() }

    var isIn: Bool { endpoint.address & 0x80 != 0 }

    func submit(_ transfer: USBTransfer, at now: HostInstant) {
        if pending.isEmpty { lastRun = now }
        pending.append(transfer)
    }

    /// Takes a pending transfer out of the queue; false when it is no longer pending.
    func withdraw(_ transfer: USBTransfer) -> Bool {
        guard let index = pending.firstIndex(where: { $0 === transfer }) else { return false }
        if index == 0 { packetsOwed = 0 }
        pending.remove(at: index)
        return true
    }

    /// Takes all pending transfers out of the queue.
    func withdrawAll() -> [USBTransfer] {
        defer { pending = [] }
        packetsOwed = 0
        return pending
    }

    /// Moves packets until the first pending transfer ends or the device has nothing more.
    ///
    /// Returns the transfer that ended and the instant at which its completion is reported.
    func run(
        _ controller: USBDeviceController, timing: USBBusTiming, at now: HostInstant
    ) -> (USBTransfer, HostInstant)? {
        guard busyUntil <= now, let transfer = pending.first else { return nil }
        let hasEnded =
            isIn
            ? receive(transfer, controller, at: now) : send(transfer, controller, at: now)
        // The host has been asking since the last run, so the bus has moved packets meanwhile.
        packetsOwed = max(0, packetsOwed - timing.packets(from: max(lastRun, busyUntil), to: now))
        lastRun = now
        guard hasEnded else { return nil }
        pending.removeFirst()
        busyUntil = timing.completion(of: packetsOwed, from: now)
        packetsOwed = 0
        return (transfer, busyUntil)
    }

    private func receive(
        _ transfer: USBTransfer, _ controller: USBDeviceController, at now: HostInstant
    ) -> Bool {
        let size = endpoint.maxPacketSize
        // A transfer of no bytes asks once all the same: the device may have too much to say.
        repeat {
            let rest = transfer.length - transfer.moved
            let target = packetTarget(transfer, rest: rest)
            switch controller.packetIn(endpoint: endpoint.address, into: target, at: now) {
            case .nak: return false
            case .stall:
                transfer.error = .stall
                return true
            case .data(let count):
                packetsOwed += 1
                if rest < size { copyScratch(to: transfer, count: min(count, rest)) }
                transfer.moved += min(count, rest)
                if count > rest { transfer.error = .overflow }
                if count < size || count > rest { return true }
            }
        } while transfer.moved < transfer.length
        return true
    }

    /// Where the next packet goes: into the buffer itself while a whole packet fits.
    private func packetTarget(
        _ transfer: USBTransfer, rest: Int
    ) -> UnsafeMutableRawBufferPointer {
        let size = endpoint.maxPacketSize
        guard rest >= size, transfer.buffer != nil else {
            return UnsafeMutableRawBufferPointer(rebasing: scratch[..<size])
        }
        let start = transfer.moved
        return transfer.withBuffer {
            UnsafeMutableRawBufferPointer(rebasing: $0[start..<start + size])
        }
    }

    private func copyScratch(to transfer: USBTransfer, count: Int) {
        let start = transfer.moved
        let source = UnsafeRawBufferPointer(rebasing: scratch[..<count])
        _ = transfer.withBuffer { memory in
            UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + count])
                .copyMemory(from: source)
            return memory
        }
    }

    private func send(
        _ transfer: USBTransfer, _ controller: USBDeviceController, at now: HostInstant
    ) -> Bool {
        let dataPackets = max(
            1, (transfer.length + endpoint.maxPacketSize - 1) / endpoint.maxPacketSize)
        while transfer.packetsSent < dataPackets + (transfer.endsWithEmptyPacket ? 1 : 0) {
            let end = min(transfer.moved + endpoint.maxPacketSize, transfer.length)
            let handshake = transfer.outgoing[transfer.moved..<end].withUnsafeBytes {
                controller.packetOut(endpoint: endpoint.address, packet: $0, at: now)
            }
            switch handshake {
            case .nak: return false
            case .stall:
                transfer.error = .stall
                return true
            case .ack:
                packetsOwed += 1
                transfer.packetsSent += 1
                transfer.moved = end
            }
        }
        return true
    }
}

extension USBTransfer {
    /// Lends the memory of an IN transfer; the pointer is used before the buffer can be taken out.
    fileprivate func withBuffer(
        _ body: (UnsafeMutableRawBufferPointer) -> UnsafeMutableRawBufferPointer
    ) -> UnsafeMutableRawBufferPointer {
        switch buffer {
        case .some(let buffer): return buffer.withMutableBytes(body)
        case .none: return UnsafeMutableRawBufferPointer(start: nil, count: 0)
        }
    }
}
