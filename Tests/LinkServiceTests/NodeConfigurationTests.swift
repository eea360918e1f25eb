import LinkService
import Quantities
import TestSupport
import Testing

/// The YAML file of a node: every mistake is refused with its place.
struct NodeConfigurationTests {
    static let valid = """
        node: bob
        peer: 127.0.0.1:7400
        bench: {kind: emulated, seed: 9, drift: aerial}
        plan:
          block_bits: 262144
          epsilon_secrecy: 1e-6
        keys: 3

        """

    @Test func aValidFileIsRead() throws {
        let node = try NodeConfiguration(text: Self.valid, file: "bob.yaml")
        #expect(node.role == .bob && node.address == "127.0.0.1" && node.port == 7400)
        #expect(node.seed == 9 && node.drift == .aerial && node.keys == 3)
        #expect(node.plan.blockBits == 262_144 && node.plan.epsilonSecrecy == 1e-6)
    }

    /// Each case replaces a piece of the valid file; place and words of the error are known.
    @Test(arguments: [
        ("node: bob", "node: eve", "bob.yaml:1:7: expected one of alice, bob, found 'eve'"),
        (
            "127.0.0.1:7400", "localhost",
            "bob.yaml:2:7: expected an address and port such as 127.0.0.1:7400, found 'localhost'"
        ),
        (
            "127.0.0.1:7400", "127.0.0.1:70000",
            "bob.yaml:2:7: expected an address and port such as 127.0.0.1:7400, found "
                + "'127.0.0.1:70000'"
        ),
        ("kind: emulated", "kind: real", "bob.yaml:3:15: expected emulated, found 'real'"),
        (
            "drift: aerial", "drift: storm",
            "bob.yaml:3:41: expected one of buried, aerial, found 'storm'"
        ),
        (
            "seed: 9", "seed: -1",
            "bob.yaml:3:31: expected an integer from 0 to 9223372036854775807, found '-1'"
        ),
        (
            "seed: 9", "sead: 9",
            "bob.yaml:3:25: expected one of kind, seed, drift, source, found 'sead'"
        ),
        (
            "kind: emulated, ", "",
            "bob.yaml:3:8: expected the key 'kind', found no such key"
        ),
        (
            "262144", "12",
            "bob.yaml:5:15: expected an integer from 16384 to 67108864, found '12'"
        ),
        (
            "1e-6", "nan", "bob.yaml:6:20: expected a number from 1e-30 to 0.001, found 'nan'"
        ),
        (
            "keys: 3", "keys: [3]",
            "bob.yaml:7:7: expected an integer from 1 to 1000000, found "
                + "a collection"
        ),
        (
            "keys: 3", "keyz: 3",
            "bob.yaml:7:1: expected one of node, peer, bench, plan, keys, state, "
                + "found 'keyz'"
        ),
        ("node: bob\n", "", "bob.yaml:1:1: expected the key 'node', found no such key"),
    ])
    func aMistakeIsRefusedWithItsPlace(piece: String, with other: String, message: String) throws {
        let parts = Self.valid.split(
            separator: piece, maxSplits: 1, omittingEmptySubsequences: false)
        try #require(parts.count == 2)
        let error = #expect(throws: ConfigurationError.self) {
            _ = try NodeConfiguration(text: parts[0] + other + parts[1], file: "bob.yaml")
        }
        #expect(error?.description == message)
    }

    @Test(arguments: ["", "just words", "[1, 2]", "node: [", "a: &x [*x]", "\t"])
    func whatIsNoMappingIsRefused(text: String) {
        #expect(throws: ConfigurationError.self) {
            _ = try NodeConfiguration(text: text, file: "x.yaml")
        }
    }

    @Test func aHugeFileIsRefused() {
        let error = #expect(throws: ConfigurationError.self) {
            _ = try NodeConfiguration(
                text: String(repeating: "#", count: 65_537), file: "x.yaml")
        }
        #expect(error?.expected == "at most 65536 bytes")
    }

    /// A damaged file is read or refused; what is read lies in the stated ranges.
    @Test(arguments: seeds(8)) func damagedFilesNeverCrash(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, label: "damaged configurations")
        var refused = 0
        for _ in 0..<200 {
            let text = String(
                decoding: mutated(Array(Self.valid.utf8), using: &generator), as: UTF8.self)
            do throws(ConfigurationError) {
                let node = try NodeConfiguration(text: text, file: "x.yaml")
                #expect((16_384...(1 << 26)).contains(node.plan.blockBits), "seed \(seed)")
                #expect((1...1_000_000).contains(node.keys), "seed \(seed)")
                #expect((1e-30...1e-3).contains(node.plan.epsilonSecrecy), "seed \(seed)")
            } catch {
                refused += 1
                #expect(error.description.hasPrefix("x.yaml:"), "seed \(seed)")
            }
        }
        #expect(refused > 50, "seed \(seed)")
    }
}
