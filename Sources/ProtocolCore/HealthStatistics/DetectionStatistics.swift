import LinkTypes
import Quantities

/// What Bob's detections of one or more epochs show about his detectors. Of fixed size.
///
/// Multiple clicks have a detector drawn at random and count only as multiple.
public struct DetectionStatistics: Sendable {
    /// Single clicks of each detector.
    public private(set) var clicks = [0, 0, 0, 0]
    /// Slots with clicks of several detectors.
    public private(set) var multiples = 0
    /// Slots that were not lost.
    public private(set) var slots: UInt64 = 0
    /// Arrival times.
    public private(set) var gatePositions = GatePositionHistogram()
    private var correlation = ClickCorrelation()
    private let slotPicoseconds: Double

    /// Nothing seen; slots follow each other at `slotRate`.
    public init(slotRate: Hertz) { slotPicoseconds = 1e12 / slotRate.rawValue }

    /// Takes a detection in slot `slot` of the open epoch, after `run` lost intervals.
    mutating func add(_ detection: Detection, slot: UInt64, run: Int) {
        guard !detection.isMultiple else {
            multiples += 1
            return
        }
        clicks[Int(detection.detector & 3)] += 1
        gatePositions.add(
            detector: detection.detector, phase: detection.phase,
            slotPicoseconds: slotPicoseconds)
        correlation.add(slot: slot, detector: detection.detector, run: run)
    }

    /// Ends an epoch of `slotCount` slots without the ordered, disjoint `losses`.
    mutating func endEpoch(slotCount: UInt64, losses: [Range<UInt64>]) {
        var runs: [UInt64] = []
        var start: UInt64 = 0
        for loss in losses {
            if loss.lowerBound > start { runs.append(loss.lowerBound - start) }
            start = loss.upperBound
        }
        if slotCount > start { runs.append(slotCount - start) }
        slots += runs.reduce(0, +)
        correlation.endEpoch(runs: runs)
    }

    /// Takes the part of a batch that no loss covers, as one epoch.
    public mutating func add(_ batch: DetectionBatch) {
        let first = batch.slots.lowerBound.rawValue
        let losses = batch.mergedLosses(limit: .max) ?? []
        var passed = 0
        for detection in batch.detections {
            let slot = detection.slot.rawValue - first
            while passed < losses.count, losses[passed].upperBound <= slot { passed += 1 }
            if passed < losses.count, losses[passed].contains(slot) { continue }
            add(detection, slot: slot, run: passed)
        }
        endEpoch(slotCount: batch.slots.upperBound.rawValue - first, losses: losses)
    }

    /// Adds the ended epochs of another.
    public static func += (left: inout Self, right: Self) {
        for detector in 0..<4 { left.clicks[detector] += right.clicks[detector] }
        left.multiples += right.multiples
        left.slots += right.slots
        left.gatePositions += right.gatePositions
        left.correlation += right.correlation
    }

    /// All signals; each family has the rate `alarmRate`.
    public func signals(
        _ expectation: HealthExpectation, alarmRate: Double = HealthSignal.familyAlarmRate
    ) -> [HealthSignal] {
        var signals = [
            ("V of H and V", clicks[0], clicks[1], expectation.balanceZ),
            ("A of D and A", clicks[2], clicks[3], expectation.balanceX),
        ].map { subject, zero, one, range in
            HealthSignal.proportion(
                .detectorBalance, subject, ones: one, trials: zero + one, expected: range,
                alarmRate: alarmRate / 2)
        }
        if let probability = expectation.multipleProbability {
            let range =
                probability.lowerBound * Double(slots)...probability.upperBound
                * Double(slots)
            signals.append(
                .events(
                    .multipleClicks, "all detectors", count: multiples, expected: range,
                    samples: Int(clamping: slots), alarmRate: alarmRate))
        }
        signals += gatePositions.signals(
            reference: expectation.gateReference, alarmRate: alarmRate)
        return signals
            + correlation.signals(
                deadSlots: expectation.deadSlots, alarmRate: alarmRate)
    }
}
