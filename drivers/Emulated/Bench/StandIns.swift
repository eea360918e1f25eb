import OpticalBench
import Quantities

// What stands at the connectors of an emulated instrument that runs without an optical bench: on a
// pseudo-terminal for a third-party client, or in a test of the instrument alone.

/// Independent Poisson pulses on each input.
public final class PoissonPulses: TaggerInputs {
    private var generator: SeededGenerator
    private let meanGaps: [Double]
    private var nextTimes: [Double]

    /// Pulses at `rates`, one per input.
    public init(rates: [Hertz], generator: SeededGenerator) {
        self.generator = generator
        meanGaps = rates.map { $0.rawValue > 0 ? 1e12 / $0.rawValue : .infinity }
        nextTimes = meanGaps.map { _ in 0 }
        for input in nextTimes.indices { nextTimes[input] = gap(input) }
    }

    private func gap(_ input: Int) -> Double {
        meanGaps[input].isFinite ? generator.exponentialDeviate() * meanGaps[input] : .infinity
    }

    /// The pulses since the previous call.
    public func takePulses(through time: Picoseconds) -> [InputPulse] {
        let limit = Double(time.rawValue)
        var pulses: [InputPulse] = []
        for input in nextTimes.indices {
            while nextTimes[input] <= limit {
                pulses.append(
                    InputPulse(time: Picoseconds(Int64(nextTimes[input])), input: UInt8(input)))
                nextTimes[input] += gap(input)
            }
        }
        pulses.sort { ($0.time, $0.input) < ($1.time, $1.input) }
        return pulses
    }
}

/// Pulses at given times.
public final class ScriptedPulses: TaggerInputs {
    private let pulses: [InputPulse]
    private var position = 0

    /// The pulses of a test, in time order.
    public init(_ pulses: [InputPulse]) { self.pulses = pulses }

    /// The pulses since the previous call.
    public func takePulses(through time: Picoseconds) -> [InputPulse] {
        let start = position
        while position < pulses.count, pulses[position].time <= time { position += 1 }
        return Array(pulses[start..<position])
    }
}

/// An oscillator that is exact but for a constant fractional frequency offset.
public final class ConstantOscillator: LocalOscillator {
    private let partsPerBillion: Int64

    /// An oscillator that runs fast by `partsPerBillion`.
    public init(partsPerBillion: Int64 = 0) { self.partsPerBillion = partsPerBillion }

    /// What a clock run from it shows.
    public func reading(at time: Picoseconds) -> Picoseconds {
        let (seconds, rest) = time.rawValue.quotientAndRemainder(dividingBy: 1_000_000_000)
        return Picoseconds(
            time.rawValue + seconds * partsPerBillion + rest * partsPerBillion / 1_000_000_000)
    }
}

/// Wave plates that remember where they were turned to.
public final class RecordingWaveplates: RotatableWaveplates {
    /// The angle of each mount.
    public private(set) var angles: [Radians]
    /// How often a mount was turned.
    public private(set) var moves = 0
    private var lastTime = Picoseconds(.min)

    /// Plates at angle zero.
    public init(plateCount: Int) { angles = Array(repeating: Radians(0), count: plateCount) }

    /// The number of plates.
    public var plateCount: Int { angles.count }

    /// Turns a plate. Time must not decrease.
    public func setMountAngle(_ angle: Radians, plate: Int, at time: Picoseconds) {
        precondition(time >= lastTime, "bench time decreased")
        lastTime = time
        angles[plate] = angle
        moves += 1
    }
}

/// A detector that counts at a rate proportional to the over-voltage, without dead time.
public final class SimpleDetector: DetectorElement {
    /// Whether the gate is open.
    public private(set) var isGateOpen = false
    /// The bias voltage.
    public private(set) var bias = Volts(0)
    /// The temperature that is regulated to.
    public private(set) var setpoint = Celsius(20)
    /// Whether the light monitor reports too much light.
    public var isOverlit = false
    private let breakdown: Volts
    private let rate: Hertz
    private var generator: SeededGenerator
    private var lastTime = Picoseconds(0)
    private var pending = 0.0

    /// A detector that counts `rate` per volt above `breakdown` with the gate open.
    public init(breakdown: Volts, rate: Hertz, generator: SeededGenerator) {
        self.breakdown = breakdown
        self.rate = rate
        self.generator = generator
    }

    private func integrate(to time: Picoseconds) {
        if isGateOpen, bias > breakdown {
            pending += (time - lastTime).seconds * rate.rawValue * (bias - breakdown).rawValue
        }
        lastTime = time
    }

    /// Opens or closes the gate.
    public func setGateEnabled(_ isEnabled: Bool, at time: Picoseconds) {
        integrate(to: time)
        isGateOpen = isEnabled
    }
    /// Sets the bias voltage.
    public func setBias(_ bias: Volts, at time: Picoseconds) {
        integrate(to: time)
        self.bias = bias
    }
    /// Sets the temperature to regulate to.
    public func setTemperatureSetpoint(_ temperature: Celsius, at time: Picoseconds) {
        setpoint = temperature
    }
    /// The temperature of the sensor, which follows the setting at once.
    public func temperature(at time: Picoseconds) -> Celsius { setpoint }
    /// Whether the light level exceeds what the detector survives.
    public func isOverlit(at time: Picoseconds) -> Bool { isOverlit }
    /// A Poisson number of counts since the previous call.
    public func takeCounts(through time: Picoseconds) -> UInt64 {
        integrate(to: time)
        let counts = UInt64(generator.poisson(mean: pending))
        pending = 0
        return counts
    }
}
