import DeviceProfiles

/// Makes models of Thorlabs power meters of the PM100 family.
struct PM100Models: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .powerMeter && profile.identity.transport == .usbTMC
            && profile.dialect?.style == .textLines
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .powerMeter(let probe) = entry.connection else { throw entry.misconnected }
        let console = try PM100Console(
            profile: entry.profile, serial: entry.serial, context: context, probe: probe)
        return .usb(
            try USBTMCFunction(profile: entry.profile, serial: entry.serial, device: console))
    }
}
