import HostIO
import Quantities

/// A USB host that a script stands behind.
final class TamperingUSBHost: USBHost {
    private let host: any USBHost
    private let place: TamperPlace

    init(_ host: any USBHost, _ place: TamperPlace) {
        self.host = host
        self.place = place
    }

    func devices() async throws(USBTransferError) -> [USBDeviceSummary] {
        try await host.devices()
    }

    func events() -> AsyncStream<USBHostEvent> { host.events() }

    func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice {
        TamperingUSBDevice(try await host.open(id), place)
    }
}

private final class TamperingUSBDevice: USBDevice {
    private let device: any USBDevice
    private let place: TamperPlace

    init(_ device: any USBDevice, _ place: TamperPlace) {
        self.device = device
        self.place = place
    }

    var summary: USBDeviceSummary { device.summary }

    func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError) {
        try await device.claim(interface: interface, alternate: alternate)
    }

    func release(interface: UInt8) async { await device.release(interface: interface) }

    func clearHalt(endpoint: UInt8) async throws(USBTransferError) {
        try await device.clearHalt(endpoint: endpoint)
    }

    /// What happens to bytes on their way to the device.
    private func send(
        _ bytes: [UInt8], timeout: Duration,
        _ body: ([UInt8]) async throws(USBTransferError) -> Void
    ) async throws(USBTransferError) {
        guard let tamper = place.script.next(.toDevice) else { return try await body(bytes) }
        switch tamper {
        case .split(let position) where !bytes.isEmpty:
            try await body(Array(bytes[..<(position % bytes.count)]))
            await place.pause(Tamper.splitGap)
            try await body(Array(bytes[(position % bytes.count)...]))
        case .delay(let milliseconds):
            let wait = Duration.milliseconds(milliseconds)
            await place.pause(min(wait, timeout))
            if wait >= timeout { throw .timedOut(transferred: 0) }
            try await body(bytes)
        case .stall: throw .stall
        case .disconnect:
            place.unplug()
            try await body(bytes)
        default: try await body(tamper.changed(bytes) ?? bytes)
        }
    }

    /// What happens to bytes on their way to the host; no transfer holds more than was asked for.
    private func receive(
        _ length: Int, timeout: Duration,
        _ body: () async throws(USBTransferError) -> [UInt8]
    ) async throws(USBTransferError) -> [UInt8] {
        let bytes = try await body()
        guard let tamper = place.script.next(.toHost) else { return bytes }
        switch tamper {
        case .split(let position): return Array(bytes.prefix(position % (bytes.count + 1)))
        case .delay(let milliseconds):
            let wait = Duration.milliseconds(milliseconds)
            await place.pause(min(wait, timeout))
            if wait >= timeout { throw .timedOut(transferred: 0) }
            return bytes
        case .stall: throw .stall
        case .disconnect:
            place.unplug()
            throw .disconnected
        default: return Array((tamper.changed(bytes) ?? bytes).prefix(length))
        }
    }

    func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError) {
        try await send(data, timeout: timeout) { (data) async throws(USBTransferError) in
            try await device.controlOut(request, data: data, timeout: timeout)
        }
    }

    func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await receive(length, timeout: timeout) { () async throws(USBTransferError) in
            try await device.controlIn(request, length: length, timeout: timeout)
        }
    }

    func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError) {
        try await send(bytes, timeout: timeout) { (bytes) async throws(USBTransferError) in
            try await device.write(bytes, to: endpoint, timeout: timeout)
        }
    }

    func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await receive(length, timeout: timeout) { () async throws(USBTransferError) in
            try await device.read(from: endpoint, upTo: length, timeout: timeout)
        }
    }

    func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue {
        TamperingInQueue(
            try device.openQueue(
                endpoint: endpoint, transferCount: transferCount, transferSize: transferSize),
            place)
    }

    func close() async { await device.close() }
}

private final class TamperingInQueue: USBInQueue {
    private let queue: any USBInQueue
    private let place: TamperPlace

    init(_ queue: any USBInQueue, _ place: TamperPlace) {
        self.queue = queue
        self.place = place
    }

    func next() async -> USBCompletion {
        let completion = await queue.next()
        guard completion.error == nil, let tamper = place.script.next(.toHost) else {
            return completion
        }
        let bytes = completion.bytes()
        var error: USBTransferError?
        var changed = bytes
        switch tamper {
        case .split(let position): changed = Array(bytes.prefix(position % (bytes.count + 1)))
        case .delay(let milliseconds): await place.pause(.milliseconds(milliseconds))
        case .stall:
            changed = []
            error = .stall
        case .disconnect: place.unplug()
        default: changed = tamper.changed(bytes) ?? bytes
        }
        let buffer = completion.takeBuffer()
        let count = min(changed.count, buffer.capacity)
        buffer.withMutableBytes { $0.copyBytes(from: changed.prefix(count)) }
        return USBCompletion(buffer: buffer, byteCount: count, error: error)
    }

    func submit(_ buffer: consuming USBBuffer) { queue.submit(buffer) }

    func cancelAll() async { await queue.cancelAll() }
}
