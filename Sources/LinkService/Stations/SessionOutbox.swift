import HostIO
import Quantities

/// Sends a session's messages in the order the session made them.
///
/// A session numbers its messages when it makes them, so nothing may overtake: stations put bytes
/// in without waiting, and one task takes them out. The session's own limits bound what waits.
final class SessionOutbox: Sendable {
    private let continuation: AsyncStream<[UInt8]>.Continuation

    /// Starts the sending task; `onFailure` is called once when the channel can not send.
    init(
        channel: any MessageChannel, reactor: any Reactor,
        onFailure: @escaping @Sendable () async -> Void
    ) {
        let (stream, continuation) = AsyncStream<[UInt8]>.makeStream()
        self.continuation = continuation
        reactor.start {
            for await bytes in stream {
                do throws(ByteStreamError) {
                    try await channel.send(bytes)
                } catch {
                    await onFailure()
                    // A peer that no longer reads may keep the connection open for ever, and the
                    // station's reader with it.
                    await channel.close()
                    return
                }
            }
            // What the session said last, such as why it ended, has gone out before this.
            await channel.close()
        }
    }

    /// Queues bytes.
    func send(_ bytes: [UInt8]) { continuation.yield(bytes) }

    /// Closes the channel after what is queued.
    func finish() { continuation.finish() }
}
