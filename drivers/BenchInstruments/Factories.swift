import DeviceProfiles
import Instruments

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
