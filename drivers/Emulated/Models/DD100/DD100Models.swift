import DeviceProfiles

/// Makes models of DD-100-MC attenuators.
struct DD100Models: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .attenuator && profile.dialect?.style == .textLines
            && profile.dialect?.commands["home"] != nil
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .attenuator(let element) = entry.connection else { throw entry.misconnected }
        return .serial(
            try DD100Unit(profile: entry.profile, context: context, element: element))
    }
}
