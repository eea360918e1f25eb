import BenchInstruments
import Instruments
import PolarizationControllers
import SinglePhotonDetectors
import TimeTaggers

/// The drivers that are compiled in.
public enum BuiltInDrivers {
    /// A registry of all of them.
    ///
    /// - Parameters:
    ///   - cqtUnits: the calibration of CQT cards by the path of their USB port.
    ///   - certified: refuse to make drivers of devices about which the profile guesses.
    public static func registry(
        cqtUnits: [String: CQTTimestampUnit] = [:], certified: Bool = false
    ) -> DriverRegistry {
        var registry = DriverRegistry([
            CQTTimestampFactory(units: cqtUnits),
            TDC1Factory(),
            TICCFactory(),
            TimetagFactory(),
            ThorlabsMPC320Factory(),
            ThorlabsElliptecFactory(),
            S15DetectorFactory(),
            TTLGatedFactory(),
            EPCFactory(),
            S15RetarderFactory(),
            PicosecondDelayerFactory(),
            MTD415TFactory(),
            DD100Factory(),
            LabJackU3Factory(),
            CP2112Factory(),
            ID120Factory(),
            ThorlabsPM100Factory(),
        ])
        registry.isCertified = certified
        return registry
    }
}
