import EventPipeline
import HostIO
import LinkTypes
import LinuxIO
import ProtocolCore
import Quantities
import Synchronization

/// The channel between Alice's node and her source on an emulated bench in another process: what a
/// cable to the pulse generator would carry. One JSON object a line.
///
/// - To the source: `{"send":"key","key":"…16 digits…","z":0.8,"signal":0.5,"slot":123}`, likewise
///   `training`, and `synchronization` with a key alone.
/// - To Alice: `{"emitted":123}` every few milliseconds, and `{"error":"…"}` when a pattern was
///   refused.
///
/// The connection is neither secret nor authentic: it replaces a cable, on loopback.
enum SourceSocket {
    static let longestLine = 4096
    static let pace = Duration.milliseconds(5)

    /// The line that has the source send `pattern` from `slot` on.
    static func line(_ pattern: any PulsePattern, from slot: SlotIndex) -> [UInt8]? {
        var members: [(String, JSONText)] = []
        switch pattern {
        case let pattern as KeyedPulsePattern:
            members = [
                ("send", .string("keyed")), ("key", .string(String(pattern.key, radix: 16))),
                ("z", .number(pattern.probabilityZ)),
                ("signal", .number(pattern.probabilitySignal)),
            ]
        case let pattern as SynchronizationPattern:
            members = [
                ("send", .string("synchronization")),
                ("key", .string(String(pattern.key, radix: 16))),
            ]
        default: return nil
        }
        members.append(("slot", .string(String(slot.rawValue))))
        return Array(JSONText.object(members).line.utf8) + [10]
    }

    /// The pattern and slot of a line, or `nil` when it is none.
    static func pattern(_ line: [UInt8]) -> (pattern: any PulsePattern, slot: SlotIndex)? {
        guard let value = JSONValue(line), case .string(let kind)? = value["send"],
            case .string(let key)? = value["key"], let key = UInt64(key, radix: 16),
            case .string(let slot)? = value["slot"], let slot = UInt64(slot)
        else { return nil }
        switch kind {
        case "synchronization": return (SynchronizationPattern(key: key), SlotIndex(slot))
        case "keyed":
            guard let z = value["z"]?.double, let signal = value["signal"]?.double,
                (0...1).contains(z), (0...1).contains(signal)
            else { return nil }
            return (
                KeyedPulsePattern(key: key, probabilityZ: z, probabilitySignal: signal),
                SlotIndex(slot)
            )
        default: return nil
        }
    }
}

extension JSONValue {
    fileprivate var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
}

/// Serves the source of an emulated bench to Alice's node, one connection at a time.
struct SourceServer: Sendable {
    let listener: TCPListener
    let source: EmulatedSource
    let reactor: EpollReactor
    let isStopped: @Sendable () -> Bool

    /// Serves until `isStopped`.
    func serve() async {
        while !isStopped() {
            guard let stream = try? await listener.accept(timeout: .milliseconds(100)) else {
                continue
            }
            await converse(stream)
            await stream.close()
        }
    }

    private func converse(_ stream: any ByteStream) async {
        var reader = LineReader(stream, longest: SourceSocket.longestLine)
        while !isStopped() {
            do {
                let emitted = JSONText.object([
                    ("emitted", .string(String(source.emittedBefore().rawValue)))
                ])
                try await stream.write(Array(emitted.line.utf8) + [10], timeout: .seconds(1))
                guard let line = try await reader.next(timeout: SourceSocket.pace) else { return }
                if let problem = obey(line) {
                    let reply = JSONText.object([("error", .string(problem))])
                    try await stream.write(Array(reply.line.utf8) + [10], timeout: .seconds(1))
                }
            } catch ByteStreamError.timedOut {
                continue
            } catch { return }
        }
    }

    private func obey(_ line: [UInt8]) -> String? {
        guard let (pattern, slot) = SourceSocket.pattern(line) else {
            return "expected a pattern to send, found '\(String(decoding: line, as: UTF8.self))'"
        }
        do { try source.send(pattern, from: slot) } catch { return "\(error)" }
        return nil
    }
}

/// Alice's source on a bench in another process.
final class RemoteSource: SourceControl {
    private let stream: any ByteStream
    private let reactor: any Reactor
    private let state = Mutex(State())
    private let continuation: AsyncStream<[UInt8]>.Continuation

    private struct State {
        var emitted = SlotIndex(0)
        var failure: String?
    }

    /// A source behind a connected stream; reads and writes until the stream ends.
    init(stream: any ByteStream, reactor: any Reactor) {
        self.stream = stream
        self.reactor = reactor
        let (lines, continuation) = AsyncStream<[UInt8]>.makeStream()
        self.continuation = continuation
        reactor.start { [stream] in
            for await line in lines {
                guard (try? await stream.write(line, timeout: .seconds(5))) != nil else { break }
            }
            await stream.close()
        }
        reactor.start { [weak self] in
            var reader = LineReader(stream, longest: SourceSocket.longestLine)
            while let line = try? await reader.next(timeout: .seconds(5)) {
                guard let self else { return }
                take(line)
            }
            self?.fail("the connection to the source was closed")
        }
    }

    private func take(_ line: [UInt8]) {
        let value = JSONValue(line)
        if case .string(let text)? = value?["emitted"], let slot = UInt64(text) {
            state.withLock { $0.emitted = max($0.emitted, SlotIndex(slot)) }
        } else if case .string(let text)? = value?["error"] {
            fail(text)
        }
    }

    private func fail(_ text: String) { state.withLock { $0.failure = $0.failure ?? text } }

    /// Why the source no longer does what it is told.
    var failure: String? { state.withLock { $0.failure } }

    /// Whether the source has said where it is.
    var isKnown: Bool { state.withLock { $0.emitted.rawValue > 0 } }

    func send(_ pattern: any PulsePattern, from slot: SlotIndex) throws {
        if let failure { throw SourceFailure(text: failure) }
        guard let line = SourceSocket.line(pattern, from: slot) else {
            throw SourceFailure(text: "a pattern that can not be sent over a connection")
        }
        continuation.yield(line)
    }

    func emittedBefore() -> SlotIndex { state.withLock { $0.emitted } }

    /// Ends the connection.
    func close() { continuation.finish() }
}

/// The source refused, or is gone.
struct SourceFailure: Error, CustomStringConvertible {
    let text: String
    var description: String { text }
}
