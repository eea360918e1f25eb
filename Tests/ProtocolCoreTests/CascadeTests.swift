import CKernels
import ProtocolCore
import Quantities
import Testing

/// One reconciliation as two ends would run it.
struct CascadeRun {
    let corrected: BitBuffer
    let corrections: Int
    /// The parities that Alice announced and the differences that Bob did, step by step.
    var parities: [BitBuffer] = []
    var differences: [BitBuffer] = []

    var parityBits: Int { parities.reduce(0) { $0 + $1.count } }
    var differenceBits: Int { differences.reduce(0) { $0 + $1.count } }
    var steps: Int { parities.count }

    init(
        _ parameters: CascadeParameters, seed: UInt64, alice: BitBuffer, bob: BitBuffer,
        kernel: berek_kernel = BEREK_KERNEL_BEST
    ) throws {
        let ofAlice = CascadeAlice(
            parameters: parameters, seed: seed, bits: alice, kernel: kernel)
        let ofBob = CascadeBob(parameters: parameters, seed: seed, bits: bob, kernel: kernel)
        var next: BitBuffer? = ofAlice.start()
        while let announced = next {
            #expect(!ofBob.isFinished)
            let found = try ofBob.step(parities: announced)
            parities.append(announced)
            differences.append(found)
            next = try ofAlice.step(differences: found)
        }
        #expect(ofBob.isFinished)
        #expect(ofAlice.errorCount == ofBob.errorCount)
        corrected = ofBob.corrected
        corrections = ofBob.errorCount
        #expect(ofAlice.announcedBits == parityBits && ofBob.announcedBits == differenceBits)
        #expect(ofAlice.steps == steps && ofBob.steps == steps)
    }
}

/// A random string, and a copy that differs in `errors` random places.
func stringWithErrors(
    _ bits: Int, errors: Int, using generator: inout SeededGenerator
) -> (alice: BitBuffer, bob: BitBuffer) {
    let words = (0..<(bits + 63) / 64).map { _ in generator.next() }
    let alice = BitBuffer(words: words, count: bits)
    var bob = alice
    var placed = 0
    while placed < errors {
        let place = Int.random(in: 0..<bits, using: &generator)
        guard bob[place] == alice[place] else { continue }
        bob[place].toggle()
        placed += 1
    }
    return (alice, bob)
}

@Suite struct CascadeTests {
    /// Lengths around words and windows; seed 8100 and on.
    @Test(arguments: [1, 2, 63, 64, 65, 127, 1000, 4097, 65_535, 65_536, 65_537, 200_001])
    func fewErrorsAreCorrected(_ bits: Int) throws {
        var generator = SeededGenerator(seed: 8100 + UInt64(bits))
        for errors in [0, 1, 2, 3].filter({ $0 <= bits }) {
            let (alice, bob) = stringWithErrors(bits, errors: errors, using: &generator)
            let parameters = CascadeParameters.optimized(bits: bits, errorRate: 0.02)
            let run = try CascadeRun(parameters, seed: 7, alice: alice, bob: bob)
            #expect(run.corrected == alice, "\(errors) errors in \(bits) bits")
            #expect(run.corrections == errors)
        }
    }

