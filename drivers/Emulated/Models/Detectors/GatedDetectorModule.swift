import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// A single-photon detector without a digital bus, wired to GPIO lines, with the shutter, the light
/// monitor, the interlock and the pulse per second of its bench.
///
/// Roles, active levels and times come from the profile. A gate input that nobody drives is pulled
/// to where the bench's resistor pulls it; the module's own pull-up would open the gate.
public final class GatedDetectorModule: FaultTarget, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context.
    private let context: EmulationContext
    private let detector: any DetectorElement
    private let wires: [String: GPIOWire]
    private let activeHigh: [String: Bool]
    private let nominalBias: Volts?
    private let gateOn: Duration
    private let gateOff: Duration
    private let shutterTime: Duration
    private let pulseInterval: Duration

    private var hasFault = false
    private var isInterlockClosed = true
    private var isForcedOverlit = false
    private var isOverlit = false
    private var gateWanted = false
    private var shutterGeneration = 0
    private var isPulsing = false
    private var monitor: WakeTimer?

    /// The light monitor compares this often while the gate is open or the alarm is on.
    private static let monitorPeriod = Duration.milliseconds(5)
    /// How long the pulse per second stays high.
    private static let pulseWidth = Duration.milliseconds(100)

    /// Wires `detector` to the lines of `gpio` by role; the chips must have been added before.
    ///
    /// - Parameter nominalBias: the bias behind the `bias_enable` line, where one is wired.
    /// - Throws: `MissingProfileField` for a required role that is not wired.
    public init(
        profile: DeviceProfile, context: EmulationContext, gpio: EmulatedGPIOHost,
        lines: [String: GPIOLineID], detector: any DetectorElement, nominalBias: Volts? = nil
    ) throws(MissingProfileField) {
        self.context = context
        self.detector = detector
        self.nominalBias = nominalBias
        gateOn = try profile.duration("gate_on_ms")
        gateOff = try profile.duration("gate_off_ms")
        let slow = try profile.duration("shutter_move_ms")
        let fast = try profile.duration("shutter_move_min_ms")
        var generator = context.generator("shutter " + profile.id)
        let share = Double(generator.next() >> 11) * 0x1p-53
        shutterTime = fast + (slow - fast) * share
        pulseInterval = try profile.duration("pps_interval_ms")
        var wires: [String: GPIOWire] = [:]
        var activeHigh: [String: Bool] = [:]
        for role in profile.lines {
            activeHigh[role.role] = role.active == .high
            guard let id = lines[role.role], let wire = gpio.wire(id) else {
                if role.required {
                    throw MissingProfileField(profile: profile.id, path: "wiring of \(role.role)")
                }
                continue
            }
            wires[role.role] = wire
        }
        self.wires = wires
        self.activeHigh = activeHigh
        context.exclusively { connect() }
    }

    private func connect() {
        monitor = WakeTimer(context: context) { [weak self] in self?.watchLight() }
        wires["gate_enable"]?.watch { [weak self] _ in self?.gateChanged() }
        wires["shutter_command"]?.watch { [weak self] _ in self?.shutterChanged() }
        wires["bias_enable"]?.watch { [weak self] _ in self?.biasChanged() }
        wires["pps"]?.watchRequests { [weak self] isRequested in self?.pulses(isRequested) }
        present("shutter_open", false)
        present("shutter_closed", true)
        present("cooler_ready", true)
        present("cooler_fault", false)
        showSafetyLines()
        biasChanged()
        gateChanged()
    }

    /// The level a role has, read as active or not.
    private func isActive(_ role: String) -> Bool? {
        wires[role].map { $0.level == activeHigh[role] }
    }

    private func present(_ role: String, _ isActive: Bool) {
        wires[role]?.driveFromDevice(isActive == (activeHigh[role] ?? true))
    }

    private func showSafetyLines() {
        present("fault", hasFault)
        present("over_light", isOverlit)
        present("interlock", isInterlockClosed)
    }

    // MARK: - Outputs of the host

    private func gateChanged() {
        let isOn = isActive("gate_enable") ?? false
        guard isOn != gateWanted else { return }
        gateWanted = isOn
        let now = context.now
        detector.setGateEnabled(isOn, at: context.benchTime(at: now + (isOn ? gateOn : gateOff)))
        watchLight()
    }

    private func biasChanged() {
        guard let nominalBias, let isOn = isActive("bias_enable") else { return }
        detector.setBias(isOn ? nominalBias : Volts(0), at: context.benchTime(at: context.now))
    }

    private func shutterChanged() {
        guard let isOpening = isActive("shutter_command") else { return }
        shutterGeneration += 1
        let generation = shutterGeneration
        present("shutter_open", false)
        present("shutter_closed", false)
        context.schedule(at: context.now + shutterTime) { [weak self] in
            guard let self, generation == shutterGeneration else { return }
            present(isOpening ? "shutter_open" : "shutter_closed", true)
        }
    }

    // MARK: - Inputs of the host

    private func watchLight() {
        let now = context.now
        isOverlit = isForcedOverlit || detector.isOverlit(at: context.benchTime(at: now))
        showSafetyLines()
        monitor?.set(gateWanted || isOverlit ? now + Self.monitorPeriod : nil)
    }

    /// The pulse marks whole seconds of bench time, which is what a perfect receiver would do. It
    /// is made only while someone listens.
    private func pulses(_ isRequested: Bool) {
        let wasPulsing = isPulsing
        isPulsing = isRequested
        if isRequested, !wasPulsing { schedulePulse() }
    }

    private func schedulePulse() {
        let interval = pulseInterval.wholeNanoseconds
        let elapsed = context.now.nanoseconds - context.origin.nanoseconds
        let next = HostInstant(
            nanoseconds: context.origin.nanoseconds + (elapsed / interval + 1) * interval)
        context.schedule(at: next) { [weak self] in
            guard let self, isPulsing else { return }
            present("pps", true)
            context.schedule(at: next + Self.pulseWidth) { [weak self] in
                self?.present("pps", false)
            }
            schedulePulse()
        }
    }

    // MARK: - The bench side

    /// Whether the module reports a fault; it stays until it is taken back.
    public func setFault(_ isFaulty: Bool) {
        context.exclusively {
            hasFault = isFaulty
            showSafetyLines()
        }
    }

    /// Closes or opens the interlock.
    public func setInterlockClosed(_ isClosed: Bool) {
        context.exclusively {
            isInterlockClosed = isClosed
            showSafetyLines()
        }
    }

    /// The faults of the module. Faults of a line are injected in the GPIO host.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        guard fault.kind == .overLight else { return false }
        isForcedOverlit = true
        watchLight()
        context.schedule(at: now + (fault.duration ?? .milliseconds(20))) { [weak self] in
            self?.isForcedOverlit = false
            self?.watchLight()
        }
        return true
    }
}
