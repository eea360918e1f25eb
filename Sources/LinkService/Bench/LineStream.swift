import HostIO
import Quantities

/// Lines ended by a line feed, over a byte stream.
struct LineReader {
    /// A line is longer than is allowed.
    struct TooLong: Error {}

    private let stream: any ByteStream
    private let longest: Int
    private var bytes: [UInt8] = []

    init(_ stream: any ByteStream, longest: Int) {
        self.stream = stream
        self.longest = longest
    }

    /// The next line without its end; nil at the end of the stream.
    ///
    /// - Throws: `TooLong`, or what the stream throws; after `timedOut` it may be called again.
    mutating func next(timeout: Duration) async throws -> [UInt8]? {
        while true {
            if let end = bytes.firstIndex(of: 10) {
                var line = Array(bytes[..<end])
                bytes.removeFirst(end + 1)
                guard line.count <= longest else { throw TooLong() }
                if line.last == 13 { line.removeLast() }
                return line
            }
            guard bytes.count <= longest else { throw TooLong() }
            do throws(ByteStreamError) {
                bytes += try await stream.read(upTo: 16_384, timeout: timeout)
            } catch {
                if error == .closed { return nil }
                throw error
            }
        }
    }
}
