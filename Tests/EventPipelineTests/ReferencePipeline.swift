import EventPipeline
import LinkTypes
import Quantities

/// The event path written down once more without any concern for speed, streams or memory: all
/// tags at once, exact fractions, sorting.
struct ReferencePipeline {
    /// A clock of two segments whose laws are exact in units of 2⁻³⁵ ps.
    struct Clock {
        /// Ticks last `numerator`/32 ps.
        var numerator: Int64
        var origin: Int64
        /// Offsets in units of 2⁻³⁰, before and from `steeredAt`.
        var offsets: (Int64, Int64)
        var steeredAt: UInt64

        func linkTime(_ tick: UInt64) -> Int64 {
            func rate(_ offset: Int64) -> Int128 {
                Int128(numerator) * ((1 << 30) + Int128(offset))
            }
            let first = Int128(min(tick, steeredAt)) * rate(offsets.0)
            let second = tick > steeredAt ? Int128(tick - steeredAt) * rate(offsets.1) : 0
            return origin + Int64((first + second) >> 35)
        }

        func model() throws -> ClockModel {
            var clock = ClockModel(
                tickPeriod: TickPeriod(numerator: numerator, denominator: 32),
                linkTime: LinkTime(picoseconds: origin),
                fractionalOffset: Double(offsets.0) * 0x1p-30)
            try clock.steer(
                from: DeviceTicks(steeredAt), fractionalOffset: Double(offsets.1) * 0x1p-30)
            return clock
        }
    }

    struct Tagger {
        var clock: Clock
        var inputs: [DetectorInput]
        var tags: [TimeTag]
        var losses: [LossMark<DeviceTicks>]
        var end: UInt64
    }

    struct Click {
        var time: Int64
        var detector: UInt8
    }

    struct Result: Equatable {
        var detections: [Detection] = []
        var lost: Set<UInt64> = []
        var discarded: [UInt64] = []
        var clicks: [UInt64] = [0, 0, 0, 0]
        var outside: [UInt64] = [0, 0, 0, 0]
        var multiple: UInt64 = 0
    }

    var period: TickPeriod
    var gate: SlotGate
    var guardTime: Int64
    var taggers: [Tagger]

    private func slot(_ time: Int64) -> Int64 {
        let (n, d) = (Int128(period.numerator), Int128(period.denominator))
        let numerator = 2 * Int128(time) * d + n
        let quotient = numerator / (2 * n)
        return Int64(quotient * 2 * n > numerator ? quotient - 1 : quotient)
    }

    private func phase(_ time: Int64, _ slot: Int64) -> Int32 {
        let d = Int128(period.denominator)
        let scaled = Int128(time) * d - Int128(slot) * Int128(period.numerator)
        return Int32(scaled >= 0 ? scaled / d : -((-scaled + d - 1) / d))
    }

    private func lostSlots() -> Set<UInt64> {
        var lost: Set<UInt64> = []
        for tagger in taggers {
            let delays = tagger.inputs.map(\.delay.rawValue)
            guard let shortest = delays.min(), let longest = delays.max() else { continue }
            for loss in tagger.losses {
                let lastTick = max(loss.start.rawValue, loss.end.rawValue &- 1)
                let first = slot(tagger.clock.linkTime(loss.start.rawValue) - longest)
                let last = slot(tagger.clock.linkTime(lastTick) - shortest + guardTime)
                guard last >= 0 else { continue }
                for index in max(0, first)...last { lost.insert(UInt64(index)) }
            }
        }
        return lost
    }

    private func allClicks() -> [Click] {
        var clicks: [Click] = []
        for tagger in taggers {
            for tag in tagger.tags {
                guard let input = tagger.inputs.first(where: { $0.channel == tag.channel }) else {
                    continue
                }
                let time = tagger.clock.linkTime(tag.ticks) - input.delay.rawValue
                if slot(time) >= 0 { clicks.append(Click(time: time, detector: input.detector)) }
            }
        }
        return clicks.sorted { ($0.time, $0.detector) < ($1.time, $1.detector) }
    }

    func run(drawing generator: inout some RandomNumberGenerator) -> Result {
        var clicks = allClicks()[...]
        var result = Result(lost: lostSlots())
        var dead = Int64.min
        while let first = clicks.first {
            let current = slot(first.time)
            let group = clicks.prefix { slot($0.time) == current }
            clicks = clicks.dropFirst(group.count)
            if !result.lost.contains(UInt64(current)) {
                take(Array(group), slot: current, dead: dead, &result, &generator)
            }
            if guardTime > 0, let last = group.last { dead = max(dead, last.time + guardTime) }
        }
        return result
    }

    private func take(
        _ group: [Click], slot: Int64, dead: Int64, _ result: inout Result,
        _ generator: inout some RandomNumberGenerator
    ) {
        var accepted: [Click] = []
        for click in group {
            if gate.accepts(phase: phase(click.time, slot), detector: click.detector) {
                result.clicks[Int(click.detector)] += 1
                if !accepted.contains(where: { $0.detector == click.detector }) {
                    accepted.append(click)
                }
            } else {
                result.outside[Int(click.detector)] += 1
            }
        }
        guard let first = accepted.first else { return }
        var detection = Detection(
            slot: SlotIndex(UInt64(slot)), phase: phase(first.time, slot),
            detector: first.detector)
        if accepted.count > 1 {
            result.multiple += 1
            let bases = Set(accepted.map { $0.detector / 2 })
            let candidates = bases.sorted().flatMap { [2 * $0, 2 * $0 + 1] }
            // The leading bits of one number choose among two or four.
            let draw = Int(generator.next() >> 62) % candidates.count
            let chosen = accepted.first { $0.detector == candidates[draw] } ?? first
            detection = Detection(
                slot: detection.slot, phase: phase(chosen.time, slot),
                detector: candidates[draw], isMultiple: true)
        }
        if first.time < dead {
            result.discarded.append(UInt64(slot))
        } else {
            result.detections.append(detection)
        }
    }
}
