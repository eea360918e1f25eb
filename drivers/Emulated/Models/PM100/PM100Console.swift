import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// A console of the Thorlabs PM100 family with a silicon photodiode sensor.
///
/// Commands follow chapter 6.4 of the PM100D Operation Manual and chapter 7 of that of the PM100USB:
/// the power subset, with averaging, ranges, reference, attenuation and beam diameter. The sensor is
/// the model's own: constant quantum efficiency, so that a wrong wavelength scales the reading by the
/// ratio of wavelengths, a noise floor, and a largest power from the profile. So are the number of
/// digits in replies and the 3 ms of a sample.
public final class PM100Console: EmulatedSCPIDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private struct Settings: Hashable {
        var wavelength: Double
        var isAutomatic = true
        var range: Double
        var averages = 1.0
        var reference = 0.0
        var isRelative = false
        var isLogarithmic = false
        var attenuation = 0.0
        var beamDiameter = 9.5
        var isFiltered = false
    }

    /// The interpreter of its language.
    public let interpreter: SCPIInterpreter
    private let context: EmulationContext
    private let probe: any PowerProbe
    private let wavelengths: ClosedRange<Double>
    private let powers: ClosedRange<Double>
    private let standardWavelength: Double
    private var identity: [String]
    private var settings: Settings
    private var lastReading = 0.0
    private var generator: SeededGenerator
    private var blindUntil: HostInstant?

    private static let sampleTime = Duration.milliseconds(3)
    /// The standard deviation of a single reading without light.
    private static let noise = 5e-11
    /// Name, serial number, calibration, type (photodiode), subtype, flags: power sensor, settable
    /// responsivity, settable wavelength.
    private static let sensor = "S120C,00000001,01-JAN-2026,1,18,49"
    /// What SCPI-99 writes for infinity.
    private static let infinity = 9.9e37

    /// A console that sees `probe`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe one.
    init(
        profile: DeviceProfile, serial: String, context: EmulationContext, probe: any PowerProbe
    ) throws(MissingProfileField) {
        self.context = context
        self.probe = probe
        func range(_ name: String) throws(MissingProfileField) -> ClosedRange<Double> {
            let limit = try profile.limit(name)
            return (limit.min ?? 0)...(limit.max ?? Self.infinity)
        }
        wavelengths = try range("emulated_wavelength")
        powers = try range("emulated_power")
        standardWavelength =
            try profile.limit("emulated_wavelength").standard ?? wavelengths.lowerBound
        let reply = profile.emulation?.identityReply ?? "Thorlabs,\(profile.identity.model),,1.0.0"
        identity = reply.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        if identity.count == 4 { identity[2] = serial }
        settings = Settings(wavelength: standardWavelength, range: powers.upperBound)
        generator = context.generator("power meter " + serial)
        interpreter = SCPIInterpreter(
            terminator: try profile.requireDialect().replyTerminator ?? "\n")
        interpreter.onReset = { [unowned self] _ in reset() }
        addSystemCommands()
        addMeasurements()
        addSenseCommands()
        addInputCommands()
    }

    /// Nothing happens by itself.
    public func advance(to now: HostInstant) {}
    /// Nothing happens by itself.
    public func nextWake(after now: HostInstant) -> HostInstant? { nil }

    private func reset() {
        settings = Settings(wavelength: standardWavelength, range: powers.upperBound)
    }

    /// The faults of the console; too much light lasts for a while.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        switch fault.kind {
        case .overLight: blindUntil = now + (fault.duration ?? .seconds(3600))
        case .wrongFirmware: if identity.count == 4 { identity[1] = "PM-EMULATED" }
        case .reboot: reset()
        default: return false
        }
        return true
    }

    // MARK: - Measuring

    /// The reading in the unit that is set.
    private func measure(at now: HostInstant) -> Double {
        interpreter.takeTime(Self.sampleTime * settings.averages, from: now)
        let isBlind = blindUntil.map { now < $0 } ?? false
        let seen = probe.power(at: context.benchTime(at: now)).rawValue
        let noise = Self.noise / settings.averages.squareRoot() * generator.gaussian()
        let correction =
            probe.wavelength.rawValue / settings.wavelength
            * (exponentialBase10(settings.attenuation / 10))
        let power = seen * correction + noise
        let largest = settings.isAutomatic ? powers.upperBound : settings.range
        guard !isBlind, power <= largest else { return Self.infinity }
        let relative = power - (settings.isRelative ? settings.reference : 0)
        guard settings.isLogarithmic else { return relative }
        return relative > 0 ? 10 * naturalLog(relative * 1000) / naturalLog(10) : -Self.infinity
    }

    private func addMeasurements() {
        let read: SCPIInterpreter.Query = { [unowned self] call throws(SCPIFault) in
            try call.expect(atMost: 0)
            lastReading = measure(at: call.now)
            return scientific(lastReading, places: 8)
        }
        // Without the question mark it measures, and the reading is fetched afterwards.
        interpreter.add(
            "MEASure[:SCALar][:POWer]", query: read,
            action: { [unowned self] call throws(SCPIFault) in
                lastReading = measure(at: call.now)
            })
        interpreter.add("READ", query: read)
        interpreter.add(
            "FETCh",
            query: { [unowned self] _ throws(SCPIFault) in scientific(lastReading, places: 8) })
        interpreter.add(
            "INITiate[:IMMediate]",
            action: { [unowned self] call throws(SCPIFault) in
                lastReading = measure(at: call.now)
            })
        interpreter.add("ABORt", action: { _ throws(SCPIFault) in })
        interpreter.add(
            "CONFigure[:SCALar][:POWer]", query: { _ throws(SCPIFault) in "POW" },
            action: { _ throws(SCPIFault) in })
    }

    private func addSystemCommands() {
        interpreter.addCommon(
            "IDN",
            query: { [unowned self] _ throws(SCPIFault) in identity.joined(separator: ",") })
        interpreter.add(
            "SYSTem:SENSor:IDN", query: { _ throws(SCPIFault) in PM100Console.sensor })
        interpreter.add(
            "SYSTem:LFRequency", query: { _ throws(SCPIFault) in "50" },
            action: { call throws(SCPIFault) in _ = try call.number(in: 50...60) })
        interpreter.add(
            "CALibration:STRing", query: { _ throws(SCPIFault) in "\"emulated\"" })
    }

    // MARK: - Settings

    private func addSetting(
        _ header: String, _ path: WritableKeyPath<Settings, Double>,
        in range: ClosedRange<Double>, default standard: Double, units: [String: Double] = [:],
        show: @escaping (Double) -> String = { scientific($0, places: 6) }
    ) {
        interpreter.add(
            header,
            query: { [unowned self] call throws(SCPIFault) in
                show(try call.asked(settings[keyPath: path], in: range, default: standard))
            },
            action: { [unowned self] call throws(SCPIFault) in
                settings[keyPath: path] = try call.number(
                    in: range, default: standard, units: units)
            })
    }

    private func addSwitch(_ header: String, _ path: WritableKeyPath<Settings, Bool>) {
        interpreter.add(
            header,
            query: { [unowned self] _ throws(SCPIFault) in settings[keyPath: path] ? "1" : "0" },
            action: { [unowned self] call throws(SCPIFault) in
                settings[keyPath: path] = try call.flag()
            })
    }

    private func addSenseCommands() {
        addSetting(
            "[SENSe]:CORRection:WAVelength", \.wavelength, in: wavelengths,
            default: standardWavelength, units: ["NM": 1, "UM": 1e3, "M": 1e9])
        addSetting(
            "[SENSe]:CORRection[:LOSS[:INPut[:MAGNitude]]]", \.attenuation, in: -60...60,
            default: 0, units: ["DB": 1])
        addSetting(
            "[SENSe]:CORRection:BEAMdiameter", \.beamDiameter, in: 0.1...1000, default: 9.5,
            units: ["MM": 1])
        addSetting(
            "[SENSe]:AVERage[:COUNt]", \.averages, in: 1...10_000, default: 1,
            show: { decimal($0, places: 0) })
        let watts = ["W": 1.0, "MW": 1e-3, "UW": 1e-6, "NW": 1e-9, "PW": 1e-12]
        addSetting(
            "[SENSe]:POWer[:DC]:REFerence[:VALue]", \.reference, in: powers,
            default: powers.upperBound,
            units: watts)
        addSwitch("[SENSe]:POWer[:DC]:REFerence:STATe", \.isRelative)
        addSwitch("[SENSe]:POWer[:DC]:RANGe:AUTO", \.isAutomatic)
        interpreter.add(
            "[SENSe]:POWer[:DC]:UNIT",
            query: { [unowned self] _ throws(SCPIFault) in settings.isLogarithmic ? "DBM" : "W" },
            action: { [unowned self] call throws(SCPIFault) in
                settings.isLogarithmic = try call.choice(["W", "DBM"]) == 1
            })
        let powers = powers
        interpreter.add(
            "[SENSe]:POWer[:DC]:RANGe[:UPPer]",
            query: { [unowned self] call throws(SCPIFault) in
                scientific(try call.asked(settings.range, in: powers), places: 6)
            },
            action: { [unowned self] call throws(SCPIFault) in
                settings.range = try call.number(in: powers, units: watts)
                settings.isAutomatic = false
            })
    }

    private func addInputCommands() {
        addSwitch("INPut[:PDIode]:FILTer[:LPASs][:STATe]", \.isFiltered)
    }
}
