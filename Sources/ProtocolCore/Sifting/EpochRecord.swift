import LinkTypes
import Quantities

/// The detections of one epoch that were not given away, as one end knows them until the block is
/// closed and sifted: one octet each, zeroed on release.
///
/// Octet layout: bit 0 the bit value, bit 1 set for the X basis, bit 2 (Alice only) set for the
/// decoy intensity.
final class EpochRecord: Sendable {
    let number: UInt32
    let slots: Range<SlotIndex>
    let provenance: Provenance
    let multipleCount: UInt32
    /// Disclosed detections with both ends in Z, and errors among them; known to Bob only.
    let disclosedKey: (trials: Int, errors: Int)
    private let states: SecretBytes

    init(
        number: UInt32, slots: Range<SlotIndex>, provenance: Provenance, multipleCount: UInt32,
        states: consuming SecretBytes, disclosedKey: (trials: Int, errors: Int) = (0, 0)
    ) {
        self.number = number
        self.slots = slots
        self.provenance = provenance
        self.multipleCount = multipleCount
        self.states = states
        self.disclosedKey = disclosedKey
    }

    /// The number of undisclosed detections.
    var count: Int { states.count }

    func withStates<R>(_ body: (UnsafeBufferPointer<UInt8>) -> R) -> R {
        states.withBytes { body($0) }
    }

    static func octet(_ state: QubitState, isDecoy: Bool = false) -> UInt8 {
        (state.bit ? 1 : 0) | (state.basis == .x ? 2 : 0) | (isDecoy ? 4 : 0)
    }
}

/// The epochs of a block that is being filled or waits to be sifted.
struct BlockEpochs {
    let block: UInt32
    private(set) var records: [EpochRecord] = []
    private(set) var detectionCount = 0

    init(block: UInt32) { self.block = block }

    mutating func append(_ record: EpochRecord) {
        records.append(record)
        detectionCount += record.count
    }

    /// The provenance of the key that the epochs make: physical only if all of them are.
    var provenance: Provenance {
        guard let first = records.first else { return .emulated }
        return records.dropFirst().reduce(first.provenance) { $0.combined(with: $1.provenance) }
    }
}
