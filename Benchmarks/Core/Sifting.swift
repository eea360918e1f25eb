import CKernels
import LinkTypes
import ProtocolCore
import Quantities

/// Sifting: the work on bit planes, the code of positions, and the bits that it takes to say where
/// and how the receiver clicked.
func benchmarkSifting(_ report: inout Report) {
    compression(&report)
    localWork(&report)
    for p in [0.1, 0.01, 0.001, 0.0001] { positionCode(p, &report) }
    // 100 ms at 100 MHz and at 1 GHz; above 2^18 detections an epoch is halved.
    for (p, count) in [(0.0001, 1000), (0.0001, 10_000), (0.001, 10_000), (0.001, 100_000)] {
        conversation(p, count, &report, isGoal: count > 1000)
    }
    for p in [0.1, 0.01] { conversation(p, 1 << 17, &report, isGoal: true) }
}

/// PEXT and its portable twin, half of the bits kept.
private func compression(_ report: inout Report) {
    var generator = SeededGenerator(seed: 0x51F7, label: "compression")
    let words = 1 << 12
    let source = (0..<words).map { _ in generator.next() }
    let mask = (0..<words).map { _ in generator.next() }
    for (name, kernel) in [
        ("portable", BEREK_KERNEL_PORTABLE), ("BMI2", BEREK_KERNEL_AVX2),
    ] where berek_kernel_available(kernel) == 1 {
        var out = [UInt64](repeating: 0, count: words + 1)
        let seconds = medianSeconds(span: 0.1) {
            for _ in 0..<16 { _ = berek_bits_compress(&out, 0, source, mask, words, kernel) }
        }
        var digest = Digest()
        digest.add(out)
        let rate = 16 * 64 * Double(words) / seconds
        report.line(
            "compaction of a plane, \(name)", "\(decimal(rate * 1e-9)) Gbit/s",
            digest: digest.value)
    }
}

/// Both ends' work on a closed block: masks of equal bases, compaction of the kept bits and of the
/// intensities, test errors. Messages are made and taken as values, not yet bytes.
private func localWork(_ report: inout Report) {
    var generator = SeededGenerator(seed: 0x51F8, label: "planes")
    let (epochs, size) = (report.isQuick ? 8 : 32, 1 << 16)
    let pairs = (0..<epochs).map { index -> (alice: EpochRecord, bob: EpochRecord) in
        let (alice, bob) = (DetectionPlanes(capacity: size), DetectionPlanes(capacity: size))
        for _ in 0..<size {
            let sent = QubitState(
                basis: generator.bernoulli(0.9) ? .z : .x, bit: generator.bernoulli(0.5))
            let basis: Basis = generator.bernoulli(0.9) ? .z : .x
            let isWrong = generator.bernoulli(basis == sent.basis ? 0.03 : 0.5)
            alice.append(sent, isDecoy: generator.bernoulli(0.3))
            bob.append(QubitState(basis: basis, bit: sent.bit != isWrong))
        }
        func record(_ planes: DetectionPlanes) -> EpochRecord {
            EpochRecord(
                number: UInt32(index), slots: SlotIndex(0)..<SlotIndex(1), provenance: .emulated,
                multipleCount: 0, planes: planes)
        }
        return (record(alice), record(bob))
    }
    let detections = Double(epochs * size)
    let quota = Int(0.8 * detections)
    let announced = pairs.map { $0.bob.announcement(block: 0) }
    var replies: [SiftingReply] = []
    var digest = Digest()
    let ofAlice = medianSeconds {
        replies = []
        var block = SiftedBlock(quota: quota)
        for (pair, bases) in zip(pairs, announced) {
            if let reply = block.sift(pair.alice, with: bases) { replies.append(reply) }
        }
        digest = Digest()
        digest.add(block.keyBits.bits.words[0..<64])
        digest.add(UInt64(block.testErrors.signal))
    }
    var bobDigest = Digest()
    let ofBob = medianSeconds {
        var block = SiftedBlock(quota: quota)
        for (pair, reply) in zip(pairs, replies) {
            let bases = pair.bob.announcement(block: 0)
            guard bases.bases.count == size, block.sift(pair.bob, with: reply) else {
                fatalError("the planes fit")
            }
        }
        bobDigest = digest
        bobDigest.add(block.keyBits.bits.words[0..<64])
        bobDigest.add(UInt64(block.testErrors.signal))
    }
    for (name, seconds) in [("Alice", ofAlice), ("Bob", ofBob)] {
        let rate = detections / seconds * 1e-6
        report.goal(
            "local work, \(name)", "\(decimal(rate, 0)) M detections/s",
            wanted: "≥ 200", isMet: rate >= 200)
    }
    report.line("local work", "\(Int(detections)) detections", digest: bobDigest.value)
}

