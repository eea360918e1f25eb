import Glibc
import LinkTypes
import ProtocolCore

/// The files of a `NodeKeyStore`: `lock`, `state`, `keys/NAME.key`.
final class KeyFolder: Sendable {
    private let path: String
    private let lock: Int32
    private var keys: String { path + "/keys" }
    private var stateFile: String { path + "/state" }

    /// Makes the folder where it is missing and takes it for this process.
    init(_ path: String) throws(NodeKeyStoreError) {
        for folder in [path, path + "/keys"] where mkdir(folder, 0o700) != 0 && errno != EEXIST {
            throw .system("\(folder): \(Self.reason())")
        }
        let descriptor = open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .system("\(path)/lock: \(Self.reason())") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let isTaken = errno == EWOULDBLOCK
            let reason = Self.reason()
            close(descriptor)
            throw isTaken ? .inUse(folder: path) : .system("\(path)/lock: \(reason)")
        }
        self.path = path
        lock = descriptor
    }

    deinit { close(lock) }

    private static func reason() -> String { String(cString: strerror(errno)) }

    /// The state, or `nil` when there is none yet.
    func readState() throws(NodeKeyStoreError) -> NodeKeyState? {
        let descriptor = open(stateFile, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw .system("\(stateFile): \(Self.reason())")
        }
        defer { close(descriptor) }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        // A state is two pools and a key; 1 GiB is beyond any.
        guard (0...1 << 30).contains(size) else {
            throw .damaged(file: stateFile, problem: "it has \(size) octets")
        }
        var failure: String?
        let content = SecretBytes(count: size) { memory in
            var done = 0
            while done < size {
                let count = pread(
                    descriptor, memory.baseAddress.map { $0 + done }, size - done, off_t(done))
                guard count > 0 else {
                    failure = count < 0 ? Self.reason() : "it became shorter while it was read"
                    return
                }
                done += count
            }
        }
        if let failure { throw .system("\(stateFile): \(failure)") }
        do throws(NodeKeyStateError) {
            return try NodeKeyState.decode(content)
        } catch {
            switch error {
            case .malformed(let problem): throw .damaged(file: stateFile, problem: problem)
            }
        }
    }

    /// Replaces the state, all of it or nothing.
    func write(_ state: borrowing NodeKeyState) throws(NodeKeyStoreError) {
        try write(state.encoded(), to: stateFile + ".new")
        try rename(stateFile + ".new", to: stateFile, in: path)
    }

    /// Writes a key under a name that says it is not released yet.
    func writePending(_ key: borrowing AgreedKey) throws(NodeKeyStoreError) {
        try write(key.key, to: "\(keys)/\(key.identifier).pending")
        try synchronize(keys)
    }

    /// Gives a key that the state calls released its name.
    func finishPending(_ identifier: KeyIdentifier) throws(NodeKeyStoreError) {
        try rename("\(keys)/\(identifier).pending", to: "\(keys)/\(identifier).key", in: keys)
    }

    /// Finishes what a crash interrupted: the key last released gets its name, others go.
    func settlePending(lastReleased: KeyIdentifier?) throws(NodeKeyStoreError) {
        guard let folder = opendir(keys) else { throw .system("\(keys): \(Self.reason())") }
        var pending: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(".pending") { pending.append(name) }
        }
        closedir(folder)
        for name in pending.sorted() {
            if let lastReleased, name == "\(lastReleased).pending" {
                try finishPending(lastReleased)
            } else if unlink("\(keys)/\(name)") != 0 {
                throw .system("\(keys)/\(name): \(Self.reason())")
            }
        }
    }

    private func write(
        _ content: borrowing SecretBytes, to file: String
    ) throws(NodeKeyStoreError) {
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .system("\(file): \(Self.reason())") }
        defer { close(descriptor) }
        let failure = content.withBytes { octets -> String? in
            var done = 0
            while done < octets.count {
                let count = Glibc.write(
                    descriptor, octets.baseAddress.map { $0 + done }, octets.count - done)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return Self.reason() }
                done += count
            }
            return fsync(descriptor) == 0 ? nil : Self.reason()
        }
        if let failure { throw .system("\(file): \(failure)") }
    }

    private func rename(
        _ old: String, to new: String, in folder: String
    ) throws(NodeKeyStoreError) {
        guard Glibc.rename(old, new) == 0 else { throw .system("\(new): \(Self.reason())") }
        try synchronize(folder)
    }

    /// Makes names in a folder durable.
    private func synchronize(_ folder: String) throws(NodeKeyStoreError) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system("\(folder): \(Self.reason())") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .system("\(folder): \(Self.reason())") }
    }
}
