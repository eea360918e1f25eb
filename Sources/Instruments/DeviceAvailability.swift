/// How a user gets access to a device node.
public enum AccessRemedy: Hashable, Sendable {
    /// The rules made from the profiles cover the device.
    case udevRules
    /// The node belongs to this group.
    case group(String)
    /// No rule covers it; the node itself has to be opened to the user.
    case node
}

/// Whether a device that was found can be used, and if not, why.
public enum DeviceAvailability: Hashable, Sendable {
    /// It can be opened.
    case ready
    /// The user may not open its node.
    case permissionDenied(node: String, AccessRemedy)
    /// A kernel driver has it, and offers no serial port that can be used instead. `interface` is its
    /// name in sysfs, such as `1-2:1.0`.
    case claimedByKernelDriver(name: String, interface: String)
    /// Another program has it.
    case busy
    /// It looks like one of ours, but no profile or no driver fits.
    case unknownModel
    /// The model is known, this firmware is not.
    case unsupportedFirmware(found: String, supported: String)
    /// It is a bare chip that waits for its firmware; it may become any of these models.
    case awaitingFirmware(profiles: [String])
    /// Several profiles fit; or one does as far as could be read.
    case ambiguous(profiles: [String])
    /// It was declared at `location`, and nothing is there.
    case absent(location: String)
    /// A board that anything may be built from; one of these, if the operator declares it so.
    case undeclared(profiles: [String])
}

/// What a technician does about a device that can not be used.
public struct NextAction: Hashable, Sendable {
    /// What to do, as a phrase.
    public var text: String
    /// The command that does it, where there is one.
    public var command: String?
    /// An action.
    public init(_ text: String, command: String? = nil) {
        self.text = text
        self.command = command
    }
}

extension DeviceAvailability {
    /// The state as one word that programs may rely on.
    public var name: String {
        switch self {
        case .ready: "ready"
        case .permissionDenied: "permission_denied"
        case .claimedByKernelDriver: "claimed_by_kernel_driver"
        case .busy: "busy"
        case .unknownModel: "unknown_model"
        case .unsupportedFirmware: "unsupported_firmware"
        case .awaitingFirmware: "awaiting_firmware"
        case .ambiguous: "ambiguous"
        case .absent: "absent"
        case .undeclared: "undeclared"
        }
    }

    /// Why the device can not be used; nil when it can.
    public var reason: String? {
        switch self {
        case .ready: nil
        case .permissionDenied(let node, _): "no permission to open \(node)"
        case .claimedByKernelDriver(let name, let interface):
            "the kernel driver \(name) has claimed \(interface)"
        case .busy: "another program is using it"
        case .unknownModel: "no profile and driver fit"
        case .unsupportedFirmware(let found, let supported):
            "firmware \(found) is not covered; supported: \(supported)"
        case .awaitingFirmware(let profiles):
            "it is a bare chip without firmware, as \(profiles.joined(separator: " or ")) is at first"
        case .ambiguous(let profiles):
            profiles.count == 1
                ? "it may be \(profiles[0]), but what tells for certain could not be read"
                : "several profiles fit: \(profiles.joined(separator: ", "))"
        case .absent(let location): "declared at \(location), and nothing is there"
        case .undeclared(let profiles):
            "a board that anything may be built from; it may run \(profiles.joined(separator: ", "))"
        }
    }

    /// What to do next; nil when nothing needs to be done.
    public var nextAction: NextAction? {
        switch self {
        case .ready: nil
        case .permissionDenied(_, .udevRules):
            NextAction(
                "install the udev rules and plug the device in again; without a seat at this "
                    + "machine, join the group plugdev too",
                command: "scripts/install-udev")
        case .permissionDenied(_, .group(let group)):
            NextAction(
                "join the group \(group) and log in again",
                command: "sudo adduser \"$USER\" \(group)")
        case .permissionDenied(let node, .node):
            NextAction(
                "no rule covers the model; open the node to yourself until it is unplugged",
                command: "sudo setfacl -m u:\"$USER\":rw \(node)")
        case .claimedByKernelDriver(let name, let interface):
            NextAction(
                "unbind the driver from the device",
                command: "echo \(interface) | sudo tee /sys/bus/usb/drivers/\(name)/unbind")
        case .busy: NextAction("close the other program")
        case .unknownModel: NextAction("add a profile of the model with --profiles")
        case .unsupportedFirmware:
            NextAction("load a supported firmware, or add a profile of this one with --profiles")
        case .awaitingFirmware:
            NextAction(
                "load the firmware image of the model into it, and look for devices again",
                command: "berek devices load-firmware --image FILE")
        case .ambiguous(let profiles):
            profiles.count == 1
                ? NextAction(
                    "install the udev rules so that its strings can be read",
                    command: "scripts/install-udev")
                : NextAction("remove all but one of the profiles from the folders of --profiles")
        case .absent: NextAction("check cable and power, or correct the declaration")
        case .undeclared:
            NextAction("if it is such an instrument, declare its port with one of these profiles")
        }
    }

    /// Reason and next action in one line; nil when the device is ready.
    public var advice: String? {
        guard let reason else { return nil }
        guard let action = nextAction else { return reason }
        return "\(reason): \(action.text)" + (action.command.map { " (\($0))" } ?? "")
    }
}
