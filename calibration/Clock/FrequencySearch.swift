import LinkTypes
import Quantities

/// Click times of a sample: nominal picoseconds of the tagger after the first click.
package struct ClickTimes: Hashable, Sendable {
    /// The first click, in nominal picoseconds since the start of the acquisition.
    package var origin: Picoseconds
    /// Picoseconds after the origin, rising.
    package var offsets: [Int64]
    /// The detector of each click.
    package var detectors: [UInt8]

    package init?(_ sample: TimeTagSample) {
        guard let first = sample.tags.first else { return nil }
        let start = sample.tickPeriod.picoseconds(of: first.ticks)
        origin = Picoseconds(start)
        offsets = []
        detectors = []
        offsets.reserveCapacity(sample.tags.count)
        detectors.reserveCapacity(sample.tags.count)
        for tag in sample.tags where tag.channel < 4 {
            offsets.append(sample.tickPeriod.picoseconds(of: tag.ticks) - start)
            detectors.append(tag.channel)
        }
    }

    /// The number of clicks no later than `picoseconds` after the origin.
    package func count(through picoseconds: Int64) -> Int {
        var (low, high) = (0, offsets.count)
        while low < high {
            let middle = (low + high) / 2
            if offsets[middle] <= picoseconds { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// Finds the slot period in raw clicks by a sparse zoom periodogram.
///
/// Only the occupied times are summed, so a stage costs clicks × candidates; the span grows by
/// four from stage to stage while the range of candidates shrinks. The power |Σ e^{2πi f t}|²/N of
/// background alone is exponential with mean 1, which gives the false-alarm probability of a peak
/// among K candidates as K·e^{−power}.
package enum FrequencySearch {
    /// A found slot period.
    package struct Peak: Hashable, Sendable {
        /// By how much a slot is longer than nominal, as a fraction.
        package var stretch: Double
        /// How uncertain that is: half the last spacing.
        package var uncertainty: Double
        /// The power |Σ e^{iφ}|²/N at the peak of the last stage.
        package var power: Double
        /// The probability that background alone makes a peak this high in the first stage.
        package var falseAlarmProbability: Double
        /// Clicks used by the last stage.
        package var clicks: Int
    }

    /// The most powerful slot period within `range` (a fraction) of `slotPeriod`, using clicks up
    /// to `span` picoseconds after the first; `nil` with fewer than 20 clicks.
    package static func search(
        _ clicks: ClickTimes, slotPeriod: Picoseconds, range: Double, span: Int64
    ) -> Peak? {
        let nominal = Double(slotPeriod.rawValue)
        // First stage: at most 64 candidates, spaced 1/(2T) in frequency, over ±range.
        var length = Int64(min(Double(span), 16 * nominal / range))
        while clicks.count(through: length) < 60, length < span { length = min(span, length * 2) }
        var centre = 0.0
        var half = range
        var falseAlarm = 1.0
        var isFirst = true
        while true {
            let used = clicks.count(through: length)
            guard used >= 20 else { return nil }
            let spacing = nominal / (2 * Double(length))
            let steps = max(1, Int((half / spacing).rounded(.up)))
            var best = (stretch: centre, power: -1.0)
            for step in -steps...steps {
                let stretch = centre + Double(step) * spacing
                let power = Self.power(clicks, used, slotPeriod: slotPeriod, stretch: stretch)
                if power > best.power { best = (stretch, power) }
            }
            best = polish(clicks, used, slotPeriod: slotPeriod, around: best, spacing: spacing)
            if isFirst {
                falseAlarm = min(1, Double(2 * steps + 1) * exponential(-best.power))
                isFirst = false
            }
            centre = best.stretch
            if length >= span {
                return Peak(
                    stretch: centre, uncertainty: spacing / 4, power: best.power,
                    falseAlarmProbability: falseAlarm, clicks: used)
            }
            // The polished peak is good to a small part of the spacing even with few clicks.
            half = spacing
            length = min(span, length * 4)
        }
    }

    /// |Σ exp(2πi·(folded phase))|²/N at a stretch, over the first `used` clicks.
    package static func power(
        _ clicks: ClickTimes, _ used: Int, slotPeriod: Picoseconds, stretch: Double
    ) -> Double {
        let nominal = slotPeriod.rawValue
        // t/(P(1+y)) = t/P − t·y/((1+y)P): the first part is folded exactly in integers.
        let slope = stretch / (1 + stretch) / Double(nominal)
        let inverse = 1 / Double(nominal)
        var (real, imaginary) = (0.0, 0.0)
        for index in 0..<used {
            let offset = clicks.offsets[index]
            let cycles = Double(offset % nominal) * inverse - Double(offset) * slope
            let angle = 2 * Double.pi * (cycles - cycles.rounded())
            real += cosine(angle)
            imaginary += sine(angle)
        }
        return (real * real + imaginary * imaginary) / Double(max(1, used))
    }

    /// Parabolic interpolation of the peak, kept only when it gains.
    private static func polish(
        _ clicks: ClickTimes, _ used: Int, slotPeriod: Picoseconds,
        around best: (stretch: Double, power: Double), spacing: Double
    ) -> (stretch: Double, power: Double) {
        let left = power(clicks, used, slotPeriod: slotPeriod, stretch: best.stretch - spacing)
        let right = power(clicks, used, slotPeriod: slotPeriod, stretch: best.stretch + spacing)
        let curvature = left - 2 * best.power + right
        guard curvature < 0 else { return best }
        let shift = max(-0.5, min(0.5, 0.5 * (left - right) / curvature))
        let stretch = best.stretch + shift * spacing
        let value = power(clicks, used, slotPeriod: slotPeriod, stretch: stretch)
        return value > best.power ? (stretch, value) : best
    }
}
