import DeviceProfiles

/// Makes models of the TAPR TICC.
struct TICCModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.textRecord != nil
            && profile.dialect?.style == .textLines && profile.firmware.grammar == .banner
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .timeTagger(let inputs, let oscillator) = entry.connection else {
            throw entry.misconnected
        }
        return .serial(
            try TICCUnit(
                profile: entry.profile, context: context, inputs: inputs, oscillator: oscillator))
    }
}
