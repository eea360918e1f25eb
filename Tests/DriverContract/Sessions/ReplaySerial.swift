import HostIO
import Synchronization

/// A host whose one port leads to a recorded instrument.
final class ReplaySerialHost: SerialHost {
    /// The name of the port.
    static let path = "recorded session"
    private let player: SessionPlayer
    private let isEmulated: Bool

    init(_ player: SessionPlayer, isEmulated: Bool) {
        self.player = player
        self.isEmulated = isEmulated
    }

    func ports() async -> [SerialPortSummary] { [] }

    func open(
        path: String, settings: SerialSettings
    ) async throws(ByteStreamError) -> any SerialPort {
        let event = await player.request("port", "open \(settings.sessionText)")
        try player.checkStream(event)
        return ReplaySerialPort(player, isEmulated: isEmulated)
    }
}

extension SessionPlayer {
    /// Throws what came of a request of a stream.
    fileprivate func checkStream(_ event: Session.Event?) throws(ByteStreamError) {
        guard let event else {
            throw .system(code: 0, message: "the session differs: \(difference?.description ?? "")")
        }
        guard let failure = event.failure else { return }
        throw ByteStreamError(sessionText: failure) ?? .system(code: 0, message: failure)
    }
}

private final class ReplaySerialPort: SerialPort {
    private let player: SessionPlayer
    private let state = Mutex(State())
    let isEmulated: Bool

    private struct State {
        var isClosed = false
        var rest: [UInt8] = []
    }

    init(_ player: SessionPlayer, isEmulated: Bool) {
        self.player = player
        self.isEmulated = isEmulated
    }

    private var isClosed: Bool { state.withLock { $0.isClosed } }

    func read(upTo count: Int, timeout: Duration) async throws(ByteStreamError) -> [UInt8] {
        let early = take(count)
        if !early.isEmpty { return early }
        switch await player.arrival(
            "port", until: player.deadline(after: timeout), isClosed: { isClosed })
        {
        case .success(let event):
            if event.failure != nil { try player.checkStream(event) }
            state.withLock { $0.rest += event.received ?? [] }
            return take(count)
        case .failure(let silence):
            switch silence.reason {
            case .timedOut: throw .timedOut
            case .cancelled, .ended: throw .closed
            }
        }
    }

    private func take(_ count: Int) -> [UInt8] {
        state.withLock { state in
            defer { state.rest.removeFirst(min(count, state.rest.count)) }
            return Array(state.rest.prefix(count))
        }
    }

    private func request(
        _ operation: String, sent: [UInt8]? = nil
    ) async throws(ByteStreamError) {
        try player.checkStream(await player.request("port", operation, sent: sent))
    }

    func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        try await request("write", sent: bytes)
    }

    func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        try await request("configure \(settings.sessionText)")
    }

    func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        try await request("lines dtr=\(dtr ? 1 : 0) rts=\(rts ? 1 : 0)")
    }

    func discardBuffers() async throws(ByteStreamError) {
        try await request("discard")
        player.discardArrivals("port")
        state.withLock { $0.rest.removeAll() }
    }

    func close() async {
        _ = await player.request("port", "close")
        state.withLock { $0.isClosed = true }
        player.wake("port")
    }
}
