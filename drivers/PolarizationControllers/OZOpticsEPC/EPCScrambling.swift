import DeviceProfiles
import Instruments
import Quantities

// What the EPC can do beyond a polarization controller: scramble, and remember its settings.

extension EPCDriver {
    /// The shape of the voltage while scrambling.
    public enum Waveform: String, Hashable, Sendable, CaseIterable {
        /// A sine.
        case sine
        /// A triangle.
        case triangle
    }

    /// Scrambles the polarization: drives every squeezer with an alternating voltage.
    ///
    /// `move` is refused until `stopScrambling`.
    ///
    /// - Parameter frequencies: one for each axis, in whole hertz within the limits of the profile
    ///   (0 to 100 Hz for the EPC-400).
    /// - Throws: `outOfRange` before anything is sent; `deviceFault` when the controller refuses.
    public func startScrambling(
        _ frequencies: [Hertz], waveform: Waveform = .sine
    ) async throws(DriverError) {
        let operation = "start scrambling"
        _ = try openLink(operation)
        let limit: Limit
        let form: Int
        do throws(MissingProfileField) {
            limit = try profile.limit("frequency")
            form = try profile.constant(waveform.rawValue)
        } catch { throw DriverError(error, instrument: name, operation: operation) }
        guard frequencies.count == axes.count else {
            throw failure(.noAxis(frequencies.count - 1, count: axes.count), operation)
        }
        for frequency in frequencies where !limit.allows(frequency.rawValue) {
            throw failure(
                .outOfRange(
                    quantity: "hertz", value: frequency.rawValue, low: limit.min ?? 0,
                    high: limit.max ?? .infinity), operation)
        }
        for (axis, frequency) in frequencies.enumerated() {
            _ = try await exchange(
                "set_frequency", [Double(axis + 1), frequency.rawValue.rounded()],
                operation: operation)
        }
        _ = try await exchange("set_waveform", [Double(form)], operation: operation)
        isScrambling = true
        _ = try await exchange("set_mode_ac", operation: operation)
    }

    /// Goes back to constant voltages, those from before.
    public func stopScrambling() async throws(DriverError) {
        _ = try await exchange("set_mode_dc", operation: "stop scrambling")
        isScrambling = false
    }

    /// Writes the present settings to the controller's flash memory: those it starts with when it is
    /// switched on. Not for every alignment, as flash memory wears.
    public func saveSettings() async throws(DriverError) {
        _ = try await exchange("save", operation: "save settings")
    }
}
