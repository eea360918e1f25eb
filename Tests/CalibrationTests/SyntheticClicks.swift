import Calibration
import LinkTypes
import Quantities

/// Clicks of Bob's tagger while Alice sends `SynchronizationPattern`, with what a clock lock must
/// find out.
struct SyntheticClicks {
    let slotPeriod = Picoseconds(50_000)
    let tickPeriod: TickPeriod
    /// Clicks a second on bright chips' average, and of background.
    var signalRate = 33_000.0
    var backgroundRate = 1_200.0
    var darkChipRatio = 0.3
    var jitter = 150.0
    var detectorDelays = [0.0, 350, -200, 120]
    /// Slot 0 arrives at this many nominal picoseconds of the tagger.
    var origin: Double
    /// How much longer a slot is than nominal.
    var stretch: Double
    var generator: SeededGenerator

    init(seed: UInt64, tick: Int64 = 125) {
        generator = SeededGenerator(seed: seed, label: "synthetic clicks")
        tickPeriod = TickPeriod(picoseconds: tick)
        origin = 1e11 * generator.uniform()
        stretch = 40e-6 * (2 * generator.uniform() - 1)
    }

    /// The centre of a slot by the tagger's clock, the mean of all detectors.
    func centre(of slot: UInt64) -> Double {
        let mean = detectorDelays.reduce(0, +) / 4
        return origin + Double(slot) * 50_000 + Double(slot) * (50_000 * stretch) + mean
    }

    /// The tags of `seconds` from slot `first` on, with host time off by up to 50 ms.
    mutating func sample(from first: UInt64, seconds: Double) -> TimeTagSample {
        let slots = UInt64(seconds * 20e6)
        let bright = 2 * signalRate / 20e6 / (1 + darkChipRatio)
        var tags: [TimeTag] = []
        func append(_ time: Double, _ detector: Int) {
            guard time >= 0 else { return }
            let tick = UInt64(time / tickPeriod.picoseconds)
            tags.append(TimeTag(ticks: tick, channel: UInt8(detector)))
        }
        var slot = first + generator.geometric(bright)
        while slot < first + slots {
            let component = Int(slot % 3)
            let isBright = SynchronizationPattern.isBright(component: component, chip: slot)
            if isBright || generator.bernoulli(darkChipRatio) {
                let detector = Int(generator.next() & 3)
                let late = generator.bernoulli(0.08) ? 250 * generator.exponentialDeviate() : 0
                let offset = origin + Double(slot) * 50_000 + Double(slot) * (50_000 * stretch)
                append(
                    offset + detectorDelays[detector] + jitter * generator.gaussian() + late,
                    detector)
            }
            slot += 1 + generator.geometric(bright)
        }
        var time = origin + Double(first) * 50_000
        let end = time + seconds * 1e12
        while backgroundRate > 0 {
            time += generator.exponentialDeviate() / backgroundRate * 1e12
            if time > end { break }
            append(time, Int(generator.next() & 3))
        }
        tags.sort()
        let middle = first + slots / 2
        let error = Int64(1e6 * (2 * generator.uniform() - 1))
        return TimeTagSample(
            tickPeriod: tickPeriod, tags: tags,
            coarse: CoarseSlotTime(
                ticks: DeviceTicks(UInt64(centre(of: middle) / tickPeriod.picoseconds)),
                slot: SlotIndex(UInt64(max(0, Int64(middle) + error))), uncertainty: 1_000_000))
    }
}
