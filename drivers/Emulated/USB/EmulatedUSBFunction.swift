import HostIO
import Quantities

/// What a device answers to one OUT packet (USB 2.0 specification, section 8.4.5).
public enum USBHandshake: Hashable, Sendable {
    /// Taken.
    case ack
    /// Not now; the host tries again.
    case nak
    /// The endpoint is halted.
    case stall
}

/// What a device answers to one IN token.
public enum USBInHandshake: Hashable, Sendable {
    /// A packet of so many bytes, which may be none.
    case data(count: Int)
    /// Nothing yet; the host asks again.
    case nak
    /// The endpoint is halted.
    case stall
}

/// What a device answers to a control transfer.
public enum USBControlOutcome: Hashable, Sendable {
    /// Done, with the bytes of the data stage towards the host.
    case data([UInt8])
    /// The request is refused.
    case stall
    /// The device does not get round to it.
    case nak

    /// Done, without a data stage towards the host.
    public static let done = USBControlOutcome.data([])
}

/// A device that leaves the bus by itself and comes back as another.
public struct USBRenumeration: Hashable, Sendable {
    /// How long it stays after the request that made it leave.
    public var leavesAfter: Duration
    /// How long it is away; nil for ever.
    public var absence: Duration?

    /// A departure.
    public init(leavesAfter: Duration, absence: Duration?) {
        self.leavesAfter = leavesAfter
        self.absence = absence
    }
}

/// The device side of a USB function, packet by packet.
///
/// This is all a front needs to put the device on a bus: the in-process host here, or a USB/IP
/// server. Standard requests that every device answers from its descriptors are left to
/// `USBDeviceController`. Calls come in time order; a device may catch up with its inner life, such
/// as motion or arriving events, only when it is called.
public protocol EmulatedUSBFunction: FaultTarget {
    /// The descriptors.
    var descriptors: USBDescriptorSet { get }

    /// The endpoint that faults of the bus strike when they name none; nil leaves it to the
    /// controller, which takes the last bulk endpoint towards the host.
    var dataEndpoint: UInt8? { get }

    /// A bus reset: endpoints idle, toggles and halts cleared.
    func busReset(speed: USBSpeed, at now: HostInstant)

    /// Selects an alternate setting that the descriptors list.
    func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant)

    /// A class or vendor request; `length` is wLength of the setup stage.
    func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome

    /// One OUT packet.
    func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake

    /// One IN token; the packet is written to the start of `buffer`, which holds a full packet, or
    /// fewer bytes (at least eight) when a fault makes the next packet a short one.
    func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake

    /// The host has cleared the halt of an endpoint, whether or not it was halted.
    func haltCleared(endpoint: UInt8, at now: HostInstant)

    /// Lets inner life that is due happen.
    func advance(to now: HostInstant)

    /// The next instant, after `now`, at which an answer may change without the host's doing.
    ///
    /// - Parameter polled: the IN endpoints the host is asking at.
    func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant?

    /// What it does to its connection by itself; asked for after every call, tells each once.
    func takeRenumeration() -> USBRenumeration?

    /// It was pulled out of its port, which is where its power comes from.
    func powerLost(at now: HostInstant)
}

extension EmulatedUSBFunction {
    /// Most devices stay until they are pulled out.
    public func takeRenumeration() -> USBRenumeration? { nil }
    /// Most devices leave the choice to the controller.
    public var dataEndpoint: UInt8? { nil }
    /// Most devices here forget nothing that matters.
    public func powerLost(at now: HostInstant) {}
}

extension EmulatedUSBFunction {
    /// Most devices have nothing to do then.
    public func haltCleared(endpoint: UInt8, at now: HostInstant) {}
}
