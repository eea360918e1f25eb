import Quantities

// What an emulated instrument sees of the optical bench: electrical pulses at its connectors, its
// own oscillator, and the optics that it moves. All times are bench time: picoseconds of an ideal
// clock since the start of the bench, and never decrease from call to call.

/// A pulse at an input connector of a time tagger.
public struct InputPulse: Hashable, Sendable {
    /// When its leading edge crosses the threshold, in bench time.
    public var time: Picoseconds
    /// The connector, counted from 0.
    public var input: UInt8
    /// A pulse at `input`.
    public init(time: Picoseconds, input: UInt8) {
        self.time = time
        self.input = input
    }
}

/// The cables that end at a time tagger.
public protocol TaggerInputs: AnyObject {
    /// The pulses since the previous call up to and including `time`, in time order.
    func takePulses(through time: Picoseconds) -> [InputPulse]
}

/// The oscillator that an instrument counts.
public protocol LocalOscillator: AnyObject {
    /// What a clock run from the oscillator shows at bench time `time`: its own picoseconds.
    func reading(at time: Picoseconds) -> Picoseconds
}

/// A stack of rotatable wave plates in the beam, counted in the order the light passes them.
public protocol RotatableWaveplates: AnyObject {
    /// The number of plates.
    var plateCount: Int { get }
    /// Turns plate `plate` so that its mount stands at `angle` from `time` on.
    func setMountAngle(_ angle: Radians, plate: Int, at time: Picoseconds)
}

/// A single-photon detector as its control electronics sees it.
public protocol DetectorElement: AnyObject {
    /// Enables or inhibits counting from `time` on.
    func setGateEnabled(_ isEnabled: Bool, at time: Picoseconds)
    /// Sets the bias voltage from `time` on.
    func setBias(_ bias: Volts, at time: Picoseconds)
    /// Sets the temperature the cooler regulates to from `time` on.
    func setTemperatureSetpoint(_ temperature: Celsius, at time: Picoseconds)
    /// The temperature of the sensor at `time`.
    func temperature(at time: Picoseconds) -> Celsius
    /// Whether the light level exceeds what the detector survives.
    func isOverlit(at time: Picoseconds) -> Bool
    /// Counts since the previous call, as the module's own counter sees them.
    func takeCounts(through time: Picoseconds) -> UInt64
}

/// Retarders with fixed axes whose retardance follows a drive voltage: fibre squeezers and
/// liquid-crystal cells, counted in the order the light passes them.
public protocol VoltageRetarders: AnyObject {
    /// The number of retarders.
    var retarderCount: Int { get }
    /// Drives retarder `retarder` with `voltage` from `time` on: direct voltage for a squeezer,
    /// the amplitude of the alternating voltage for a liquid crystal.
    func setDrive(_ voltage: Volts, retarder: Int, at time: Picoseconds)
}

/// The light that falls on the sensor of a power meter.
public protocol PowerProbe: AnyObject {
    /// The power at `time`.
    func power(at time: Picoseconds) -> Watts
    /// The wavelength of the light.
    var wavelength: Nanometres { get }
}

/// An attenuator in the beam.
public protocol AttenuatingElement: AnyObject {
    /// Attenuates by `attenuation` from `time` on.
    func setAttenuation(_ attenuation: Decibels, at time: Picoseconds)
}

/// A delay in the path of electrical pulses.
public protocol PulseDelay: AnyObject {
    /// Delays pulses by `delay` from `time` on.
    func setDelay(_ delay: Picoseconds, at time: Picoseconds)
    /// Lets pulses pass or not from `time` on.
    func setEnabled(_ isEnabled: Bool, at time: Picoseconds)
}

/// A cold plate with a sensor and a thermo-electric cooler.
public protocol ThermalStage: AnyObject {
    /// Drives the cooler with `milliamperes` from `time` on; positive currents cool.
    func setCoolerCurrent(_ milliamperes: Double, at time: Picoseconds)
    /// The temperature of the plate at `time`.
    func temperature(at time: Picoseconds) -> Celsius
}

/// The terminals of an instrument that sets and reads voltages.
public protocol AnalogTerminals: AnyObject {
    /// Drives output `output` with `voltage` from `time` on.
    func setVoltage(_ voltage: Volts, output: Int, at time: Picoseconds)
    /// The voltage at input `input` at `time`.
    func voltage(input: Int, at time: Picoseconds) -> Volts
}
