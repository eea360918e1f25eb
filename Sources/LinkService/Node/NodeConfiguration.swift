import HostIO
import Quantities
import Yams

/// One node of a link as its YAML file describes it.
///
/// ```yaml
/// node: bob                 # alice listens, bob connects
/// peer: 127.0.0.1:7400      # numeric IPv4 address and port
/// bench: {kind: emulated, seed: 1, drift: buried, source: 127.0.0.1:7401}
/// plan: {block_bits: 524288, epsilon_secrecy: 1e-6, epsilon_correctness: 1e-9}
/// keys: 1                   # end after so many keys
/// state: /var/lib/berek/bob # what survives this process; in memory when left out
/// ```
///
/// Bob's node runs the emulated bench and serves its source at `source`; Alice's node connects to it
/// there. Without the key it is the next port of the peer's address.
public struct NodeConfiguration: Hashable, Sendable {
    /// Which end.
    public enum Role: String, CaseIterable, Sendable {
        /// The sender of pulses; listens.
        case alice
        /// The receiver of pulses; connects.
        case bob
    }
    /// Which end.
    public var role = Role.alice
    /// The address to listen on or to connect to.
    public var address = "127.0.0.1"
    /// The port.
    public var port: UInt16 = 7400
    /// Where Bob's node serves the source of the emulated bench to Alice's.
    public var source: (address: String, port: UInt16) {
        (sourceAddress ?? address, sourcePort ?? port &+ 1)
    }
    private var sourceAddress: String?
    private var sourcePort: UInt16?
    /// The folder of what must survive this process, or `nil`.
    public var state: String?
    /// The seed of the emulated bench, the same at both nodes.
    public var seed: UInt64 = 1
    /// What the fibre of the emulated bench does.
    public var drift = DriftPreset.buried
    /// What both ends agree on.
    public var plan = LinkPlan()
    /// End after so many keys.
    public var keys = 1

    /// Reads a configuration; every key must be known and every value in range.
    public init(text: String, file: String) throws(ConfigurationError) {
        let reader = StrictYAML(file: file)
        let root = try reader.document(text)
        var stated: Set<String> = []
        for (key, name, value) in try reader.mapping(root, "a mapping of settings") {
            guard stated.insert(name).inserted else {
                throw reader.error(key, "each key once", "'\(name)' again")
            }
            switch name {
            case "node": role = try reader.word(value, Role.self)
            case "peer": (address, port) = try Self.endpoint(value, reader)
            case "bench": try readBench(value, reader)
            case "plan": try readPlan(value, reader)
            case "state":
                guard let folder = value.string, !folder.isEmpty else {
                    throw reader.error(value, "a folder", reader.text(value))
                }
                state = folder
            case "keys": keys = Int(try reader.integer(value, 1...1_000_000))
            default:
                throw reader.error(
                    key, "one of node, peer, bench, plan, keys, state", "'\(name)'")
            }
        }
        for name in ["node", "peer", "bench"] where !stated.contains(name) {
            throw reader.error(root, "the key '\(name)'", "no such key")
        }
    }

    private mutating func readBench(
        _ node: Node, _ reader: StrictYAML
    ) throws(ConfigurationError) {
        var kind = false
        for (key, name, value) in try reader.mapping(
            node, "a mapping with kind, seed, drift and source")
        {
            switch name {
            case "kind":
                // Physical benches need a wiring file; there is never a silent fall-back to one.
                guard value.string == "emulated" else {
                    throw reader.error(value, "emulated", reader.text(value))
                }
                kind = true
            case "seed": seed = try reader.integer(value, 0...UInt64(Int64.max))
            case "drift": drift = try reader.word(value, DriftPreset.self)
            case "source":
                let (address, port) = try Self.endpoint(value, reader)
                (sourceAddress, sourcePort) = (address, port)
            default: throw reader.error(key, "one of kind, seed, drift, source", "'\(name)'")
            }
        }
        guard kind else { throw reader.error(node, "the key 'kind'", "no such key") }
    }

    private mutating func readPlan(
        _ node: Node, _ reader: StrictYAML
    ) throws(ConfigurationError) {
        for (key, name, value) in try reader.mapping(node, "a mapping of link parameters") {
            switch name {
            case "block_bits": plan.blockBits = Int(try reader.integer(value, 16_384...(1 << 26)))
            case "epsilon_secrecy": plan.epsilonSecrecy = try reader.number(value, 1e-30...1e-3)
            case "epsilon_correctness":
                plan.epsilonCorrectness = try reader.number(value, 1e-30...1e-3)
            case "signal_intensity": plan.signalIntensity = try reader.number(value, 0.01...2)
            case "decoy_intensity": plan.decoyIntensity = try reader.number(value, 0.001...1)
            case "signal_probability":
                plan.signalProbability = try reader.number(value, 0.01...0.99)
            case "probability_z": plan.probabilityZ = try reader.number(value, 0.05...0.95)
            default:
                throw reader.error(
                    key,
                    "one of block_bits, epsilon_secrecy, epsilon_correctness, signal_intensity, "
                        + "decoy_intensity, signal_probability, probability_z", "'\(name)'")
            }
        }
    }

    private static func endpoint(
        _ node: Node, _ reader: StrictYAML
    ) throws(ConfigurationError) -> (String, UInt16) {
        let parts = (node.string ?? "").split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, let port = UInt16(parts[1]) else {
            throw reader.error(
                node, "an address and port such as 127.0.0.1:7400", reader.text(node))
        }
        return (String(parts[0]), port)
    }
}
