import CSystemShims

/// Secret octets: one owner, zeroed on release, no description, never copied implicitly.
public struct SecretBytes: ~Copyable, @unchecked Sendable {
    // @unchecked: the memory is reachable only through the one owner of the value.
    private let storage: UnsafeMutableBufferPointer<UInt8>

    /// The number of octets.
    public var count: Int { storage.count }

    /// `count` zero octets, then handed to `initialize` to be filled.
    public init<E: Error>(
        count: Int,
        initializingWith initialize: (UnsafeMutableBufferPointer<UInt8>) throws(E) -> Void
    ) throws(E) {
        precondition(count >= 0)
        let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: count)
        memory.initialize(repeating: 0)
        do throws(E) {
            try initialize(memory)
        } catch {
            if let base = memory.baseAddress { berek_explicit_bzero(base, count) }
            memory.deallocate()
            throw error
        }
        storage = memory
    }

    /// A copy of `bytes`. The caller remains responsible for zeroing the original.
    public init(copying bytes: some Collection<UInt8>) {
        self.init(count: bytes.count) { memory in
            var index = 0
            for byte in bytes {
                memory[index] = byte
                index += 1
            }
        }
    }

    /// Lends the octets for reading; they must not escape `body`.
    public borrowing func withBytes<R: ~Copyable, E: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeBufferPointer(storage))
    }

    /// A second owner with the same octets, for handing one copy on and keeping one.
    public borrowing func duplicate() -> SecretBytes {
        let source = UnsafeBufferPointer(storage)
        return SecretBytes(copying: source)
    }

    deinit {
        if let base = storage.baseAddress { berek_explicit_bzero(base, storage.count) }
        storage.deallocate()
    }
}
