import DeviceProfiles
import Instruments

/// Makes drivers of Picosecond Delayers.
public struct PicosecondDelayerFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "MPD Picosecond Delayer" }
    /// Delay generators with text commands that end with `#`.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .delayGenerator && profile.dialect?.style == .textLines
            && profile.dialect?.replyTerminator == "#"
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .delayGenerator(
            try PicosecondDelayerDriver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of MTD415T temperature controllers.
public struct MTD415TFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "Thorlabs MTD415T" }
    /// Temperature controllers with text commands and an error register.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .temperatureController && profile.dialect?.style == .textLines
            && profile.dialect?.commands["errors"] != nil
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .temperatureController(
            try MTD415TDriver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of DD-100-MC attenuators.
public struct DD100Factory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "OZ Optics DD-100-MC" }
    /// Attenuators with text commands that have to be homed.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .attenuator && profile.dialect?.style == .textLines
            && profile.dialect?.commands["home"] != nil
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .attenuator(
            try DD100Driver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of LabJack U3 units.
public struct LabJackU3Factory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "LabJack U3" }
    /// Analog instruments with LabJack's packets on vendor endpoints.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .analogIO && profile.identity.transport == .usbVendor
            && profile.dialect?.style == .labJackPacket
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .usb(let host, let summary) = request.attachment else {
            throw request.unusableAttachment(expected: "a USB device")
        }
        return .analogIO(
            try LabJackU3Driver(
                profile: request.profile, host: host, device: summary, reactor: request.reactor))
    }
}

/// Makes drivers of CP2112 adapters.
public struct CP2112Factory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "Silicon Labs CP2112" }
    /// Adapters with digital lines that are spoken to in reports.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .digitalIO && profile.identity.transport == .usbHID
            && profile.dialect?.style == .hidReport
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .usb(let host, let summary) = request.attachment else {
            throw request.unusableAttachment(expected: "a USB device")
        }
        return .digitalIO(
            try CP2112Driver(
                profile: request.profile, host: host, device: summary, reactor: request.reactor))
    }
}

/// Makes drivers of Thorlabs power meters of the PM100 family.
public struct ThorlabsPM100Factory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "Thorlabs PM100" }
    /// Power meters of the USB test and measurement class.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .powerMeter && profile.identity.transport == .usbTMC
            && profile.dialect?.style == .textLines
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .usb(let host, let summary) = request.attachment else {
            throw request.unusableAttachment(expected: "a USB device")
        }
        return .powerMeter(
            try ThorlabsPM100Driver(
                profile: request.profile, host: host, device: summary, reactor: request.reactor))
    }
}
