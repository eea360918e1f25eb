import LinkTypes
import Quantities

extension ByteReader {
    /// A range of pool offsets, the end not before the start.
    mutating func offsets(_ field: String) throws(MessageError) -> Range<UInt64> {
        let start = try integer(UInt64.self, field + " start")
        return start..<(try integer(field + " end", in: start...UInt64.max))
    }

    mutating func reason(_ field: String) throws(MessageError) -> String {
        let count = try integer(field + " length", in: 0...UInt16(MessageLimits.reasonBytes))
        let bytes = try take(Int(count), field)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw refusal(field, size: Int(count), expected: "UTF-8", found: "other bytes")
        }
        return text
    }

    mutating func pattern() throws(MessageError) -> PulsePatternKind {
        switch try integer("pattern", in: 0...2 as ClosedRange<UInt8>) {
        case 0: return .key
        case 1: return .synchronization(key: try integer(UInt64.self, "pattern key"))
        default:
            return .training(
                key: try integer(UInt64.self, "pattern key"),
                probabilityZ: try probability("pattern Z probability"),
                probabilitySignal: try probability("pattern signal probability"))
        }
    }
}

extension Message {
    /// Reads the payload of a message of kind `type`; the whole payload must be used.
    init(type: MessageType, payload reader: inout ByteReader) throws(MessageError) {
        switch type {
        case .hello: self = .hello(try Hello(from: &reader))
        case .keepAlive: self = .keepAlive
        case .abort:
            self = .abort(
                AbortNotice(
                    code: try reader.integer(UInt16.self, "code"),
                    text: try reader.reason("text")))
        case .patternRequest:
            self = .patternRequest(
                PatternRequest(
                    identifier: try reader.integer(UInt32.self, "request"),
                    pattern: try reader.pattern(),
                    earliestSlot: SlotIndex(try reader.integer(UInt64.self, "earliest slot"))))
        case .patternStart:
            self = .patternStart(
                PatternStart(
                    identifier: try reader.integer(UInt32.self, "request"),
                    slot: SlotIndex(try reader.integer(UInt64.self, "slot"))))
        case .detections: self = .detections(try DetectionAnnouncement(from: &reader))
        case .disclosure: self = .disclosure(try Disclosure(from: &reader))
        case .bases: self = .bases(try BasisAnnouncement(from: &reader))
        case .sifting: self = .sifting(try SiftingReply(from: &reader))
        default: self = try Self.decodeBlockMessage(type: type, payload: &reader)
        }
        try reader.finish()
    }

    private static func decodeBlockMessage(
        type: MessageType, payload reader: inout ByteReader
    ) throws(MessageError) -> Message {
        switch type {
        case .estimate:
            let block = try reader.integer(UInt32.self, "block")
            let trials = try reader.integer(UInt32.self, "trials")
            let errors = try reader.integer("errors", in: 0...trials)
            return .estimate(ErrorEstimate(block: block, trials: trials, errors: errors))
        case .syndromes: return .syndromes(try SyndromeMessage(from: &reader))
        case .revealRequest: return .revealRequest(try RevealRequest(from: &reader))
        case .revealed: return .revealed(try RevealReply(from: &reader))
        case .reconciled:
            return .reconciled(
                ReconciledNotice(
                    block: try reader.integer(UInt32.self, "block"),
                    signalErrors: try reader.integer(UInt32.self, "signal errors"),
                    decoyErrors: try reader.integer(UInt32.self, "decoy errors")))
        case .verification: return .verification(try VerificationMessage(from: &reader))
        case .verified:
            return .verified(
                VerifiedNotice(
                    block: try reader.integer(UInt32.self, "block"),
                    matches: try reader.flag("matches")))
        case .amplification:
            return .amplification(
                AmplificationMessage(
                    block: try reader.integer(UInt32.self, "block"),
                    keyBits: try reader.integer(UInt32.self, "key bits"),
                    seed: try reader.countedBits(limit: MessageLimits.seedBits, "seed")))
        case .discard:
            return .discard(
                DiscardNotice(
                    block: try reader.integer(UInt32.self, "block"),
                    reason: try reader.reason("reason")))
        case .blockTag, .released:
            let tag = BlockTag(
                block: try reader.integer(UInt32.self, "block"),
                padOffset: try reader.integer(UInt64.self, "pad offset"),
                tag: try reader.take(16, "tag"))
            return type == .released ? .released(tag) : .blockTag(tag)
        case .cascadeStart: return .cascadeStart(try CascadeStart(from: &reader))
        case .cascadeParities: return .cascadeParities(try CascadeParities(from: &reader))
        case .cascadeDifferences:
            return .cascadeDifferences(try CascadeDifferences(from: &reader))
        default: preconditionFailure("decoded by init")
        }
    }
}

