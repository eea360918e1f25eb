import DeviceProfiles
import HostIO
import Instruments

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
