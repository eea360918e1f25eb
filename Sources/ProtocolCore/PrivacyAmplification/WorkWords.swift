import CKernels
import LinkTypes

/// Words that hold parts of a key while it is hashed: one owner, zeroed on release.
struct WorkWords: ~Copyable {
    private let storage: UnsafeMutableBufferPointer<UInt64>

    /// `count` zero words.
    init(count: Int) {
        self.init(uninitialized: count)
        storage.update(repeating: 0)
    }

    /// `count` words of any content, to be written before they are read; starting where a cache
    /// line does, or where a large page does when there is room for one.
    init(uninitialized count: Int) {
        let octets = count * MemoryLayout<UInt64>.stride
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: octets, alignment: octets >= 1 << 22 ? 1 << 21 : 64)
        if let base = memory.baseAddress { berek_advise_large(base, octets) }
        storage = memory.bindMemory(to: UInt64.self)
    }

    mutating func withWords<R>(_ body: (UnsafeMutableBufferPointer<UInt64>) -> R) -> R {
        body(storage)
    }

    /// The first `bitCount` bits as octets, least significant first, spare bits zero.
    borrowing func secretBytes(bitCount: Int) -> SecretBytes {
        let words = storage
        return SecretBytes(count: (bitCount + 7) / 8) { octets in
            #if _endian(little)
                UnsafeMutableRawBufferPointer(octets).copyMemory(
                    from: UnsafeRawBufferPointer(
                        rebasing: UnsafeRawBufferPointer(words)[..<octets.count]))
            #else
                for index in octets.indices {
                    octets[index] = UInt8(
                        truncatingIfNeeded: words[index >> 3] >> UInt64((index & 7) * 8))
                }
            #endif
            if bitCount & 7 != 0 { octets[octets.count - 1] &= 1 << UInt8(bitCount & 7) - 1 }
        }
    }

    deinit {
        if let base = storage.baseAddress {
            berek_zeroize(base, storage.count * MemoryLayout<UInt64>.stride)
        }
        storage.deallocate()
    }
}
