import DeviceProfiles
import Instruments

/// Makes drivers of Thorlabs motorised paddle controllers.
public struct ThorlabsMPC320Factory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "Thorlabs MPC320" }
    /// Polarization controllers that speak APT.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .aptFrames
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .polarizationController(
            try ThorlabsMPC320Driver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of OZ Optics fibre squeezers.
public struct EPCFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "OZ Optics EPC" }
    /// Polarization controllers that speak lines of text over a declared serial line.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .textLines
            && profile.identity.transport == .serialLine
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .polarizationController(
            try EPCDriver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of S-Fifteen drivers of liquid-crystal retarders.
public struct S15RetarderFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "S-Fifteen LCD driver" }
    /// Polarization controllers that speak lines of text behind a communications-class port.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .textLines
            && profile.identity.transport == .usbCDCACM
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .polarizationController(
            try S15RetarderDriver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of Thorlabs Elliptec modules that turn plates or paddles.
public struct ThorlabsElliptecFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "Thorlabs Elliptec" }
    /// Polarization controllers on an Elliptec line.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .polarizationController && profile.dialect?.style == .elliptecText
    }
    /// Makes a driver of all modules at the declared addresses.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, let addresses) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .polarizationController(
            try ThorlabsElliptecDriver(
                profile: request.profile, source: source, addresses: addresses,
                serial: request.serial, isEmulated: request.isEmulated, reactor: request.reactor))
    }
}
