import ProtocolCore
import Quantities
import Testing

@Suite struct SiftingTests {
    @Test func positionsComeBack() {
        let seed: UInt64 = 0x51F7
        var generator = SeededGenerator(seed: seed, label: "positions")
        for round in 0..<300 {
            let p = exponentialBase10(-5 * generator.uniform())
            var positions: [UInt64] = []
            var next: UInt64 = generator.geometric(p)
            for _ in 0..<Int.random(in: 0...400, using: &generator) {
                positions.append(next)
                next += 1 + generator.geometric(p)
            }
            let code = RiceCodedPositions(encoding: positions)
            let limit = (positions.last ?? 0) + 1
            #expect(code.decode(below: limit) == positions, "seed \(seed), round \(round)")
            if let last = positions.last {
                #expect(code.decode(below: last) == nil, "seed \(seed), round \(round)")
            }
        }
    }

    @Test func extremePositionsComeBack() {
        for positions: [UInt64] in [
            [], [0], [1 << 32 - 2], [0, 1, 2, 3], [0, 1 << 32 - 2], [5, 1 << 20, 1 << 31],
        ] {
            let code = RiceCodedPositions(encoding: positions)
            #expect(code.decode(below: 1 << 32 - 1) == positions)
            #expect(code.bits.count < 4096)
        }
    }

    @Test func codeIsNearTheEntropy() {
        let seed: UInt64 = 0x51F8
        var generator = SeededGenerator(seed: seed, label: "entropy")
        for p in [0.1, 0.01, 0.001, 0.0001] {
            var positions: [UInt64] = []
            var next: UInt64 = generator.geometric(p)
            for _ in 0..<40_000 {
                positions.append(next)
                next += 1 + generator.geometric(p)
            }
            let bits = Double(RiceCodedPositions(encoding: positions).bits.count) / 40_000
            let entropy = FiniteKey.binaryEntropy(p) / p
            #expect(bits < 1.03 * entropy, "seed \(seed): p \(p), \(bits) against \(entropy)")
            #expect(bits > 0.98 * entropy, "seed \(seed): p \(p), \(bits) against \(entropy)")
        }
    }

    @Test func damagedCodesAreRefusedOrInRange() {
        let seed: UInt64 = 0x51F9
        var generator = SeededGenerator(seed: seed, label: "damage")
        var refused = 0
        for round in 0..<2000 {
            let words = (0..<4).map { _ in generator.next() }
            let code = RiceCodedPositions(
                count: Int.random(in: 0...300, using: &generator),
                parameter: UInt8.random(in: 0...40, using: &generator),
                bits: BitBuffer(
                    words: words, count: Int.random(in: 193...256, using: &generator)))
            guard let positions = code.decode(below: 1 << 20) else {
                refused += 1
                continue
            }
            #expect(positions.count == code.count, "seed \(seed), round \(round)")
            #expect(positions.allSatisfy { $0 < 1 << 20 }, "seed \(seed), round \(round)")
            let isIncreasing = zip(positions, positions.dropFirst()).allSatisfy { $0 < $1 }
            #expect(isIncreasing, "seed \(seed), round \(round)")
        }
        #expect(refused > 1500)
    }

    @Test func erasedBuffersHoldNothing() {
        var bits = BitBuffer(words: [0xDEAD_BEEF, 0x7], count: 67)
        let copy = bits
        bits.erase()
        #expect(bits.count == 0 && bits.words.isEmpty && bits == BitBuffer())
        bits.append(true)
        #expect(bits.words == [1])
        #expect(copy.populationCount == 27, "a copy made before keeps its content")
    }
}
