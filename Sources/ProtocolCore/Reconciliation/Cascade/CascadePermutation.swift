import Quantities

/// The permutations of a window, one for each pass after the first, as tables in both directions.
///
/// All windows of a string share them.
package final class CascadePermutations: Sendable {
    /// The bits of the window.
    let count: Int
    /// For each pass, the place in the permuted window of each bit.
    private let places: [[UInt16]]
    /// For each pass, the bit at each place of the permuted window.
    private let orders: [[UInt16]]

    /// The permutations of `count` bits, 1...65 536, for passes 1..<`passes` under `seed`.
    package init(count: Int, passes: Int, seed: UInt64) {
        precondition((1...1 << 16).contains(count))
        self.count = count
        orders = (1..<max(1, passes)).map { Self.order(count, seed, $0) }
        places = orders.map { order in
            [UInt16](unsafeUninitializedCapacity: count) { buffer, filled in
                for (place, bit) in order.enumerated() { buffer[Int(bit)] = UInt16(place) }
                filled = count
            }
        }
    }

    /// The bits of the window in the order of `pass`, which is not the first.
    package func order(_ pass: Int) -> [UInt16] { orders[pass - 1] }

    /// The bit at `place` of `pass`.
    @inline(__always) package func bit(_ pass: Int, at place: Int) -> Int {
        pass == 0 ? place : Int(orders[pass - 1][place])
    }

    /// The place of `bit` in `pass`.
    @inline(__always) package func place(_ pass: Int, of bit: Int) -> Int {
        pass == 0 ? bit : Int(places[pass - 1][bit])
    }

    /// Fisher and Yates' shuffle with draws of SplitMix64 reduced by the high half of a product:
    /// uniform up to a bias of count / 2^64 for each draw.
    private static func order(_ count: Int, _ seed: UInt64, _ pass: Int) -> [UInt16] {
        var generator = SplitMix64(seed: CascadeSeed.word(seed, .permutation, UInt64(pass)))
        return [UInt16](unsafeUninitializedCapacity: count) { buffer, filled in
            for index in 0..<count {
                let other = Int(generator.next().multipliedFullWidth(by: UInt64(index + 1)).high)
                buffer.initializeElement(at: index, to: UInt16(index))
                buffer.swapAt(index, other)
            }
            filled = count
        }
    }
}

/// Words drawn from the public seed of a block, one stream a purpose.
enum CascadeSeed {
    enum Purpose: UInt64 {
        case permutation = 1
        case subset = 2
    }

    static func word(_ seed: UInt64, _ purpose: Purpose, _ number: UInt64) -> UInt64 {
        SplitMix64.mix(
            SplitMix64.mix(seed &+ purpose.rawValue &* 0xD1B5_4A32_D192_ED03)
                &+ number &* 0x9E37_79B9_7F4A_7C15)
    }
}
