import DeviceProfiles
import Instruments

/// Numbers of the ID120: whole device units, with limits, steps and factors from the profile. Pure
/// conversion.
///
/// Source: the ID120 driver of Instrumental (spad/id120.py): microvolts, thousandths of a degree,
/// milliseconds. The unit of the dead time is in doubt; see `scaling.dead_time` in the profile.
package struct ID120Wire: Sendable {
    /// One setting: physical limits, and how it is written.
    package struct Setting: Sendable {
        package let name: String
        /// In the unit of the limit.
        package let limit: Limit
        /// Device units per unit of the limit.
        private let scale: Scale

        init(_ name: String, _ profile: DeviceProfile) throws(MissingProfileField) {
            self.name = name
            limit = try profile.limit(name)
            scale = try profile.scale(name)
        }

        /// The device value closest to `physical` on the grid of settings.
        package func deviceValue(_ physical: Double) -> Double {
            let low = limit.min ?? 0
            guard let step = limit.step else { return scale.deviceValue(physical).rounded() }
            let onGrid = low + ((physical - low) / step).rounded() * step
            return scale.deviceValue(min(onGrid, limit.max ?? onGrid)).rounded()
        }

        /// The physical value of a reply.
        package func physicalValue(_ device: Double) -> Double { scale.physicalValue(device) }

        /// How far a value read back may be from what was asked for: a step, or a device unit.
        package var tolerance: Double { limit.step ?? abs(scale.physicalValue(1)) }
    }

    /// Volts.
    package let bias: Setting
    /// Volts.
    package let threshold: Setting
    /// Picoseconds.
    package let deadTime: Setting
    /// Degrees Celsius.
    package let temperature: Setting
    /// Milliseconds.
    package let integrationTime: Setting

    package init(_ profile: DeviceProfile) throws(MissingProfileField) {
        bias = try Setting("bias", profile)
        threshold = try Setting("threshold", profile)
        deadTime = try Setting("dead_time", profile)
        temperature = try Setting("temperature", profile)
        integrationTime = try Setting("integration_time", profile)
    }
}
