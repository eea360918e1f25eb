import DeviceProfiles

/// Makes models of S-Fifteen detector modules.
struct SPDModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .singlePhotonDetector && profile.dialect?.style == .textLines
            && profile.identity.transport == .usbCDCACM
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .detector(let element) = entry.connection else { throw entry.misconnected }
        return .serial(
            try SPDModule(profile: entry.profile, context: context, detector: element))
    }
}

/// Makes models of detectors that have lines only.
struct GatedDetectorModels: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .singlePhotonDetector && profile.identity.transport == .gpio
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .gatedDetector(let element, let lines, let bias) = entry.connection else {
            throw entry.misconnected
        }
        return .wired(
            try GatedDetectorModule(
                profile: entry.profile, context: context, gpio: gpio, lines: lines,
                detector: element, nominalBias: bias))
    }
}

/// Makes models of ID Quantique ID120 detectors.
struct ID120Models: EmulatedModelFactory {
    func models(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .singlePhotonDetector && profile.identity.transport == .usbTMC
            && profile.dialect?.style == .textLines
    }

    func make(
        _ entry: BenchEntry, context: EmulationContext, gpio: EmulatedGPIOHost
    ) throws(MissingProfileField) -> EmulatedModel {
        guard case .detector(let element) = entry.connection else { throw entry.misconnected }
        let module = try ID120Module(
            profile: entry.profile, serial: entry.serial, context: context, detector: element)
        return .usb(
            try USBTMCFunction(profile: entry.profile, serial: entry.serial, device: module))
    }
}
