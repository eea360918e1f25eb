import DeviceProfiles

/// Makes models of Elliptec modules that turn plates or paddles, all those of one line together.
struct ElliptecModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .elliptecText
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .polarizationController(let plates) = entry.connection else {
            throw entry.misconnected
        }
        return .serial(
            try ElliptecLine(
                profile: entry.profile, context: context, plates: plates,
                addresses: entry.addresses))
    }
}
