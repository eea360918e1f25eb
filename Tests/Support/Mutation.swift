import Quantities

/// Damages `bytes` in one to four places, for property tests of decoders: flips, deletions,
/// insertions, truncation, repetition, boundary values.
public func mutated(_ bytes: [UInt8], using generator: inout SeededGenerator) -> [UInt8] {
    var result = bytes
    for _ in 0...(Int(generator.next() % 4)) {
        guard !result.isEmpty else { return [UInt8(truncatingIfNeeded: generator.next())] }
        let position = Int(generator.next() % UInt64(result.count))
        switch generator.next() % 7 {
        case 0: result[position] ^= 1 << UInt8(generator.next() % 8)
        case 1: result[position] = UInt8(truncatingIfNeeded: generator.next())
        case 2: result.remove(at: position)
        case 3: result.insert(UInt8(truncatingIfNeeded: generator.next()), at: position)
        case 4: result.removeSubrange(position...)
        case 5:
            let end = min(result.count, position + 1 + Int(generator.next() % 16))
            result.insert(contentsOf: result[position..<end], at: position)
        default: result[position] = [0x00, 0x7F, 0x80, 0xFF][Int(generator.next() % 4)]
        }
    }
    return result
}
