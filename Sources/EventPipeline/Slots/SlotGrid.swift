import LinkTypes
import Quantities

/// The grid of pulse slots on the link's time scale.
///
/// The centre of slot s is at s · period, exactly, for any rational period. Slot s covers
/// [s · period − period/2, s · period + period/2): a time on the boundary belongs to the later
/// slot. Link times are whole picoseconds and all arithmetic on them is exact.
public struct SlotGrid: Hashable, Sendable {
    /// The length of a slot.
    public let period: TickPeriod
    private let n: Int64
    private let d: Int64
    /// ⌊2⁶⁴ · d / n⌋, for an estimate of the quotient that is at most 2 too small.
    private let reciprocal: UInt64
    /// ⌊(2⁶⁴ − 1) / 2n⌋.
    private let binReciprocal: UInt64
    /// Added to a time before the estimate, so that all of slot 0 is non-negative.
    let bias: Int64

    /// A grid of slots of `period`: at least 2 ps, at most 1 ms, with a numerator of at most 2⁴⁴
    /// and a denominator of at most 2³⁰.
    public init(period: TickPeriod) {
        precondition(period.picoseconds >= 2 && period.picoseconds <= 1e9)
        precondition(period.numerator <= 1 << 44 && period.denominator <= 1 << 30)
        self.period = period
        n = period.numerator
        d = period.denominator
        reciprocal = UInt64(n).dividingFullWidth((UInt64(d), 0)).quotient
        binReciprocal = UInt64.max / UInt64(2 * n)
        bias = n / d / 2 + 1
    }

    /// The slot that contains a time not before slot 0, and the offset from the slot's centre in
    /// picoseconds, rounded down.
    @inline(__always) public func locate(_ time: LinkTime) -> (slot: SlotIndex, phase: Int32) {
        let (slot, remainder) = divide(time.picoseconds)
        return (SlotIndex(UInt64(bitPattern: slot)), phase(ofRemainder: remainder))
    }

    /// The slot number of `picoseconds` and the distance from its centre in 1/d ps.
    @inline(__always) func divide(_ picoseconds: Int64) -> (slot: Int64, remainder: Int64) {
        let biased = UInt64(bitPattern: picoseconds &+ bias)
        var slot = Int64(bitPattern: biased.multipliedFullWidth(by: reciprocal).high)
        // The estimate is at most 2 off, so the true remainder fits 64 bit although the products
        // may not: wrapping arithmetic is exact here.
        var remainder = picoseconds &* d &- slot &* n
        while 2 &* remainder >= n {
            slot &+= 1
            remainder &-= n
        }
        while 2 &* remainder < -n {
            slot &-= 1
            remainder &+= n
        }
        return (slot, remainder)
    }

    @inline(__always) func phase(ofRemainder remainder: Int64) -> Int32 {
        if d == 1 { return Int32(truncatingIfNeeded: remainder) }
        let quotient = remainder / d
        return Int32(truncatingIfNeeded: remainder < quotient * d ? quotient - 1 : quotient)
    }

    /// The bin of a remainder in a histogram of `count` (at most 2¹⁶) equal bins over the slot.
    @inline(__always) func bin(ofRemainder remainder: Int64, count: Int) -> Int {
        let scaled = UInt64(2 &* remainder &+ n) &* UInt64(count)
        let width = UInt64(2 &* n)
        // At most 1 too small.
        let estimate = scaled.multipliedFullWidth(by: binReciprocal).high
        return Int(scaled &- estimate &* width >= width ? estimate &+ 1 : estimate)
    }

    /// The first whole picosecond of a slot.
    public func start(of slot: SlotIndex) -> LinkTime {
        let numerator = (2 * Int128(slot.rawValue) - 1) * Int128(n)
        let denominator = 2 * Int128(d)
        var quotient = numerator / denominator
        if quotient * denominator < numerator { quotient += 1 }
        return LinkTime(picoseconds: Int64(clamping: quotient))
    }
}

/// The part of a slot in which a click of each detector is accepted.
///
/// A click is accepted when −halfWidth ≤ phase − centre < halfWidth, so a gate is exactly
/// 2 · halfWidth picoseconds wide. A gate does not continue into the neighbouring slots.
public struct SlotGate: Hashable, Sendable {
    /// The centre of the gate of each detector, relative to the centre of the slot.
    public var centres: [Picoseconds]
    /// Half the width of the gate of each detector; not negative.
    public var halfWidths: [Picoseconds]

    /// One gate for each of the four detectors.
    public init(centres: [Picoseconds], halfWidths: [Picoseconds]) {
        precondition(centres.count == 4 && halfWidths.count == 4, "a gate for each detector")
        precondition(halfWidths.allSatisfy { $0.rawValue >= 0 })
        self.centres = centres
        self.halfWidths = halfWidths
    }

    /// The same gate for all four detectors.
    public init(centre: Picoseconds = Picoseconds(0), halfWidth: Picoseconds) {
        self.init(
            centres: [Picoseconds](repeating: centre, count: 4),
            halfWidths: [Picoseconds](repeating: halfWidth, count: 4))
    }

    /// Whether a click of `detector` at `phase` is accepted.
    public func accepts(phase: Int32, detector: UInt8) -> Bool {
        let offset = Int64(phase) - centres[Int(detector)].rawValue
        let half = halfWidths[Int(detector)].rawValue
        return offset >= -half && offset < half
    }
}
