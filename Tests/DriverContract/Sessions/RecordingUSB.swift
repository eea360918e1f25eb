import HostIO
import Quantities

/// A USB host whose devices are listened to.
final class RecordingUSBHost: USBHost {
    private let host: any USBHost
    private let recorder: SessionRecorder

    init(_ host: any USBHost, _ recorder: SessionRecorder) {
        self.host = host
        self.recorder = recorder
    }

    func devices() async throws(USBTransferError) -> [USBDeviceSummary] {
        try await host.devices()
    }

    func events() -> AsyncStream<USBHostEvent> { host.events() }

    func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice {
        let number = recorder.begin("device", "open")
        do throws(USBTransferError) {
            let device = try await host.open(id)
            recorder.end(number)
            recorder.note(device.summary)
            return RecordingUSBDevice(device, recorder)
        } catch {
            recorder.end(number, failure: error.sessionText)
            throw error
        }
    }
}

extension USBControlRequest {
    /// The request as it stands in a session: bmRequestType, bRequest, wValue, wIndex.
    var sessionText: String {
        let type = sessionHex(UInt16(requestType)).suffix(2)
        let request = sessionHex(UInt16(self.request)).suffix(2)
        return "\(type) \(request) \(sessionHex(value)) \(sessionHex(index))"
    }
}

/// The channel of an endpoint in a session.
func sessionChannel(_ endpoint: UInt8) -> String {
    String(sessionHex(UInt16(endpoint)).suffix(2))
}

private final class RecordingUSBDevice: USBDevice {
    private let device: any USBDevice
    private let recorder: SessionRecorder

    init(_ device: any USBDevice, _ recorder: SessionRecorder) {
        self.device = device
        self.recorder = recorder
    }

    var summary: USBDeviceSummary { device.summary }

    private func record(
        _ channel: String, _ operation: String, sent: [UInt8]? = nil,
        _ body: () async throws(USBTransferError) -> [UInt8]?
    ) async throws(USBTransferError) -> [UInt8] {
        let number = recorder.begin(channel, operation, sent: sent)
        do throws(USBTransferError) {
            let received = try await body()
            recorder.end(number, received: received)
            return received ?? []
        } catch {
            recorder.end(number, failure: error.sessionText)
            throw error
        }
    }

    func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError) {
        _ = try await record("device", "claim \(interface) \(alternate)") {
            () async throws(USBTransferError) in
            try await device.claim(interface: interface, alternate: alternate)
            return nil
        }
    }

    func release(interface: UInt8) async {
        let number = recorder.begin("device", "release \(interface)")
        await device.release(interface: interface)
        recorder.end(number)
    }

    func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError) {
        _ = try await record("control", "out \(request.sessionText)", sent: data) {
            () async throws(USBTransferError) in
            try await device.controlOut(request, data: data, timeout: timeout)
            return nil
        }
    }

    func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await record("control", "in \(request.sessionText) length \(length)") {
            () async throws(USBTransferError) in
            try await device.controlIn(request, length: length, timeout: timeout)
        }
    }

    func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError) {
        _ = try await record(sessionChannel(endpoint), "write", sent: bytes) {
            () async throws(USBTransferError) in
            try await device.write(bytes, to: endpoint, timeout: timeout)
            return nil
        }
    }

    func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await record(sessionChannel(endpoint), "read \(length)") {
            () async throws(USBTransferError) in
            try await device.read(from: endpoint, upTo: length, timeout: timeout)
        }
    }

    func clearHalt(endpoint: UInt8) async throws(USBTransferError) {
        _ = try await record(sessionChannel(endpoint), "clear halt") {
            () async throws(USBTransferError) in
            try await device.clearHalt(endpoint: endpoint)
            return nil
        }
    }

    func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue {
        let channel = sessionChannel(endpoint)
        let number = recorder.begin(channel, "queue \(transferCount) \(transferSize)")
        do throws(USBTransferError) {
            let queue = try device.openQueue(
                endpoint: endpoint, transferCount: transferCount, transferSize: transferSize)
            recorder.end(number)
            return RecordingInQueue(queue, channel: channel, recorder)
        } catch {
            recorder.end(number, failure: error.sessionText)
            throw error
        }
    }

    func close() async {
        let number = recorder.begin("device", "close")
        await device.close()
        recorder.end(number)
    }
}

private final class RecordingInQueue: USBInQueue {
    private let queue: any USBInQueue
    private let channel: String
    private let recorder: SessionRecorder

    init(_ queue: any USBInQueue, channel: String, _ recorder: SessionRecorder) {
        self.queue = queue
        self.channel = channel
        self.recorder = recorder
    }

    func next() async -> USBCompletion {
        let completion = await queue.next()
        // Transfers that the driver itself took back come about by themselves in a replay.
        if completion.error != .cancelled {
            recorder.arrival(
                channel, received: completion.bytes(), failure: completion.error?.sessionText)
        }
        return completion
    }

    func submit(_ buffer: consuming USBBuffer) { queue.submit(buffer) }

    func cancelAll() async {
        let number = recorder.begin(channel, "cancel")
        await queue.cancelAll()
        recorder.end(number)
    }
}