    /// Without errors nothing but whole blocks and one round of subsets is compared.
    @Test func nothingIsSearchedWithoutErrors() throws {
        var generator = SeededGenerator(seed: 8200)
        let (alice, bob) = stringWithErrors(131_072, errors: 0, using: &generator)
        let parameters = try #require(
            CascadeParameters(bits: 131_072, blockSizes: [64, 512, 4096]))
        let run = try CascadeRun(parameters, seed: 1, alice: alice, bob: bob)
        // The last block of each window follows from the others in the later passes.
        #expect(run.parities.map(\.count) == [2048, 254, 30, 24])
        #expect(run.differences.allSatisfy { $0.populationCount == 0 })
    }

    /// Strings of 2^17 bits, four for each rate; seed 8300. The parities stay within 1.05 of the
    /// entropy up to 5 %.
    @Test(arguments: [0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1])
    func manyErrorsAreCorrected(_ rate: Double) throws {
        var generator = SeededGenerator(seed: 8300)
        let bits = 1 << 17
        var announced = 0
        for seed in 0..<4 {
            let errors = Int((rate * Double(bits)).rounded())
            let (alice, bob) = stringWithErrors(bits, errors: errors, using: &generator)
            let parameters = CascadeParameters.optimized(bits: bits, errorRate: rate)
            let run = try CascadeRun(parameters, seed: UInt64(seed), alice: alice, bob: bob)
            #expect(run.corrected == alice, "rate \(rate), seed \(seed)")
            #expect(run.corrections == errors)
            announced += run.parityBits
        }
        let f = Double(announced) / (Double(4 * bits) * FiniteKey.binaryEntropy(rate))
        #expect(f < (rate <= 0.05 ? 1.05 : 1.075), "f \(f) at \(rate)")
        #expect(f > 1)
    }

    /// An estimate that is wrong by a factor of three costs parities, never correctness. Seed 8400.
    @Test(arguments: [0.01, 0.09]) func wrongEstimateIsSurvived(_ estimate: Double) throws {
        var generator = SeededGenerator(seed: 8400)
        let (alice, bob) = stringWithErrors(70_000, errors: 2100, using: &generator)
        let parameters = CascadeParameters.optimized(bits: 70_000, errorRate: estimate)
        let run = try CascadeRun(parameters, seed: 3, alice: alice, bob: bob)
        #expect(run.corrected == alice)
    }

    /// All errors in one run of bits: the later passes spread them. Seed 8500.
    @Test func burstIsCorrected() throws {
        var generator = SeededGenerator(seed: 8500)
        let (alice, _) = stringWithErrors(100_000, errors: 0, using: &generator)
        var bob = alice
        for place in 30_000..<30_600 { bob[place].toggle() }
        let parameters = CascadeParameters.optimized(bits: 100_000, errorRate: 0.02)
        let run = try CascadeRun(parameters, seed: 3, alice: alice, bob: bob)
        #expect(run.corrected == alice)
    }

    /// What goes over the channel is part of the protocol. Seed 8600.
    @Test func transcriptIsPinned() throws {
        var generator = SeededGenerator(seed: 8600)
        let (alice, bob) = stringWithErrors(100_000, errors: 2500, using: &generator)
        let parameters = CascadeParameters.optimized(bits: 100_000, errorRate: 0.025)
        #expect(parameters.blockSizes == [32, 256, 4096])
        for kernel in [BEREK_KERNEL_PORTABLE, BEREK_KERNEL_AVX2, BEREK_KERNEL_BEST] {
            let run = try CascadeRun(
                parameters, seed: 0xC0FFEE, alice: alice, bob: bob, kernel: kernel)
            #expect(run.corrected == alice)
            var digest: UInt64 = 0xCBF2_9CE4_8422_2325
            for buffer in zip(run.parities, run.differences).flatMap({ [$0, $1] }) {
                for word in [UInt64(buffer.count)] + buffer.words {
                    digest = (digest ^ word) &* 0x0000_0100_0000_01B3
                }
            }
            #expect(
                digest == 0xF08F_A4BD_62D3_F69F,
                "digest \(String(digest, radix: 16)), \(run.steps) steps")
        }
    }

    /// Both ends charge the bits of the messages, no more and no less. Seed 8700.
    @Test func ledgerEqualsTheWire() throws {
        var generator = SeededGenerator(seed: 8700)
        let (alice, bob) = stringWithErrors(50_000, errors: 1000, using: &generator)
        let parameters = CascadeParameters.optimized(bits: 50_000, errorRate: 0.02)
        let run = try CascadeRun(parameters, seed: 9, alice: alice, bob: bob)
        var decoder = MessageDecoder()
        var ledger = LeakageLedger()
        var frames: [Frame] = []
        for (step, (parities, differences)) in zip(run.parities, run.differences).enumerated() {
            for message in [
                Message.cascadeParities(
                    CascadeParities(block: 4, step: UInt32(step), parities: parities)),
                Message.cascadeDifferences(
                    CascadeDifferences(block: 4, step: UInt32(step), differences: differences)),
            ] {
                try decoder.feed(message.frame(session: 1, sequence: 0), into: &frames)
            }
        }
        for frame in frames {
            switch frame.message {
            case .cascadeParities(let value):
                ledger.append(.cascadeParityA, bits: value.parities.count)
                #expect(frame.header.payloadLength == 12 + (value.parities.count + 7) / 8)
            case .cascadeDifferences(let value):
                ledger.append(.cascadeParityB, bits: value.differences.count)
                #expect(frame.header.payloadLength == 12 + (value.differences.count + 7) / 8)
            default: Issue.record("another message")
            }
        }
        #expect(ledger.bits(of: .cascadeParityA) == run.parityBits)
        #expect(ledger.bits(of: .cascadeParityB) == run.differenceBits)
        #expect(ledger.totalBits == 2 * run.parityBits)
    }

    // MARK: Peers that do not keep to it

    @Test func otherLengthsAreRefused() throws {
        var generator = SeededGenerator(seed: 8800)
        let (string, _) = stringWithErrors(1000, errors: 0, using: &generator)
        let parameters = CascadeParameters.optimized(bits: 1000, errorRate: 0.05)
        let alice = CascadeAlice(parameters: parameters, seed: 1, bits: string)
        let bob = CascadeBob(parameters: parameters, seed: 1, bits: string)
        let count = alice.start().count
        #expect(throws: CascadeError(expected: count, found: count + 1)) {
            try bob.step(parities: BitBuffer(zeros: count + 1))
        }
        #expect(throws: CascadeError(expected: count, found: 0)) {
            try alice.step(differences: BitBuffer())
        }
        // Neither has moved on.
        _ = try bob.step(parities: BitBuffer(zeros: count))
        #expect(try alice.step(differences: BitBuffer(zeros: count)) != nil)
        // After the end nothing is expected any more.
        var next = alice.announcedBits - count
        while try alice.step(differences: BitBuffer(zeros: next)) != nil { next = 24 }
        #expect(throws: CascadeError(expected: 0, found: 24)) {
            try alice.step(differences: BitBuffer(zeros: 24))
        }
    }

    /// Answers at random contradict each other: both ends come to an end all the same, after fewer
    /// parities than segments can be cut. Seeds 1 to 20.
    @Test(arguments: UInt64(1)...20) func randomAnswersEnd(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let (string, _) = stringWithErrors(3000, errors: 0, using: &generator)
        let parameters = try #require(
            CascadeParameters(bits: 3000, windowBits: 1024, blockSizes: [8, 32, 256], checks: 8))
        let alice = CascadeAlice(parameters: parameters, seed: seed, bits: string)
        let bob = CascadeBob(parameters: parameters, seed: seed, bits: string)
        var count = alice.start().count
        while count > 0 {
            let random = BitBuffer((0..<count).map { _ in generator.bernoulli(0.4) })
            count = try alice.step(differences: random)?.count ?? 0
            #expect(alice.announcedBits < 3 * 3072 + 40 * 8 * 3072)
        }
        while !bob.isFinished {
            // Bob's own parities are known to the test: only the count is not.
            do throws(CascadeError) {
                _ = try bob.step(parities: BitBuffer())
            } catch {
                let random = BitBuffer((0..<error.expected).map { _ in generator.bernoulli(0.5) })
                _ = try bob.step(parities: random)
            }
        }
    }

    @Test func parametersHaveRanges() {
        #expect(CascadeParameters(bits: 0, blockSizes: [8]) == nil)
        #expect(CascadeParameters(bits: 1, blockSizes: []) == nil)
        #expect(CascadeParameters(bits: 1, blockSizes: [1]) == nil)
        #expect(CascadeParameters(bits: 1, windowBits: 65_537, blockSizes: [8]) == nil)
        #expect(CascadeParameters(bits: 1, blockSizes: [8], checks: 65) == nil)
        for rate in [0, 1e-5, 0.001, 0.11, 0.5] {
            let chosen = CascadeParameters.optimized(bits: 1 << 20, errorRate: rate)
            let again = CascadeParameters(
                bits: chosen.bits, windowBits: chosen.windowBits, blockSizes: chosen.blockSizes)
            #expect(again == chosen, "rate \(rate)")
        }
    }
}
