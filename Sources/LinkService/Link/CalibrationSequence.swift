import Calibration
import LinkTypes
import Quantities

/// The calibrations that bring a link from nothing to aligned, in the order they build on each
/// other: clock, channel delays, gate, polarization of both bases.
public struct CalibrationSequence<Store: CalibrationRecordStore>: Sendable {
    /// The procedures by the names an operator uses.
    public enum Step: String, CaseIterable, Sendable {
        /// Slot period, phase and slot numbers.
        case clock
        /// How late each detector's clicks come.
        case delays
        /// Which part of the slot is accepted.
        case gate
        /// Both bases.
        case polarization
    }

    private let runner: CalibrationRunner<ReceiverStation, Store>
    private let station: ReceiverStation
    private let slotPeriod: Picoseconds
    private let stack: RetarderStack

    /// The calibrations of one receiver.
    public init(
        station: ReceiverStation, store: Store, context: CalibrationContext,
        slotPeriod: Picoseconds, stack: RetarderStack
    ) {
        self.station = station
        runner = CalibrationRunner(environment: station, store: store, context: context)
        self.slotPeriod = slotPeriod
        self.stack = stack
    }

    /// Undoes or finishes what a crash interrupted.
    public func recover() async throws(CalibrationFailure) { _ = try await runner.recover() }

    /// Runs one procedure and returns its record.
    public func run(_ step: Step) async throws(CalibrationFailure) -> CalibrationRecord {
        let record = try await start(step)
        // What follows measures phases: let the clock tracker take up the new reference first. A
        // cancelled wait is noticed by the next procedure.
        if step == .clock || step == .delays { try? await station.settle(.seconds(2)) }
        return record
    }

    private func start(_ step: Step) async throws(CalibrationFailure) -> CalibrationRecord {
        switch step {
        case .clock:
            try await runner.run(
                ClockLockProcedure(
                    configuration: ClockLockProcedure.Configuration(slotPeriod: slotPeriod)))
        case .delays:
            // The station follows one detector until the delays are known, so the common phase moves
            // only by what steering every 0.1 s leaves: tens of picoseconds, far below the gate.
            try await runner.run(
                DelayCalibration(
                    configuration: DelayCalibration.Configuration(
                        slotPeriod: slotPeriod, phaseAllowance: 150)))
        case .gate:
            try await runner.run(
                GateCalibration(
                    configuration: GateCalibration.Configuration(slotPeriod: slotPeriod)))
        case .polarization:
            try await runner.run(PolarizationAlignment(stack: stack))
        }
    }
}
