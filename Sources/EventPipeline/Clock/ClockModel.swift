import Quantities

/// Maps the counter of one time tagger to link time: an affine law a segment, continuous where
/// segments meet, exact over a whole session.
///
/// Within a segment, link time = origin + (ticks − start) · scale, in picoseconds with 64 binary
/// fraction digits. Over 24 hours of 125 ps ticks (7 · 10¹⁴ of them) the rounding of the scale adds
/// at most 4 · 10⁻⁵ ps, and nothing accumulates, because every conversion starts at the segment's
/// origin; without an offset the result is ⌊ticks · period⌋ exactly, for simple fractions. The law of a tick depends on nothing but the tick, so results do not depend on how a
/// stream was cut. Link times are kept within ±`horizon`.
public struct ClockModel: Hashable, Sendable {
    /// Why a clock can not be steered as asked.
    public enum SteeringError: Error, Hashable, Sendable {
        /// The fractional offset is not within ±`maximumOffset`.
        case offsetOutOfRange(Double)
        /// The change would start before the last one, at this tick.
        case startsBeforeLastSegment(DeviceTicks)
        /// The clock already holds `maximumSegments` segments; `forget(before:)` frees them.
        case tooManySegments
    }

    /// The largest fractional offset from the nominal tick length: a thousandth.
    public static let maximumOffset = 1e-3
    /// The most segments held at a time.
    public static let maximumSegments = 1024
    /// The largest magnitude of a link time, in picoseconds: 2⁶¹ ps, or 26 days.
    public static let horizon: Int64 = 1 << 61

    struct Segment: Hashable, Sendable {
        /// The first tick the segment applies to; the first segment also applies to earlier ones.
        var start: Int64
        /// The link time of `start` in 2⁻⁶⁴ ps.
        var origin: Int128
        /// The length of a tick in 2⁻⁶⁴ ps.
        var scale: Int128
        /// The distance from `start` beyond which times saturate; keeps products within 128 bit.
        var reach: Int64
        /// Up to this distance after `start` times are certainly within the horizon.
        var plainReach: UInt64

        init(start: Int64, origin: Int128, scale: Int128) {
            self.start = start
            self.origin = origin
            self.scale = scale
            reach = Int64(min((Int128(1) << 125) / scale, Int128(1) << 62))
            let room = (Int128(ClockModel.horizon) << 64) - origin
            plainReach = UInt64(min(max(room / scale, 0), Int128(reach)))
        }
    }

    /// The nominal length of a tick.
    public let tickPeriod: TickPeriod
    private(set) var segments: [Segment]

    /// A clock that reads `linkTime` at tick `reference`, and whose ticks last the nominal period
    /// times 1 + `fractionalOffset`.
    ///
    /// The offset is positive when the tagger's oscillator is slower than Alice's. The period must
    /// be below 1 ms, `linkTime` within half the horizon, the offset within ±`maximumOffset`.
    public init(
        tickPeriod: TickPeriod, at reference: DeviceTicks = DeviceTicks(0),
        linkTime: LinkTime = LinkTime(picoseconds: 0), fractionalOffset: Double = 0
    ) {
        precondition(tickPeriod.picoseconds < 1e9, "a tick is shorter than a millisecond")
        precondition(abs(linkTime.picoseconds) <= Self.horizon / 2)
        precondition(abs(fractionalOffset) <= Self.maximumOffset)
        precondition(reference.rawValue < 1 << 62)
        self.tickPeriod = tickPeriod
        segments = [
            Self.segment(
                start: Int64(reference.rawValue), origin: Int128(linkTime.picoseconds) << 64,
                tickPeriod: tickPeriod, fractionalOffset: fractionalOffset)
        ]
    }

