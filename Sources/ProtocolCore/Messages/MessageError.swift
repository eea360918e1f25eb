/// Why bytes of the peer were refused: where in the stream, which field, what was expected there
/// and what was found.
public struct MessageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The number of bytes that the peer sent before the offending field.
    public var offset: UInt64
    /// The field, as named in docs/protocol.md.
    public var field: String
    /// The values that the field may take.
    public var expected: String
    /// The value it has.
    public var found: String

    /// A refusal of `field` at `offset`.
    public init(offset: UInt64, field: String, expected: String, found: String) {
        self.offset = offset
        self.field = field
        self.expected = expected
        self.found = found
    }

    /// One line naming place, field, expectation and finding.
    public var description: String {
        "byte \(offset), \(field): expected \(expected), found \(found)"
    }
}
