import Quantities

/// The stability of an oscillator.
public struct OscillatorConfiguration: Hashable, Sendable {
    /// What the clock may show at bench time zero; drawn uniformly.
    public var initialReading = Picoseconds(0)...Picoseconds(seconds: 1)
    /// The fractional frequency offset at bench time zero; drawn uniformly.
    public var frequencyOffset = -20e-6...20e-6
    /// White frequency noise: the standard deviation of the accumulated time error after 1 s, in
    /// seconds.
    public var whiteFrequencyNoise = 1e-11
    /// Random-walk frequency noise: the standard deviation of the change of the fractional
    /// frequency in 1 s.
    public var frequencyRandomWalk = 1e-10

    /// A crystal oscillator within ±20 ppm.
    public init() {}

    /// A clock that shows bench time exactly.
    public static let ideal = {
        var configuration = OscillatorConfiguration()
        configuration.initialReading = Picoseconds(0)...Picoseconds(0)
        configuration.frequencyOffset = 0...0
        configuration.whiteFrequencyNoise = 0
        configuration.frequencyRandomWalk = 0
        return configuration
    }()

    func validate(_ name: String) throws(BenchConfigurationError) {
        typealias E = BenchConfigurationError
        let day = Picoseconds(86_400 * 1_000_000_000_000)
        try E.require(
            initialReading.lowerBound >= -day && initialReading.upperBound <= day,
            "\(name).initialReading", "within ±1 day", found: "\(initialReading)")
        try E.require(
            frequencyOffset.lowerBound >= -1e-3 && frequencyOffset.upperBound <= 1e-3,
            "\(name).frequencyOffset", "within ±1e-3", found: "\(frequencyOffset)")
        // Far below one node spacing, so that readings always increase.
        try E.require(
            (0...1e-6).contains(whiteFrequencyNoise), "\(name).whiteFrequencyNoise", "0…1e-6 s",
            found: whiteFrequencyNoise)
        try E.require(
            (0...1e-6).contains(frequencyRandomWalk), "\(name).frequencyRandomWalk", "0…1e-6",
            found: frequencyRandomWalk)
    }
}

/// A free-running oscillator: offset, skew and wander against bench time.
///
/// Time error and frequency follow the two-state clock model (white and random-walk frequency
/// noise; Galleani et al., "A mathematical model for the atomic clock error", Metrologia 40, 2003)
/// sampled every 10 ms and joined by straight lines. The samples depend on the seed alone, so any
/// order of queries sees the same clock. A sample takes 8 bytes: 2.9 MB for each hour reached.
public final class Oscillator: LocalOscillator {
    /// The spacing of the samples in picoseconds of bench time.
    static let step: Int64 = 10_000_000_000

    private let initialReading: Int64
    private let whiteNoise: Double
    private let randomWalk: Double
    private var generator: SeededGenerator
    /// The accumulated time error in picoseconds and the fractional frequency at the last sample.
    private var timeError = 0.0
    private var frequency: Double
    private var readings: [Int64]
    /// Where the latest inverse query fell; the next one is nearly always there or one further.
    private var latestIndex = 0

    /// The oscillator of the given stability drawn from stream `label` of `seed`.
    public init(configuration: OscillatorConfiguration, seed: UInt64, label: String) {
        generator = SeededGenerator(seed: seed, label: "oscillator " + label)
        let range = configuration.initialReading
        let width = Double(range.upperBound.rawValue - range.lowerBound.rawValue)
        initialReading = range.lowerBound.rawValue + Int64(width * generator.uniform())
        let offsets = configuration.frequencyOffset
        frequency =
            offsets.lowerBound + (offsets.upperBound - offsets.lowerBound) * generator.uniform()
        let stepSeconds = Double(Self.step) * 1e-12
        whiteNoise = configuration.whiteFrequencyNoise * stepSeconds.squareRoot() * 1e12
        randomWalk = configuration.frequencyRandomWalk * stepSeconds.squareRoot()
        readings = [initialReading]
    }

    private func extend(through index: Int) {
        while readings.count <= index {
            timeError += frequency * Double(Self.step) + whiteNoise * generator.gaussian()
            frequency += randomWalk * generator.gaussian()
            readings.append(
                initialReading + Int64(readings.count) * Self.step + Int64(timeError.rounded()))
        }
    }

    /// The reading at bench time `time` in picoseconds; before zero the first sample's slope holds.
    func reading(_ time: Int64) -> Int64 {
        let index = time < 0 ? 0 : Int(time / Self.step)
        if index + 1 >= readings.count { extend(through: index + 1) }
        let span = time - Int64(index) * Self.step
        let excess = Double(readings[index + 1] - readings[index] - Self.step)
        return readings[index] + span
            + nearestInteger(Double(span) * excess / Double(Self.step))
    }

    /// The bench time at which the clock shows `reading`, to the nearest picosecond.
    func time(ofReading reading: Int64) -> Int64 {
        var index = latestIndex
        while index > 0, readings[index] > reading { index -= 1 }
        while true {
            if index + 1 >= readings.count { extend(through: index + 1) }
            if readings[index + 1] > reading { break }
            index += 1
        }
        latestIndex = index
        let span = reading - readings[index]
        let rate = Double(readings[index + 1] - readings[index])
        let excess = rate - Double(Self.step)
        return Int64(index) * Self.step + span - nearestInteger(Double(span) * excess / rate)
    }

    /// What the clock shows at bench time `time`.
    public func reading(at time: Picoseconds) -> Picoseconds { Picoseconds(reading(time.rawValue)) }

    /// The bench time at which the clock shows `reading`, to the nearest picosecond.
    public func time(ofReading reading: Picoseconds) -> Picoseconds {
        Picoseconds(time(ofReading: reading.rawValue))
    }

    /// The fractional frequency error over the 10 ms around `time`.
    public func fractionalFrequency(at time: Picoseconds) -> Double {
        let start = max(0, time.rawValue / Self.step) * Self.step
        return Double(reading(start + Self.step) - reading(start)) / Double(Self.step) - 1
    }
}
