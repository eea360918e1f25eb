import DeviceProfiles
import Quantities

/// How the time stamp card turns an instant and a set of inputs into an 8-byte record.
///
/// Source: `timestamp3/readevents3.c` of github.com/kurtsiefer/qcrypto, read backwards: what the
/// reader undoes is done here.
struct TimestampEncoder {
    private let patterns: [[UInt64]]
    private let maskBits: [UInt64]
    private let undefinedBits: UInt64
    private let fastLow: UInt64
    private let slowLow: UInt64
    private let slowHigh: UInt64
    private let lagBelow: UInt64
    private let slowWidth: UInt64

    /// The encoder for the layout and the default phase table of `profile`.
    init(profile: DeviceProfile) throws(MissingProfileField) {
        let timeBase = try profile.requireTimeBase()
        guard let interpolation = timeBase.interpolation,
            let table = interpolation.tables[interpolation.defaultTable]
        else {
            throw MissingProfileField(profile: profile.id, path: "time_base.interpolation")
        }
        guard let lag = timeBase.lagCorrection else {
            throw MissingProfileField(profile: profile.id, path: "time_base.lag_correction")
        }
        lagBelow = UInt64(lag.below)
        let fast = try profile.recordField("fast")
        let low = try profile.recordField("slow_low")
        let high = try profile.recordField("slow_high")
        fastLow = UInt64(fast.low)
        slowLow = UInt64(low.low)
        slowHigh = UInt64(high.low)
        slowWidth = UInt64(low.width + high.width)
        let phase = try profile.recordField(interpolation.field)
        patterns = Self.inverse(of: table.map { ($0.pattern, $0.value) }, low: phase.low)
        let parts = [
            try profile.recordField("detectors_high"), try profile.recordField("detectors_low"),
        ]
        maskBits = (0..<16).map { (mask: UInt64) in
            parts.reduce(0) { bits, part in
                let width = UInt64(1) << UInt64(part.width) - 1
                return bits | (mask >> UInt64(part.shift ?? 0) & width) << UInt64(part.low)
            }
        }
        let used = try ["fast", "slow_low", "slow_high", interpolation.field].map {
            (name) throws(MissingProfileField) in try profile.recordField(name).mask
        }
        undefinedBits = ~(used + parts.map(\.mask)).reduce(0, |)
    }

    /// The patterns that stand for each of 16 phases. A phase that no pattern stands for shows as
    /// one of its neighbours.
    private static func inverse(of table: [(pattern: Int, value: Int)], low: Int) -> [[UInt64]] {
        var inverse = [[UInt64]](repeating: [], count: 16)
        for entry in table where entry.value < 16 {
            inverse[entry.value].append(UInt64(entry.pattern) << UInt64(low))
        }
        let own = inverse
        for phase in inverse.indices where own[phase].isEmpty {
            let below = phase > 0 ? own[phase - 1] : []
            let above = phase < 15 ? own[phase + 1] : []
            inverse[phase] = below + above
        }
        return inverse
    }

    /// The record of an event `ticks` after the reset of the counter on the inputs in `mask`.
    ///
    /// The slow counter is latched one step late while the fast counter is in its first half; bits
    /// that the layout leaves open carry noise.
    func record(ticks: UInt64, mask: Int, noise: UInt64) -> UInt64 {
        let choices = patterns[Int(ticks & 15)]
        let fast = ticks >> 4 & 31
        var slow = ticks >> 9
        if fast < lagBelow { slow &-= 1 }
        let pattern = choices[Int(truncatingIfNeeded: (noise & 0xFFFF) % UInt64(choices.count))]
        return pattern | fast << fastLow | maskBits[mask & 15]
            | (slow & 0xFF) << slowLow | (slow >> 8 & (1 << (slowWidth - 8) - 1)) << slowHigh
            | noise >> 8 & undefinedBits
    }
}
