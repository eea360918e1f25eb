import Instruments
import PolarizationControllers
import SinglePhotonDetectors
import TimeTaggers

/// The drivers that are compiled in.
public enum BuiltInDrivers {
    /// A registry of all of them.
    ///
    /// - Parameter cqtUnits: the calibration of CQT cards by the path of their USB port.
    public static func registry(cqtUnits: [String: CQTTimestampUnit] = [:]) -> DriverRegistry {
        DriverRegistry([
            CQTTimestampFactory(units: cqtUnits),
            TDC1Factory(),
            ThorlabsMPC320Factory(),
            S15DetectorFactory(),
            TTLGatedFactory(),
        ])
    }
}
