import LinkTypes
import Quantities

/// How Bob's ticks map to Alice's slots, near a reference.
///
/// All arithmetic works on differences from the reference in exact integers; only the small part
/// due to the oscillators' difference is floating point, so the phase stays good to a picosecond
/// over hours.
public struct ClockSolution: Hashable, Sendable, Codable {
    /// A moment of Bob's tagger, in nominal picoseconds since the start of its acquisition.
    public var referenceTime: Picoseconds
    /// The slot whose centre is next to the reference.
    public var referenceSlot: SlotIndex
    /// Picoseconds from the reference to the centre of the reference slot.
    public var referencePhase: Double
    /// The nominal length of a slot.
    public var slotPeriod: Picoseconds
    /// How much longer a slot lasts by Bob's oscillator than nominal, as a fraction.
    public var stretch: Double
    /// The variance of `referencePhase`, in ps².
    public var phaseVariance: Double
    /// The variance of `stretch`.
    public var stretchVariance: Double
    /// The covariance of `referencePhase` and `stretch`, in ps.
    public var covariance: Double
    /// The standard deviation of click times about the centre of their slot, in picoseconds.
    public var clickDeviation: Double
    /// The probability that `referenceSlot` is wrong, by the acquisition's own statistics.
    public var falseSlotProbability: Double

    /// A solution.
    public init(
        referenceTime: Picoseconds, referenceSlot: SlotIndex, referencePhase: Double,
        slotPeriod: Picoseconds, stretch: Double, phaseVariance: Double, stretchVariance: Double,
        covariance: Double, clickDeviation: Double, falseSlotProbability: Double
    ) {
        precondition(slotPeriod.rawValue > 0, "a slot has a positive length")
        self.referenceTime = referenceTime
        self.referenceSlot = referenceSlot
        self.referencePhase = referencePhase
        self.slotPeriod = slotPeriod
        self.stretch = stretch
        self.phaseVariance = phaseVariance
        self.stretchVariance = stretchVariance
        self.covariance = covariance
        self.clickDeviation = clickDeviation
        self.falseSlotProbability = falseSlotProbability
    }

    /// The difference of the oscillators in parts per million; positive when Bob's runs fast.
    public var partsPerMillion: Double { stretch * 1e6 }

    /// The slot of a click and its picoseconds after the centre of that slot.
    ///
    /// `time` is in nominal picoseconds of the tagger. `nil` for times before slot 0.
    public func position(of time: Picoseconds) -> (slot: SlotIndex, phase: Double)? {
        let elapsed = time.rawValue - referenceTime.rawValue
        let offset = Double(elapsed) - referencePhase
        let length = Double(slotPeriod.rawValue) * (1 + stretch)
        let count = Int64((offset / length).rounded())
        let (slot, overflow) = Int64(clamping: referenceSlot.rawValue)
            .addingReportingOverflow(count)
        guard !overflow, slot >= 0 else { return nil }
        let whole = elapsed - count * slotPeriod.rawValue
        let drift = Double(count) * (Double(slotPeriod.rawValue) * stretch)
        return (SlotIndex(UInt64(slot)), Double(whole) - drift - referencePhase)
    }

    /// The centre of a slot in nominal picoseconds of the tagger, rounded to the nearest.
    public func time(of slot: SlotIndex) -> Picoseconds {
        let count = Int64(bitPattern: slot.rawValue &- referenceSlot.rawValue)
        let drift = Double(count) * (Double(slotPeriod.rawValue) * stretch) + referencePhase
        return Picoseconds(
            referenceTime.rawValue + count * slotPeriod.rawValue + Int64(drift.rounded()))
    }

    /// The standard deviation of a slot's centre `seconds` from the reference, in picoseconds, for
    /// an oscillator whose fractional frequency wanders by `wander` per √s.
    public func deviation(after seconds: Double, wander: Double) -> Double {
        let t = seconds * 1e12
        let walk = wander * wander * abs(seconds * seconds * seconds) / 3 * 1e24
        return max(0, phaseVariance + 2 * covariance * t + stretchVariance * t * t + walk)
            .squareRoot()
    }

    /// Moves every slot's centre later by `picoseconds`.
    public mutating func shiftPhase(by picoseconds: Double) { referencePhase += picoseconds }

    /// The same line with the reference moved to the slot nearest `time`.
    public func rebased(to time: Picoseconds) -> Self {
        guard let here = position(of: time) else { return self }
        var result = self
        let elapsed = Double(time.rawValue - referenceTime.rawValue)
        result.referenceTime = time
        result.referenceSlot = here.slot
        result.referencePhase = -here.phase
        result.phaseVariance =
            phaseVariance + 2 * covariance * elapsed + stretchVariance * elapsed * elapsed
        result.covariance = covariance + stretchVariance * elapsed
        return result
    }
}
