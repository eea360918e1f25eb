import DeviceProfiles
import Instruments

/// Makes drivers of S-Fifteen detector modules.
public struct S15DetectorFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "S-Fifteen SPD" }
    /// Detectors with text commands.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .singlePhotonDetector && profile.dialect?.style == .textLines
            && profile.identity.transport == .usbCDCACM
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .singlePhotonDetector(
            try S15DetectorDriver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of detectors that have lines only.
public struct TTLGatedFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "TTL-gated detector" }
    /// Detectors on GPIO.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .singlePhotonDetector && profile.identity.transport == .gpio
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .lines(let host, let name, let wiring) = request.attachment else {
            throw request.unusableAttachment(expected: "GPIO lines")
        }
        return .singlePhotonDetector(
            try TTLGatedDriver(
                profile: request.profile, name: name, wiring: wiring, host: host,
                reactor: request.reactor))
    }
}

/// Makes drivers of ID Quantique ID120 detectors.
public struct ID120Factory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "ID Quantique ID120" }
    /// Detectors of the USB test and measurement class.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .singlePhotonDetector && profile.identity.transport == .usbTMC
            && profile.dialect?.style == .textLines
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .usb(let host, let summary) = request.attachment else {
            throw request.unusableAttachment(expected: "a USB device")
        }
        return .singlePhotonDetector(
            try ID120Driver(
                profile: request.profile, host: host, device: summary, reactor: request.reactor))
    }
}
