import Quantities

/// Something that happened to a device.
public struct DeviceEvent: Hashable, Sendable {
    /// What happened.
    public enum Kind: Hashable, Sendable {
        /// A device nobody had seen before was plugged in.
        case arrived
        /// It was unplugged.
        case left
        /// The same unit is back, after so long; `movedFrom` is its former port if it is another.
        case returned(after: Duration, movedFrom: String?)
        /// Another unit, or the same in another state, stands where `expected` is expected. It is not
        /// used in its place unless it is accepted.
        case replaced(expected: DeviceUnit, [UnitDifference])
        /// Its availability is not what it was.
        case changed(from: DeviceAvailability)
    }
    /// What happened.
    public var kind: Kind
    /// The device, as it is now; as it was, when it left.
    public var device: DiscoveredDevice
    /// When the host noticed.
    public var time: HostInstant

    /// An event.
    public init(_ kind: Kind, _ device: DiscoveredDevice, at time: HostInstant) {
        self.kind = kind
        self.device = device
        self.time = time
    }

    /// The kind as one word that programs may rely on.
    public var name: String {
        switch kind {
        case .arrived: "arrived"
        case .left: "left"
        case .returned: "returned"
        case .replaced: "replaced"
        case .changed: "changed"
        }
    }

    /// What happened beyond the name, for people; empty when the name says it.
    public var detail: String {
        switch kind {
        case .arrived, .left: return ""
        case .returned(let duration, let former):
            let milliseconds = duration.wholeNanoseconds / 1_000_000
            return "after \(milliseconds) ms" + (former.map { ", from \($0)" } ?? "")
        case .replaced(let expected, let differences):
            return "in place of \(expected.shortName): "
                + differences.map(\.description).joined(separator: "; ")
        case .changed(let before): return "was \(before.name)"
        }
    }
}
