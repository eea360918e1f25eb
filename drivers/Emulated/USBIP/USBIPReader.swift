import HostIO
import Quantities

/// Cuts the bytes of a stream into the pieces a protocol announces.
///
/// Belongs to one connection and is used on its reactor only.
final class USBIPReader {
    private let stream: any ByteStream
    private let stallTimeout: Duration
    private var buffer: [UInt8] = []
    private var start = 0

    /// What is asked of the stream at once, and at most within a long message.
    private static let chunk = 65_536
    private static let longChunk = 262_144

    init(_ stream: any ByteStream, stallTimeout: Duration) {
        self.stream = stream
        self.stallTimeout = stallTimeout
    }

    /// The next `count` bytes, or nil when the stream ends before the first of them.
    ///
    /// - Parameter patience: how long the first byte may take; nil for ever.
    func message(
        _ count: Int, patience: Duration? = nil
    ) async throws(USBIPError) -> [UInt8]? {
        while buffer.count == start {
            do throws(ByteStreamError) {
                // An hour at a time: no stream has to know what for ever is.
                try await fill(count, timeout: patience ?? .seconds(3600))
            } catch .closed {
                return nil
            } catch .timedOut {
                guard patience == nil else { throw .stalled("before its first request") }
            } catch { throw .stream(error) }
        }
        return try await bytes(count)
    }

    /// The next `count` bytes, which belong to a message that has begun.
    func bytes(_ count: Int) async throws(USBIPError) -> [UInt8] {
        while buffer.count - start < count {
            do throws(ByteStreamError) {
                try await fill(count, timeout: stallTimeout)
            } catch .closed {
                throw .truncated
            } catch .timedOut {
                throw .stalled("in the middle of a message")
            } catch { throw .stream(error) }
        }
        defer {
            start += count
            if start == buffer.count {
                buffer.removeAll(keepingCapacity: buffer.capacity <= 4 * Self.chunk)
                start = 0
            }
        }
        return Array(buffer[start..<start + count])
    }

    private func fill(_ count: Int, timeout: Duration) async throws(ByteStreamError) {
        let missing = count - (buffer.count - start)
        let received = try await stream.read(
            upTo: min(max(missing, Self.chunk), Self.longChunk), timeout: timeout)
        if start > 0 {
            buffer.removeFirst(start)
            start = 0
        }
        buffer += received
    }
}
