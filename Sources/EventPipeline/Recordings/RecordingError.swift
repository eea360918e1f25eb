/// Why a recording can not be read or written.
public enum RecordingError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file can not be opened.
    case cannotOpen(path: String, reason: String)
    /// Reading failed at this byte.
    case readFailed(offset: UInt64, reason: String)
    /// Writing failed.
    case writeFailed(reason: String)
    /// The content is of no known format; what it begins with.
    case unrecognized(found: String)
    /// The format is known but can not be read.
    case unsupported(offset: UInt64, what: String)
    /// The content breaks the rules of its format at this byte.
    case malformed(offset: UInt64, expected: String, found: String)
    /// Times exceed what a tag holds (2⁵⁶ ticks) at this byte.
    case timeOutOfRange(offset: UInt64)

    /// A stable code for logs and documents.
    public var code: String {
        switch self {
        case .cannotOpen: "BRK-REC-001"
        case .readFailed: "BRK-REC-002"
        case .writeFailed: "BRK-REC-003"
        case .unrecognized: "BRK-REC-004"
        case .unsupported: "BRK-REC-005"
        case .malformed: "BRK-REC-006"
        case .timeOutOfRange: "BRK-REC-007"
        }
    }

    /// What was expected, what was found, what to do.
    public var description: String {
        switch self {
        case .cannotOpen(let path, let reason): "\(code): can not open \(path): \(reason)"
        case .readFailed(let offset, let reason):
            "\(code): reading failed at byte \(offset): \(reason)"
        case .writeFailed(let reason): "\(code): writing failed: \(reason)"
        case .unrecognized(let found):
            "\(code): not a recording of a known format (it begins with \(found)); "
                + "name the format if you know it"
        case .unsupported(let offset, let what):
            "\(code): not supported: \(what), at byte \(offset)"
        case .malformed(let offset, let expected, let found):
            "\(code): at byte \(offset): expected \(expected), found \(found)"
        case .timeOutOfRange(let offset):
            "\(code): the time at byte \(offset) exceeds 2^56 ticks; split the recording"
        }
    }
}

/// Something about a recording that a reader must know to trust its numbers.
public struct RecordingFinding: Hashable, Sendable {
    /// How much a finding matters.
    public enum Severity: String, Hashable, Sendable {
        /// An assumption that was made.
        case note
        /// Events may be missing or wrong.
        case warning
    }
    /// How much it matters.
    public var severity: Severity
    /// The byte of the file it was found at.
    public var offset: UInt64
    /// What was found, and what was expected.
    public var message: String

    /// A finding at a byte of the file.
    public init(_ severity: Severity, offset: UInt64, _ message: String) {
        self.severity = severity
        self.offset = offset
        self.message = message
    }
}
