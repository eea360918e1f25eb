import Quantities
import Testing

/// Outputs published by the authors of the generators.
struct GeneratorTests {
    /// Reference outputs for seed 1234567 of the C code by Vigna (splitmix64.c).
    @Test func splitMixMatchesReference() {
        var generator = SplitMix64(seed: 1_234_567)
        let expected: [UInt64] = [
            6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
            4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
        ]
        for value in expected { #expect(generator.next() == value) }
    }

    /// Reference outputs for state 1, 2, 3, 4 of the C code by Blackman and Vigna.
    @Test func xoshiroMatchesReference() {
        var generator = SeededGenerator(state: (1, 2, 3, 4))
        let expected: [UInt64] = [
            11520, 0, 1_509_978_240, 1_215_971_899_390_074_240, 1_216_172_134_540_287_360,
        ]
        for value in expected { #expect(generator.next() == value) }
    }

    /// Known answers of Random123 (kat_vectors, philox4x32 10).
    @Test func philoxMatchesRandom123() {
        func check(_ counter: [UInt32], _ key: [UInt32], _ expected: [UInt32]) {
            func pair(_ a: UInt32, _ b: UInt32) -> UInt64 { UInt64(a) | UInt64(b) << 32 }
            let block = Philox4x32(key: pair(key[0], key[1])).block(
                low: pair(counter[0], counter[1]), high: pair(counter[2], counter[3]))
            #expect(block.0 == pair(expected[0], expected[1]))
            #expect(block.1 == pair(expected[2], expected[3]))
        }
        check([0, 0, 0, 0], [0, 0], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8])
        check(
            [UInt32](repeating: .max, count: 4), [.max, .max],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd])
        check(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1])
    }

    @Test func labelledStreamsDiffer() {
        var first = SeededGenerator(seed: 1, label: "fibre")
        var second = SeededGenerator(seed: 1, label: "source")
        var again = SeededGenerator(seed: 1, label: "fibre")
        let value = first.next()
        #expect(value == again.next())
        #expect(value != second.next())
    }
}
