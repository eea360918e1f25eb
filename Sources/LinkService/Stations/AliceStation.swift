import HostIO
import LinkTypes
import ProtocolCore
import Quantities

/// What Alice's node tells her source, and learns from it.
public protocol SourceControl: Sendable {
    /// Sends `pattern` from `slot` on.
    ///
    /// - Throws: when the source can not, such as for a slot that has already left.
    func send(_ pattern: any PulsePattern, from slot: SlotIndex) throws
    /// The first slot whose pulse may not have left yet.
    func emittedBefore() -> SlotIndex
}

/// Alice's node: her end of the session and her source.
public actor AliceStation {
    private let reactor: any Reactor
    private let channel: any MessageChannel
    private let source: any SourceControl
    private let secretPattern: any PulsePattern
    private var session: AliceSession
    private var outbox: SessionOutbox?
    /// Blocks and the reason of the end, as far as they are known.
    public private(set) var outcome = StationOutcome()

    /// The executor of the reactor.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        reactor.asUnownedSerialExecutor()
    }

    /// A node that has not started.
    public init(
        session: consuming AliceSession, secretPattern: any PulsePattern,
        source: any SourceControl, channel: any MessageChannel, reactor: any Reactor
    ) {
        self.session = session
        self.secretPattern = secretPattern
        self.source = source
        self.channel = channel
        self.reactor = reactor
    }

    /// Runs until the session ends.
    public func run() async {
        outbox = SessionOutbox(channel: channel, reactor: reactor) { [weak self] in
            await self?.channelFailed()
        }
        perform(session.step(.start(now: reactor.now)))
        let ticking = reactor.start { await self.tickUntilOver() }
        while !session.isOver {
            guard let bytes = try? await channel.receive() else {
                perform(session.step(.closed))
                break
            }
            perform(session.step(.received(bytes)))
        }
        await ticking.value
        outbox?.finish()
    }

    /// Ends the session in good order.
    public func stop(_ reason: String) { perform(session.step(.cancel(reason))) }

    private func channelFailed() { perform(session.step(.closed)) }

    private func tickUntilOver() async {
        while !session.isOver {
            try? await reactor.sleep(for: .milliseconds(10))
            perform(session.emitted(before: source.emittedBefore()))
            perform(session.step(.tick(now: reactor.now)))
        }
    }

    private func perform(_ actions: [SessionAction]) {
        for action in actions {
            switch action {
            case .send(let bytes): outbox?.send(bytes)
            case .established(let session): outcome.session = session
            case .preparePattern(let kind, let slot):
                do {
                    try source.send(kind.publishedPattern ?? secretPattern, from: slot)
                } catch {
                    perform(session.step(.cancel("the source refused a pattern: \(error)")))
                }
            case .deliver(let block): outcome.delivered.append(block)
            case .recovered: preconditionFailure("only Bob holds keys")
            case .discarded(let report): outcome.discarded.append(report)
            case .aborted(let reason):
                outcome.abort = reason
                outbox?.finish()
            case .patternStarted, .calibrationCounts, .dropped:
                preconditionFailure("an action of the other end")
            }
        }
    }
}

/// What came out of a session at one end.
public struct StationOutcome: Sendable {
    /// The session, once both ends agreed to talk.
    public var session: UInt64?
    /// The keys, in order.
    public var delivered: [SecretBlock] = []
    /// Keys of earlier sessions that this one settled, in order.
    public var recovered: [KeyIdentifier] = []
    /// The blocks that gave no key, in order.
    public var discarded: [BlockReport] = []
    /// Why the session ended, once it has.
    public var abort: AbortReason?
    /// An outcome with nothing in it.
    public init() {}
}

extension PulsePatternKind {
    /// The pattern, where it is public; `nil` for the secret one.
    public var publishedPattern: (any PulsePattern)? {
        switch self {
        case .synchronization(let key): SynchronizationPattern(key: key)
        case .training(let key, let probabilityZ, let probabilitySignal):
            KeyedPulsePattern(
                key: key, probabilityZ: probabilityZ, probabilitySignal: probabilitySignal)
        case .key: nil
        }
    }
}
