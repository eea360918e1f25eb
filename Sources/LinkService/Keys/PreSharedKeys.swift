import LinkTypes
import Quantities

/// The pre-shared secret of two nodes: a hash key and a one-time pad for each direction.
public struct PreSharedKeys: ~Copyable, Sendable {
    let hashKey: SecretBytes
    let aliceToBob: SecretBytes
    let bobToAlice: SecretBytes

    /// Secrets of an emulated link, from its seed: both ends can make the same. Never for a real
    /// link, where they come from a file that was carried.
    public init(emulatedWithSeed seed: UInt64, octetsEachWay: Int = 1 << 16) {
        var generator = SeededGenerator(seed: seed, label: "pre-shared authentication key")
        func draw(_ count: Int) -> SecretBytes {
            SecretBytes(count: count) { memory in
                for index in 0..<count {
                    memory[index] = UInt8(truncatingIfNeeded: generator.next() >> 32)
                }
            }
        }
        hashKey = draw(16)
        aliceToBob = draw(octetsEachWay)
        bobToAlice = draw(octetsEachWay)
    }
}
