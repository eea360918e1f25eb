import LinkTypes
import Quantities

/// What happens to either end. Every input is answered by the actions it causes, in order.
public enum SessionInput: Sendable {
    /// The connection is up.
    case start(now: HostInstant)
    /// Bytes of the peer, in any pieces.
    case received([UInt8])
    /// The connection ended.
    case closed
    /// Time passed; due at least every second.
    case tick(now: HostInstant)
    /// This node wants to end the session.
    case cancel(String)
}

/// What a session asks its node to do, in order.
public enum SessionAction: Sendable {
    /// Send these bytes to the peer.
    case send([UInt8])
    /// Both ends agreed to talk.
    case established(session: UInt64)
    /// Alice: send `pattern` from slot `from` on.
    case preparePattern(PulsePatternKind, from: SlotIndex)
    /// Bob: Alice sends `pattern` from slot `from` on.
    case patternStarted(PulsePatternKind, from: SlotIndex)
    /// Bob: coincidences of disclosed states with raw detectors, for the polarization tracker.
    case calibrationCounts(StateDetectorCounts, slots: Range<SlotIndex>)
    /// Bob: the detections of these slots take no part, because a queue is full.
    case dropped(Range<SlotIndex>)
    /// A key that both ends hold, verified and authenticated. It is released in the store already.
    case deliver(SecretBlock)
    /// Bob: the key of an earlier session turned out to be released by Alice, so it is released
    /// here as well. Its report was lost with the session that made it.
    case recovered(KeyIdentifier)
    /// A block gave no key; its report says why.
    case discarded(BlockReport)
    /// The session is over and every secret in it destroyed.
    case aborted(AbortReason)
}

/// A key, handed over once. The octets are zeroed when the last reference is gone.
public final class SecretBlock: Sendable {
    /// The name of the key, the same at both ends; public.
    public let identifier: KeyIdentifier
    /// The key.
    public let key: SecretBytes
    /// What the key was made from; production sinks refuse anything but `.device`.
    public let provenance: Provenance
    /// How the key was made.
    public let report: BlockReport

    init(
        identifier: KeyIdentifier, key: consuming SecretBytes, provenance: Provenance,
        report: BlockReport
    ) {
        self.identifier = identifier
        self.key = key
        self.provenance = provenance
        self.report = report
    }

    /// SHA-256 of the key, for comparing the two ends on a bench. It is as secret as the key:
    /// whoever has it can test guesses.
    public func digest() -> [UInt8] { key.withBytes { SHA256.digest(of: $0) } }
}

/// The record of one block.
public struct BlockReport: Hashable, Sendable {
    /// What became of the block.
    public enum Outcome: Hashable, Sendable {
        /// Key octets were released.
        case delivered(bits: Int)
        /// No key; the failing inequality with its numbers.
        case discarded(String)
    }

    /// The session.
    public var session: UInt64
    /// The block.
    public var block: UInt32
    /// What became of it.
    public var outcome: Outcome
    /// From the first to the last slot of the block's epochs.
    public var slots: Range<SlotIndex>
    /// The number of epochs.
    public var epochs: Int
    /// What the key is made from.
    public var provenance: Provenance
    /// Detections of the block that were not disclosed.
    public var detections: Int
    /// Multiple clicks among all detections of the epochs.
    public var multipleClicks: Int
    /// n_Z,k.
    public var keyDetections: IntensityCounts
    /// m_Z,k, or `nil` while it is not known.
    public var keyErrors: IntensityCounts?
    /// n_X,k.
    public var testDetections: IntensityCounts
    /// m_X,k.
    public var testErrors: IntensityCounts
    /// Errors among disclosed key-basis detections, as Bob told.
    public var estimate: (trials: Int, errors: Int) { (estimateTrials, estimateErrors) }
    var estimateTrials = 0
    var estimateErrors = 0
    /// Reconciliation frames.
    public var frames = 0
    /// Blind rounds of all frames.
    public var revealRounds = 0
    /// Frames disclosed completely.
    public var droppedFrames = 0
    /// Everything disclosed about the key.
    public var leakage: LeakageLedger
    /// The failure probabilities of the key.
    public var epsilon: EpsilonLedger
    /// The key length with all intermediates, or `nil` when it was not evaluated.
    public var keyLength: KeyLengthReport?
    /// Key bits that went back to the authentication pools.
    public var authenticationBits = 0
    /// What the block shows about the devices; confidential values must not leave the node.
    public var health: [HealthSignal] = []

    /// The Clopper–Pearson interval, at 95 %, of the key-basis error rate.
    public var keyErrorInterval: ClosedRange<Double> {
        clopperPearson(
            successes: keyErrors?.total ?? 0, trials: keyErrors == nil ? 0 : keyDetections.total,
            confidence: 0.95)
    }

    /// The Clopper–Pearson interval, at 95 %, of the test-basis error rate.
    public var testErrorInterval: ClosedRange<Double> {
        clopperPearson(
            successes: testErrors.total, trials: testDetections.total, confidence: 0.95)
    }

    /// f: the bits disclosed to reconcile, in units of n·h(QBER); `nil` without errors.
    public var efficiency: Double? {
        guard let keyErrors, keyErrors.total > 0, keyDetections.total > 0 else { return nil }
        let rate = Double(keyErrors.total) / Double(keyDetections.total)
        let disclosed = leakage.totalBits - leakage.bits(of: .verificationTag)
        return Double(disclosed) / (Double(keyDetections.total) * FiniteKey.binaryEntropy(rate))
    }
}
