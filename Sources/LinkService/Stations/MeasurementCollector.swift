import Calibration
import LinkTypes
import Quantities

/// Collects what one measurement of a calibration asked for from the running event stream.
struct MeasurementCollector {
    /// What is wanted.
    let request: MeasurementRequest
    /// The first tick that counts: everything before was made under other settings or patterns.
    let startTicks: DeviceTicks
    /// The tick at which the measurement is over, whatever was collected.
    let endTicks: DeviceTicks
    /// What Alice sends meanwhile.
    let pattern: any PulsePattern
    private(set) var tags: [TimeTag] = []
    private(set) var phases: [ArrivalPhase] = []
    private(set) var counts = StateDetectorCounts()
    private(set) var isComplete = false

    init(
        request: MeasurementRequest, startTicks: DeviceTicks, endTicks: DeviceTicks,
        pattern: any PulsePattern
    ) {
        self.request = request
        self.startTicks = startTicks
        self.endTicks = endTicks
        self.pattern = pattern
    }

    /// The number of detections collected.
    var collected: Int {
        switch request.quantity {
        case .timeTags: tags.count
        case .arrivalPhases: phases.count
        case .stateCounts: Int(clamping: counts.total)
        }
    }

    /// Takes the tags of a block, for measurements of raw times.
    mutating func take(_ block: TagBlock) {
        guard request.quantity == .timeTags, !isComplete else { return }
        for tag in block.tags where tag.ticks >= startTicks.rawValue {
            guard tag.ticks < endTicks.rawValue, tags.count < request.detections else {
                isComplete = true
                return
            }
            tags.append(tag)
        }
        if block.completeThrough >= endTicks { isComplete = true }
    }

    /// Takes detections of slots in `slots`, the ones that count.
    mutating func take(
        _ batch: DetectionBatch, from start: SlotIndex, before end: SlotIndex,
        delays: [Double]
    ) {
        guard request.quantity != .timeTags, !isComplete else { return }
        var loss = batch.losses[...]
        for detection in batch.detections where detection.slot >= start {
            guard detection.slot < end, collected < request.detections else {
                isComplete = true
                return
            }
            while let next = loss.first, next.end <= detection.slot { loss.removeFirst() }
            if let next = loss.first, next.start <= detection.slot { continue }
            switch request.quantity {
            case .arrivalPhases:
                let detector = Int(detection.detector)
                phases.append(
                    ArrivalPhase(
                        detector: detection.detector,
                        picoseconds: Double(detection.phase) + delays[detector]))
            case .stateCounts:
                let state = pattern.symbol(at: detection.slot).state
                counts[state.index, Int(detection.detector)] += 1
            case .timeTags: break
            }
        }
        if batch.slots.upperBound >= end { isComplete = true }
    }
}
