import LinkTypes
import Quantities

/// The detections of one epoch that were not given away, as one end knows them until the block is
/// closed and sifted.
package final class EpochRecord: Sendable {
    let number: UInt32
    let slots: Range<SlotIndex>
    let provenance: Provenance
    let multipleCount: UInt32
    /// Disclosed detections with both ends in Z, and errors among them; known to Bob only.
    let disclosedKey: (trials: Int, errors: Int)
    let planes: DetectionPlanes

    package init(
        number: UInt32, slots: Range<SlotIndex>, provenance: Provenance, multipleCount: UInt32,
        planes: DetectionPlanes, disclosedKey: (trials: Int, errors: Int) = (0, 0)
    ) {
        self.number = number
        self.slots = slots
        self.provenance = provenance
        self.multipleCount = multipleCount
        self.planes = planes
        self.disclosedKey = disclosedKey
    }

    /// The number of undisclosed detections.
    package var count: Int { planes.count }

    /// What Bob says about the epoch once its block is closed.
    package func announcement(block: UInt32) -> BasisAnnouncement {
        let inX = DetectionMask(count: count) { planes.bases[$0] }
        return BasisAnnouncement(
            block: block, epoch: number, bases: BitBuffer(planes.bases, count: count),
            testValues: inX.compress(planes.values))
    }
}

/// The epochs of a block that is being filled or waits to be sifted.
struct BlockEpochs {
    let block: UInt32
    private(set) var records: [EpochRecord] = []
    private(set) var detectionCount = 0
    /// What the epochs show about the devices.
    private(set) var evidence = DetectionEvidence()

    init(block: UInt32) { self.block = block }

    mutating func append(_ record: EpochRecord, _ evidence: DetectionEvidence) {
        records.append(record)
        self.evidence += evidence
        detectionCount += record.count
    }

    /// The provenance of the key that the epochs make: physical only if all of them are.
    var provenance: Provenance {
        guard let first = records.first else { return .emulated }
        return records.dropFirst().reduce(first.provenance) { $0.combined(with: $1.provenance) }
    }
}
