import DeviceProfiles

/// Makes models of Picosecond Delayers.
struct PicosecondDelayerModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .delayGenerator && profile.dialect?.style == .textLines
            && profile.dialect?.replyTerminator == "#"
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .delayGenerator(let pulses) = entry.connection else { throw entry.misconnected }
        return .serial(
            try PicosecondDelayerUnit(
                profile: entry.profile, context: context, pulses: pulses))
    }
}
