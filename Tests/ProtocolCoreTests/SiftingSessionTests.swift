import LinkTypes
import ProtocolCore
import Quantities
import Testing

@Suite struct SiftingSessionTests {
    /// The outcome of a multiple click is a fair coin tossed before anything is said about its
    /// slot: it is part of the batch, and what Bob announces later is what the batch said, for
    /// every detection. A session that drew again, or later, would differ in half of them.
    @Test func multipleClicksAreDrawnBeforeTheAnnouncement() throws {
        let seed: UInt64 = 0x5E70
        let link = try LinkUnderTest(.init(seed: seed))
        link.startKey()
        var generator = SeededGenerator(seed: seed, label: "multiple")
        var drawn: [SlotIndex: Detection] = [:]
        var next = try #require(link.ofBob.patterns.last)
        for _ in 0..<60 where link.ofBob.keys.isEmpty && !link.isOver {
            let slots = next..<SlotIndex(next.rawValue + 500_000)
            next = slots.upperBound
            var detections = link.channel.detections(in: slots, of: link.pattern)
            for index in detections.indices where generator.bernoulli(0.02) {
                // What the event pipeline does: one of the detectors that clicked, at random.
                detections[index].isMultiple = true
                detections[index].detector = UInt8(generator.next() & 3)
            }
            for detection in detections { drawn[detection.slot] = detection }
            link.emit(before: slots.upperBound)
            let said = link.ofBob.frames.count
            link.announce(
                DetectionBatch(slots: slots, detections: detections, provenance: .emulated))
            let first = try messages(Array(link.ofBob.frames[said...]))[0]
            guard case .detections(let value) = first else {
                Issue.record("the announcement comes first")
                return
            }
            #expect(Int(value.multipleCount) == detections.count(where: \.isMultiple))
        }
        #expect(link.ofBob.keys.count == 1 || !link.ofBob.discarded.isEmpty, "seed \(seed)")
        let compared = try compareAnnouncedResults(link, drawn)
        #expect(compared.multiple > 100, "seed \(seed)")
        #expect(compared.different == 0, "seed \(seed)")
    }

    /// How many of Bob's announced bases and X results differ from the detections of the batches.
    private func compareAnnouncedResults(
        _ link: LinkUnderTest, _ drawn: [SlotIndex: Detection]
    ) throws -> (multiple: Int, different: Int) {
        var undisclosed: [UInt32: [SlotIndex]] = [:]
        for case .detections(let value) in try messages(link.ofBob.frames) {
            undisclosed[value.epoch] = try value.positions.decode(below: value.slotCount).map {
                SlotIndex(value.firstSlot.rawValue + UInt64($0))
            }
        }
        for case .disclosure(let value) in try messages(link.ofAlice.frames) {
            let slots = try #require(undisclosed[value.epoch])
            let ranks = Set(try value.ranks.decode(below: UInt64(slots.count)))
            undisclosed[value.epoch] = slots.indices.filter { !ranks.contains(UInt32($0)) }
                .map { slots[$0] }
        }
        var (multiple, different) = (0, 0)
        for case .bases(let value) in try messages(link.ofBob.frames) {
            var results = 0
            for (index, slot) in try #require(undisclosed[value.epoch]).enumerated() {
                let detection = try #require(drawn[slot])
                let state = QubitState(index: Int(detection.detector))
                if detection.isMultiple { multiple += 1 }
                if value.bases[index] != (state.basis == .x) { different += 1 }
                guard value.bases[index] else { continue }
                if value.testValues[results] != state.bit { different += 1 }
                results += 1
            }
        }
        return (multiple, different)
    }

    /// Whatever the rate, no message holds more than its limit of detections, and none is lost.
    @Test func highRatesAreCutIntoBoundedEpochs() throws {
        let seed: UInt64 = 0x5E71
        let link = try LinkUnderTest(.init(seed: seed))
        link.startKey()
        let start = try #require(link.ofBob.patterns.last)
        var generator = SeededGenerator(seed: seed, label: "rate")
        let count = 700_000
        // Nearly all in the first slots: halving the range has to go on until each part fits.
        let (positions, limit) = clicks(0.9, count: count, &generator)
        let slots = start..<SlotIndex(start.rawValue + 64 * limit)
        let batch = DetectionBatch(
            slots: slots,
            detections: positions.map {
                Detection(
                    slot: SlotIndex(start.rawValue + UInt64($0)), phase: 0,
                    detector: UInt8(generator.next() & 3))
            }, provenance: .emulated)
        link.announce(batch)
        var found: [UInt64] = []
        var next = start.rawValue
        for case .detections(let value) in try messages(link.ofBob.frames) {
            #expect(value.firstSlot.rawValue == next, "seed \(seed)")
            next += value.slotCount
            #expect(value.positions.count <= MessageLimits.detectionsPerEpoch)
            found += try value.positions.decode(below: value.slotCount).map {
                value.firstSlot.rawValue + UInt64($0)
            }
        }
        #expect(next == slots.upperBound.rawValue)
        #expect(found == batch.detections.map(\.slot.rawValue), "seed \(seed)")
        #expect(link.ofBob.dropped == 0 && !link.isOver)
    }

    /// Detections under random losses, marked more than once and across epochs, against a scan of
    /// every slot.
    @Test func randomLossesAreRemovedExactly() throws {
        let seed: UInt64 = 0x5E72
        var generator = SeededGenerator(seed: seed, label: "losses")
        let link = try LinkUnderTest(.init(seed: seed))
        link.startKey()
        var next = try #require(link.ofBob.patterns.last)
        var expected: Set<UInt64> = []
        for _ in 0..<40 {
            let slots = next..<SlotIndex(next.rawValue + 5000)
            next = slots.upperBound
            var isLost = [Bool](repeating: false, count: 5000)
            var losses: [LossMark<SlotIndex>] = []
            for _ in 0..<Int.random(in: 0...6, using: &generator) {
                let start = Int.random(in: -200..<5100, using: &generator)
                let end = start + Int.random(in: 1...900, using: &generator)
                for index in max(0, start)..<max(start, 0, end) where index < 5000 {
                    isLost[index] = true
                }
                losses.append(
                    LossMark(
                        start: SlotIndex(UInt64(max(0, Int(slots.lowerBound.rawValue) + start))),
                        end: SlotIndex(UInt64(max(1, Int(slots.lowerBound.rawValue) + end))),
                        count: nil, reason: .deviceOverflow))
            }
            let detections = (0..<5000).filter { _ in generator.bernoulli(0.2) }.map {
                Detection(
                    slot: SlotIndex(slots.lowerBound.rawValue + UInt64($0)), phase: 0, detector: 0)
            }
            for detection in detections {
                let index = Int(detection.slot.rawValue - slots.lowerBound.rawValue)
                if !isLost[index] { expected.insert(detection.slot.rawValue) }
            }
            link.announce(
                DetectionBatch(
                    slots: slots, detections: detections, losses: losses, provenance: .emulated))
        }
        var found: Set<UInt64> = []
        for case .detections(let value) in try messages(link.ofBob.frames) {
            for position in try value.positions.decode(below: value.slotCount) {
                found.insert(value.firstSlot.rawValue + UInt64(position))
            }
        }
        #expect(found == expected, "seed \(seed)")
        #expect(!link.isOver && found.count > 20_000)
    }
}