extension Hello {
    init(from reader: inout ByteReader) throws(MessageError) {
        role = try reader.flag("role") ? .bob : .alice
        nonce = try reader.take(16, "nonce")
        parametersDigest = try reader.take(32, "parameters digest")
        sending = try reader.offsets("sending pool")
        receiving = try reader.offsets("receiving pool")
        lastReleased = Self.name(try reader.take(16, "last released key"))
        held = Self.name(try reader.take(16, "held key"))
    }

    private static func name(_ octets: [UInt8]) -> KeyIdentifier? {
        octets.allSatisfy { $0 == 0 } ? nil : KeyIdentifier(octets: octets)
    }
}

extension DetectionAnnouncement {
    init(from reader: inout ByteReader) throws(MessageError) {
        epoch = try reader.integer(UInt32.self, "epoch")
        // The last slot of the epoch must still have a number.
        firstSlot = SlotIndex(
            try reader.integer("first slot", in: 0...UInt64.max - MessageLimits.slotsPerEpoch))
        slotCount = try reader.integer("slot count", in: 1...MessageLimits.slotsPerEpoch)
        let source = try reader.integer("provenance", in: 0...2 as ClosedRange<UInt8>)
        guard let source = Provenance(wireValue: source) else {
            throw reader.refusal("provenance", size: 1, expected: "0…2", found: source)
        }
        provenance = source
        multipleCount = try reader.integer(
            "multiple clicks", in: 0...UInt32(MessageLimits.detectionsPerEpoch))
        let lossCount = try reader.integer(
            "loss count", in: 0...UInt16(MessageLimits.lossesPerEpoch))
        losses = []
        var end: UInt64 = 0
        for _ in 0..<lossCount {
            let start = try reader.integer("loss start", in: UInt32(clamping: end)...UInt32.max)
            let length = try reader.integer("loss length", in: 1...UInt32.max)
            let loss = UInt64(start)..<UInt64(start) + UInt64(length)
            guard loss.upperBound <= slotCount else {
                throw reader.refusal(
                    "loss length", size: 4, expected: "an end within the epoch",
                    found: loss.upperBound)
            }
            losses.append(loss)
            end = loss.upperBound
        }
        positions = try reader.positions(
            limit: MessageLimits.detectionsPerEpoch,
            octetLimit: MessageType.detections.payloadLimit, "positions")
    }
}

extension Disclosure {
    init(from reader: inout ByteReader) throws(MessageError) {
        epoch = try reader.integer(UInt32.self, "epoch")
        ranks = try reader.positions(
            limit: MessageLimits.detectionsPerEpoch,
            octetLimit: MessageType.disclosure.payloadLimit, "ranks")
        bases = try reader.plane(ranks.count, "bases")
        values = try reader.bits(ranks.count, "values")
        closesBlock = try reader.flag("closes block")
    }
}

extension BasisAnnouncement {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        epoch = try reader.integer(UInt32.self, "epoch")
        bases = try reader.countedPlane(limit: MessageLimits.detectionsPerEpoch, "bases")
        testValues = try reader.bits(bases.populationCount, "test values")
    }
}

extension SiftingReply {
    init(from reader: inout ByteReader) throws(MessageError) {
        block = try reader.integer(UInt32.self, "block")
        epoch = try reader.integer(UInt32.self, "epoch")
        bases = try reader.countedPlane(limit: MessageLimits.detectionsPerEpoch, "bases")
        intensities = try reader.countedPlane(limit: bases.count, "intensities")
        testValues = try reader.countedBits(limit: bases.count, "test values")
    }
}
