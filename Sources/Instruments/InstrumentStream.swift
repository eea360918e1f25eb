import HostIO
import Quantities
import Synchronization

/// An open byte stream to an instrument, with the controls of a serial line where there are any.
public struct InstrumentStream: Sendable {
    /// The bytes.
    public let bytes: any ByteStream
    /// The serial line they run over; nil on TCP.
    public let port: (any SerialPort)?

    /// A stream over a serial line.
    public init(_ port: any SerialPort) {
        bytes = port
        self.port = port
    }
    /// A stream without line controls.
    public init(_ bytes: any ByteStream) {
        self.bytes = bytes
        port = nil
    }
}

/// How a driver gets its stream, each time the instrument is opened.
public struct StreamSource: Sendable {
    /// Where the stream leads, for messages: a device node, a USB path, a host and port.
    public let name: String
    /// Opens the stream.
    public let open: @Sendable () async throws(ByteStreamError) -> InstrumentStream

    /// A source that calls `open`.
    public init(
        name: String,
        open: @escaping @Sendable () async throws(ByteStreamError) -> InstrumentStream
    ) {
        self.name = name
        self.open = open
    }
}

/// Lets tasks that share one instrument take turns, first come, first served.
///
/// An actor alone does not do this: between a command and its reply it would let another caller in.
package final class TurnQueue: Sendable {
    private struct State {
        var isTaken = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())

    package init() {}

    /// Runs `body` when all earlier callers have finished.
    package func turn<Result>(
        _ body: () async throws(DriverError) -> Result
    ) async throws(DriverError) -> Result {
        await enter()
        defer { leave() }
        return try await body()
    }

    private func enter() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.isTaken {
                    state.waiting.append(continuation)
                    return false
                }
                state.isTaken = true
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    private func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.waiting.isEmpty else {
                state.isTaken = false
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}

/// Lines of ASCII text to and from an instrument. Belongs to one driver actor.
package final class TextLink {
    private let stream: InstrumentStream
    private let reactor: any Reactor
    private let instrument: String
    private var received: [UInt8] = []
    /// A line ended with CR; an LF that follows belongs to it.
    private var endsInReturn = false
    private static let maxLine = 4096
    private static let writeTimeout = Duration.seconds(1)

    package init(_ stream: InstrumentStream, reactor: any Reactor, instrument: String) {
        self.stream = stream
        self.reactor = reactor
        self.instrument = instrument
    }

    /// Sends `text` as it is; the caller adds the terminator.
    package func send(_ text: String, operation: String) async throws(DriverError) {
        do throws(ByteStreamError) {
            try await stream.bytes.write(Array(text.utf8), timeout: Self.writeTimeout)
        } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
    }

    /// The next line that is not empty, without its end; CR, LF and CR LF all end a line.
    package func line(timeout: Duration, operation: String) async throws(DriverError) -> String {
        let deadline = reactor.now + timeout
        while true {
            dropLineFeed()
            if let end = received.firstIndex(where: { $0 == 0x0A || $0 == 0x0D }) {
                let bytes = Array(received[..<end])
                endsInReturn = received[end] == 0x0D
                received.removeFirst(end + 1)
                if bytes.isEmpty { continue }
                guard bytes.allSatisfy({ $0 < 0x80 }) else {
                    throw malformed(operation, found: "bytes above 127 in \(bytes.count) bytes")
                }
                return String(decoding: bytes, as: UTF8.self)
            }
            guard received.count <= Self.maxLine else {
                received.removeAll()
                throw malformed(operation, found: "more than \(Self.maxLine) bytes without an end")
            }
            try await receive(until: deadline, operation: operation)
        }
    }

    /// Exactly `count` bytes.
    package func bytes(
        _ count: Int, timeout: Duration, operation: String
    ) async throws(DriverError) -> [UInt8] {
        let deadline = reactor.now + timeout
        dropLineFeed()
        while received.count < count {
            try await receive(until: deadline, operation: operation)
            dropLineFeed()
        }
        let bytes = Array(received[..<count])
        received.removeFirst(count)
        return bytes
    }

    /// Everything that arrives until the line has been quiet for `quiet`, and whether it was so
    /// within `longest`; an instrument that goes on for ever does not keep the caller.
    package func drain(
        quiet: Duration, longest: Duration, operation: String
    ) async throws(DriverError) -> (bytes: [UInt8], isQuiet: Bool) {
        let deadline = reactor.now + longest
        dropLineFeed()
        var bytes = received
        received.removeAll()
        while reactor.now < deadline {
            do throws(ByteStreamError) {
                bytes += try await stream.bytes.read(upTo: 65536, timeout: quiet)
            } catch .timedOut {
                return (bytes, true)
            } catch {
                throw DriverError(error, instrument: instrument, operation: operation)
            }
        }
        return (bytes, false)
    }

    private func dropLineFeed() {
        guard endsInReturn, let first = received.first else { return }
        endsInReturn = false
        if first == 0x0A { received.removeFirst() }
    }

    private func receive(until deadline: HostInstant, operation: String) async throws(DriverError) {
        let left = deadline - reactor.now
        do throws(ByteStreamError) {
            guard left > .zero else { throw .timedOut }
            received += try await stream.bytes.read(upTo: 4096, timeout: left)
        } catch {
            throw DriverError(error, instrument: instrument, operation: operation)
        }
    }

    private func malformed(_ operation: String, found: String) -> DriverError {
        DriverError(
            code: .malformedReply, instrument: instrument, operation: operation,
            expected: "a line of ASCII text", found: found,
            advice: "check that the port belongs to this model, then open the instrument again")
    }
}
