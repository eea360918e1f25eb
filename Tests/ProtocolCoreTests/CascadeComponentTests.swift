import CKernels
import ProtocolCore
import Quantities
import Testing

@Suite struct CascadeComponentTests {
    /// Both ends must permute alike for ever; seed 5.
    @Test func permutationsArePinned() {
        let permutations = CascadePermutations(count: 1000, passes: 3, seed: 5)
        var digest: UInt64 = 0xCBF2_9CE4_8422_2325
        for pass in 0..<3 {
            var seen = Set<Int>()
            for bit in 0..<1000 {
                let place = permutations.place(pass, of: bit)
                #expect(permutations.bit(pass, at: place) == bit)
                seen.insert(place)
                digest = (digest ^ UInt64(place)) &* 0x0000_0100_0000_01B3
            }
            #expect(seen.count == 1000)
        }
        #expect(digest == 0x563C_D438_226A_8B33, "digest \(String(digest, radix: 16))")
        #expect(permutations.order(1) != permutations.order(2))
        let other = CascadePermutations(count: 1000, passes: 3, seed: 6)
        #expect(other.order(1) != permutations.order(1))
    }

    /// Bits that are neighbours go anywhere: distances in the permuted window have the mean of
    /// independent places, n / 3. Seeds 1 to 10.
    @Test(arguments: UInt64(1)...10) func neighboursAreSpread(_ seed: UInt64) {
        let permutations = CascadePermutations(count: 1 << 16, passes: 2, seed: seed)
        var sum = 0.0
        for bit in 0..<65_535 {
            let (a, b) = (permutations.place(1, of: bit), permutations.place(1, of: bit + 1))
            sum += Double(abs(a - b))
        }
        // The standard deviation of one distance is n / √18.
        let mean = sum / 65_535 / 65_536
        #expect(abs(mean - 1.0 / 3) < 5 / (18.0 * 65_535).squareRoot(), "mean \(mean)")
    }

    /// All variants gather and fold the same bits; seed 31.
    @Test func kernelsAgree() {
        var generator = SeededGenerator(seed: 31)
        for count in [1, 31, 32, 63, 64, 65, 1000, 65_535, 65_536] {
            let words = (0..<(count + 63) / 64).map { _ in generator.next() }
            let source = BitBuffer(words: words, count: count)
            let order = (0..<count).map { UInt16($0) }.shuffled(using: &generator)
            let expected = BitBuffer(order.map { source[Int($0)] })
            let segments = (0..<200).map { _ in
                let start = Int.random(in: 0..<max(1, count - 1), using: &generator)
                let length = Int.random(in: 1...max(1, count - start), using: &generator)
                return berek_cascade_segment(start: UInt32(start), length: UInt32(length))
            }.filter { $0.length > 1 }
            let size = Int.random(in: 1...count, using: &generator)
            for kernel in [BEREK_KERNEL_PORTABLE, BEREK_KERNEL_AVX2, BEREK_KERNEL_BEST] {
                var gathered = [UInt64](repeating: 0, count: words.count)
                berek_cascade_gather(&gathered, source.words, order, count, kernel)
                #expect(gathered == expected.words, "\(count) bits, kernel \(kernel)")
                checkParities(source, segments, size, kernel)
            }
        }
    }

    private func bit(_ index: Int, _ words: [UInt64]) -> Bool {
        words[index >> 6] >> UInt64(index & 63) & 1 == 1
    }

    private func checkParities(
        _ bits: BitBuffer, _ segments: [berek_cascade_segment], _ size: Int, _ kernel: berek_kernel
    ) {
        var halves = [UInt64](repeating: 0, count: (segments.count + 7 + 63) / 64)
        berek_cascade_half_parities(
            &halves, 7, bits.words, segments, segments.count, kernel)
        for (index, segment) in segments.enumerated() {
            let start = Int(segment.start)
            let expected = bits.slice(start..<start + Int(segment.length) / 2).parity
            #expect(bit(7 + index, halves) == expected)
        }
        let count = (bits.count + size - 1) / size
        var blocks = [UInt64](repeating: 0, count: (count + 5 + 63) / 64)
        berek_cascade_block_parities(&blocks, 5, bits.words, bits.count, size, count, kernel)
        for block in 0..<count {
            let end = min(bits.count, (block + 1) * size)
            #expect(bit(5 + block, blocks) == bits.slice(block * size..<end).parity)
        }
    }

