import Calibration
import DeviceProfiles
import HostIO
import Instruments
import LinkTypes
import LinuxIO
import ProtocolCore
import Quantities

/// Runs one node of a link in real time, with its peer over TCP, through as many sessions as it
/// takes.
///
/// A connection that is lost, a peer that dies or an altered message ends a session, not the node:
/// it connects again and goes on with the pads and keys that its store kept. The emulated bench runs
/// in Bob's process, which serves the source to Alice's; neither knows the other's choices.
public struct NodeRun: Sendable {
    let configuration: NodeConfiguration
    let catalog: ProfileCatalog
    let progress: @Sendable (String) -> Void
    /// The source of nonces, coins and seeds.
    let random: @Sendable () -> any RandomNumberGenerator & Sendable

    /// A node that has not started; `random` makes the generator of each session, on a real link
    /// one that nobody can foresee.
    public init(
        configuration: NodeConfiguration, catalog: ProfileCatalog,
        random: @escaping @Sendable () -> any RandomNumberGenerator & Sendable,
        progress: @escaping @Sendable (String) -> Void
    ) {
        self.configuration = configuration
        self.catalog = catalog
        self.random = random
        self.progress = progress
    }

    /// Runs until enough keys are made, a session ends for a reason that another one would not
    /// mend, or `isStopped`.
    ///
    /// - Throws: when the peer can not be reached, the store fails or a calibration fails.
    public func run(isStopped: @escaping @Sendable () -> Bool) async throws -> StationOutcome {
        let reactor = try EpollReactor()
        defer { reactor.stop() }
        let role: Role = configuration.role == .alice ? .alice : .bob
        let keys = PreSharedKeys(emulatedWithSeed: configuration.seed)
        let store =
            if let folder = configuration.state {
                try NodeKeyStore(folder: folder, role: role, preShared: keys)
            } else {
                NodeKeyStore(role: role, preShared: keys)
            }
        switch role {
        case .alice:
            return try await AliceNode(
                run: self, reactor: reactor, store: store, isStopped: isStopped
            ).run()
        case .bob:
            return try await BobNode(
                run: self, reactor: reactor, store: store, isStopped: isStopped
            ).run()
        }
    }

    /// What a session's end means for the node.
    func note(_ reason: AbortReason?) {
        if let reason { progress("session over: \(reason)") }
    }
}

extension AbortReason {
    /// Whether another session may go better: the connection, the peer's process or a message on
    /// the way failed, not what the two nodes are or measure.
    var isTransient: Bool {
        switch self {
        case .channelClosed, .peerSilent, .peerStalled, .malformedMessage, .protocolViolation,
            .authenticationFailed:
            true
        case .peerAborted(let code, _):
            [1, 2, 6, 7, 8, 11].contains(code)
        default: false
        }
    }
}
