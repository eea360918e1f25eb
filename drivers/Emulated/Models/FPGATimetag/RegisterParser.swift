/// The state machine that takes register commands byte by byte (`reg_manager.v`).
///
/// It waits for the first byte of a command and discards everything else; from there on it counts
/// bytes, whatever they are and however long they take. A command that was cut off therefore swallows
/// the beginning of the next.
struct RegisterParser {
    /// A complete command.
    struct Command: Equatable {
        var isWrite: Bool
        var address: UInt16
        var value: UInt32
    }

    /// The first byte of every command.
    let start: UInt8
    private var bytes: [UInt8] = []

    /// A parser of commands that begin with `start`.
    init(start: UInt8) { self.start = start }

    /// Whether a command has begun and is not complete.
    var isInCommand: Bool { !bytes.isEmpty }

    /// Takes a byte; returns a command with its last byte.
    mutating func take(_ byte: UInt8) -> Command? {
        if bytes.isEmpty, byte != start { return nil }
        bytes.append(byte)
        guard bytes.count == 8 else { return nil }
        defer { bytes = [] }
        return Command(
            isWrite: bytes[1] & 1 == 1, address: UInt16(bytes[2]) | UInt16(bytes[3]) << 8,
            value: (0..<4).reduce(0) { $0 | UInt32(bytes[4 + $1]) << (8 * UInt32($1)) })
    }
}
