import LinkTypes
import ProtocolCore
import Quantities
import Testing

/// A generator that gets stuck after a while.
private struct StuckGenerator: RandomNumberGenerator, Sendable {
    var base: SeededGenerator
    var words: Int

    mutating func next() -> UInt64 {
        words -= 1
        return words < 0 ? 0 : base.next()
    }
}

@Suite struct HealthSessionTests {
    private func alarms(_ report: BlockReport) -> [HealthSignal] {
        report.health.filter { $0.verdict == .alarm }
    }

    @Test func aGoodLinkRaisesNoAlarm() throws {
        let seed: UInt64 = 0x4EB0
        let link = try LinkUnderTest(.init(seed: seed))
        link.startKey()
        link.run(keys: 2)
        try #require(link.ofAlice.keys.count == 2 && link.ofBob.keys.count == 2, "seed \(seed)")
        for block in link.ofAlice.keys + link.ofBob.keys {
            #expect(alarms(block.report).isEmpty, "seed \(seed): \(alarms(block.report))")
            for signal in block.report.health {
                #expect(signal.falseAlarmRate > 0 && signal.falseAlarmRate < 0.01)
                let isOfKey = signal.test == .bias || signal.test == .bitAutocorrelation
                #expect(signal.isConfidential == isOfKey)
            }
        }
        func tests(_ block: SecretBlock) -> Set<HealthSignal.Test> {
            Set(block.report.health.map(\.test))
        }
        let ofBoth: Set<HealthSignal.Test> = [
            .bias, .bitAutocorrelation, .errorAsymmetry, .intensityRatio, .repetitionCount,
            .adaptiveProportion,
        ]
        #expect(tests(link.ofAlice.keys[0]) == ofBoth)
        #expect(
            tests(link.ofBob.keys[0])
                == ofBoth.union([.detectorBalance, .gatePosition, .clickCorrelation]))
    }

    /// An eavesdropper who lets pulses with two photons pass and blocks some of the others changes
    /// how often signal and decoy pulses are seen; so does a source with other intensities.
    @Test func wrongIntensitiesAreFound() throws {
        let seed: UInt64 = 0x4EB1
        let link = try LinkUnderTest(.init(seed: seed))
        link.channel.intensities = [0.4, 0.07]
        link.startKey()
        link.run(keys: 1)
        let report = try #require(
            link.ofBob.keys.first?.report ?? link.ofBob.discarded.first, "seed \(seed)")
        let found = Set(alarms(report).map(\.test))
        #expect(found == [.intensityRatio], "seed \(seed): \(alarms(report))")
    }

    @Test func stuckGeneratorsAreFound() {
        var tests = GeneratorTests()
        var generator = StuckGenerator(
            base: SeededGenerator(seed: 0x4EB2, label: "stuck"), words: 1 << 16)
        for _ in 0..<1 << 16 { tests.add(generator.next()) }
        #expect(Set(tests.takeSignals("good").map(\.verdict)) == [.normal])
        for _ in 0..<8 { tests.add(generator.next()) }
        #expect(tests.takeSignals("stuck").map(\.verdict) == [.alarm, .alarm])
        // A generator with half of its octets equal repeats too often within a window.
        var loaded = GeneratorTests()
        var good = SeededGenerator(seed: 0x4EB2, label: "loaded")
        for _ in 0..<4096 { loaded.add(good.next() & 0xFF00_FF00_FF00_FF00) }
        #expect(loaded.takeSignals("loaded").map(\.verdict) == [.normal, .alarm])
    }
}
