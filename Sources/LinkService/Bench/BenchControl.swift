import EventPipeline
import Quantities

/// Why a request to a bench that is served was refused.
public struct BenchControlError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of refusal.
    public enum Reason: String, CaseIterable, Sendable {
        /// The line is no JSON object.
        case malformed = "BRK-BEN-001"
        /// The version of the protocol is another one.
        case version = "BRK-BEN-002"
        /// There is no such command.
        case unknownCommand = "BRK-BEN-003"
        /// A field is missing, unknown or out of range.
        case field = "BRK-BEN-004"
        /// The bench has no such instrument or fault.
        case notFound = "BRK-BEN-005"
        /// The command is not possible on this bench, or not now.
        case notPossible = "BRK-BEN-006"
        /// The line is too long; the connection is closed.
        case tooLong = "BRK-BEN-007"
        /// Too many clients are connected; the connection is closed.
        case tooManyClients = "BRK-BEN-008"
    }
    /// The kind of refusal.
    public let reason: Reason
    /// What was expected, and what to do.
    public let expected: String
    /// What was found.
    public let found: String

    /// The stable code of the error, listed in `docs/errors.md`.
    public var code: String { reason.rawValue }
    /// `code: expected …, found …`.
    public var description: String { "\(code): expected \(expected), found \(found)" }

    init(_ reason: Reason, _ expected: String, _ found: String) {
        self.reason = reason
        self.expected = expected
        self.found = found
    }
}

/// A request on the control socket of a bench that is served.
public enum BenchRequest: Hashable, Sendable {
    /// What this bench is, and what time it is there.
    case status
    /// The instruments and how each can be reached.
    case devices
    /// What no receiver can know.
    case truth
    /// A fault, now or after a time.
    case inject(BenchFault, after: Duration?)
    /// The faults that are planned.
    case faults
    /// Takes a planned fault back.
    case cancel(UInt64)
    /// Plugs an instrument in.
    case plug(String)
    /// Pulls the plug of an instrument.
    case unplug(String)
    /// Lets time pass on a bench whose clock stands.
    case advance(Duration)
    /// Ends the server.
    case stop
}

/// The control protocol: one JSON object a line in either direction. Described in `docs/bench.md`.
public enum BenchControl {
    /// The version of the protocol.
    public static let version = 1
    /// The longest line in bytes, without the line feed.
    public static let longestLine = 65_536
    /// How many clients may be connected at a time.
    public static let clients = 16

    private static let commands = [
        "status", "devices", "truth", "inject", "faults", "cancel", "plug", "unplug", "advance",
        "stop",
    ]

    /// Reads a request.
    ///
    /// - Returns: the request or why it is none, with the `id` to be repeated in the answer.
    public static func request(
        _ line: [UInt8]
    ) -> (id: JSONText, request: Result<BenchRequest, BenchControlError>) {
        guard let document = JSONValue(line), case .object(let members) = document else {
            let found = String(decoding: line.prefix(40), as: UTF8.self)
            return (
                .null, .failure(BenchControlError(.malformed, "a JSON object", "'\(found)'"))
            )
        }
        let id = members["id"]?.text ?? .null
        do throws(BenchControlError) {
            return (id, .success(try request(members)))
        } catch { return (id, .failure(error)) }
    }

    private static func request(
        _ members: [String: JSONValue]
    ) throws(BenchControlError) -> BenchRequest {
        guard members["version"] == .integer(Int64(version)) else {
            throw BenchControlError(
                .version, "the field 'version' with \(version)",
                members["version"]?.text.line ?? "none")
        }
        guard case .string(let command)? = members["command"], commands.contains(command) else {
            throw BenchControlError(
                .unknownCommand,
                "the field 'command' with one of \(commands.joined(separator: ", "))",
                members["command"]?.text.line ?? "none")
        }
        switch command {
        case "inject":
            try allow(["after_s"] + BenchFaultFields.names, in: members)
            return try inject(members)
        case "cancel":
            try allow(["fault"], in: members)
            guard case .integer(let number)? = members["fault"], number >= 0 else {
                throw field("fault", "the number of a planned fault", members)
            }
            return .cancel(UInt64(number))
        case "plug", "unplug":
            try allow(["device"], in: members)
            guard case .string(let name)? = members["device"] else {
                throw field("device", "the name of an instrument", members)
            }
            return command == "plug" ? .plug(name) : .unplug(name)
        case "advance":
            try allow(["seconds"], in: members)
            guard let duration = try seconds("seconds", members, 1e-6...86_400) else {
                throw field("seconds", "a number from 1e-6 to 86400.0", members)
            }
            return .advance(duration)
        default:
            try allow([], in: members)
            return
                switch command
            {
            case "status": .status
            case "devices": .devices
            case "truth": .truth
            case "faults": .faults
            default: .stop
            }
        }
    }

    private static func inject(
        _ members: [String: JSONValue]
    ) throws(BenchControlError) -> BenchRequest {
        let after = try seconds("after_s", members, 0...1e6)
        do throws(BenchFaultFields.Refusal) {
            return .inject(try BenchFaultFields { members[$0]?.scalar }.fault(), after: after)
        } catch {
            throw BenchControlError(.field, "\(error.name): \(error.expected)", error.found)
        }
    }

    private static func seconds(
        _ name: String, _ members: [String: JSONValue], _ range: ClosedRange<Double>
    ) throws(BenchControlError) -> Duration? {
        let value: Double
        switch members[name] {
        case nil: return nil
        case .integer(let number): value = Double(number)
        case .number(let number): value = number
        default: value = .nan
        }
        guard range.contains(value) else {
            throw field(
                name, "a number from \(range.lowerBound) to \(range.upperBound)", members)
        }
        return .nanoseconds(Int64((value * 1e9).rounded()))
    }

    private static func allow(
        _ names: [String], in members: [String: JSONValue]
    ) throws(BenchControlError) {
        let known = ["version", "id", "command"] + names
        if let stray = members.keys.sorted().first(where: { !known.contains($0) }) {
            throw BenchControlError(
                .field, "one of the fields \(known.joined(separator: ", "))", "'\(stray)'")
        }
    }

    private static func field(
        _ name: String, _ expected: String, _ members: [String: JSONValue]
    ) -> BenchControlError {
        BenchControlError(
            .field, "\(name): \(expected)", members[name]?.text.line ?? "none")
    }

    /// The line that answers a request.
    static func reply(_ id: JSONText, _ result: Result<JSONText, BenchControlError>) -> [UInt8] {
        var members: [(String, JSONText)] = [("version", .integer(Int64(version))), ("id", id)]
        switch result {
        case .success(let value):
            members += [("ok", .bool(true)), ("result", value)]
        case .failure(let error):
            members += [
                ("ok", .bool(false)),
                (
                    "error",
                    .object([
                        ("code", .string(error.code)), ("expected", .string(error.expected)),
                        ("found", .string(error.found)),
                    ])
                ),
            ]
        }
        return Array((JSONText.object(members).line + "\n").utf8)
    }
}
