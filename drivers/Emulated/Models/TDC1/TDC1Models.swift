import DeviceProfiles

/// Makes models of the S-Fifteen TDC1.
struct TDC1Models: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.dialect?.style == .textLines
            && profile.identity.transport == .usbCDCACM
            && profile.dialect?.commands["mode_timestamp"] != nil
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .timeTagger(let inputs, let oscillator) = entry.connection else {
            throw entry.misconnected
        }
        return .serial(
            try TDC1Unit(
                profile: entry.profile, context: context, inputs: inputs, oscillator: oscillator))
    }
}