    private static func segment(
        start: Int64, origin: Int128, tickPeriod: TickPeriod, fractionalOffset: Double
    ) -> Segment {
        let (whole, rest) = tickPeriod.numerator.quotientAndRemainder(
            dividingBy: tickPeriod.denominator)
        let denominator = Int128(tickPeriod.denominator)
        // Rounded up, so that a tick that ends on a whole picosecond is not rounded down to the one
        // before it. The remainder is below 2⁶³, so the shift stays within 128 bit.
        let fraction = ((Int128(rest) << 64) + denominator - 1) / denominator
        let correction = Int128((tickPeriod.picoseconds * fractionalOffset * 0x1p64).rounded())
        let scale = (Int128(whole) << 64) + fraction + correction
        return Segment(start: start, origin: origin, scale: scale)
    }

    /// From tick `start` on, ticks last the nominal period times 1 + `fractionalOffset`; the link
    /// time at `start` stays what it was.
    public mutating func steer(
        from start: DeviceTicks, fractionalOffset: Double
    ) throws(SteeringError) {
        guard abs(fractionalOffset) <= Self.maximumOffset else {
            throw .offsetOutOfRange(fractionalOffset)
        }
        let last = segments[segments.count - 1]
        guard start.rawValue < 1 << 62, Int64(start.rawValue) >= last.start else {
            throw .startsBeforeLastSegment(start)
        }
        guard segments.count < Self.maximumSegments else { throw .tooManySegments }
        let next = Self.segment(
            start: Int64(start.rawValue), origin: last.time(of: Int64(start.rawValue)),
            tickPeriod: tickPeriod, fractionalOffset: fractionalOffset)
        if next.start == last.start { segments.removeLast() }
        segments.append(next)
    }

    /// Drops segments that only matter to ticks before `ticks`.
    public mutating func forget(before ticks: DeviceTicks) {
        let limit = Int64(clamping: ticks.rawValue)
        var count = 0
        while count + 1 < segments.count, segments[count + 1].start <= limit { count += 1 }
        segments.removeFirst(count)
    }

    /// The link time of a tick, rounded down to a whole picosecond.
    public func linkTime(of ticks: DeviceTicks) -> LinkTime {
        let ticks = Int64(clamping: ticks.rawValue)
        var index = segments.count - 1
        while index > 0, segments[index].start > ticks { index -= 1 }
        return LinkTime(picoseconds: segments[index].picoseconds(of: ticks))
    }

    /// The first tick whose link time is not before `time`; tick 0 when all are later.
    public func ticks(notBefore time: LinkTime) -> DeviceTicks {
        let target = Int128(time.picoseconds) << 64
        var index = segments.count - 1
        while index > 0, segments[index].origin >= target { index -= 1 }
        let segment = segments[index]
        let distance = target - segment.origin
        var delta = distance / segment.scale
        if delta * segment.scale < distance { delta += 1 }
        var result = Int128(segment.start) + delta
        if index + 1 < segments.count { result = min(result, Int128(segments[index + 1].start)) }
        return DeviceTicks(UInt64(clamping: result))
    }
}

extension ClockModel.Segment {
    /// The link time of a tick in 2⁻⁶⁴ ps, saturated beyond the horizon.
    @inline(__always) func time(of ticks: Int64) -> Int128 {
        let limit = Int128(ClockModel.horizon) << 64
        let delta = ticks - start
        if delta > reach { return limit }
        if delta < -reach { return -limit }
        return min(max(origin + Int128(delta) * scale, -limit), limit)
    }

    /// The link time of a tick in whole picoseconds, rounded down, saturated beyond the horizon.
    @inline(__always) func picoseconds(of ticks: Int64) -> Int64 {
        let delta = UInt64(bitPattern: ticks &- start)
        guard delta <= plainReach else {
            return Int64(truncatingIfNeeded: time(of: ticks) >> 64)
        }
        // The same product without the partial products that are known to be zero.
        let product = delta.multipliedFullWidth(by: UInt64(truncatingIfNeeded: scale))
        let carry = product.low.addingReportingOverflow(UInt64(truncatingIfNeeded: origin)).overflow
        return Int64(truncatingIfNeeded: origin >> 64)
            &+ Int64(bitPattern: delta) &* Int64(truncatingIfNeeded: scale >> 64)
            &+ Int64(bitPattern: product.high) &+ (carry ? 1 : 0)
    }
}