private func train(
    _ p: Double, _ count: Int, _ generator: inout SeededGenerator
) -> (positions: [UInt32], limit: UInt64) {
    var positions: [UInt32] = []
    var next: UInt64 = generator.geometric(p)
    while positions.count < count {
        positions.append(UInt32(next))
        next += 1 + generator.geometric(p)
    }
    return (positions, next)
}

private func positionCode(_ p: Double, _ report: inout Report) {
    var generator = SeededGenerator(seed: 0x51F9, label: "positions \(p)")
    let count = 1 << 17
    let (positions, limit) = train(p, count, &generator)
    var code = CodedPositions(count: 0, code: [])
    var decoded: [UInt32] = []
    let span = report.isQuick ? 0.1 : 0.5
    let encoding = medianSeconds(span: span) {
        code = CodedPositions(encoding: positions, below: limit)
    }
    let decoding = medianSeconds(span: span) {
        do throws(PositionCodeError) {
            decoded = try code.decode(below: limit)
        } catch {
            fatalError("\(error)")
        }
    }
    guard decoded == positions else { fatalError("positions do not come back") }
    var digest = Digest()
    digest.add(code.code.map(UInt64.init))
    let bits = Double(8 * (code.code.count + 8)) / Double(count)
    let floor = FiniteKey.binaryEntropy(p) / p
    report.line(
        "positions, click probability \(p)",
        "\(decimal(bits, 4)) bits, entropy \(decimal(floor, 4))", digest: digest.value)
    for (name, seconds) in [("encoding", encoding), ("decoding", decoding)] {
        let rate = Double(count) / seconds * 1e-6
        report.goal(
            "positions, \(p), \(name)", "\(decimal(rate, 0)) M detections/s", wanted: "≥ 50",
            isMet: rate >= 50)
    }
}

/// Everything that both ends say to sift one epoch, headers and all, against its entropy.
private func conversation(
    _ p: Double, _ count: Int, _ report: inout Report, isGoal: Bool
) {
    var generator = SeededGenerator(seed: 0x51FA, label: "conversation \(p) \(count)")
    let (positions, limit) = train(p, count, &generator)
    let (alice, bob) = (DetectionPlanes(capacity: count), DetectionPlanes(capacity: count))
    for _ in 0..<count {
        let bit = generator.bernoulli(0.5)
        alice.append(
            QubitState(basis: generator.bernoulli(0.9) ? .z : .x, bit: bit),
            isDecoy: generator.bernoulli(0.3))
        bob.append(QubitState(basis: generator.bernoulli(0.9) ? .z : .x, bit: bit))
    }
    func record(_ planes: DetectionPlanes) -> EpochRecord {
        EpochRecord(
            number: 0, slots: SlotIndex(0)..<SlotIndex(limit), provenance: .emulated,
            multipleCount: 0, planes: planes)
    }
    let bases = record(bob).announcement(block: 0)
    var block = SiftedBlock(quota: 1 << 20)
    guard let reply = block.sift(record(alice), with: bases) else { fatalError("planes fit") }
    let messages: [Message] = [
        .detections(
            DetectionAnnouncement(
                epoch: 0, firstSlot: SlotIndex(0), slotCount: limit, provenance: .emulated,
                multipleCount: 0, losses: [],
                positions: CodedPositions(encoding: positions, below: limit))),
        .bases(bases), .sifting(reply),
    ]
    var octets = 0
    for message in messages { octets += message.frame(session: 1, sequence: 0).count }
    let h = FiniteKey.binaryEntropy
    let floor =
        Double(count) * (h(p) / p + 2 * h(0.9)) + Double(reply.intensities.count) * h(0.3)
        + Double(bases.testValues.count + reply.testValues.count)
    let excess = (Double(8 * octets) / floor - 1) * 100
    let stage = "all of sifting, \(p), \(count) detections"
    let figure = "\(decimal(excess)) % above entropy"
    if isGoal {
        report.goal(stage, figure, wanted: "≤ 3 %", isMet: excess <= 3)
    } else {
        report.line(stage, figure)
    }
}
