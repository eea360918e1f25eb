import HostIO
import Synchronization

/// A host whose one USB device is a recorded one.
final class ReplayUSBHost: USBHost {
    private let player: SessionPlayer
    private let summary: USBDeviceSummary

    init(_ player: SessionPlayer, _ summary: USBDeviceSummary) {
        self.player = player
        self.summary = summary
    }

    func devices() async throws(USBTransferError) -> [USBDeviceSummary] { [summary] }

    func events() -> AsyncStream<USBHostEvent> { AsyncStream { $0.finish() } }

    func open(_ id: USBDeviceID) async throws(USBTransferError) -> any USBDevice {
        _ = try player.checkUSB(await player.request("device", "open"))
        return ReplayUSBDevice(player, summary)
    }
}

extension SessionPlayer {
    /// What came of a request of a USB device.
    fileprivate func checkUSB(_ event: Session.Event?) throws(USBTransferError) -> [UInt8] {
        guard let event else {
            throw .system(code: 0, message: "the session differs: \(difference?.description ?? "")")
        }
        guard let failure = event.failure else { return event.received ?? [] }
        throw USBTransferError(sessionText: failure) ?? .system(code: 0, message: failure)
    }
}

private final class ReplayUSBDevice: USBDevice {
    private let player: SessionPlayer
    let summary: USBDeviceSummary

    init(_ player: SessionPlayer, _ summary: USBDeviceSummary) {
        self.player = player
        self.summary = summary
    }

    private func request(
        _ channel: String, _ operation: String, sent: [UInt8]? = nil
    ) async throws(USBTransferError) -> [UInt8] {
        try player.checkUSB(await player.request(channel, operation, sent: sent))
    }

    func claim(interface: UInt8, alternate: UInt8) async throws(USBTransferError) {
        _ = try await request("device", "claim \(interface) \(alternate)")
    }

    func release(interface: UInt8) async {
        _ = await player.request("device", "release \(interface)")
    }

    func controlOut(
        _ request: USBControlRequest, data: [UInt8], timeout: Duration
    ) async throws(USBTransferError) {
        _ = try await self.request("control", "out \(request.sessionText)", sent: data)
    }

    func controlIn(
        _ request: USBControlRequest, length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await self.request("control", "in \(request.sessionText) length \(length)")
    }

    func write(
        _ bytes: [UInt8], to endpoint: UInt8, timeout: Duration
    ) async throws(USBTransferError) {
        _ = try await request(sessionChannel(endpoint), "write", sent: bytes)
    }

    func read(
        from endpoint: UInt8, upTo length: Int, timeout: Duration
    ) async throws(USBTransferError) -> [UInt8] {
        try await request(sessionChannel(endpoint), "read \(length)")
    }

    func clearHalt(endpoint: UInt8) async throws(USBTransferError) {
        _ = try await request(sessionChannel(endpoint), "clear halt")
    }

    func openQueue(
        endpoint: UInt8, transferCount: Int, transferSize: Int
    ) throws(USBTransferError) -> any USBInQueue {
        let channel = sessionChannel(endpoint)
        let answer = player.accept(channel, "queue \(transferCount) \(transferSize)")
        _ = try player.checkUSB(answer?.event)
        return ReplayInQueue(player, channel: channel, count: transferCount, size: transferSize)
    }

    func close() async { _ = await player.request("device", "close") }
}

/// The IN transfers of a recorded endpoint. Every buffer that is handed over comes back.
private final class ReplayInQueue: USBInQueue {
    private struct State {
        var pending: Int
        var isOver = false
    }
    private let player: SessionPlayer
    private let channel: String
    private let size: Int
    private let state: Mutex<State>

    init(_ player: SessionPlayer, channel: String, count: Int, size: Int) {
        self.player = player
        self.channel = channel
        self.size = size
        state = Mutex(State(pending: count))
    }

    func next() async -> USBCompletion {
        let arrival = await player.arrival(
            channel, until: nil, isClosed: { state.withLock { $0.isOver } })
        state.withLock { $0.pending -= 1 }
        let buffer = USBBuffer(capacity: size)
        guard case .success(let event) = arrival else {
            return USBCompletion(buffer: buffer, byteCount: 0, error: .cancelled)
        }
        let bytes = (event.received ?? []).prefix(size)
        buffer.withMutableBytes { $0.copyBytes(from: bytes) }
        return USBCompletion(
            buffer: buffer, byteCount: bytes.count,
            error: event.failure.flatMap(USBTransferError.init(sessionText:)))
    }

    func submit(_ buffer: consuming USBBuffer) { state.withLock { $0.pending += 1 } }

    func cancelAll() async {
        _ = await player.request(channel, "cancel")
        state.withLock { $0.isOver = true }
        player.wake(channel)
    }
}
