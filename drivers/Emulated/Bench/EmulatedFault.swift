import DeviceProfiles
import HostIO
import Quantities

/// Something that goes wrong in an emulated device, as data.
public struct EmulatedFault: Hashable, Sendable {
    /// What goes wrong.
    public var kind: InjectableFault
    /// The endpoint concerned, for faults of a USB endpoint; nil lets the device choose.
    public var endpoint: UInt8?
    /// How long it lasts; nil for faults that happen once or stay until they are cleared.
    public var duration: Duration?
    /// The line, bit or byte count concerned, the nanoseconds of a clock step, the amplitude of an
    /// oscillating motion in encoder counts; where the kind of fault has one.
    public var detail: Int?

    /// A fault.
    public init(
        _ kind: InjectableFault, endpoint: UInt8? = nil, duration: Duration? = nil,
        detail: Int? = nil
    ) {
        self.kind = kind
        self.endpoint = endpoint
        self.duration = duration
        self.detail = detail
    }
}

extension EmulatedFault {
    /// How far a clock step goes: `detail` nanoseconds ahead, by default a millisecond, at most
    /// ten seconds.
    var clockStep: Picoseconds {
        Picoseconds(Int64(min(10_000_000_000, max(1, (detail ?? 1_000_000).magnitude))) * 1000)
    }
}

/// A fault and the instant it strikes.
public struct PlannedFault: Hashable, Sendable {
    /// When, on the clock of the reactor.
    public var time: HostInstant
    /// The serial number or name of the device, as given to the bench.
    public var device: String
    /// What.
    public var fault: EmulatedFault

    /// A fault of `device` at `time`.
    public init(time: HostInstant, device: String, fault: EmulatedFault) {
        self.time = time
        self.device = device
        self.fault = fault
    }
}

/// An emulated device that faults can be injected into.
public protocol FaultTarget: AnyObject, Sendable {
    /// Makes the fault happen now. Returns false for a kind the device does not have.
    func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool
}
