import CKernels
import LinkTypes
import Quantities

/// A string of key bits of a length fixed beforehand, overwritten when it is given up.
///
/// The primitives of post-processing work on `BitBuffer`; this box makes sure that the string the
/// session keeps never moves while it is filled, is zeroed in place, and that nothing prints it.
/// Copies that the primitives make while they run live on the heap until they are freed.
package final class SecretBits: @unchecked Sendable {
    // @unchecked: a session, itself confined to one owner, is the only user.
    package private(set) var bits: BitBuffer
    /// The bits filled so far.
    package private(set) var count = 0

    /// An empty string that will have `capacity` bits.
    init(capacity: Int) { bits = BitBuffer(zeros: capacity) }

    func append(_ bit: Bool) {
        if bit { bits[count] = true }
        count += 1
    }

    func append(contentsOf other: BitBuffer) {
        for index in 0..<other.count { append(other[index]) }
    }

    /// Appends the bits of `plane` at the ones of `mask`. The capacity has room for them.
    func append(compressing plane: UnsafeBufferPointer<UInt64>, by mask: DetectionMask) {
        precondition(plane.count >= mask.words.count && mask.ones <= bits.count - count)
        // The kernel writes whole words, one past the string's end as well.
        let start = count >> 6
        var scratch = [UInt64](repeating: 0, count: mask.ones / 64 + 3)
        if start < bits.words.count { scratch[0] = bits.words[start] }
        _ = berek_bits_compress(
            &scratch, count & 63, plane.baseAddress, mask.words, mask.words.count,
            BEREK_KERNEL_BEST)
        count += mask.ones
        bits.withMutableWords { words in
            for index in start..<(count + 63) / 64 { words[index] = scratch[index - start] }
        }
        berek_zeroize(&scratch, scratch.count * MemoryLayout<UInt64>.size)
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
