import DeviceProfiles
import Instruments

/// Replies of the Thorlabs PM100 family. Pure decoding.
///
/// Source: Thorlabs PM100D Operation Manual, sections 6.4.2.2.1 (*IDN?) and 6.4.2.3 (SYSTem:SENSor:
/// IDN?).
package struct ThorlabsPM100Wire: Sendable {
    /// What the console says of itself: four fields.
    package struct Console: Hashable, Sendable {
        package var model: String
        package var serial: String
        package var firmware: String
    }

    /// What the console says of the sensor in its connector: six fields.
    package struct Sensor: Hashable, Sendable {
        package var name: String
        package var serial: String
        /// Measures power.
        package var measuresPower: Bool
        /// Its calibration depends on a wavelength that can be set.
        package var hasWavelength: Bool
    }

    private let powerBit: Int
    private let wavelengthBit: Int

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        powerBit = try profile.statusBit("power_sensor")
        wavelengthBit = try profile.statusBit("wavelength_settable")
    }

    /// Reads `<maker>,<model>,<serial>,<firmware>`; nil for anything else.
    package static func console(_ reply: String) -> Console? {
        let fields = SCPI.fields(reply)
        guard fields.count == 4, !fields[1].isEmpty else { return nil }
        return Console(model: fields[1], serial: fields[2], firmware: fields[3])
    }

    /// Reads `<name>,<sn>,<cal_msg>,<type>,<subtype>,<flags>`; nil for anything else.
    package func sensor(_ reply: String) -> Sensor? {
        let fields = SCPI.fields(reply)
        guard fields.count == 6, let flags = Int(fields[5]), flags >= 0 else { return nil }
        return Sensor(
            name: fields[0], serial: fields[1], measuresPower: flags >> powerBit & 1 == 1,
            hasWavelength: flags >> wavelengthBit & 1 == 1)
    }
}
