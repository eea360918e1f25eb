import HostIO
import Quantities

/// How waiting for a unit ended.
public enum DeviceReturnOutcome: Hashable, Sendable {
    /// The unit is back, or what was accepted in its place is there; it can be opened.
    case returned(DiscoveredDevice)
    /// Time is up, and another unit, or the same in another state, stands in its place.
    case replaced(DiscoveredDevice, [UnitDifference])
    /// Time is up; the unit is there and can not be used.
    case unusable(DiscoveredDevice)
    /// Time is up, and nothing came.
    case absent
    /// The waiting task was cancelled.
    case cancelled

    /// The error of an instrument that did not come back; nil when it did.
    public func failure(of unit: DeviceUnit, after duration: Duration) -> DriverError? {
        let operation = "wait for its return"
        let seconds = duration.wholeNanoseconds / 1_000_000_000
        switch self {
        case .returned: return nil
        case .replaced(let device, let differences):
            return DriverError(
                code: .wrongDevice, instrument: unit.shortName, operation: operation,
                expected: "the same unit within \(seconds) s",
                found: "\(device.address) with "
                    + differences.map(\.description).joined(separator: "; "),
                advice: "plug the former unit in again, or start anew to use this one")
        case .unusable(let device):
            return DriverError(
                code: .disconnected, instrument: unit.shortName, operation: operation,
                expected: "the unit ready within \(seconds) s",
                found: device.availability.reason ?? "a device that does not open",
                advice: device.availability.nextAction?.text ?? "unplug it and plug it in again")
        case .absent:
            return DriverError(
                code: .disconnected, instrument: unit.shortName, operation: operation,
                expected: "the unit within \(seconds) s", found: "nothing at \(unit.port)",
                advice: "check cable, hub and power, then start anew")
        case .cancelled:
            return DriverError(
                code: .cancelled, instrument: unit.shortName, operation: operation,
                expected: "the unit within \(seconds) s", found: "the waiting task was cancelled",
                advice: "nothing to do")
        }
    }
}

/// Tells whether units are attached, and when they return.
public protocol DeviceReturns: Sendable {
    /// Looks at what is attached now.
    func look() async
    /// Whether `unit` is attached, as far as the last look told.
    func isAttached(_ unit: DeviceUnit) async -> Bool
    /// The unit a device is.
    func unit(of device: DiscoveredDevice) async -> DeviceUnit
    /// Waits until `unit` is attached and ready, or another was accepted in its place.
    func waitForReturn(
        of unit: DeviceUnit, until deadline: HostInstant
    ) async -> DeviceReturnOutcome
}
