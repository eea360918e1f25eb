import LinkTypes
import ProtocolCore
import Quantities
import Testing

@Suite struct SessionCascadeTests {
    private func link(seed: UInt64) throws -> LinkUnderTest {
        var setup = LinkUnderTest.Setup(seed: seed)
        setup.blockBits = 122_880
        setup.reconciliation = .cascade
        return try LinkUnderTest(setup)
    }

    /// A whole session with Cascade ends with equal keys, and both ends charge every parity and
    /// every difference that travelled. Seed 0xCA5C.
    @Test func keysAreEqualAndEveryBitIsCharged() throws {
        let seed: UInt64 = 0xCA5C
        let link = try link(seed: seed)
        link.startKey()
        link.run(keys: 1)
        #expect(link.ofAlice.aborted == nil && link.ofBob.aborted == nil, "seed \(seed)")
        let (alice, bob) = (
            try #require(link.ofAlice.keys.first), try #require(link.ofBob.keys.first)
        )
        #expect(alice.report.leakage == bob.report.leakage)
        #expect(alice.report.block == 0)
        var (parities, differences, steps) = (0, 0, 0)
        for message in try messages(link.ofAlice.frames) {
            guard case .cascadeParities(let value) = message, value.block == 0 else { continue }
            parities += value.parities.count
            #expect(Int(value.step) == steps)
            steps += 1
        }
        for message in try messages(link.ofBob.frames) {
            guard case .cascadeDifferences(let value) = message, value.block == 0 else { continue }
            differences += value.differences.count
        }
        let leakage = alice.report.leakage
        #expect(leakage.bits(of: .cascadeParityA) == parities && parities > 0)
        #expect(leakage.bits(of: .cascadeParityB) == differences && differences == parities)
        #expect(leakage.bits(of: .syndrome) == 0)
        let charged = try #require(alice.report.keyLength).chargedLeakage
        #expect(charged >= parities + differences)
        #expect(alice.key.withBytes { Array($0) } == bob.key.withBytes { Array($0) })
    }

    /// A difference too many ends the session with an error that names the message. Seed 0xCA5D.
    @Test func wrongNumberOfDifferencesEndsTheSession() throws {
        let link = try link(seed: 0xCA5D)
        link.tamper = { sender, number, bytes in
            guard sender == .bob, bytes[5] == MessageType.cascadeDifferences.rawValue else {
                return [bytes]
            }
            let message = Message.cascadeDifferences(
                CascadeDifferences(block: 0, step: 0, differences: BitBuffer(zeros: 3)))
            let session = bytes[8..<16].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return [message.frame(session: session, sequence: UInt64(number))]
        }
        link.startKey()
        link.run(keys: 1)
        #expect(link.ofAlice.keys.isEmpty && link.ofBob.keys.isEmpty)
        guard case .protocolViolation(let message, _, let problem) = link.ofAlice.aborted else {
            Issue.record("ended with \(String(describing: link.ofAlice.aborted))")
            return
        }
        #expect(message.contains("cascadeDifferences"), "\(message)")
        #expect(problem.contains("parities"), "\(problem)")
    }

    /// The engine is part of what both ends must share.
    @Test func enginesHaveDifferentDigests() throws {
        func digest(_ engine: ReconciliationEngine) throws -> [UInt8] {
            try SessionParameters(
                slotRate: Hertz(1e8),
                intensities: DecoyIntensities(signal: 0.4, decoy: 0.1, signalProbability: 0.4),
                probabilityZ: 0.5,
                security: SecurityParameters(epsilonSecrecy: 1e-9, epsilonCorrectness: 1e-12),
                reconciliation: engine
            ).digest
        }
        #expect(try digest(.ldpc) != digest(.cascade))
    }
}
