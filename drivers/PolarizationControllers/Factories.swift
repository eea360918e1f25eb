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
