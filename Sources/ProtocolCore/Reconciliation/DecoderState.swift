import CKernels
import Quantities

/// What the decoder of one code holds between sweeps: posteriors and messages, and the bits it
/// would decide for.
struct DecoderState: Sendable {
    private let code: LDPCCode
    private let kernel: berek_kernel
    private var memory: KernelMemory
    /// The octets of the posteriors, which the messages follow.
    private let messageOffset: Int
    /// The sweeps since the start.
    private(set) var sweeps = 0

    /// The log-likelihood ratio of an error rate in the kernel's unit, rounded up, within what a
    /// message can hold.
    ///
    /// The value matters more than its size suggests, because all bits begin with the same one:
    /// measured at 1, 3, 3.75 and 6.9 % with 819 200 bits, decoding takes a fifth more sweeps two
    /// units below, and begins to fail from three units above.
    static func level(errorRate: Double) -> Int32 {
        let ratio = naturalLog((1 - errorRate) / errorRate) * Double(BEREK_LDPC_UNIT)
        return Int32(min(max(ratio.rounded(.up), 1), 127))
    }

    /// Every bit has the log-likelihood ratio `level` for "no error".
    init(code: LDPCCode, level: Int32, kernel: berek_kernel) {
        self.code = code
        self.kernel = kernel
        let (posteriors, messages) = code.withKernelCode {
            (berek_ldpc_posterior_count($0), berek_ldpc_message_octets($0))
        }
        messageOffset = posteriors * MemoryLayout<Int16>.stride
        memory = KernelMemory(octets: messageOffset + messages)
        withBuffers { code, posterior, message in
            berek_ldpc_start(code, level, posterior, message)
        }
    }

    private mutating func withBuffers<R>(
        _ body: (
            UnsafePointer<berek_ldpc_code>, UnsafeMutablePointer<Int16>,
            UnsafeMutablePointer<UInt8>
        ) -> R
    ) -> R {
        if !isKnownUniquelyReferenced(&memory) { memory = memory.copy() }
        let memory = self.memory
        let offset = messageOffset
        return code.withKernelCode { code in
            body(
                code, memory.start.assumingMemoryBound(to: Int16.self),
                (memory.start + offset).assumingMemoryBound(to: UInt8.self))
        }
    }

    /// One sweep towards the syndrome; returns the number of checks that were not met.
    mutating func sweep(towards syndrome: [UInt64]) -> Int {
        precondition(syndrome.count * 64 == code.shape.syndromeBits)
        sweeps += 1
        let kernel = self.kernel
        return withBuffers { code, posterior, message in
            syndrome.withUnsafeBufferPointer { syndrome in
                Int(berek_ldpc_sweep(code, syndrome.baseAddress, posterior, message, kernel))
            }
        }
    }

    /// The bits whose posterior says "error".
    mutating func decide(_ bits: inout [UInt64]) {
        precondition(bits.count * 64 == code.shape.bitCount)
        let kernel = self.kernel
        withBuffers { code, posterior, _ in
            bits.withUnsafeMutableBufferPointer { bits in
                berek_ldpc_decide(code, posterior, bits.baseAddress, kernel)
            }
        }
    }

    /// Adds to the log-likelihood ratios of the bits at these positions.
    mutating func nudge(_ positions: some Sequence<(position: Int, amount: Int32)>) {
        let lift = code.shape.lift
        withBuffers { code, posterior, _ in
            for (position, amount) in positions {
                berek_ldpc_nudge(
                    code, Int32(position / lift), Int32(position % lift), amount, posterior)
            }
        }
    }

    /// The `count` positions below `limit`, without those in `known`, whose posterior is nearest
    /// to zero; of equals the first.
    mutating func leastCertain(_ count: Int, below limit: Int, without known: [UInt64]) -> [Int] {
        let lift = code.shape.lift
        let stride = lift + Int(BEREK_LDPC_TILE)
        let offset = Int(BEREK_LDPC_OFFSET)
        return withBuffers { _, posterior, _ in
            func magnitude(_ position: Int) -> Int? {
                guard known[position >> 6] >> UInt64(position & 63) & 1 == 0 else { return nil }
                return min(
                    abs(Int(posterior[position / lift * stride + position % lift]) - offset), 1023)
            }
            // Counting finds the magnitude up to which all are taken.
            var histogram = [Int](repeating: 0, count: 1024)
            for position in 0..<limit {
                if let value = magnitude(position) { histogram[value] += 1 }
            }
            var (cut, below) = (0, 0)
            while cut < 1023, below + histogram[cut] < count {
                below += histogram[cut]
                cut += 1
            }
            var atCut = count - below
            var result: [Int] = []
            for position in 0..<limit {
                guard let value = magnitude(position), value <= cut else { continue }
                if value == cut {
                    guard atCut > 0 else { continue }
                    atCut -= 1
                }
                result.append(position)
            }
            return result
        }
    }
}

/// Memory for a kernel that wants cache lines, zeroed when it is released.
///
/// Written only by the one state that owns it, which copies it first when it is shared.
private final class KernelMemory: @unchecked Sendable {
    let start: UnsafeMutableRawPointer
    private let octets: Int

    init(octets: Int) {
        self.octets = octets
        start = .allocate(byteCount: octets, alignment: 64)
    }

    func copy() -> KernelMemory {
        let twin = KernelMemory(octets: octets)
        twin.start.copyMemory(from: start, byteCount: octets)
        return twin
    }

    deinit {
        berek_zeroize(start, octets)
        start.deallocate()
    }
}
