import Quantities

/// One click of Bob's receiver, assigned to a slot.
public struct Detection: Hashable, Sendable {
    /// The slot of the pulse that the click belongs to.
    public var slot: SlotIndex
    /// The click time relative to the centre of the slot, in picoseconds.
    public var phase: Int32
    /// The detector, 0…3: H, V, D, A port of the receiver, before any relabelling.
    public var detector: UInt8
    /// Whether several detectors clicked in the slot; the detector is then drawn at random.
    public var isMultiple: Bool

    /// A click of `detector` in `slot`.
    public init(slot: SlotIndex, phase: Int32, detector: UInt8, isMultiple: Bool = false) {
        self.slot = slot
        self.phase = phase
        self.detector = detector
        self.isMultiple = isMultiple
    }
}

/// The detections of a run of slots: at most one a slot, in slot order.
public struct DetectionBatch: Hashable, Sendable {
    /// The slots the batch speaks about: every accepted click in them is listed.
    public var slots: Range<SlotIndex>
    /// The detections, in slot order.
    public var detections: [Detection]
    /// The slots of the range in which clicks are missing; they take no part in sifting.
    public var losses: [LossMark<SlotIndex>]
    /// What made the clicks.
    public var provenance: Provenance

    /// A batch over `slots`.
    public init(
        slots: Range<SlotIndex>, detections: [Detection], losses: [LossMark<SlotIndex>] = [],
        provenance: Provenance
    ) {
        self.slots = slots
        self.detections = detections
        self.losses = losses
        self.provenance = provenance
    }
}

/// Which measurement outcome a click of each detector stands for.
///
/// The receiver's ports are H, V, D, A; the polarization aligner may settle on a target in which
/// the two ports of a basis are exchanged, which costs nothing and is undone here.
public struct DetectorLabels: Hashable, Sendable, Codable {
    /// Whether the bit value of the Z ports is inverted.
    public var invertsZ: Bool
    /// Whether the bit value of the X ports is inverted.
    public var invertsX: Bool
    /// Labels with the given inversions.
    public init(invertsZ: Bool = false, invertsX: Bool = false) {
        self.invertsZ = invertsZ
        self.invertsX = invertsX
    }
    /// The outcome that a click of detector 0…3 stands for.
    @inlinable public func outcome(of detector: UInt8) -> QubitState {
        let port = QubitState(index: Int(detector))
        return QubitState(
            basis: port.basis, bit: port.bit != (port.basis == .z ? invertsZ : invertsX))
    }
}

/// Running counts of the event stream, for calibration, metrics and people.
public struct LinkTally: Hashable, Sendable {
    /// Clicks of each detector inside the gate, before multiple clicks are resolved.
    public var clicks: [UInt64]
    /// Clicks of each detector outside the gate.
    public var outsideGate: [UInt64]
    /// Slots with clicks of several detectors.
    public var multipleClicks: UInt64
    /// Slots removed because clicks are missing.
    public var lostSlots: UInt64
    /// Slots covered, lost ones included.
    public var slots: UInt64
    /// Histogram of click times over the slot, for each detector, all clicks; bins of equal width.
    public var phaseHistogram: [[UInt64]]

    /// Zero counts for `detectors` detectors and `phaseBins` bins.
    public init(detectors: Int = 4, phaseBins: Int = 0) {
        clicks = [UInt64](repeating: 0, count: detectors)
        outsideGate = clicks
        multipleClicks = 0
        lostSlots = 0
        slots = 0
        phaseHistogram = [[UInt64]](
            repeating: [UInt64](repeating: 0, count: phaseBins), count: detectors)
    }

    /// All clicks inside the gate.
    public var totalClicks: UInt64 { clicks.reduce(0, +) }
}

/// Coincidences of Alice's four states with Bob's four detectors.
///
/// Cell (state, detector) counts clicks of the detector in slots where Alice sent the state; both
/// indices are those of `QubitState.index`, before relabelling.
public struct StateDetectorCounts: Hashable, Sendable {
    /// The counts, row by row: `cells[state * 4 + detector]`.
    public var cells: [UInt64]
    /// All cells zero.
    public init() { cells = [UInt64](repeating: 0, count: 16) }
    /// The count of one cell.
    @inlinable public subscript(state: Int, detector: Int) -> UInt64 {
        get { cells[state * 4 + detector] }
        set { cells[state * 4 + detector] = newValue }
    }
    /// All counts.
    public var total: UInt64 { cells.reduce(0, +) }
    /// Adds the counts of `other`.
    public static func += (left: inout Self, right: Self) {
        for index in left.cells.indices { left.cells[index] += right.cells[index] }
    }
}
