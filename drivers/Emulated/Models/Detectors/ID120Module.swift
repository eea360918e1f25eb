import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The ID Quantique ID120 single-photon detector.
///
/// Commands, units, limits and steps follow the ID120 driver of Instrumental (spad/id120.py). Nobody
/// has published what the module answers but for numbers and TRUE or FALSE; the texts of
/// identification, information and capabilities, the error queue, a cooler with one time constant,
/// and the counter that repeats windows and shows the last complete one are this model's own.
/// Threshold and dead time are kept, but do not reach the detector element.
public final class ID120Module: EmulatedSCPIDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The interpreter of its language.
    public let interpreter: SCPIInterpreter
    private let context: EmulationContext
    private let profile: DeviceProfile
    private let detector: any DetectorElement
    private let serial: String
    private var identity: String
    private var values: [String: Int] = [:]
    private var isPositive = [true, true]
    private var isRegulating = false
    private var hasBiasError = false

    // The cooler: where it is going from and to, since when.
    private var plate: Double
    private var clock: HostInstant

    // The counter.
    private var windowEnd: HostInstant
    private var lastCount: UInt64 = 0

    private static let ambient = 22.0
    private static let timeConstant = 4.0
    private static let coolerStep = Duration.milliseconds(500)

    /// A module around `detector`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe one.
    init(
        profile: DeviceProfile, serial: String, context: EmulationContext,
        detector: any DetectorElement
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        self.detector = detector
        self.serial = serial
        identity = profile.emulation?.identityReply ?? profile.identity.model
        plate = Self.ambient
        clock = context.now
        windowEnd = context.now
        interpreter = SCPIInterpreter(
            terminator: try profile.requireDialect().replyTerminator ?? "\n", longestKeyword: nil)
        try addSettings()
        addReadings()
        addInformation()
        interpreter.onReset = { [unowned self] now in powerUp(at: now) }
        powerUp(at: context.now)
    }

    private func powerUp(at now: HostInstant) {
        for name in ["threshold", "dead_time", "bias", "integration_time", "temperature"] {
            guard let limit = profile.limits[name], let scale = profile.scaling[name] else {
                continue
            }
            let physical = name == "bias" ? 0 : limit.standard ?? limit.min ?? 0
            values[name] = Int(scale.deviceValue(physical).rounded())
        }
        isRegulating = false
        hasBiasError = false
        let time = context.benchTime(at: now)
        detector.setGateEnabled(true, at: time)
        detector.setTemperatureSetpoint(Celsius(plate), at: time)
        applyBias(at: now)
        startWindow(at: now)
    }

    // MARK: - Inner life

    /// Lets the cooler settle and counting windows end.
    public func advance(to now: HostInstant) {
        while windowEnd <= now {
            moveCooler(to: windowEnd)
            lastCount = detector.takeCounts(through: context.benchTime(at: windowEnd))
            windowEnd = windowEnd + window
        }
        moveCooler(to: now)
    }

    /// The end of the counting window, or the next step of the cooler.
    public func nextWake(after now: HostInstant) -> HostInstant? {
        let isSettled = abs(plate - coolerTarget) < 0.01
        return isSettled ? windowEnd : min(windowEnd, max(clock, now) + Self.coolerStep)
    }

    private var window: Duration { .milliseconds(Int64(max(1, values["integration_time"] ?? 200))) }

    private func startWindow(at now: HostInstant) {
        _ = detector.takeCounts(through: context.benchTime(at: now))
        windowEnd = now + window
    }

    private var coolerTarget: Double {
        isRegulating ? Double(values["temperature"] ?? 0) / 1000 : Self.ambient
    }

    /// The exact solution of a first-order lag, whatever the length of the step.
    private func moveCooler(to now: HostInstant) {
        guard now > clock else { return }
        let elapsed = (now - clock).inSeconds
        plate = coolerTarget + (plate - coolerTarget) * exponential(-elapsed / Self.timeConstant)
        clock = now
        detector.setTemperatureSetpoint(Celsius(plate), at: context.benchTime(at: now))
    }

    private func applyBias(at now: HostInstant) {
        let volts = hasBiasError ? 0 : Double(values["bias"] ?? 0) * 1e-6
        detector.setBias(Volts(volts), at: context.benchTime(at: now))
    }

    // MARK: - Commands

    /// The settings: header, name in the profile, what a change does.
    private func addSettings() throws(MissingProfileField) {
        try addSetting("THRESHOLD:VOLTAGE", "threshold", "THRESHOLD:CAPABILITY") { _ in }
        try addSetting("DEADTIME:TIME", "dead_time", "DEADTIME:CAPABILITY") { _ in }
        try addSetting("BIAS:VOLTAGE", "bias", "BIAS:CAPABILITY") { [unowned self] now in
            // A supply that has switched off comes back with the next setting.
            hasBiasError = false
            applyBias(at: now)
        }
        try addSetting(
            "COUNTERS:INTEGRATION_TIME", "integration_time",
            "COUNTERS:INTEGRATION_TIME_CAPABILITY"
        ) { [unowned self] now in startWindow(at: now) }
        try addSetting(
            "REG:TEMP_SET_POINT", "temperature", "REG:TEMP_SET_POINT_CAPABILITY"
        ) { _ in }
        interpreter.add(
            "REG:RUN", query: { [unowned self] _ throws(SCPIFault) in word(isRegulating) },
            action: { [unowned self] call throws(SCPIFault) in
                isRegulating = try call.choice(["FALSE", "TRUE"]) == 1
            })
        interpreter.add(
            "OUTPUT#:POLARITY",
            query: { [unowned self] call throws(SCPIFault) in
                isPositive[try output(call)] ? "POSITIVE" : "NEGATIVE"
            },
            action: { [unowned self] call throws(SCPIFault) in
                isPositive[try output(call)] = try call.choice(["NEGATIVE", "POSITIVE"]) == 1
            })
    }

    private func addSetting(
        _ header: String, _ name: String, _ capability: String,
        onChange: @escaping (HostInstant) -> Void
    ) throws(MissingProfileField) {
        let limit = try profile.limit(name)
        let scale = try profile.scale(name)
        let low = scale.deviceValue(limit.min ?? 0).rounded()
        let high = scale.deviceValue(limit.max ?? 0).rounded()
        let step = max(1, scale.deviceValue(limit.step ?? 0).rounded())
        interpreter.add(
            header,
            query: { [unowned self] _ throws(SCPIFault) in "\(values[name] ?? 0)" },
            action: { [unowned self] call throws(SCPIFault) in
                let value = try call.number(in: low...high)
                values[name] = Int(low + ((value - low) / step).rounded() * step)
                onChange(call.now)
            })
        interpreter.add(
            capability,
            query: { _ throws(SCPIFault) in "\(Int(low)),\(Int(high)),\(Int(step))" })
    }

    private func addReadings() {
        interpreter.add(
            "BIAS:ERROR_STATUS",
            query: { [unowned self] _ throws(SCPIFault) in word(hasBiasError) })
        interpreter.add(
            "REG:MEASURED_TEMP",
            query: { [unowned self] call throws(SCPIFault) in
                let found = detector.temperature(at: context.benchTime(at: call.now))
                return decimal(found.rawValue * 1000, places: 0)
            })
        interpreter.add(
            "REG:STATE",
            query: { [unowned self] _ throws(SCPIFault) in isRegulating ? "RUNNING" : "STOPPED" })
        interpreter.add(
            "COUNTERS:DETECTION_COUNT",
            query: { [unowned self] _ throws(SCPIFault) in "\(lastCount)" })
        interpreter.add(
            "COUNTERS:DETECTION_FREQ",
            query: { [unowned self] _ throws(SCPIFault) in
                decimal(Double(lastCount) / window.inSeconds, places: 0)
            })
    }

    private func addInformation() {
        interpreter.addCommon(
            "IDN", query: { [unowned self] _ throws(SCPIFault) in identity })
        let firmware = profile.emulation?.firmware?.description ?? "0.0.0"
        let texts = [
            "PRODUCT_NAME": "ID120", "PRODUCT_DEVELOPMENT_NAME": "emulated",
            "PRODUCT_DESCRIPTION": "emulated", "PRODUCT_SERIAL_NUMBER": serial,
            "PRODUCT_TYPE": "emulated", "PRODUCT_REVISION": "0", "APD_TYPE": "emulated",
            "BOARD_REVISION": "0", "BOARD_SERIAL_NUMBER": serial,
            "VENDOR_NAME": "ID Quantique", "MANUFACTURER_NAME": "ID Quantique",
            "MANUFACTURING_DATE": "2026-01-01", "OUTPUT1_STANDARD": "emulated",
            "OUTPUT2_STANDARD": "emulated", "FIRMWARE_VERSION": firmware,
            "CONTENT_INTEGRITY": "TRUE", "BIAS_BREAKDOWN_VOLTAGE": "150000000",
        ]
        for (name, text) in texts.sorted(by: { $0.key < $1.key }) {
            interpreter.add("INFO:\(name)", query: { _ throws(SCPIFault) in text })
        }
    }

    private func output(_ call: SCPICall) throws(SCPIFault) -> Int {
        guard let number = call.suffixes.first, 1...2 ~= number else { throw .suffixOutOfRange }
        return number - 1
    }

    private func word(_ flag: Bool) -> String { flag ? "TRUE" : "FALSE" }

    // MARK: - Faults

    /// The faults of the module; too much light makes the bias supply switch off.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        switch fault.kind {
        case .overLight:
            hasBiasError = true
            values["bias"] = 0
            applyBias(at: now)
        case .wrongFirmware: identity = "IDQ,EMULATED,0,0"
        case .reboot: powerUp(at: now)
        default: return false
        }
        return true
    }
}
