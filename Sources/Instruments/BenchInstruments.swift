import HostIO
import Quantities

// The narrow ports of the instruments around the link: what shifts a gate in time, measures and
// attenuates light, regulates a temperature, and sets a voltage or a digital line.

/// An instrument that shifts pulses in time, such as the gate of a detector.
public protocol DelayGenerator: Instrument {
    /// The delays it can be set to.
    var delayRange: ClosedRange<Picoseconds> { get }
    /// The distance of settings.
    var delayResolution: Picoseconds { get }
    /// Sets the delay, rounded to the resolution; returns what the instrument reports.
    ///
    /// - Throws: `outOfRange` before a byte is sent.
    func setDelay(_ delay: Picoseconds) async throws(DriverError) -> Picoseconds
    /// The present delay.
    func delay() async throws(DriverError) -> Picoseconds
    /// Switches the output pulses on or off.
    func setOutputEnabled(_ isEnabled: Bool) async throws(DriverError)
}

/// One reading of a power meter.
public struct PowerReading: Hashable, Sendable {
    /// The power; nil when the range was exceeded.
    public var power: Watts?
    /// The wavelength the sensor's calibration was taken at.
    public var wavelength: Nanometres
    /// When the reading arrived.
    public var time: HostInstant
    /// A reading.
    public init(power: Watts?, wavelength: Nanometres, time: HostInstant) {
        self.power = power
        self.wavelength = wavelength
        self.time = time
    }
}

/// An instrument that measures optical power.
public protocol PowerMeter: Instrument {
    /// The wavelengths its sensor is calibrated for; complete after `open`.
    var wavelengthRange: ClosedRange<Nanometres> { get }
    /// Sets the wavelength the sensor's calibration is taken at.
    func setWavelength(_ wavelength: Nanometres) async throws(DriverError)
    /// Measures once.
    func measure() async throws(DriverError) -> PowerReading
}

/// An instrument that attenuates light.
public protocol Attenuator: Instrument {
    /// The attenuations it can be set to; complete after `open`.
    var attenuationRange: ClosedRange<Decibels> { get }
    /// Sets the attenuation and waits until it is reached; returns what the instrument reports.
    func setAttenuation(_ attenuation: Decibels) async throws(DriverError) -> Decibels
    /// The present attenuation.
    func attenuation() async throws(DriverError) -> Decibels
}

/// An instrument that regulates the temperature of a detector or a laser.
public protocol TemperatureController: Instrument {
    /// The temperatures it can be set to.
    var temperatureRange: ClosedRange<Celsius> { get }
    /// Sets the temperature to regulate to.
    func setTemperature(_ temperature: Celsius) async throws(DriverError)
    /// The sensor temperature.
    func temperature() async throws(DriverError) -> Celsius
}

/// An instrument that sets and reads voltages: the bias of a modulator, the level of a gate.
public protocol AnalogIO: Instrument {
    /// The range of each output, by its number.
    var outputRanges: [ClosedRange<Volts>] { get }
    /// The number of inputs.
    var inputCount: Int { get }
    /// Sets an output; returns the voltage of the nearest code.
    func setOutput(_ output: Int, _ voltage: Volts) async throws(DriverError) -> Volts
    /// Reads an input once.
    func input(_ input: Int) async throws(DriverError) -> Volts
}

/// An instrument that adds digital lines to the host.
public protocol DigitalLineAdapter: Instrument {
    /// The lines, as a GPIO host of their own with one chip; usable while the instrument is open.
    nonisolated var lines: any GPIOHost { get }
}
