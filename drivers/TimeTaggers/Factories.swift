import DeviceProfiles
import HostIO
import Instruments

/// Makes drivers of CQT/NUS time stamp cards.
public struct CQTTimestampFactory: DriverFactory {
    private let units: [String: CQTTimestampUnit]
    /// A factory that knows the calibration of some cards.
    ///
    /// - Parameter units: by the path of the USB port, because the cards have no serial number.
    public init(units: [String: CQTTimestampUnit] = [:]) { self.units = units }
    /// The family.
    public var family: String { "CQT time stamp card" }
    /// Time taggers with length-opcode packets on vendor endpoints.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.identity.transport == .usbVendor
            && profile.dialect?.style == .lengthOpcodePacket
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .usb(let host, let summary) = request.attachment else {
            throw request.unusableAttachment(expected: "a USB device")
        }
        return .timeTagger(
            try CQTTimestampDriver(
                profile: request.profile, host: host, device: summary, reactor: request.reactor,
                unit: units[summary.id.path] ?? CQTTimestampUnit()))
    }
}

/// Makes drivers of the S-Fifteen TDC1.
public struct TDC1Factory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "S-Fifteen TDC1" }
    /// Time taggers with text commands.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.dialect?.style == .textLines
            && profile.dialect?.commands["mode_timestamp"] != nil
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .timeTagger(
            try TDC1Driver(
                profile: request.profile, source: source, serial: request.serial,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of the TAPR TICC.
public struct TICCFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "TAPR TICC" }
    /// Time taggers that print their tags and tell their firmware by a banner.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.textRecord != nil
            && profile.dialect?.style == .textLines && profile.firmware.grammar == .banner
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .stream(let source, _) = request.attachment else {
            throw request.unusableAttachment(expected: "a stream")
        }
        return .timeTagger(
            try TICCDriver(
                profile: request.profile, siblings: request.siblings, source: source,
                isEmulated: request.isEmulated, reactor: request.reactor))
    }
}

/// Makes drivers of the UMass FPGA time tagger.
public struct TimetagFactory: DriverFactory {
    /// A factory.
    public init() {}
    /// The family.
    public var family: String { "UMass FPGA timetag" }
    /// Time taggers that are set by registers.
    public func drives(_ profile: DeviceProfile) -> Bool {
        profile.identity.kind == .timeTagger && profile.identity.transport == .usbVendor
            && profile.dialect?.style == .registerPacket
    }
    /// Makes a driver.
    public func make(_ request: DriverRequest) throws(DriverError) -> OpenableInstrument {
        guard case .usb(let host, let summary) = request.attachment else {
            throw request.unusableAttachment(expected: "a USB device")
        }
        return .timeTagger(
            try TimetagDriver(
                profile: request.profile, host: host, device: summary, reactor: request.reactor))
    }
}
