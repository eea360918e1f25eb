import DeviceProfiles

/// Makes models of MTD415T temperature controllers.
struct MTD415TModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .temperatureController && profile.dialect?.style == .textLines
            && profile.dialect?.commands["errors"] != nil
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .temperatureController(let stage) = entry.connection else {
            throw entry.misconnected
        }
        return .serial(
            try MTD415TModule(
                profile: entry.profile, context: context, stage: stage, serial: entry.serial))
    }
}
