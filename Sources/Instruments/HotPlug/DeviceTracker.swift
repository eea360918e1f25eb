import DeviceProfiles
import HostIO
import Quantities

/// Compares lists of devices and says what happened between them.
///
/// A unit that left stays expected until it returns or another is accepted in its place, so that what
/// comes back in another state is noticed.
public struct DeviceTracker: Sendable {
    /// A unit that left.
    public struct Absence: Hashable, Sendable {
        /// The unit.
        public var unit: DeviceUnit
        /// When it left.
        public var since: HostInstant
    }

    /// The most absences remembered; beyond it the oldest is forgotten.
    public static let maximumAbsences = 256

    private let catalog: ProfileCatalog
    /// The devices attached now, in the order of the last list.
    public private(set) var devices: [DiscoveredDevice] = []
    /// The units that left and have not returned, oldest first.
    public private(set) var absences: [Absence] = []
    /// Attachments that stand in another unit's place.
    private var strangers: Set<DiscoveredDevice.Attachment> = []

    /// A tracker that has seen no list yet.
    public init(catalog: ProfileCatalog) { self.catalog = catalog }

    /// The unit a device is.
    public func unit(of device: DiscoveredDevice) -> DeviceUnit {
        DeviceUnit(device, catalog: catalog)
    }

    /// Takes a list; returns departures before arrivals, each in the order of its list.
    ///
    /// - Parameters:
    ///   - list: what is attached.
    ///   - now: when the list was made.
    ///   - seen: when the host told of arrivals and departures itself, by address.
    public mutating func update(
        _ list: [DiscoveredDevice], at now: HostInstant, seen: [USBDeviceID: HostInstant] = [:]
    ) -> [DeviceEvent] {
        var events: [DeviceEvent] = []
        let attached = Set(list.map(\.attachment))
        let before = Dictionary(
            devices.map { ($0.attachment, $0) }, uniquingKeysWith: { first, _ in first })
        for device in devices where !attached.contains(device.attachment) {
            let time = device.usb.flatMap { seen[$0.id] } ?? now
            events.append(DeviceEvent(.left, device, at: time))
            // What stood in another's place was never expected itself.
            if strangers.remove(device.attachment) == nil {
                absences.append(Absence(unit: unit(of: device), since: time))
            }
        }
        if absences.count > Self.maximumAbsences {
            absences.removeFirst(absences.count - Self.maximumAbsences)
        }
        for device in list {
            if let known = before[device.attachment] {
                if known != device { events += change(from: known, to: device, at: now) }
                continue
            }
            let time = device.usb.flatMap { seen[$0.id] } ?? now
            events.append(DeviceEvent(arrival(of: device, at: time), device, at: time))
        }
        devices = list
        return events
    }

    /// What the arrival of a device means.
    private mutating func arrival(
        of device: DiscoveredDevice, at time: HostInstant
    ) -> DeviceEvent.Kind {
        let unit = unit(of: device)
        if let index = absences.firstIndex(where: { $0.unit.differences(of: unit).isEmpty }) {
            let absence = absences.remove(at: index)
            let moved = absence.unit.port == unit.port ? nil : absence.unit.port
            return .returned(after: time - absence.since, movedFrom: moved)
        }
        // A device that is not ready may not show yet what it is, so it replaces nothing.
        guard device.profile != nil || device.availability != .unknownModel,
            let absence = absences.last(where: { $0.unit.isClaimed(by: unit) })
        else { return .arrived }
        strangers.insert(device.attachment)
        return .replaced(expected: absence.unit, absence.unit.differences(of: unit))
    }

    /// A device that shows more, or something else, than when it arrived.
    private mutating func change(
        from known: DiscoveredDevice, to device: DiscoveredDevice, at now: HostInstant
    ) -> [DeviceEvent] {
        let (old, new) = (unit(of: known), unit(of: device))
        if old.differences(of: new).isEmpty {
            return known.availability == device.availability
                ? [] : [DeviceEvent(.changed(from: known.availability), device, at: now)]
        }
        // Strings that could not be read before may now tell that it is the unit that was away.
        if strangers.remove(device.attachment) != nil || !absences.isEmpty {
            let kind = arrival(of: device, at: now)
            if kind != .arrived { return [DeviceEvent(kind, device, at: now)] }
        }
        return [DeviceEvent(.changed(from: known.availability), device, at: now)]
    }

    /// Accepts the device at `address` in the place of the unit that was expected there. Returns
    /// false when it replaces nothing.
    public mutating func accept(_ address: DeviceAddress) -> Bool {
        guard let device = devices.first(where: { $0.address == address }),
            strangers.remove(device.attachment) != nil
        else { return false }
        let unit = unit(of: device)
        absences.removeAll { $0.unit.isClaimed(by: unit) }
        return true
    }
}
