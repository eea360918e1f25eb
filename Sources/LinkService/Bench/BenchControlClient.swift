import EventPipeline
import HostIO
import LinuxIO
import Quantities

/// Why a request to a bench got no result.
public enum BenchControlFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// Nobody serves a bench there.
    case unreachable(path: String, ByteStreamError)
    /// The answer did not come in time.
    case timedOut
    /// What answers does not speak the protocol.
    case unexpectedAnswer(String)
    /// The bench refused the request; its words.
    case refused(code: String, expected: String, found: String)

    /// What happened, and what to do.
    public var description: String {
        switch self {
        case .unreachable(let path, let error):
            "no bench at \(path): \(error) (\(error.code)); start one with 'berek bench serve "
                + "--control \(path)'"
        case .timedOut: "the bench did not answer in time"
        case .unexpectedAnswer(let found): "expected an answer of a bench, found \(found)"
        case .refused(let code, let expected, let found):
            "\(code): expected \(expected), found \(found)"
        }
    }
}

/// A client of the control socket of a bench.
public struct BenchControlClient: Sendable {
    private let path: String
    private let reactor: EpollReactor

    /// A client of the bench whose control socket is at `path`.
    public init(path: String, reactor: EpollReactor) {
        self.path = path
        self.reactor = reactor
    }

    /// Sends one request and waits for its answer.
    ///
    /// - Parameters:
    ///   - command: the name of the command.
    ///   - fields: its fields.
    /// - Returns: the result.
    public func ask(
        _ command: String, _ fields: [(String, JSONText)] = [], timeout: Duration = .seconds(300)
    ) async throws(BenchControlFailure) -> JSONValue {
        let stream: any ByteStream
        do throws(ByteStreamError) {
            stream = try UnixSocket.connect(to: path, reactor: reactor)
        } catch { throw .unreachable(path: path, error) }
        let request = JSONText.object(
            [
                ("version", .integer(Int64(BenchControl.version))), ("id", .integer(1)),
                ("command", .string(command)),
            ] + fields)
        let line: [UInt8]?
        do {
            try await stream.write(Array((request.line + "\n").utf8), timeout: timeout)
            // Answers are longer than requests: a bench has up to 64 instruments.
            var reader = LineReader(stream, longest: 1 << 20)
            line = try await reader.next(timeout: timeout)
        } catch {
            await stream.close()
            if case ByteStreamError.timedOut = error { throw .timedOut }
            throw .unexpectedAnswer("\(error)")
        }
        await stream.close()
        return try Self.result(line)
    }

    private static func result(_ line: [UInt8]?) throws(BenchControlFailure) -> JSONValue {
        guard let line, let answer = JSONValue(line) else {
            throw .unexpectedAnswer(
                line.map { "'\(String(decoding: $0.prefix(40), as: UTF8.self))'" }
                    ?? "the end of the connection")
        }
        if answer["ok"] == .bool(true), let result = answer["result"] { return result }
        guard let error = answer["error"] else {
            throw .unexpectedAnswer("'\(String(decoding: line.prefix(40), as: UTF8.self))'")
        }
        throw .refused(
            code: error["code"]?.scalar ?? "", expected: error["expected"]?.scalar ?? "",
            found: error["found"]?.scalar ?? "")
    }
}
