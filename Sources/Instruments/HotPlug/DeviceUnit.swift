import DeviceProfiles
import HostIO

/// Which physical unit a device is, as far as can be told from outside.
///
/// A unit is known by its serial number. Models whose units all show the same one, or none, are told
/// apart by the port they are plugged into.
public struct DeviceUnit: Hashable, Sendable {
    /// The model, for messages.
    public var model: String
    /// The profile that fits.
    public var profile: String?
    /// The serial number; empty when the units of the model can not be told apart by it.
    public var serial: String
    /// The firmware, when it can be known without opening.
    public var firmware: String
    /// The USB port, the device node, or the name of the declaration.
    public var port: String
    /// Whether it is a model of a device; a model never stands in for a device.
    public var isEmulated: Bool

    /// A unit.
    public init(
        model: String, profile: String?, serial: String, firmware: String, port: String,
        isEmulated: Bool
    ) {
        self.model = model
        self.profile = profile
        self.serial = serial
        self.firmware = firmware
        self.port = port
        self.isEmulated = isEmulated
    }

    /// The unit that was found.
    public init(_ device: DiscoveredDevice, catalog: ProfileCatalog) {
        let pattern = device.profile.flatMap { catalog[$0] }?.usb?.serial
        let isSharedByAll = pattern.map { $0.literal == device.serial } ?? false
        self.init(
            model: device.model, profile: device.profile,
            serial: isSharedByAll ? "" : device.serial, firmware: device.firmware,
            port: device.port, isEmulated: device.isEmulated)
    }

    /// Model and serial number, or model and port.
    public var shortName: String {
        serial.isEmpty ? "\(model) at \(port)" : "\(model) \(serial)"
    }

    /// In what `found` is not this unit in its present state; empty when it is.
    public func differences(of found: DeviceUnit) -> [UnitDifference] {
        var result: [UnitDifference] = []
        func compare(_ property: UnitDifference.Property, _ mine: String, _ theirs: String) {
            if mine != theirs {
                result.append(UnitDifference(property: property, expected: mine, found: theirs))
            }
        }
        compare(.provenance, provenance, found.provenance)
        compare(.profile, profile ?? "none", found.profile ?? "none")
        compare(.serial, serial, found.serial)
        compare(.firmware, firmware, found.firmware)
        // Without a serial number the port is all that tells two units apart.
        if serial.isEmpty, found.serial.isEmpty { compare(.port, port, found.port) }
        return result
    }

    /// Whether `found` stands where this unit is expected: in its port, with its serial number, or,
    /// where units have none, as another of the same model.
    public func isClaimed(by found: DeviceUnit) -> Bool {
        if port == found.port { return true }
        guard serial == found.serial else { return false }
        return !serial.isEmpty || (profile != nil && profile == found.profile)
    }

    private var provenance: String { isEmulated ? "emulated" : "device" }
}

/// In what one unit differs from another.
public struct UnitDifference: Hashable, Sendable, CustomStringConvertible {
    /// What can differ.
    public enum Property: String, CaseIterable, Hashable, Sendable {
        /// The profile that fits.
        case profile
        /// The serial number.
        case serial
        /// The firmware version.
        case firmware
        /// The port of a unit without a serial number.
        case port
        /// Whether it is a physical device.
        case provenance
    }
    /// What differs.
    public var property: Property
    /// Of the unit that was expected.
    public var expected: String
    /// Of the unit that is there.
    public var found: String

    /// `serial: expected …, found …`.
    public var description: String {
        func shown(_ text: String) -> String { text.isEmpty ? "none" : text }
        return "\(property.rawValue): expected \(shown(expected)), found \(shown(found))"
    }
}

extension DiscoveredDevice {
    /// Where it is plugged in, the same each time it is plugged in there.
    public var port: String {
        if let usb { return "usb:\(usb.id.path)" }
        return "\(address)"
    }

    /// What tells this attachment from every other: a device that returns gets another address.
    var attachment: Attachment { Attachment(address: address, usb: usb?.id) }

    struct Attachment: Hashable, Sendable {
        var address: DeviceAddress
        var usb: USBDeviceID?
    }
}
