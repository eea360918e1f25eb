import Glibc
import LinkTypes
import ProtocolCore
import Synchronization

/// Why a node's keys can not be kept.
public enum NodeKeyStoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Another process has the folder.
    case inUse(folder: String)
    /// The file is not what a node wrote, or of another version.
    case damaged(file: String, problem: String)
    /// The folder belongs to the other end of the link.
    case otherRole(folder: String, expected: Role, found: Role)
    /// The system refused.
    case system(String)

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String {
        switch self {
        case .inUse: "BRK-KST-001"
        case .damaged: "BRK-KST-002"
        case .otherRole: "BRK-KST-003"
        case .system: "BRK-KST-004"
        }
    }

    /// What was expected, what was found, what to do.
    public var description: String {
        switch self {
        case .inUse(let folder):
            "\(folder): expected to be alone, found another node at work there; stop it first"
        case .damaged(let file, let problem):
            "\(file): expected the keys of a node, found that \(problem); both nodes need a new "
                + "folder and new pre-shared keys"
        case .otherRole(let folder, let expected, let found):
            "\(folder): expected keys of \(expected), found those of \(found)"
        case .system(let text): text
        }
    }
}

/// Pads, the key that is held and the keys that are released, of one node; in a folder, or for as
/// long as the process lives.
///
/// `state` in the folder is replaced as a whole (written beside, synchronized, renamed), so that
/// every step of `SessionStore` happens or does not. A released key lies in `keys/NAME.key`. It is
/// written there as `NAME.pending` before `state` says that it is released, and gets its name after;
/// whatever is pending when the folder is opened is finished or removed by what `state` says.
///
/// Files are readable by their owner only. Octets that are spent leave the file with the next write;
/// a file system or a disk may keep older versions, against which only its own encryption helps.
public final class NodeKeyStore: SessionStore {
    private let folder: KeyFolder?
    private let state: Mutex<NodeKeyState>
    private let role: Role

    /// A store in memory: enough for a node whose secrets need not outlive it.
    public init(role: Role, preShared: consuming PreSharedKeys) {
        self.role = role
        folder = nil
        state = Mutex(NodeKeyState(role: role, preShared: preShared))
    }

    /// The store in `folder`, which is made with `preShared` when it holds none.
    ///
    /// - Throws: `NodeKeyStoreError`.
    public init(
        folder path: String, role: Role, preShared: consuming PreSharedKeys
    ) throws(NodeKeyStoreError) {
        let folder = try KeyFolder(path)
        self.role = role
        if let kept = try folder.readState() {
            guard kept.role == role else {
                throw .otherRole(folder: path, expected: role, found: kept.role)
            }
            try folder.settlePending(lastReleased: kept.lastReleased)
            state = Mutex(kept)
        } else {
            let fresh = NodeKeyState(role: role, preShared: preShared)
            try folder.write(fresh)
            state = Mutex(fresh)
        }
        self.folder = folder
    }

    /// The pads as they are, for a new session. Consumption is made durable here.
    public func authenticator() throws(AuthenticationError) -> Authenticator {
        let parts = state.withLock { state in
            Parts(
                hashKey: state.hashKey.duplicate(), alice: state.alice.octets.duplicate(),
                aliceOffset: state.alice.consumedThrough, bob: state.bob.octets.duplicate(),
                bobOffset: state.bob.consumedThrough)
        }
        func pool(
            _ octets: borrowing SecretBytes, _ offset: UInt64, _ sender: Role
        ) -> KeyPool {
            KeyPool(
                key: octets.duplicate(), startingAt: offset, lowWaterMark: 4096,
                store: PoolStore(store: self, sender: sender))
        }
        switch role {
        case .alice:
            return try Authenticator(
                hashKey: parts.hashKey.duplicate(),
                sending: pool(parts.alice, parts.aliceOffset, .alice),
                receiving: pool(parts.bob, parts.bobOffset, .bob))
        case .bob:
            return try Authenticator(
                hashKey: parts.hashKey.duplicate(),
                sending: pool(parts.bob, parts.bobOffset, .bob),
                receiving: pool(parts.alice, parts.aliceOffset, .alice))
        }
    }

    private struct Parts: ~Copyable {
        let hashKey: SecretBytes
        let alice: SecretBytes
        let aliceOffset: UInt64
        let bob: SecretBytes
        let bobOffset: UInt64
    }

    /// What a new session must know of earlier ones.
    public func memory() -> SessionMemory {
        state.withLock { state in
            switch state.held {
            case .some(let key):
                SessionMemory(lastReleased: state.lastReleased, held: key.duplicate())
            case .none: SessionMemory(lastReleased: state.lastReleased)
            }
        }
    }

    /// Makes a change durable, then takes it over.
    private func change(_ body: (inout NodeKeyState) -> Void) throws(NodeKeyStoreError) {
        let failure = state.withLock { state -> NodeKeyStoreError? in
            var changed = state.duplicate()
            body(&changed)
            do throws(NodeKeyStoreError) { try folder?.write(changed) } catch { return error }
            state = changed
            return nil
        }
        if let failure { throw failure }
    }

    /// Keeps `key`, not released.
    public func hold(_ key: borrowing AgreedKey) throws {
        let key = key.duplicate()
        try change { $0.held = key.duplicate() }
    }

    /// Releases `key` with its refills.
    public func release(_ key: borrowing AgreedKey) throws {
        try folder?.writePending(key)
        let copy = key.duplicate()
        try change { $0.release(copy) }
        try folder?.finishPending(key.identifier)
    }

    /// Destroys the key that is held.
    public func forget(_ identifier: KeyIdentifier) throws { try change { $0.held = nil } }

    /// The consumption of one pool of the store.
    private struct PoolStore: KeyPoolStore {
        let store: NodeKeyStore
        let sender: Role

        func persist(consumedThrough offset: UInt64) throws {
            try store.change { state in
                switch sender {
                case .alice: state.alice.spend(through: offset)
                case .bob: state.bob.spend(through: offset)
                }
            }
        }
    }
}
