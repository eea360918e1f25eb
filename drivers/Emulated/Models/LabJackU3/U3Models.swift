import DeviceProfiles

/// Makes models of LabJack U3 units: of a U3-HV, which has what a U3-LV has and four inputs of ±10 V.
struct U3Models: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .analogIO && profile.dialect?.style == .labJackPacket
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .analogIO(let terminals) = entry.connection else { throw entry.misconnected }
        return .usb(
            try U3Unit(
                profile: entry.profile, context: context, terminals: terminals,
                serial: entry.serial, hasHighVoltage: true, pins: entry.pins, gpio: gpio))
    }
}
