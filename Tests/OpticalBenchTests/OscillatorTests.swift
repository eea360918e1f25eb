import OpticalBench
import Quantities
import Testing

@Suite struct OscillatorTests {
    private func skewed(_ frequency: Double, initial: Int64 = 0) -> OscillatorConfiguration {
        var configuration = OscillatorConfiguration.ideal
        configuration.initialReading = Picoseconds(initial)...Picoseconds(initial)
        configuration.frequencyOffset = frequency...frequency
        return configuration
    }

    @Test func skewAddsUpExactly() {
        let oscillator = Oscillator(
            configuration: skewed(12.5e-6, initial: 250), seed: 1, label: "test")
        #expect(oscillator.reading(at: Picoseconds(0)) == Picoseconds(250))
        #expect(oscillator.reading(at: seconds(1)).rawValue == 1_000_012_500_000 + 250)
        #expect(oscillator.reading(at: seconds(3600)).rawValue == 3_600_045_000_000_000 + 250)
        // Half a sample spacing: 5 ms gain 62 500 ps.
        #expect(oscillator.reading(at: seconds(0.005)).rawValue == 5_000_062_500 + 250)
        #expect(oscillator.reading(at: Picoseconds(-1_000_000)).rawValue == -1_000_013 + 250)
        #expect(abs(oscillator.fractionalFrequency(at: seconds(7)) - 12.5e-6) < 1e-9)
    }

    @Test func anIdealClockShowsBenchTime() {
        let oscillator = Oscillator(configuration: .ideal, seed: 9, label: "test")
        for time: Int64 in [0, 1, 9_999_999_999, 10_000_000_000, 123_456_789_012_345] {
            #expect(oscillator.reading(at: Picoseconds(time)).rawValue == time)
            #expect(oscillator.time(ofReading: Picoseconds(time)).rawValue == time)
        }
    }

    @Test func queryOrderDoesNotMatter() {
        let configuration = OscillatorConfiguration()
        let forward = Oscillator(configuration: configuration, seed: 5, label: "test")
        let backward = Oscillator(configuration: configuration, seed: 5, label: "test")
        var generator = SeededGenerator(seed: 11)
        let times = (0..<2000).map { _ in
            Picoseconds(Int64.random(in: 0...20_000_000_000_000, using: &generator))
        }.sorted()
        let readings = times.map(forward.reading(at:))
        #expect(Array(times.reversed().map(backward.reading(at:)).reversed()) == readings)
        #expect(zip(readings, readings.dropFirst()).allSatisfy { $0 <= $1 })
        let other = Oscillator(configuration: configuration, seed: 6, label: "test")
        #expect(times.map(other.reading(at:)) != readings)
    }

    @Test func timeOfReadingInvertsReading() {
        let oscillator = Oscillator(
            configuration: OscillatorConfiguration(), seed: 77, label: "test")
        var generator = SeededGenerator(seed: 12)
        for _ in 0..<5000 {
            let time = Picoseconds(Int64.random(in: 0...30_000_000_000_000, using: &generator))
            let back = oscillator.time(ofReading: oscillator.reading(at: time))
            #expect(abs((back - time).rawValue) <= 1, "seed 12, time \(time)")
        }
    }

    @Test func frequencyWandersAsARandomWalk() {
        var configuration = OscillatorConfiguration.ideal
        configuration.frequencyRandomWalk = 2e-9
        let units = 600
        // After 4 s: variance q²·t of frequency, q²·t³/3 of time error.
        var frequencies: [Double] = []
        var errors: [Double] = []
        for unit in 0..<units {
            let oscillator = Oscillator(
                configuration: configuration, seed: UInt64(unit), label: "walk")
            frequencies.append(oscillator.fractionalFrequency(at: seconds(4)))
            errors.append(Double((oscillator.reading(at: seconds(4)) - seconds(4)).rawValue))
        }
        expectVariance(frequencies, 4e-18 * 4, "frequency", seed: 0)
        expectVariance(errors, 4e-18 * 64 / 3 * 1e24, "time error in ps", seed: 0)
        let spread = (4e-18 * 4 / Double(units)).squareRoot()
        expectNear(mean(frequencies), 0, deviation: spread, "mean frequency", seed: 0)
    }

    @Test func whiteFrequencyNoiseAccumulatesWithRootTime() {
        var configuration = OscillatorConfiguration.ideal
        configuration.whiteFrequencyNoise = 3e-9
        let errors = (0..<800).map { unit in
            let oscillator = Oscillator(
                configuration: configuration, seed: UInt64(unit), label: "white")
            return Double((oscillator.reading(at: seconds(2)) - seconds(2)).rawValue)
        }
        expectVariance(errors, 2 * 9e-18 * 1e24, "time error in ps", seed: 0)
    }

    @Test func unitsAreDrawnFromTheirRanges() {
        let units = (0..<400).map {
            Oscillator(configuration: OscillatorConfiguration(), seed: UInt64($0), label: "unit")
        }
        let starts = units.map { $0.reading(at: Picoseconds(0)).seconds }
        #expect(starts.allSatisfy { (0...1).contains($0) })
        expectNear(
            mean(starts), 0.5, deviation: (1.0 / 12 / 400).squareRoot(), "initial reading", seed: 0)
        let offsets = units.map { $0.fractionalFrequency(at: Picoseconds(0)) }
        #expect(offsets.allSatisfy { abs($0) < 20.1e-6 })
        expectNear(
            mean(offsets), 0, deviation: (1600e-12 / 12 / 400).squareRoot(), "frequency", seed: 0)
    }
}
