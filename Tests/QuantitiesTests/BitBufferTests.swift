import Quantities
import TestSupport
import Testing

struct BitBufferTests {
    /// Every operation against the same operation on an array of Booleans.
    @Test(arguments: seeds(100)) func agreesWithBooleans(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let bits = (0..<Int(generator.next() % 300)).map { _ in generator.next() & 1 == 1 }
        let other = bits.map { _ in generator.next() & 1 == 1 }
        let buffer = BitBuffer(bits)
        #expect(buffer.count == bits.count)
        #expect(bits.indices.allSatisfy { buffer[$0] == bits[$0] })
        #expect(buffer.populationCount == bits.count { $0 })
        #expect(buffer.parity == (bits.count { $0 } % 2 == 1))
        #expect(buffer ^ BitBuffer(other) == BitBuffer(zip(bits, other).map { $0 != $1 }))
        #expect(BitBuffer(bytes: buffer.bytes, count: buffer.count) == buffer)
        if !bits.isEmpty {
            let start = Int(generator.next() % UInt64(bits.count))
            let end = start + Int(generator.next() % UInt64(bits.count - start + 1))
            #expect(buffer.slice(start..<end) == BitBuffer(bits[start..<end]))
            var joined = buffer.slice(0..<start)
            joined.append(contentsOf: buffer.slice(start..<bits.count))
            #expect(joined == buffer)
        }
    }

    @Test func spareBitsAreRefused() {
        #expect(BitBuffer(bytes: [0b0000_0111], count: 3) != nil)
        #expect(BitBuffer(bytes: [0b0000_1111], count: 3) == nil)
        #expect(BitBuffer(bytes: [1, 0], count: 3) == nil)
    }
}
