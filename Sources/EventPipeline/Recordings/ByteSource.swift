import Glibc

/// Where the bytes of a recording come from, in order, in pieces of any size.
public protocol ByteSource {
    /// Appends up to `count` bytes to `buffer` and returns how many; 0 means the end.
    mutating func read(upTo count: Int, into buffer: inout [UInt8]) throws(RecordingError) -> Int
}

/// Where the bytes of a converted recording go.
public protocol ByteSink {
    /// Writes all of `bytes`.
    mutating func write(_ bytes: [UInt8]) throws(RecordingError)
    /// Called once, after the last byte.
    mutating func close() throws(RecordingError)
}

/// A recording in memory, delivered in pieces of a chosen size.
public struct MemoryByteSource: ByteSource {
    private let bytes: [UInt8]
    private let pieceSize: Int
    private var position = 0

    /// A source of `bytes` that delivers at most `pieceSize` (positive) of them a call.
    public init(_ bytes: [UInt8], pieceSize: Int = .max) {
        precondition(pieceSize > 0)
        self.bytes = bytes
        self.pieceSize = pieceSize
    }

    /// Appends the next bytes to `buffer`.
    public mutating func read(
        upTo count: Int, into buffer: inout [UInt8]
    ) throws(RecordingError) -> Int {
        let taken = min(count, pieceSize, bytes.count - position)
        buffer += bytes[position..<(position + taken)]
        position += taken
        return taken
    }
}

/// A sink that keeps what is written.
public struct MemoryByteSink: ByteSink {
    /// Everything written so far.
    public private(set) var bytes: [UInt8] = []
    /// An empty sink.
    public init() {}
    /// Appends `bytes`.
    public mutating func write(_ bytes: [UInt8]) throws(RecordingError) { self.bytes += bytes }
    /// Does nothing.
    public mutating func close() throws(RecordingError) {}
}

/// A file, read from its start to its end.
public final class FileByteSource: ByteSource {
    private let descriptor: Int32
    private var offset: UInt64 = 0

    /// Opens `path` for reading. Throws `RecordingError.cannotOpen`.
    public init(path: String) throws(RecordingError) {
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw .cannotOpen(path: path, reason: String(cString: strerror(errno)))
        }
    }

    deinit { if descriptor >= 0 { _ = systemClose(descriptor) } }

    /// Appends the next bytes of the file to `buffer`. Throws `RecordingError.readFailed`.
    public func read(upTo count: Int, into buffer: inout [UInt8]) throws(RecordingError) -> Int {
        let before = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: count))
        while true {
            let taken = buffer.withUnsafeMutableBytes { memory in
                systemRead(descriptor, memory.baseAddress.map { $0 + before }, count)
            }
            if taken < 0, errno == EINTR { continue }
            buffer.removeLast(count - max(0, taken))
            guard taken >= 0 else {
                throw .readFailed(offset: offset, reason: String(cString: strerror(errno)))
            }
            offset += UInt64(taken)
            return taken
        }
    }
}

/// A new or truncated file.
public final class FileByteSink: ByteSink {
    private var descriptor: Int32
    private let path: String
    private var total = 0

    /// Creates or truncates `path`. Throws `RecordingError.cannotOpen`.
    public init(path: String) throws(RecordingError) {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw .cannotOpen(path: path, reason: String(cString: strerror(errno)))
        }
    }

    deinit { if descriptor >= 0 { _ = systemClose(descriptor) } }

    /// Writes all of `bytes`. Throws `RecordingError.writeFailed`.
    public func write(_ bytes: [UInt8]) throws(RecordingError) {
        var done = 0
        while done < bytes.count {
            let written = bytes.withUnsafeBytes { memory in
                systemWrite(
                    descriptor, memory.baseAddress.map { $0 + done }, bytes.count - done)
            }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { throw failure() }
            done += written
            total += written
        }
    }

    /// Closes the file; an error that the system reports only now counts as a failed write.
    public func close() throws(RecordingError) {
        guard descriptor >= 0 else { return }
        let result = systemClose(descriptor)
        descriptor = -1
        guard result == 0 else { throw failure() }
    }

    /// The system's reason, and what is left on the disk.
    private func failure() -> RecordingError {
        .writeFailed(
            reason: "\(path) after \(total) bytes: \(String(cString: strerror(errno))); "
                + "what it holds is incomplete")
    }
}

// The system calls under names that the methods above do not hide.
private func systemRead(_ file: Int32, _ memory: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    guard let memory else { return 0 }
    return read(file, memory, count)
}
private func systemWrite(_ file: Int32, _ memory: UnsafeRawPointer?, _ count: Int) -> Int {
    guard let memory else { return 0 }
    return write(file, memory, count)
}
private func systemClose(_ file: Int32) -> Int32 { close(file) }

/// Bytes of a source, looked at in pieces of any size, with their offsets.
struct BufferedBytes {
    private var source: any ByteSource
    private(set) var buffer: [UInt8] = []
    /// The first unread byte in `buffer`.
    private(set) var head = 0
    /// The offset in the recording of the first unread byte.
    private(set) var offset: UInt64 = 0
    private(set) var isAtEnd = false

    init(_ source: any ByteSource) { self.source = source }

    var available: Int { buffer.count - head }

    /// Reads until `count` bytes are available or the source ends; returns whether they are.
    mutating func fill(_ count: Int) throws(RecordingError) -> Bool {
        if available < count, head > 0 {
            buffer.removeFirst(head)
            head = 0
        }
        while available < count, !isAtEnd {
            let wanted = max(count - available, 1 << 16)
            if try source.read(upTo: wanted, into: &buffer) == 0 { isAtEnd = true }
        }
        return available >= count
    }

    /// The unread byte at `index`, which must be available.
    subscript(index: Int) -> UInt8 { buffer[head + index] }

    mutating func skip(_ count: Int) {
        precondition(count <= available)
        head += count
        offset += UInt64(count)
    }

    func word32(at index: Int) -> UInt32 {
        var value: UInt32 = 0
        for k in 0..<4 { value |= UInt32(self[index + k]) << UInt32(8 * k) }
        return value
    }

    func word64(at index: Int) -> UInt64 {
        UInt64(word32(at: index)) | UInt64(word32(at: index + 4)) << 32
    }
}
