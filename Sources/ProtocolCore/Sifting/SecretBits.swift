import LinkTypes
import Quantities

/// A string of key bits of a length fixed beforehand, overwritten when it is given up.
///
/// The primitives of post-processing work on `BitBuffer`; this box makes sure that the string the
/// session keeps never moves while it is filled, is zeroed in place, and that nothing prints it.
/// Copies that the primitives make while they run live on the heap until they are freed.
final class SecretBits: @unchecked Sendable {
    // @unchecked: a session, itself confined to one owner, is the only user.
    private(set) var bits: BitBuffer
    /// The bits filled so far.
    private(set) var count = 0

    /// An empty string that will have `capacity` bits.
    init(capacity: Int) { bits = BitBuffer(zeros: capacity) }

    func append(_ bit: Bool) {
        if bit { bits[count] = true }
        count += 1
    }

    func append(contentsOf other: BitBuffer) {
        for index in 0..<other.count { append(other[index]) }
    }

    /// Overwrites the bits with zeros and forgets their number.
    func destroy() {
        bits.erase()
        count = 0
    }

    deinit { bits.erase() }
}

/// Carries secret octets through places that need a copyable value, and gives them up once; what
/// nobody opened is zeroed with the last reference.
final class SecretParcel: @unchecked Sendable {
    // @unchecked: a session, itself confined to one owner, is the only user.
    private var content: SecretBytes?

    init(_ content: consuming SecretBytes) { self.content = consume content }

    func open() -> SecretBytes {
        guard let content = content.take() else { preconditionFailure("opened twice") }
        return content
    }
}
