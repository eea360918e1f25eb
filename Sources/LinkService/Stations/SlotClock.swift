import Calibration
import EventPipeline
import LinkTypes
import Quantities

extension ClockSolution {
    /// Picoseconds on Alice's slot clock at nominal tagger time `time`; `nil` before slot 0.
    func linkTime(of time: Picoseconds) -> LinkTime? {
        guard let (slot, phase) = position(of: time) else { return nil }
        let centre = Int64(clamping: slot.rawValue) * slotPeriod.rawValue
        return LinkTime(picoseconds: centre + Int64(phase.rounded()))
    }

    /// How much longer a tick of the tagger lasts on Alice's clock than nominal, as a fraction.
    var fractionalOffset: Double { 1 / (1 + stretch) - 1 }

    /// The clock of the event pipeline for a tagger with ticks of `tickPeriod`, exact at `ticks`.
    func clockModel(tickPeriod: TickPeriod, at ticks: DeviceTicks) -> ClockModel? {
        let time = Picoseconds(tickPeriod.picoseconds(of: ticks.rawValue))
        guard let linkTime = linkTime(of: time) else { return nil }
        return ClockModel(
            tickPeriod: tickPeriod, at: ticks, linkTime: linkTime,
            fractionalOffset: fractionalOffset)
    }

    /// The tick offset that brings `model` onto this clock `ahead` after tick `start`.
    ///
    /// The pipeline's clock has no steps, so a phase error is worked off over a short time.
    func steering(
        of model: ClockModel, from start: DeviceTicks, over ahead: Picoseconds
    ) -> Double? {
        let period = model.tickPeriod
        let count = UInt64(Double(ahead.rawValue) / period.picoseconds)
        let end = DeviceTicks(start.rawValue + count)
        guard let target = linkTime(of: Picoseconds(period.picoseconds(of: end.rawValue))) else {
            return nil
        }
        let here = model.linkTime(of: start).picoseconds
        let nominal = period.picoseconds(of: end.rawValue) - period.picoseconds(of: start.rawValue)
        let offset = Double(target.picoseconds - here) / Double(nominal) - 1
        return abs(offset) < ClockModel.maximumOffset ? offset : nil
    }
}

extension CalibrationSnapshot {
    /// The delays to take off each detector's clicks, in picoseconds.
    var detectorDelays: [Double] {
        delays?.picoseconds ?? [0, 0, 0, 0]
    }

    /// The pipeline that this snapshot asks for, with slots from `firstSlot` on; `nil` without a
    /// clock. Without a gate the whole slot is accepted.
    func pipelineConfiguration(
        tickPeriod: TickPeriod, at ticks: DeviceTicks, channels: [UInt8], firstSlot: SlotIndex,
        guardTime: Picoseconds
    ) -> PipelineConfiguration? {
        guard let clock, let model = clock.clockModel(tickPeriod: tickPeriod, at: ticks) else {
            return nil
        }
        let inputs = channels.enumerated().map { detector, channel in
            DetectorInput(
                channel: channel, detector: UInt8(detector),
                delay: Picoseconds(Int64(detectorDelays[detector].rounded())))
        }
        let slot = clock.slotPeriod
        let window =
            gate.map {
                SlotGate(
                    centre: Picoseconds(Int64($0.centre.rounded())),
                    halfWidth: Picoseconds(Int64(($0.width / 2).rounded())))
            } ?? SlotGate(halfWidth: Picoseconds(slot.rawValue / 2 + 1))
        return PipelineConfiguration(
            slotPeriod: TickPeriod(picoseconds: slot.rawValue),
            taggers: [TaggerInput(clock: model, detectors: inputs)], gate: window,
            guardTime: guardTime, firstSlot: firstSlot)
    }
}
