import OpticalBench
import Quantities

// What stands in the beam, or at the terminals, of an emulated instrument around the link that runs
// without an optical bench.

/// Retarders that remember what they are driven with.
public final class RecordingRetarders: VoltageRetarders {
    /// The drive of each retarder.
    public private(set) var drives: [Volts]

    /// Retarders without drive.
    public init(retarderCount: Int) { drives = Array(repeating: Volts(0), count: retarderCount) }

    /// The number of retarders.
    public var retarderCount: Int { drives.count }

    /// Drives a retarder.
    public func setDrive(_ voltage: Volts, retarder: Int, at time: Picoseconds) {
        drives[retarder] = voltage
    }
}

/// Light of constant power.
public final class ConstantLight: PowerProbe {
    /// The power that is measured.
    public var present: Watts
    /// The wavelength of the light.
    public let wavelength: Nanometres

    /// Light of `power`, by default a microwatt at 850 nm.
    public init(power: Watts = Watts(1e-6), wavelength: Nanometres = Nanometres(850)) {
        present = power
        self.wavelength = wavelength
    }

    /// The power, at any time.
    public func power(at time: Picoseconds) -> Watts { present }
}

/// An attenuator that remembers what it was set to.
public final class RecordingAttenuator: AttenuatingElement {
    /// The present attenuation.
    public private(set) var attenuation = Decibels(0)

    /// An attenuator at zero.
    public init() {}

    /// Attenuates.
    public func setAttenuation(_ attenuation: Decibels, at time: Picoseconds) {
        self.attenuation = attenuation
    }
}

/// A delay that remembers what it was set to.
public final class RecordingDelay: PulseDelay {
    /// The present delay.
    public private(set) var delay = Picoseconds(0)
    /// Whether pulses pass.
    public private(set) var isEnabled = false

    /// No delay, and no pulses.
    public init() {}

    /// Delays pulses.
    public func setDelay(_ delay: Picoseconds, at time: Picoseconds) { self.delay = delay }
    /// Lets pulses pass or not.
    public func setEnabled(_ isEnabled: Bool, at time: Picoseconds) { self.isEnabled = isEnabled }
}

/// A plate that loses heat to its surroundings and is pumped by a cooler: a first-order lag towards
/// a temperature that is linear in the current.
public final class ColdPlate: ThermalStage {
    private static let ambient = 22.0
    /// Degrees below ambient per milliampere once settled.
    private static let pumping = 0.04
    private static let timeConstant = 5.0
    private var current = 0.0
    private var temperature = ColdPlate.ambient
    private var clock = Picoseconds(0)

    /// A plate at the temperature of its surroundings.
    public init() {}

    private func integrate(to time: Picoseconds) {
        guard time > clock else { return }
        let target = Self.ambient - Self.pumping * current
        let elapsed = (time - clock).seconds
        // The exact solution over the step, so that long steps stay stable.
        temperature = target + (temperature - target) * exponential(-elapsed / Self.timeConstant)
        clock = time
    }

    /// Drives the cooler.
    public func setCoolerCurrent(_ milliamperes: Double, at time: Picoseconds) {
        integrate(to: time)
        current = milliamperes
    }

    /// The temperature of the plate.
    public func temperature(at time: Picoseconds) -> Celsius {
        integrate(to: time)
        return Celsius(temperature)
    }
}

/// Terminals with a wire from each output to the input of the same number; other inputs are at 0 V.
public final class LoopedTerminals: AnalogTerminals {
    private var voltages: [Int: Volts] = [:]

    /// Terminals at 0 V.
    public init() {}

    /// Drives an output.
    public func setVoltage(_ voltage: Volts, output: Int, at time: Picoseconds) {
        voltages[output] = voltage
    }

    /// The voltage at an input.
    public func voltage(input: Int, at time: Picoseconds) -> Volts { voltages[input] ?? Volts(0) }
}