    /// The subsets of the kernel are those of the rotated masks; seed 32.
    @Test func subsetKernelsAgree() {
        var generator = SeededGenerator(seed: 32)
        let bits = (0..<77).map { _ in generator.next() }
        var expected = [UInt64](repeating: 0, count: 64)
        for (word, value) in bits.enumerated() {
            let mask = SplitMix64.mix(99 &+ UInt64(11 + word) &* 0x9E37_79B9_7F4A_7C15)
            for turn in 0..<64 {
                let rotated = turn == 0 ? mask : mask << UInt64(turn) | mask >> UInt64(64 - turn)
                expected[turn] ^= value & rotated
            }
        }
        for count in [1, 7, 24, 64] {
            for kernel in [BEREK_KERNEL_PORTABLE, BEREK_KERNEL_AVX2, BEREK_KERNEL_BEST] {
                var folds = [UInt64](repeating: 0, count: 64)
                berek_cascade_subset_folds(&folds, count, bits, 77, 99, 11, kernel)
                #expect(Array(folds[..<count]) == Array(expected[..<count]))
                #expect(folds[count...].allSatisfy { $0 == 0 })
            }
        }
    }

    // MARK: Messages

    @Test func messagesSurviveTheWire() throws {
        let parameters = try #require(
            CascadeParameters(bits: 1 << 20, windowBits: 4096, blockSizes: [16, 128], checks: 30))
        for message in [
            Message.cascadeStart(CascadeStart(block: 3, seed: 0x1234, parameters: parameters)),
            .cascadeParities(
                CascadeParities(block: 3, step: 0, parities: BitBuffer([true, false, true]))),
            .cascadeDifferences(
                CascadeDifferences(block: 3, step: 9, differences: BitBuffer(zeros: 70))),
        ] {
            var decoder = MessageDecoder()
            var frames: [Frame] = []
            try decoder.feed(message.frame(session: 5, sequence: 6), into: &frames)
            #expect(frames.map(\.message) == [message])
        }
        #expect(MessageType.cascadeStart.sender == .alice)
        #expect(MessageType.cascadeParities.sender == .alice)
        #expect(MessageType.cascadeDifferences.sender == .bob)
    }

    /// Each field beyond its limit is refused by name.
    @Test func fieldsOutOfRangeAreRefused() throws {
        func octets(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian) { Array($0) }
        }
        func start(
            bits: UInt32 = 1000, window: UInt32 = 1024, checks: UInt8 = 8, sizes: [UInt32] = [8]
        ) -> [UInt8] {
            [UInt8](repeating: 0, count: 12) + octets(bits) + octets(window)
                + [checks, UInt8(sizes.count)] + sizes.flatMap { octets($0) }
        }
        func step(bits: UInt32, octets count: Int) -> [UInt8] {
            [UInt8](repeating: 0, count: 8) + octets(bits) + [UInt8](repeating: 255, count: count)
        }
        let cases: [(MessageType, [UInt8], String)] = [
            (.cascadeStart, start(bits: 0), "bits"),
            (.cascadeStart, start(bits: 1 << 26 + 1), "bits"),
            (.cascadeStart, start(window: 63), "window"),
            (.cascadeStart, start(window: 65_537), "window"),
            (.cascadeStart, start(checks: 65), "subsets"),
            (.cascadeStart, start(sizes: []), "passes"),
            (.cascadeStart, start(sizes: .init(repeating: 8, count: 33)), "passes"),
            (.cascadeStart, start(sizes: [8, 1]), "block size"),
            (.cascadeStart, start() + [0], "payload"),
            (.cascadeParities, step(bits: 1 << 24 + 1, octets: 0), "parities count"),
            (.cascadeParities, step(bits: 9, octets: 1), "parities"),
            (.cascadeParities, step(bits: 7, octets: 1), "parities"),
            (.cascadeDifferences, step(bits: 8, octets: 2), "payload"),
        ]
        for (type, payload, field) in cases {
            let header =
                FrameHeader.magic + [FrameHeader.version, type.rawValue, 0, 0]
                + [UInt8](repeating: 0, count: 16) + octets(UInt32(payload.count))
            var decoder = MessageDecoder()
            var frames: [Frame] = []
            do throws(MessageError) {
                try decoder.feed(header + payload, into: &frames)
                Issue.record("\(type) with a wrong \(field) was accepted")
            } catch {
                #expect(error.field == field)
            }
        }
    }
}
