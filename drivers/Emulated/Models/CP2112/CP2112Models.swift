import DeviceProfiles

/// Makes models of CP2112 adapters.
struct CP2112Models: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .digitalIO && profile.dialect?.style == .hidReport
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .digitalIO(let pins) = entry.connection else { throw entry.misconnected }
        return .usb(
            try CP2112Adapter(
                profile: entry.profile, serial: entry.serial, pins: pins, gpio: gpio))
    }
}
