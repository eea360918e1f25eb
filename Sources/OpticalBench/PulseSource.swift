import LinkTypes
import Quantities

/// Why a change to a running bench was refused.
public enum BenchError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A pattern was scheduled for slots that have already left Alice.
    case slotAlreadySent(slot: SlotIndex, earliest: SlotIndex)
    /// Patterns must be scheduled in slot order.
    case segmentOutOfOrder(slot: SlotIndex, latest: SlotIndex)
    /// The detector number is not 0…3.
    case noSuchDetector(Int)
    /// A value outside its range.
    case valueOutOfRange(String)

    /// The reason as one sentence.
    public var description: String {
        switch self {
        case .slotAlreadySent(let slot, let earliest):
            "slot \(slot) has already been sent; the earliest that can change is \(earliest)"
        case .segmentOutOfOrder(let slot, let latest):
            "a pattern from slot \(slot) was given after one from slot \(latest)"
        case .noSuchDetector(let index): "detector \(index) does not exist; expected 0…3"
        case .valueOutOfRange(let reason): reason
        }
    }
}

/// What Alice sends when: patterns, each from a slot on until the next begins.
///
/// Symbols are read from the patterns at random access, so no pulse is ever stored.
public struct TransmissionSchedule: Sendable {
    private var starts: [UInt64]
    private var patterns: [any PulsePattern]
    private var current = 0

    /// `pattern` from slot 0 on.
    public init(_ pattern: any PulsePattern) {
        starts = [0]
        patterns = [pattern]
    }

    /// Sends `pattern` from `slot` on.
    ///
    /// Throws `BenchError.segmentOutOfOrder` unless segments are appended in slot order.
    public mutating func append(
        _ pattern: any PulsePattern, from slot: SlotIndex
    ) throws(BenchError) {
        let latest = starts[starts.count - 1]
        guard slot.rawValue > latest else {
            throw .segmentOutOfOrder(slot: slot, latest: SlotIndex(latest))
        }
        starts.append(slot.rawValue)
        patterns.append(pattern)
    }

    /// The symbol of slot `slot`.
    public func symbol(at slot: SlotIndex) -> PulseSymbol {
        let index = starts.lastIndex { $0 <= slot.rawValue } ?? 0
        return patterns[index].symbol(at: slot)
    }

    /// The symbol of a slot not earlier than that of the previous call.
    mutating func nextSymbol(at slot: UInt64) -> PulseSymbol {
        while current + 1 < starts.count, starts[current + 1] <= slot { current += 1 }
        return patterns[current].symbol(at: SlotIndex(slot))
    }
}

/// What stands between Alice and Bob.
public enum Attack: Hashable, Sendable {
    /// Nobody listens.
    case none
    /// The given fraction of pulses is measured in a random basis, Z or X, and every photon of the
    /// pulse goes on in the state found. Photon numbers are untouched, so only errors show it:
    /// 25 % of the attacked bits in either basis.
    case interceptResend(fraction: Double)
}

/// An eavesdropper whose choices are readable at any slot.
struct Eavesdropper: Sendable {
    private let generator: Philox4x32
    var attack = Attack.none

    init(seed: UInt64) {
        var keys = SeededGenerator(seed: seed, label: "eavesdropper")
        generator = Philox4x32(key: keys.next())
    }

    /// The state that goes on in slot `slot`, or `nil` if Alice's does.
    func resentState(slot: UInt64, prepared: StokesVector) -> QubitState? {
        guard case .interceptResend(let fraction) = attack else { return nil }
        let (first, second) = generator.block(low: slot)
        guard Double(first >> 11) * 0x1p-53 < fraction else { return nil }
        let basis: Basis = second & 1 == 0 ? .z : .x
        let component = basis == .z ? prepared.s1 : prepared.s2
        let isOne = Double(second >> 11) * 0x1p-53 >= 0.5 * (1 + component)
        return QubitState(basis: basis, bit: isOne)
    }
}
