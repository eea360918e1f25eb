import DeviceProfiles

/// Makes models of Thorlabs motorised paddle controllers.
struct MPC320Models: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .aptFrames
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .polarizationController(let plates) = entry.connection else {
            throw entry.misconnected
        }
        return .serial(
            try MPC320Controller(
                profile: entry.profile, context: context, plates: plates, serial: entry.serial))
    }
}
