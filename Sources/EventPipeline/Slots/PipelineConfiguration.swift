import LinkTypes
import Quantities

/// One input of a tagger that a detector is connected to.
public struct DetectorInput: Hashable, Sendable {
    /// The input channel of the tagger, counted from 0.
    public var channel: UInt8
    /// The detector, 0…3: H, V, D, A port of the receiver.
    public var detector: UInt8
    /// How much later this input reports a photon than the reference; subtracted from its tags.
    public var delay: Picoseconds

    /// Detector `detector` on input `channel`.
    public init(channel: UInt8, detector: UInt8, delay: Picoseconds = Picoseconds(0)) {
        self.channel = channel
        self.detector = detector
        self.delay = delay
    }
}

/// A time tagger that feeds the pipeline.
public struct TaggerInput: Hashable, Sendable {
    /// How its counter maps to link time.
    public var clock: ClockModel
    /// The inputs with detectors, each channel at most once; tags of others are counted and left.
    public var detectors: [DetectorInput]

    /// A tagger with a clock and detectors on some of its inputs.
    public init(clock: ClockModel, detectors: [DetectorInput]) {
        self.clock = clock
        self.detectors = detectors
    }
}

/// Everything that decides how tags become detections.
public struct PipelineConfiguration: Sendable {
    /// The length of a slot on link time; see `SlotGrid` for its limits.
    public var slotPeriod: TickPeriod
    /// The taggers, by the number `push` names them with.
    public var taggers: [TaggerInput]
    /// Which clicks are accepted.
    public var gate: SlotGate
    /// After a click of any detector, detections of all detectors are discarded for this long, so
    /// that a slot counts only when all four were alive; zero for no such rule. At most 1 s.
    public var guardTime: Picoseconds
    /// The bins of the phase histogram of `LinkTally`; 0 for none, at most 65,536.
    public var phaseBins: Int
    /// The first slot to report. A pipeline with other delays takes over from `nextSlot` of the
    /// one before it.
    public var firstSlot: SlotIndex
    /// The most clicks held while taggers wait for each other; beyond it blocks become losses.
    public var maximumPendingClicks: Int

    /// A configuration; the defaults have no guard time and 64 bins.
    public init(
        slotPeriod: TickPeriod, taggers: [TaggerInput], gate: SlotGate,
        guardTime: Picoseconds = Picoseconds(0), phaseBins: Int = 64,
        firstSlot: SlotIndex = SlotIndex(0), maximumPendingClicks: Int = 1 << 22
    ) {
        self.slotPeriod = slotPeriod
        self.taggers = taggers
        self.gate = gate
        self.guardTime = guardTime
        self.phaseBins = phaseBins
        self.firstSlot = firstSlot
        self.maximumPendingClicks = maximumPendingClicks
    }
}

/// Why the pipeline refused its configuration or an input.
public enum PipelineError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The configuration contradicts itself or leaves the limits; what is wrong, in words.
    case badConfiguration(String)
    /// There is no tagger with this number.
    case noSuchTagger(Int)
    /// A block's tick is not the one the clock of its tagger was made for.
    case tickPeriodMismatch(tagger: Int, expected: TickPeriod, found: TickPeriod)
    /// The block reaches beyond the horizon of link time; the session must be started again.
    case beyondHorizon(tagger: Int, at: DeviceTicks)
    /// A clock was to be steered at a tick already converted, or out of range.
    case steering(tagger: Int, ClockModel.SteeringError)
    /// The counter of a tagger started anew; its clock says nothing about these ticks.
    case clockLost(tagger: Int)

    /// A stable code for logs and documents.
    public var code: String {
        switch self {
        case .badConfiguration: "BRK-EVT-001"
        case .noSuchTagger: "BRK-EVT-002"
        case .tickPeriodMismatch: "BRK-EVT-003"
        case .beyondHorizon: "BRK-EVT-004"
        case .steering: "BRK-EVT-005"
        case .clockLost: "BRK-EVT-006"
        }
    }

    /// What was expected, what was found, what to do.
    public var description: String {
        switch self {
        case .badConfiguration(let reason): "\(code): event pipeline: \(reason)"
        case .noSuchTagger(let number): "\(code): the pipeline has no tagger \(number)"
        case .tickPeriodMismatch(let tagger, let expected, let found):
            "\(code): tagger \(tagger) sends ticks of \(found.picoseconds) ps, its clock expects "
                + "\(expected.picoseconds) ps; make its clock model again"
        case .beyondHorizon(let tagger, let ticks):
            "\(code): tick \(ticks.rawValue) of tagger \(tagger) is more than 26 days from the "
                + "start of the session; start a new session"
        case .steering(let tagger, let reason):
            "\(code): the clock of tagger \(tagger) can not be steered: \(reason)"
        case .clockLost(let tagger):
            "\(code): tagger \(tagger) was interrupted, so its clock no longer names slots; calibrate "
                + "the clock and make a new pipeline"
        }
    }
}

extension PipelineConfiguration {
    /// Checks all limits, so that the pipeline can rely on them.
    func validate() throws(PipelineError) {
        let period = slotPeriod.picoseconds
        guard period >= 2, period <= 1e9, slotPeriod.numerator <= 1 << 44,
            slotPeriod.denominator <= 1 << 30
        else { throw .badConfiguration("the slot period must be between 2 ps and 1 ms") }
        guard !taggers.isEmpty else { throw .badConfiguration("there is no tagger") }
        guard (0...65_536).contains(phaseBins) else {
            throw .badConfiguration("\(phaseBins) phase bins; at most 65536")
        }
        guard guardTime.rawValue >= 0, guardTime.rawValue <= 1_000_000_000_000 else {
            throw .badConfiguration("the guard time must be between 0 and 1 s")
        }
        guard maximumPendingClicks > 0 else {
            throw .badConfiguration("no clicks can be held")
        }
        guard Double(firstSlot.rawValue) * period < Double(ClockModel.horizon) / 2 else {
            throw .badConfiguration("slot \(firstSlot) is beyond the horizon of link time")
        }
        let inputs = taggers.flatMap(\.detectors)
        guard inputs.count <= 64 else { throw .badConfiguration("more than 64 detector inputs") }
        for input in inputs {
            guard input.detector < 4 else {
                throw .badConfiguration("detector \(input.detector); detectors are 0 to 3")
            }
            guard abs(input.delay.rawValue) <= 1_000_000_000_000 else {
                throw .badConfiguration("the delay of channel \(input.channel) exceeds 1 s")
            }
        }
        for tagger in taggers {
            let channels = tagger.detectors.map(\.channel).sorted()
            for (left, right) in zip(channels, channels.dropFirst()) where left == right {
                throw .badConfiguration("channel \(left) is connected to two detectors")
            }
        }
    }
}
