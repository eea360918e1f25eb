import DeviceProfiles

/// Makes models of OZ Optics fibre squeezers.
struct EPCModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .textLines
            && profile.identity.transport == .serialLine
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .retarders(let retarders) = entry.connection else { throw entry.misconnected }
        return .serial(
            try EPCController(profile: entry.profile, context: context, retarders: retarders))
    }
}

/// Makes models of S-Fifteen drivers of liquid-crystal retarders.
struct LCDDriverModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .textLines
            && profile.identity.transport == .usbCDCACM
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .retarders(let retarders) = entry.connection else { throw entry.misconnected }
        return .serial(
            try LCDDriverUnit(profile: entry.profile, context: context, retarders: retarders))
    }
}
