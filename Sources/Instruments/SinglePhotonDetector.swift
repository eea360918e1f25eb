import HostIO
import Quantities

/// The state of a detector module.
public struct DetectorStatus: Hashable, Sendable {
    /// Whether it is biased and its gate is open.
    public var isCounting: Bool
    /// Whether it reports a fault.
    public var hasFault: Bool
    /// Whether its light monitor reports too much light.
    public var isOverlit: Bool
    /// Whether the interlock allows operation; `true` where there is none.
    public var interlockClosed: Bool
    /// The sensor temperature, where it tells.
    public var temperature: Celsius?
    /// The bias voltage, where it tells.
    public var bias: Volts?
    /// A status.
    public init(
        isCounting: Bool, hasFault: Bool = false, isOverlit: Bool = false,
        interlockClosed: Bool = true, temperature: Celsius? = nil, bias: Volts? = nil
    ) {
        self.isCounting = isCounting
        self.hasFault = hasFault
        self.isOverlit = isOverlit
        self.interlockClosed = interlockClosed
        self.temperature = temperature
        self.bias = bias
    }
}

/// A detector of single photons with a pulse output.
public protocol SinglePhotonDetector: Instrument {
    /// Brings it to counting: cooling, then bias, then gate, each checked before the next.
    ///
    /// - Throws: `interlock` when a safety line forbids it; the detector then stays off.
    func arm() async throws(DriverError)
    /// Closes the gate and removes the bias, in this order.
    func disarm() async throws(DriverError)
    /// The present state.
    func status() async throws(DriverError) -> DetectorStatus
    /// Setting of the bias voltage, where there is one.
    var biasing: (any DetectorBiasing)? { get }
    /// Setting of the temperature, where there is one.
    var cooling: (any DetectorCooling)? { get }
    /// Setting of discriminator and dead time, where there is one.
    var discriminating: (any DetectorDiscriminating)? { get }
    /// The gate enable line, where there is one.
    var gating: (any DetectorGating)? { get }
    /// The module's own counter, where there is one.
    var counting: (any PulseCounting)? { get }
}

/// A detector whose bias voltage can be set.
public protocol DetectorBiasing: Actor {
    /// Sets the bias voltage, within the profile's limits.
    func setBias(_ bias: Volts) async throws(DriverError)
    /// The bias voltage.
    func bias() async throws(DriverError) -> Volts
}

/// A detector whose temperature can be set.
public protocol DetectorCooling: Actor {
    /// Sets the temperature to regulate to, within the profile's limits.
    func setTemperature(_ temperature: Celsius) async throws(DriverError)
    /// The sensor temperature.
    func temperature() async throws(DriverError) -> Celsius
}

extension SinglePhotonDetector {
    /// Most modules have theirs fixed.
    public var discriminating: (any DetectorDiscriminating)? { nil }
}

/// A detector whose discriminator threshold and dead time can be set.
public protocol DetectorDiscriminating: Actor {
    /// Sets the threshold that an avalanche must cross, within the profile's limits.
    func setThreshold(_ threshold: Volts) async throws(DriverError)
    /// The threshold.
    func threshold() async throws(DriverError) -> Volts
    /// Sets the time after a count during which there is no other, within the profile's limits.
    func setDeadTime(_ deadTime: Picoseconds) async throws(DriverError)
    /// The dead time.
    func deadTime() async throws(DriverError) -> Picoseconds
}

/// A detector with a gate enable input.
public protocol DetectorGating: Actor {
    /// Opens or closes the gate. Opening is refused while a safety line forbids it.
    func setGateEnabled(_ isEnabled: Bool) async throws(DriverError)
    /// Waits for the next safety event: fault, too much light, interlock. The gate is already
    /// closed when it is delivered.
    func nextSafetyEvent() async throws(DriverError) -> DetectorSafetyEvent
}

/// Why a detector was switched off by itself.
public struct DetectorSafetyEvent: Hashable, Sendable {
    /// The line that reported.
    public enum Cause: String, Hashable, Sendable {
        /// The module reported a fault.
        case fault
        /// Too much light.
        case overLight
        /// The interlock opened.
        case interlockOpened
    }
    /// Why.
    public var cause: Cause
    /// When the host saw the edge.
    public var time: HostInstant
    /// An event.
    public init(cause: Cause, time: HostInstant) {
        self.cause = cause
        self.time = time
    }
}
