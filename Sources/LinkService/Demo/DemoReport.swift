import Calibration
import Instruments
import LinkTypes
import OpticalBench
import ProtocolCore
import Quantities

/// What a demonstration found, did and measured.
public struct DemoReport: Sendable {
    /// What was asked for.
    public let options: DemoOptions
    /// The devices found.
    public internal(set) var devices: [DiscoveredDevice] = []
    /// The self-tests of the instruments used.
    public internal(set) var selfTests: [(name: String, passed: Bool)] = []
    /// Counts of Alice's tagger in two seconds, by channel.
    public internal(set) var sourceCounts: [UInt64] = []
    /// The calibrations, in order.
    public internal(set) var calibrations: [CalibrationRecord] = []
    /// The snapshot that keys were produced under.
    public internal(set) var snapshot: CalibrationSnapshot?
    /// The true error by misalignment alone before, after calibration, and at the end.
    public internal(set) var startTruth = (z: 0.0, x: 0.0)
    /// The same after calibration.
    public internal(set) var alignedTruth = (z: 0.0, x: 0.0)
    /// The same at the end.
    public internal(set) var endTruth = (z: 0.0, x: 0.0)
    /// How long keys were produced.
    public internal(set) var keyDuration = Duration.zero
    /// What Alice has.
    public internal(set) var alice = StationOutcome()
    /// What Bob has.
    public internal(set) var bob = StationOutcome()
    /// What the live tracker did.
    public internal(set) var tracking = TrackingReport()
    /// Counts of the event stream.
    public internal(set) var tally = LinkTally()
    /// What the physics says the blocks should yield; `nil` without keys.
    public internal(set) var prediction: KeyRatePrediction?
    var blocksSeen = 0
    private var samples = 0
    private var sampledErrors = (z: 0.0, x: 0.0)
    /// The mean true error by misalignment while keys were produced.
    public var meanTruth: (z: Double, x: Double) {
        let n = Double(max(1, samples))
        return (sampledErrors.z / n, sampledErrors.x / n)
    }

    init(options: DemoOptions) { self.options = options }

    /// Whether both ends have the same keys under the same names.
    public var keysAgree: Bool {
        bob.delivered.count == alice.delivered.count
            && zip(bob.delivered, alice.delivered).allSatisfy {
                $0.identifier == $1.identifier && $0.digest() == $1.digest()
            }
    }

    /// Secret bits delivered, net of what went back to authentication.
    public var secretBits: Int {
        bob.delivered.reduce(0) { $0 + $1.key.count * 8 }
    }

    /// Why no key came out, when none did; the abort reason or that of the last discarded block.
    public var reasonWithoutKey: String? {
        guard bob.delivered.isEmpty else { return nil }
        // Ending the demonstration is no reason.
        if let abort = bob.abort, case .cancelled = abort {
        } else if let abort = bob.abort {
            return abort.description
        }
        if case .discarded(let why) = bob.discarded.last?.outcome { return why }
        return "the run ended before the first block was full"
    }

    /// Whether the run did what it was to do: equal keys, or with an eavesdropper none at all.
    public var isSuccess: Bool {
        options.interceptResend
            ? bob.delivered.isEmpty && alice.delivered.isEmpty && keyAbort != nil
            : !bob.delivered.isEmpty && keysAgree && keyAbort == nil
    }

    /// Why the session ended, unless the demonstration ended it.
    public var keyAbort: AbortReason? {
        guard let abort = bob.abort else { return nil }
        if case .cancelled(let text) = abort, text == "the demonstration is over" { return nil }
        return abort
    }

    /// Blocks that gave keys, in order.
    public var blocks: [BlockReport] { bob.delivered.map(\.report) }

    mutating func sample(_ error: (z: Double, x: Double)) {
        samples += 1
        sampledErrors.z += error.z
        sampledErrors.x += error.x
    }

    mutating func predict(_ parameters: LinkParameters) throws {
        guard !bob.delivered.isEmpty, let gate = snapshot?.gate else { return }
        let efficiencies = blocks.compactMap(\.efficiency)
        let usable =
            tally.slots > 0 ? 1 - Double(tally.lostSlots) / Double(tally.slots) : 1
        prediction = try KeyRatePrediction(
            parameters: parameters, plan: options.plan, gate: gate,
            extraErrors: [meanTruth.z, meanTruth.x],
            efficiency: efficiencies.reduce(0, +) / Double(max(1, efficiencies.count)),
            usableFraction: usable, seed: options.seed)
    }

    /// Secret bits per second over the blocks that gave keys, before authentication key is taken
    /// off.
    public var measuredRate: Double {
        let bits = blocks.reduce(0) { $0 + ($1.keyLength?.length ?? 0) }
        let slots = blocks.reduce(UInt64(0)) {
            $0 + $1.slots.upperBound.rawValue - $1.slots.lowerBound.rawValue
        }
        let seconds = Double(slots) * options.plan.slotPeriod.seconds
        return seconds > 0 ? Double(bits) / seconds : 0
    }

    /// The measured rate against the prediction, in standard deviations of the prediction.
    public var deviation: Double? {
        guard let prediction else { return nil }
        let sigma = prediction.rateDeviation(blocks: blocks.count)
        return sigma > 0 ? (measuredRate - prediction.rate) / sigma : nil
    }

    /// The largest rise of QBER over the first block in either basis.
    public var largestRise: (z: Double, x: Double) {
        func rates(_ select: (BlockReport) -> (Int, Int)) -> Double {
            let all = blocks.map { block -> Double in
                let (errors, trials) = select(block)
                return trials > 0 ? Double(errors) / Double(trials) : 0
            }
            guard let first = all.first, let most = all.max() else { return 0 }
            return most - first
        }
        return (
            rates { ($0.keyErrors?.total ?? 0, $0.keyDetections.total) },
            rates { ($0.testErrors.total, $0.testDetections.total) }
        )
    }
}
