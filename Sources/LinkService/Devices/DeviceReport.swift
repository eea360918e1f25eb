import EventPipeline
import Instruments

extension DiscoveredDevice {
    /// The device for programs. The members are stable: none is renamed or removed.
    public var json: JSONText {
        func text(_ value: String?) -> JSONText { value.map(JSONText.string) ?? .null }
        let action = availability.nextAction
        return .object([
            ("address", .string("\(address)")), ("vendor", .string(vendor)),
            ("model", .string(model)), ("serial", .string(serial)),
            ("firmware", .string(firmware)), ("profile", text(profile)),
            ("emulated", .bool(isEmulated)), ("ready", .bool(availability == .ready)),
            ("state", .string(availability.name)), ("reason", text(availability.reason)),
            ("next_action", text(action?.text)), ("command", text(action?.command)),
        ])
    }

    /// Maker, model and serial number, for people.
    public var label: String {
        [vendor, model, serial].filter { !$0.isEmpty }.joined(separator: " ")
    }
}
