import FirmwareProfiles
import HostIO
import Instruments
import Quantities
import Synchronization
import TestSupport

/// A serial line with an instrument that a closure plays: command text in, bytes out.
final class AnsweringLine: Sendable {
    let stream: ScriptedStream
    private let state = Mutex((commands: [String](), pending: ""))

    /// An instrument whose commands end with `terminator`; nil from `answer` means silence.
    init(
        reactor: VirtualReactor, terminator: Character,
        answer: @escaping @Sendable (_ command: String) -> String?
    ) {
        stream = ScriptedStream(reactor: reactor)
        stream.onWrite { [weak self] bytes in
            guard let self else { return }
            for command in complete(String(decoding: bytes, as: UTF8.self), terminator) {
                if let reply = answer(command) { stream.send(reply, after: .milliseconds(1)) }
            }
        }
    }

    private func complete(_ text: String, _ terminator: Character) -> [String] {
        state.withLock { state in
            // Character by character of the bytes: Swift joins CR LF into one character.
            let parts = (state.pending + text).unicodeScalars.split(
                separator: terminator.unicodeScalars.first ?? "\n",
                omittingEmptySubsequences: false
            ).map { String($0) }
            state.pending = parts.last ?? ""
            let commands = parts.dropLast().map {
                String($0.unicodeScalars.filter { $0 != "\n" && $0 != "\r" })
            }
            state.commands += commands
            return commands
        }
    }

    var commands: [String] { state.withLock { $0.commands } }
    func forget() { state.withLock { $0.commands = [] } }

    var source: StreamSource {
        StreamSource(name: "test") { [stream] () async throws(ByteStreamError) in
            InstrumentStream(stream)
        }
    }
}

/// The error that `body` throws.
func driverError(_ body: () async throws -> Void) async -> DriverError? {
    do {
        try await body()
        return nil
    } catch { return error as? DriverError }
}
