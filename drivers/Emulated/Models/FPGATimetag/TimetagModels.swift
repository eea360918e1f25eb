import DeviceProfiles

/// Makes models of FPGA time taggers.
struct TimetagModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.dialect?.style == .registerPacket
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .timeTagger(let inputs, let oscillator) = entry.connection else {
            throw entry.misconnected
        }
        return .usb(
            try TimetagUnit(
                profile: entry.profile, context: context, inputs: inputs, oscillator: oscillator))
    }
}
