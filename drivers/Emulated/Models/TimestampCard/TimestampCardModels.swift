import DeviceProfiles

/// Makes models of time stamp cards.
struct TimestampCardModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.dialect?.style == .lengthOpcodePacket
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .timeTagger(let inputs, let oscillator) = entry.connection else {
            throw entry.misconnected
        }
        return .usb(
            try TimestampCard(
                profile: entry.profile, context: context, inputs: inputs, oscillator: oscillator,
                label: entry.serial))
    }
}
