import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

extension BenchConnection {
    /// What a model of `profile` is connected to when there is no optical bench: Poisson pulses of
    /// 1000 per second and input number, plates that remember their angle, a detector that counts
    /// 1000 per second and volt above 150 V.
    ///
    /// - Parameters:
    ///   - name: the name of the instrument; wired instruments get a chip of this name in `gpio`.
    ///   - inputs: what arrives at a time tagger instead of Poisson pulses.
    ///   - units: how many units share the line of a polarization controller.
    /// - Throws: `MissingProfileField` for kinds without a stand-in.
    public static func standIn(
        for profile: DeviceProfile, name: String, context: EmulationContext,
        gpio: EmulatedGPIOHost, inputs: (any TaggerInputs)? = nil, units: Int = 1
    ) throws(MissingProfileField) -> BenchConnection {
        switch profile.identity.kind {
        case .timeTagger:
            let rates = profile.channels.indices.map { Hertz(1000 * Double($0 + 1)) }
            return .timeTagger(
                inputs: inputs
                    ?? PoissonPulses(rates: rates, generator: context.generator("pulses " + name)),
                oscillator: ConstantOscillator())
        case .polarizationController:
            // Paddles and rotators turn plates; every other axis is a retarder driven by voltage.
            let count = profile.channels.count * units
            if profile.channels.contains(where: { $0.kind == .retarder }) {
                return .retarders(RecordingRetarders(retarderCount: count))
            }
            return .polarizationController(RecordingWaveplates(plateCount: count))
        case .singlePhotonDetector:
            let detector = SimpleDetector(
                breakdown: Volts(150), rate: Hertz(1000),
                generator: context.generator("detector " + name))
            guard profile.identity.transport == .gpio else { return .detector(detector) }
            return .gatedDetector(
                detector, lines: wires(for: profile, chip: name, gpio: gpio),
                nominalBias: Volts(160))
        case .powerMeter: return .powerMeter(ConstantLight())
        case .attenuator: return .attenuator(RecordingAttenuator())
        case .delayGenerator: return .delayGenerator(RecordingDelay())
        case .temperatureController: return .temperatureController(ColdPlate())
        case .analogIO: return .analogIO(LoopedTerminals())
        case .digitalIO:
            let pins = profile.lines.count
            gpio.addChip(
                name, label: "emulated bench", lineNames: profile.lines.map { "bench \($0.role)" })
            return .digitalIO(
                pins: Dictionary(
                    uniqueKeysWithValues: (0..<pins).map {
                        ($0, GPIOLineID(chip: name, offset: UInt32($0)))
                    }))
        case .phaseModulator:
            throw MissingProfileField(profile: profile.id, path: "a stand-in for its kind")
        }
    }

    /// A chip with one line for each role of `profile`.
    private static func wires(
        for profile: DeviceProfile, chip: String, gpio: EmulatedGPIOHost
    ) -> [String: GPIOLineID] {
        gpio.addChip(chip, label: "emulated bench", lineNames: profile.lines.map(\.role))
        var lines: [String: GPIOLineID] = [:]
        for (offset, line) in profile.lines.enumerated() {
            lines[line.role] = GPIOLineID(chip: chip, offset: UInt32(offset))
        }
        return lines
    }
}

/// Pulses at a constant period on one input, so that a missing one is a gap that can be counted.
public final class PeriodicPulses: TaggerInputs {
    private let period: Picoseconds
    private let input: UInt8
    private var next: Picoseconds

    /// Pulses at every multiple of `period`.
    public init(period: Picoseconds, input: UInt8 = 0) {
        precondition(period > Picoseconds(0), "a period is positive")
        self.period = period
        self.input = input
        next = period
    }

    /// The pulses since the previous call.
    public func takePulses(through time: Picoseconds) -> [InputPulse] {
        var pulses: [InputPulse] = []
        while next <= time {
            pulses.append(InputPulse(time: next, input: input))
            next = next + period
        }
        return pulses
    }
}
