import LinkTypes
import Quantities

/// How an acquisition is to run.
public struct AcquisitionPlan: Hashable, Sendable {
    /// Threshold voltages by channel; channels not named keep the profile's default.
    public var thresholds: [UInt8: Volts]
    /// The longest time a tag may wait in the instrument before it is sent.
    public var flushInterval: Duration
    /// Whether to use the external 10 MHz reference; `nil` lets the profile decide.
    public var usesExternalReference: Bool?

    /// A plan with the profile's thresholds and a flush interval of 20 ms.
    public init(
        thresholds: [UInt8: Volts] = [:], flushInterval: Duration = .milliseconds(20),
        usesExternalReference: Bool? = nil
    ) {
        self.thresholds = thresholds
        self.flushInterval = flushInterval
        self.usesExternalReference = usesExternalReference
    }
}

/// The blocks of a running acquisition.
public protocol TagBlockSource: AnyObject, Sendable {
    /// The next block; waits for it. `nil` after the acquisition was stopped and all is delivered.
    ///
    /// Not calling it is back-pressure: the driver stops handing buffers to the host stack, the
    /// instrument's own buffer fills, and what is lost comes back as a `LossMark`.
    func next() async throws(DriverError) -> TagBlock?
}

/// An instrument that stamps electrical pulses with the time of its own oscillator.
public protocol TimeTagger: Instrument {
    /// The nominal length of a tick.
    var tickPeriod: TickPeriod { get }
    /// The number of input channels.
    var channelCount: Int { get }
    /// Starts an acquisition; ticks count from here on.
    func start(_ plan: AcquisitionPlan) async throws(DriverError) -> any TagBlockSource
    /// Stops the acquisition; tags already made are still delivered.
    func stop() async throws(DriverError)
    /// Gated counting, where the instrument has it.
    var counting: (any PulseCounting)? { get }
}

/// Counting pulses for a fixed time, done by the instrument itself.
public protocol PulseCounting: Actor {
    /// Counts on every channel for `duration`.
    func counts(for duration: Duration) async throws(DriverError) -> [UInt64]
}
