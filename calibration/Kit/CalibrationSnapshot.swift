import LinkTypes
import Quantities

/// Everything that calibration knows about a link at one moment; immutable once published.
public struct CalibrationSnapshot: Hashable, Sendable, Codable {
    /// Counts published snapshots; 0 is the empty one.
    public var generation: UInt64
    /// How Bob's ticks map to Alice's slots.
    public var clock: ClockSolution?
    /// How late each detector's clicks come.
    public var delays: ChannelDelays?
    /// Which part of the slot is accepted.
    public var gate: GateWindow?
    /// What the ports of the receiver stand for.
    public var labels: DetectorLabels
    /// Channel, controller and receiver as last aligned.
    public var polarization: PolarizationEstimate?
    /// Where the actuators stand.
    public var actuators: [ActuatorSettings]
    /// What made the data behind it; `nil` for the empty snapshot.
    public var provenance: Provenance?

    /// A link about which nothing is known.
    public static let empty = CalibrationSnapshot(
        generation: 0, clock: nil, delays: nil, gate: nil, labels: DetectorLabels(),
        polarization: nil, actuators: [], provenance: nil)

    /// A snapshot of the given parts.
    public init(
        generation: UInt64, clock: ClockSolution?, delays: ChannelDelays?, gate: GateWindow?,
        labels: DetectorLabels, polarization: PolarizationEstimate?,
        actuators: [ActuatorSettings], provenance: Provenance?
    ) {
        self.generation = generation
        self.clock = clock
        self.delays = delays
        self.gate = gate
        self.labels = labels
        self.polarization = polarization
        self.actuators = actuators
        self.provenance = provenance
    }

    /// The next snapshot: this one with `change` made and the actuators where they stand now.
    public func applying(
        _ change: CalibrationChange, settings: [ActuatorSettings], provenance source: Provenance
    ) -> Self {
        var next = self
        next.generation += 1
        next.provenance = provenance.map { $0.combined(with: source) } ?? source
        for moved in settings {
            next.actuators.removeAll { $0.actuator == moved.actuator }
            next.actuators.append(moved)
        }
        switch change {
        case .clock(let clock):
            next.clock = clock
        case .delays(let delays, let commonShift):
            next.delays = delays
            next.clock?.shiftPhase(by: commonShift)
        case .gate(let gate):
            next.gate = gate
        case .polarization(let estimate):
            next.polarization = estimate
            next.labels = estimate.labels
        }
        return next
    }
}

/// The part of a snapshot that a procedure replaces.
public enum CalibrationChange: Hashable, Sendable, Codable {
    /// A new clock.
    case clock(ClockSolution)
    /// New delays relative to their mean, and the picoseconds by which the mean click follows the
    /// present centre of the slot.
    case delays(ChannelDelays, commonShift: Double)
    /// A new gate.
    case gate(GateWindow)
    /// A new alignment, with its labels.
    case polarization(PolarizationEstimate)
}
