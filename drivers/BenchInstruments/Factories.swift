import DeviceProfiles
import Instruments

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
