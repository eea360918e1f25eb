import Glibc
import LinkService
import LinkTypes
import ProtocolCore
import Quantities
import Testing

/// What a node finds again after its process ended at any point.
struct NodeKeyStoreTests {
    /// A folder of its own, removed at the end.
    private final class Folder {
        let path: String
        init() throws {
            var template = Array("/tmp/berek-keys-XXXXXX".utf8CString)
            path = try #require(
                template.withUnsafeMutableBufferPointer { buffer -> String? in
                    guard let made = buffer.baseAddress.flatMap({ mkdtemp($0) }) else { return nil }
                    return String(cString: made)
                })
        }

        deinit {
            for name in ["/keys", ""] {
                for file in files(name) { unlink(path + name + "/" + file) }
                rmdir(path + name)
            }
        }

        func files(_ name: String) -> [String] {
            guard let folder = opendir(path + name) else { return [] }
            defer { closedir(folder) }
            var names: [String] = []
            while let entry = readdir(folder) {
                names.append(
                    withUnsafeBytes(of: entry.pointee.d_name) {
                        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                    })
            }
            return names.filter { $0 != "." && $0 != ".." }.sorted()
        }

        func read(_ name: String) throws -> [UInt8] {
            let file = try #require(fopen(path + "/" + name, "r"))
            defer { fclose(file) }
            var bytes = [UInt8](repeating: 0, count: 1 << 20)
            let count = fread(&bytes, 1, bytes.count, file)
            return Array(bytes[..<count])
        }

        func write(_ bytes: [UInt8], to name: String) throws {
            let file = try #require(fopen(path + "/" + name, "w"))
            defer { fclose(file) }
            #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count)
        }
    }

    private static func preShared() -> PreSharedKeys {
        PreSharedKeys(emulatedWithSeed: 0x4E53, octetsEachWay: 256)
    }

    private static func key(_ number: UInt8, at offset: UInt64 = 256) throws -> AgreedKey {
        AgreedKey(
            identifier: try #require(
                KeyIdentifier(octets: [UInt8](repeating: number, count: 16))),
            provenance: .emulated, key: SecretBytes(copying: [number, 2, 3, 4, 5]),
            aliceRefill: SecretBytes(copying: [UInt8](repeating: number, count: 32)),
            aliceOffset: offset,
            bobRefill: SecretBytes(copying: [UInt8](repeating: number, count: 16)),
            bobOffset: offset)
    }

    private func open(_ folder: Folder, as role: Role = .bob) throws -> NodeKeyStore {
        try NodeKeyStore(folder: folder.path, role: role, preShared: Self.preShared())
    }

    private func name(_ number: UInt8) -> String {
        String(repeating: number < 16 ? "0\(String(number, radix: 16))" : "??", count: 16)
    }

    @Test func padsSpentOnceStaySpent() throws {
        let folder = try Folder()
        do {
            var pads = try open(folder).authenticator()
            _ = try pads.tag([1, 2, 3])
            _ = try pads.tag([4])
            #expect(pads.sending.consumedThrough == 32)
        }
        let pads = try open(folder).authenticator()
        #expect(pads.sending.consumedThrough == 32 && pads.sending.available == 224)
        #expect(pads.receiving.consumedThrough == 0 && pads.receiving.available == 256)
    }

    @Test func aNewStoreTakesPreSharedKeysOnlyOnce() throws {
        let folder = try Folder()
        do {
            var pads = try open(folder).authenticator()
            _ = try pads.tag([1])
        }
        let again = try NodeKeyStore(
            folder: folder.path, role: .bob,
            preShared: PreSharedKeys(emulatedWithSeed: 1, octetsEachWay: 999))
        #expect(try again.authenticator().sending.available == 240)
    }

    @Test func aHeldKeyIsFoundAgainAndReleasedOrForgotten() throws {
        let folder = try Folder()
        do { try open(folder).hold(try Self.key(7)) }
        do {
            let store = try open(folder)
            #expect(folder.files("/keys").isEmpty)
            try store.release(try Self.key(7))
        }
        #expect(folder.files("/keys") == [name(7) + ".key"])
        #expect(try folder.read("keys/" + name(7) + ".key") == [7, 2, 3, 4, 5])
        let store = try open(folder)
        let pads = try store.authenticator()
        #expect(pads.sending.available == 256 + 16 && pads.receiving.available == 256 + 32)
        try store.hold(try Self.key(8))
        try store.forget(try #require(KeyIdentifier(octets: [UInt8](repeating: 8, count: 16))))
        #expect(folder.files("/keys") == [name(7) + ".key"])
    }

    /// A key file is written before the state says that it is released, and named after.
    @Test func whatACrashInterruptedIsFinishedOrUndone() throws {
        let folder = try Folder()
        do { try open(folder).release(try Self.key(7)) }
        // Died after the state was written, before the file got its name.
        #expect(
            rename(
                "\(folder.path)/keys/\(name(7)).key", "\(folder.path)/keys/\(name(7)).pending")
                == 0)
        // Died in a release that the state does not know.
        try folder.write([9, 9], to: "keys/" + name(9) + ".pending")
        try folder.write([1, 2, 3], to: "state.new")
        _ = try open(folder)
        #expect(folder.files("/keys") == [name(7) + ".key"])
        #expect(try folder.read("keys/" + name(7) + ".key") == [7, 2, 3, 4, 5])
    }

    @Test func everyDamagedOctetIsNoticed() throws {
        let folder = try Folder()
        do { try open(folder).hold(try Self.key(7)) }
        let good = try folder.read("state")
        for place in stride(from: 0, to: good.count, by: 7) {
            var bad = good
            bad[place] ^= 0x10
            try folder.write(bad, to: "state")
            #expect(throws: NodeKeyStoreError.self, "octet \(place)") { _ = try open(folder) }
        }
        for length in [0, 1, 40, good.count - 1] {
            try folder.write(Array(good[..<length]), to: "state")
            let error = #expect(throws: NodeKeyStoreError.self) { _ = try open(folder) }
            #expect(error?.code == "BRK-KST-002")
        }
        try folder.write(good, to: "state")
        _ = try open(folder)
    }

    @Test func oneProcessAndOneRole() throws {
        let folder = try Folder()
        let store = try open(folder)
        let second = #expect(throws: NodeKeyStoreError.self) { _ = try open(folder) }
        #expect(second == .inUse(folder: folder.path))
        withExtendedLifetime(store) {}
        let other = try Folder()
        do { _ = try open(other) }
        let wrong = #expect(throws: NodeKeyStoreError.self) { _ = try open(other, as: .alice) }
        #expect(wrong == .otherRole(folder: other.path, expected: .alice, found: .bob))
    }

    /// With the disk full nothing changes: neither the file nor what the store says.
    @Test func aWriteThatFailsChangesNothing() throws {
        let folder = try Folder()
        let store = try open(folder)
        // A folder in the place of the new state can not be opened for writing, as root neither.
        #expect(mkdir(folder.path + "/state.new", 0o700) == 0)
        var pads = try store.authenticator()
        #expect(throws: AuthenticationError.self) { _ = try pads.tag([1]) }
        #expect(pads.sending.consumedThrough == 0)
        #expect(throws: NodeKeyStoreError.self) { try store.hold(try Self.key(7)) }
        rmdir(folder.path + "/state.new")
        #expect(try store.authenticator().sending.consumedThrough == 0)
        _ = try pads.tag([1])
        #expect(try store.authenticator().sending.consumedThrough == 16)
    }
}
