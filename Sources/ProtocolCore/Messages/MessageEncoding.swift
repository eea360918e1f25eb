import LinkTypes
import Quantities

extension Provenance {
    var wireValue: UInt8 {
        switch self {
        case .device: 0
        case .emulated: 1
        case .recording: 2
        }
    }

    init?(wireValue: UInt8) {
        switch wireValue {
        case 0: self = .device
        case 1: self = .emulated
        case 2: self = .recording
        default: return nil
        }
    }
}

extension ByteWriter {
    mutating func put(reason: String) {
        // Cut at a scalar boundary, so that what remains is still UTF-8.
        var text: [UInt8] = []
        for scalar in reason.unicodeScalars {
            let encoded = Array(String(scalar).utf8)
            if text.count + encoded.count > MessageLimits.reasonBytes { break }
            text += encoded
        }
        put(UInt16(text.count))
        put(bytes: text)
    }

    mutating func put(_ kind: PulsePatternKind) {
        switch kind {
        case .key:
            put(UInt8(0))
        case .synchronization(let key):
            put(UInt8(1))
            put(key)
        case .training(let key, let probabilityZ, let probabilitySignal):
            put(UInt8(2))
            put(key)
            put(probabilityZ)
            put(probabilitySignal)
        }
    }
}

extension Message {
    /// The payload in the layout of docs/protocol.md.
    var payload: [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .keepAlive: break
        case .hello(let value): value.encode(to: &writer)
        case .abort(let value):
            writer.put(value.code)
            writer.put(reason: value.text)
        case .patternRequest(let value):
            writer.put(value.identifier)
            writer.put(value.pattern)
            writer.put(value.earliestSlot.rawValue)
        case .patternStart(let value):
            writer.put(value.identifier)
            writer.put(value.slot.rawValue)
        case .detections(let value): value.encode(to: &writer)
        case .disclosure(let value):
            writer.put(value.epoch)
            writer.put(value.ranks)
            writer.put(plane: value.bases)
            writer.put(bits: value.values)
            writer.put(UInt8(value.closesBlock ? 1 : 0))
        case .bases(let value):
            writer.put(value.block)
            writer.put(value.epoch)
            writer.put(countedPlane: value.bases)
            writer.put(bits: value.testValues)
        case .sifting(let value):
            writer.put(value.block)
            writer.put(value.epoch)
            writer.put(countedPlane: value.bases)
            writer.put(countedPlane: value.intensities)
            writer.put(countedBits: value.testValues)
        default: encodeBlockMessage(to: &writer)
        }
        return writer.bytes
    }

    /// The messages that turn a closed block into key.
    private func encodeBlockMessage(to writer: inout ByteWriter) {
        switch self {
        case .estimate(let value):
            writer.put(value.block)
            writer.put(value.trials)
            writer.put(value.errors)
        case .syndromes(let value): value.encode(to: &writer)
        case .revealRequest(let value): value.encode(to: &writer)
        case .revealed(let value): value.encode(to: &writer)
        case .reconciled(let value):
            writer.put(value.block)
            writer.put(value.signalErrors)
            writer.put(value.decoyErrors)
        case .verification(let value): value.encode(to: &writer)
        case .verified(let value):
            writer.put(value.block)
            writer.put(UInt8(value.matches ? 1 : 0))
        case .amplification(let value):
            writer.put(value.block)
            writer.put(value.keyBits)
            writer.put(countedBits: value.seed)
        case .discard(let value):
            writer.put(value.block)
            writer.put(reason: value.reason)
        case .blockTag(let value), .released(let value):
            writer.put(value.block)
            writer.put(value.padOffset)
            writer.put(bytes: value.tag)
        case .cascadeStart(let value): value.encode(to: &writer)
        case .cascadeParities(let value): value.encode(to: &writer)
        case .cascadeDifferences(let value): value.encode(to: &writer)
        default: preconditionFailure("encoded by payload")
        }
    }
}

extension Hello {
    func encode(to writer: inout ByteWriter) {
        writer.put(role.rawValue)
        writer.put(bytes: nonce)
        writer.put(bytes: parametersDigest)
        for pool in [sending, receiving] {
            writer.put(pool.lowerBound)
            writer.put(pool.upperBound)
        }
        // All zeros stand for "none": a digest that happens to be zero is out of the question.
        for key in [lastReleased, held] {
            writer.put(bytes: key?.octets ?? [UInt8](repeating: 0, count: 16))
        }
    }
}

extension DetectionAnnouncement {
    func encode(to writer: inout ByteWriter) {
        writer.put(epoch)
        writer.put(firstSlot.rawValue)
        writer.put(slotCount)
        writer.put(provenance.wireValue)
        writer.put(multipleCount)
        writer.put(UInt16(losses.count))
        for loss in losses {
            writer.put(UInt32(loss.lowerBound))
            writer.put(UInt32(loss.upperBound - loss.lowerBound))
        }
        writer.put(positions)
    }
}
