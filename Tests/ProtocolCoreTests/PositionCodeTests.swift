import ProtocolCore
import Quantities
import Testing

/// The slots with a click among `limit` slots, or the first `count` clicks of an endless train.
func clicks(
    _ p: Double, count: Int, _ generator: inout SeededGenerator
) -> (positions: [UInt32], limit: UInt64) {
    var positions: [UInt32] = []
    positions.reserveCapacity(count)
    var next: UInt64 = generator.geometric(p)
    while positions.count < count {
        positions.append(UInt32(next))
        next += 1 + generator.geometric(p)
    }
    return (positions, next)
}

@Suite struct PositionCodeTests {
    @Test func positionsComeBack() throws {
        let seed: UInt64 = 0x51F7
        var generator = SeededGenerator(seed: seed, label: "positions")
        for round in 0..<600 {
            let p = exponentialBase10(-5 * generator.uniform())
            let count = Int.random(in: 0...(round % 10 == 0 ? 9000 : 400), using: &generator)
            let (positions, limit) = clicks(p, count: count, &generator)
            let code = CodedPositions(encoding: positions, below: limit)
            #expect(try code.decode(below: limit) == positions, "seed \(seed), round \(round)")
        }
    }

    /// Codes made by another implementation, written in Python from docs/protocol.md alone.
    @Test func codesAreThoseOfTheSpecification() throws {
        func hexadecimal(_ octets: [UInt8]) -> String {
            octets.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
        let few = CodedPositions(encoding: [3, 17, 18, 1000, 70_000], below: 100_000)
        #expect(hexadecimal(few.code) == "4a103300266003680000aa7758")
        let squares = CodedPositions(encoding: (0..<100).map { $0 * $0 }, below: 10_000)
        #expect(
            hexadecimal(squares.code)
                == "88b0830426403c222c03560431f5461520363317f537abc8f1d8f0286af94bfa601ae29a"
                + "1fbb753b935b07ccfb1b72ec8d5c8ffcd9ecffac1ddd4d0d77dd7cbda08d806888866888"
                + "8668888668888668888668888668888668888668888668888668888668888608")
        let many = (0..<5000 as Range<UInt32>).map { ($0 * ($0 + 7)) / 3 + 2 * $0 }
        let interleaved = CodedPositions(encoding: many, below: 8_352_662)
        #expect(interleaved.code.count == 7607)
        #expect(
            hexadecimal(SHA256.digest(of: interleaved.code))
                == "59c412b80378609286859e0bfa5aaca816503a5f3078992d4c32153e377a2149")
        #expect(try interleaved.decode(below: 8_352_662) == many)
    }

    /// A few octets each, however unlike independent clicks they are.
    @Test func extremePositionsComeBack() throws {
        let far: UInt32 = .max - 1
        for positions: [UInt32] in [
            [], [0], [far], [0, 1, 2, 3], [0, far], [5, 1 << 20, 1 << 31], Array(0..<5000),
            Array(far - 5000...far), Array(0..<2500) + Array(far - 2500...far),
        ] {
            for limit in [UInt64(UInt32.max), UInt64(positions.last ?? 0) + 1] {
                let code = CodedPositions(encoding: positions, below: limit)
                #expect(try code.decode(below: limit) == positions)
                let p = Double(max(1, positions.count)) / Double(limit)
                let floor = p < 1 ? FiniteKey.binaryEntropy(p) / p : 0
                let octets = Double(code.code.count)
                #expect(octets * 8 < Double(positions.count) * (floor * 1.01 + 0.01) + 128)
            }
        }
        let all = CodedPositions(encoding: Array(0..<5000), below: 5000)
        #expect(all.code.count <= 16, "nothing is to be said about a slot with certain click")
    }

    /// The cost depends on the number of positions and the limit alone, up to rounding: no
    /// arrangement of clicks, however contrived, makes a message long.
    @Test func everyArrangementCostsTheSame() {
        let seed: UInt64 = 0x51FA
        var generator = SeededGenerator(seed: seed, label: "arrangements")
        let (spread, limit) = clicks(0.001, count: 10_000, &generator)
        let bunched = Array(UInt32(limit) - 10_000..<UInt32(limit))
        let even = (0..<10_000).map { UInt32(Double($0) * Double(limit) / 10_000) }
        let costs = [spread, bunched, even].map {
            CodedPositions(encoding: $0, below: limit).code.count
        }
        let floor = 10_000 * FiniteKey.binaryEntropy(0.001) / 0.001 / 8
        for cost in costs { #expect(Double(cost) < floor * 1.02, "seed \(seed): \(costs)") }
    }

    /// Floors of the reference table: 4.69, 8.08, 11.41, 14.73 bits. The count and length fields
    /// are part of the cost; the statistical spread of the source's own entropy is allowed for
    /// with three standard deviations.
    @Test(arguments: [0.1, 0.01, 0.001, 0.0001], [1000, 16_000, 200_000])
    func costIsTheEntropy(p: Double, count: Int) {
        let seed: UInt64 = 0x51F8
        var generator = SeededGenerator(seed: seed, label: "entropy \(p) \(count)")
        let (positions, limit) = clicks(p, count: count, &generator)
        let octets = CodedPositions(encoding: positions, below: limit).code.count + 8
        let ratio = Double(8 * octets) / Double(count) / (FiniteKey.binaryEntropy(p) / p)
        let spread = 3 * 1.45 / Double(count).squareRoot() / (FiniteKey.binaryEntropy(p) / p)
        let fixed = 110 / Double(count) / (FiniteKey.binaryEntropy(p) / p)
        #expect(ratio < 1.002 + spread + fixed, "seed \(seed): \(ratio)")
        #expect(ratio > 0.998 - spread, "seed \(seed): \(ratio)")
        if count > 1000 { #expect(ratio < 1.01, "seed \(seed): \(ratio)") }
    }

    @Test func damagedCodesAreRefusedOrHaveOneForm() {
        let seed: UInt64 = 0x51F9
        var generator = SeededGenerator(seed: seed, label: "damage")
        var refused: [String: Int] = [:]
        for round in 0..<6000 {
            let count = Int.random(in: 1...(round % 20 == 0 ? 5000 : 60), using: &generator)
            let p = exponentialBase10(-3 * generator.uniform())
            var (positions, limit) = clicks(p, count: count, &generator)
            var code = CodedPositions(encoding: positions, below: limit)
            switch Int.random(in: 0..<6, using: &generator) {
            case 0: limit = max(1, limit - UInt64.random(in: 1...limit, using: &generator))
            case 1: code.count = Int.random(in: 0...2 * count, using: &generator)
            case 2: code.code.removeLast(Int.random(in: 1...code.code.count, using: &generator))
            case 3: code.code.append(UInt8.random(in: 0...255, using: &generator))
            case 4:
                code.code = code.code.map { _ in UInt8.random(in: 0...255, using: &generator) }
            default:
                let place = Int.random(in: 0..<code.code.count, using: &generator)
                code.code[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            }
            do throws(PositionCodeError) {
                let decoded = try code.decode(below: limit)
                #expect(decoded.count == code.count, "seed \(seed), round \(round)")
                #expect(decoded.allSatisfy { $0 < limit }, "seed \(seed), round \(round)")
                let again = CodedPositions(encoding: decoded, below: limit)
                #expect(again == code, "seed \(seed), round \(round)")
                positions = decoded
            } catch {
                #expect(error.offset <= code.code.count, "seed \(seed), round \(round)")
                refused[error.expected.filter { !$0.isNumber }, default: 0] += 1
            }
        }
        let total = refused.values.reduce(0, +)
        #expect(total > 5000, "\(refused)")
        #expect(refused.count == 9, "every reason was met: \(refused.keys.sorted())")
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
