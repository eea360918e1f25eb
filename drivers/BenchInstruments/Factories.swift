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
