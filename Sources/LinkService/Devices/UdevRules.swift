import DeviceProfiles

/// Rules for udev(7) that give users access to the instruments of a catalogue.
///
/// The rules say what `usb.match` of a profile says, without the release, because a device with
/// another firmware must be reachable to be named. A profile whose numbers nobody has published gets
/// no rule: a rule on strings alone would open devices of other makers that copy them.
public struct UdevRules: Sendable {
    /// The name of the file: before 73-seat-late.rules, which grants what `uaccess` asks for, and
    /// before ModemManager's rules, which begin at 77.
    public static let fileName = "60-berek.rules"
    /// The group that may use the devices without a seat, such as over SSH; Debian's for hot-plugged
    /// devices. Serial ports stay with the group `dialout`, which every serial program expects.
    public static let group = "plugdev"

    private let profiles: [DeviceProfile]

    /// Rules for the profiles of `catalog`.
    public init(_ catalog: ProfileCatalog) { profiles = catalog.profiles }

    /// The file.
    public var text: String {
        var lines = [
            "# Access to instruments, made by 'berek profiles udev' from the firmware profiles.",
            "# Not to be edited: scripts/install-udev replaces this file.",
            "",
            "ACTION==\"remove\", GOTO=\"berek_end\"",
            "SUBSYSTEM!=\"usb|tty|usbmisc|hidraw\", GOTO=\"berek_end\"",
        ]
        for profile in profiles where profile.usb != nil {
            lines += ["", "# \(profile.id): \(profile.identity.vendor) \(profile.identity.model)"]
            lines += rules(for: profile)
        }
        lines += coldBootRules
        return (lines + ["", "LABEL=\"berek_end\"", ""]).joined(separator: "\n")
    }

    private func rules(for profile: DeviceProfile) -> [String] {
        guard let usb = profile.usb, let vendor = usb.vendorID, let product = usb.productID else {
            return [
                "#   no rule: its vendor and product numbers are not published. "
                    + (profile.serialPort == nil
                        ? "Give access to its node by hand."
                        : "Its serial port belongs to the group dialout.")
            ]
        }
        var conditions = [("idVendor", Self.hex(vendor)), ("idProduct", Self.hex(product))]
        let texts: [(USBMatchField, TextPattern?)] = [
            (.manufacturer, usb.manufacturer), (.product, usb.product), (.serial, usb.serial),
        ]
        for case (let field, let pattern?) in texts where usb.match.contains(field) {
            conditions.append((field.rawValue, pattern.shellPattern))
        }
        let isSerial = profile.serialPort != nil
        // ModemManager talks to every serial port it does not know, and an instrument would take
        // its greetings for commands.
        let quiet = isSerial ? ", ENV{ID_MM_DEVICE_IGNORE}=\"1\"" : ""
        var rules = [Self.device(conditions) + Self.access + quiet]
        let above = conditions.map { "ATTRS{\($0.0)}==\"\($0.1)\"" }.joined(separator: ", ")
        switch profile.identity.transport {
        case .usbTMC:
            rules.append("SUBSYSTEM==\"usbmisc\", KERNEL==\"usbtmc*\", \(above)" + Self.access)
        case .usbHID: rules.append("SUBSYSTEM==\"hidraw\", \(above)" + Self.access)
        case .usbFTDI, .usbCDCACM, .usbVendor, .serialLine, .gpio:
            if isSerial { rules.append("SUBSYSTEM==\"tty\", \(above), TAG+=\"uaccess\"" + quiet) }
        }
        return rules
    }

    private static func device(_ conditions: [(String, String)]) -> String {
        "SUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_device\", "
            + conditions.map { "ATTR{\($0.0)}==\"\($0.1)\"" }.joined(separator: ", ")
    }

    private static let access = ", MODE=\"0660\", GROUP=\"\(group)\", TAG+=\"uaccess\""

    /// Chips that wait for firmware, each once, however many models start as one.
    private var coldBootRules: [String] {
        var models: [(vendor: UInt16, product: UInt16, ids: [String])] = []
        for profile in profiles {
            guard let cold = profile.coldBoot else { continue }
            let known = models.firstIndex {
                $0.vendor == cold.vendorID && $0.product == cold.productID
            }
            if let known {
                models[known].ids.append(profile.id)
            } else {
                models.append((cold.vendorID, cold.productID, [profile.id]))
            }
        }
        return models.flatMap { model in
            let (vendor, product) = (Self.hex(model.vendor), Self.hex(model.product))
            let numbers = "ATTRS{idVendor}==\"\(vendor)\", ATTRS{idProduct}==\"\(product)\""
            return [
                "",
                "# A chip without firmware, which \(model.ids.joined(separator: " and ")) is until it is loaded.",
                Self.device([("idVendor", vendor), ("idProduct", product)]) + Self.access,
                "# The kernel's test driver takes bare chips where it is built.",
                "ACTION==\"bind\", SUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_interface\", "
                    + "ENV{DRIVER}==\"usbtest\", \(numbers), "
                    + "RUN+=\"/bin/sh -c 'echo %k > /sys/bus/usb/drivers/usbtest/unbind'\"",
            ]
        }
    }

    private static func hex(_ value: UInt16) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 4 - digits.count) + digits
    }
}
