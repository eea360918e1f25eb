import HostIO
import Quantities

/// The classical channel between the two nodes: ordered bytes, no confidentiality, no integrity.
/// What travels on it is authenticated by `ProtocolCore`.
public protocol MessageChannel: AnyObject, Sendable {
    /// Sends bytes to the peer.
    func send(_ bytes: [UInt8]) async throws(ByteStreamError)
    /// The next bytes of the peer, in any pieces; `nil` when the channel is closed.
    func receive() async throws(ByteStreamError) -> [UInt8]?
    /// Ends the channel at both ends.
    func close() async
}

/// A channel over a byte stream, such as a TCP connection.
public final class StreamChannel: MessageChannel {
    private let stream: any ByteStream
    private let patience: Duration

    /// A channel that gives up sending after `patience`; reading waits for ever, because the
    /// session has its own time limits.
    public init(stream: any ByteStream, patience: Duration = .seconds(30)) {
        self.stream = stream
        self.patience = patience
    }

    /// Sends bytes to the peer.
    public func send(_ bytes: [UInt8]) async throws(ByteStreamError) {
        try await stream.write(bytes, timeout: patience)
    }

    /// The next bytes of the peer.
    public func receive() async throws(ByteStreamError) -> [UInt8]? {
        do throws(ByteStreamError) {
            return try await stream.read(upTo: 65_536, timeout: .seconds(86_400 * 365))
        } catch .closed {
            return nil
        }
    }

    /// Ends the channel.
    public func close() async { await stream.close() }
}

/// Two ends in one process, with a delay; on virtual time the exchange is reproducible.
public actor MemoryChannel: MessageChannel {
    private let reactor: any Reactor
    private let delay: Duration
    private weak var peer: MemoryChannel?
    private var inbox: [[UInt8]] = []
    private var isClosed = false
    private var reader: CheckedContinuation<Void, Never>?

    /// The executor of the reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    private init(reactor: any Reactor, delay: Duration) {
        self.reactor = reactor
        self.delay = delay
    }

    /// Two connected ends; what one sends arrives at the other `delay` later, in order.
    public static func pair(
        reactor: any Reactor, delay: Duration
    ) async -> (MemoryChannel, MemoryChannel) {
        let first = MemoryChannel(reactor: reactor, delay: delay)
        let second = MemoryChannel(reactor: reactor, delay: delay)
        await first.connect(to: second)
        await second.connect(to: first)
        return (first, second)
    }

    private func connect(to other: MemoryChannel) { peer = other }

    /// Sends bytes to the other end.
    public func send(_ bytes: [UInt8]) async throws(ByteStreamError) {
        guard !isClosed, let peer else { throw .closed }
        reactor.schedule(at: reactor.now + delay) {
            peer.assumeIsolated { $0.deliver(bytes) }
        }
    }

    private func deliver(_ bytes: [UInt8]?) {
        if let bytes { inbox.append(bytes) } else { isClosed = true }
        reader?.resume()
        reader = nil
    }

    /// The next bytes of the other end.
    public func receive() async throws(ByteStreamError) -> [UInt8]? {
        while inbox.isEmpty {
            guard !isClosed else { return nil }
            precondition(reader == nil, "one reader at a time")
            await withCheckedContinuation { reader = $0 }
        }
        return inbox.removeFirst()
    }

    /// Ends the channel at both ends; what is under way still arrives.
    public func close() async {
        guard !isClosed else { return }
        deliver(nil)
        guard let peer else { return }
        reactor.schedule(at: reactor.now + delay) { peer.assumeIsolated { $0.deliver(nil) } }
    }
}
