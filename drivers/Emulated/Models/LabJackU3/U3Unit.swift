import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// A LabJack U3 with hardware 1.30, byte by byte.
///
/// Written from LabJackPython 2.3.0 (`u3.py`, `LabJackPython.py`), github.com/labjack/exodriver at
/// 63f089a (`examples/U3`) and the U3 user's guide, sections 2.6, 2.7 and 5. Modelled: ConfigU3,
/// ConfigIO, ConfigTimerClock, Feedback with analog inputs, outputs and digital lines, the memory
/// commands, watchdog, reset. Not modelled: streaming, timers, counters, SPI, I²C, UART; their
/// commands are refused. Differences from a real unit: readings have no noise, outputs reach their
/// level at once, and a unit that is unplugged keeps its outputs, because it is not told.
public final class U3Unit: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The descriptors.
    public let descriptors: USBDescriptorSet
    /// Faults of the bus strike the replies.
    public var dataEndpoint: UInt8? { replyEndpoint }

    let context: EmulationContext
    let terminals: any AnalogTerminals
    private let pins: [Int: GPIOLineID]
    private let gpio: EmulatedGPIOHost?
    let hasHighVoltage: Bool
    let serial: UInt32
    let hardware: (major: UInt8, minor: UInt8)
    let versionInfo: UInt8
    var firmware: (major: UInt8, minor: UInt8)
    var memory: U3Memory
    /// What the lines and outputs do now.
    var state: U3State
    /// IOTypes by number.
    let parts: [UInt8: (name: String, argumentBytes: Int, replyBytes: Int)]
    /// Numbers of the extended commands.
    let opcodes: [String: UInt8]

    private let commandEndpoint: UInt8
    private let replyEndpoint: UInt8
    private let streamEndpoint: UInt8
    private var replies: [[UInt8]] = []
    private var watchdogDeadline: HostInstant?
    private var resetDue: HostInstant?
    private var leavesBus = false
    private var commandsToIgnore = 0
    private var repliesToDamage = 0

    /// A unit wired to `terminals`, its digital lines, FIO 0 to 7, EIO 8 to 15 and CIO 16 to 19, to
    /// those lines of `gpio` that `pins` names.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a unit.
    public init(
        profile: DeviceProfile, context: EmulationContext, terminals: any AnalogTerminals,
        serial: String, hasHighVoltage: Bool, pins: [Int: GPIOLineID] = [:],
        gpio: EmulatedGPIOHost? = nil
    ) throws(MissingProfileField) {
        self.context = context
        self.terminals = terminals
        self.pins = pins
        self.gpio = gpio
        self.hasHighVoltage = hasHighVoltage
        self.serial = UInt32(serial) ?? 320_000_000
        commandEndpoint = try profile.endpoint("command").address
        replyEndpoint = try profile.endpoint("reply").address
        streamEndpoint = try profile.endpoint("stream").address
        descriptors = try Self.descriptors(of: profile)
        hardware = (
            UInt8(try profile.constant("hardware_major")),
            UInt8(try profile.constant("hardware_minor_min"))
        )
        versionInfo = UInt8(
            try profile.constant(hasHighVoltage ? "version_info_hv" : "version_info_lv"))
        let version = profile.emulation?.firmware?.parts ?? [1, 46]
        firmware = (UInt8(version[0]), UInt8(version.count > 1 ? version[1] : 0))
        var parts: [UInt8: (String, Int, Int)] = [:]
        var opcodes: [String: UInt8] = [:]
        for (name, command) in try profile.requireDialect().commands.entries {
            let number = UInt8(truncatingIfNeeded: command.opcode ?? 0)
            guard name.hasPrefix("io_") else {
                opcodes[name] = number
                continue
            }
            let shared = command.arguments.entries.contains { $0.value.lowBit != nil }
            let bytes = command.arguments.entries.reduce(0) {
                $0 + ($1.value.encoding.fixedBytes ?? 0)
            }
            parts[number] = (name, shared ? 1 : bytes, command.reply.bytes ?? 0)
        }
        self.parts = parts
        self.opcodes = opcodes
        var generator = context.generator("U3 " + serial)
        memory = U3Memory(hasHighVoltage: hasHighVoltage, generator: &generator)
        state = U3State(memory.powerUp)
        powerUp(at: context.now)
    }

    /// A unit has no serial number in its descriptors; it tells it when asked.
    private static func descriptors(
        of profile: DeviceProfile
    ) throws(MissingProfileField) -> USBDescriptorSet {
        let endpoints = [
            try profile.endpoint("command"), try profile.endpoint("reply"),
            try profile.endpoint("stream"),
        ]
        let triple = profile.usb?.interfaceClass.map { [$0.code, $0.subclass, $0.protocolCode] }
        var set = try USBDescriptorSet(
            profile: profile, serial: "",
            interfaces: { speed in
                [
                    USBInterface(
                        number: 0, alternate: 0, classTriple: triple ?? [0xFF, 0, 0],
                        endpoints: endpoints.map { $0.usbEndpoint(at: speed) })
                ]
            })
        set.full.device[16] = 0
        return set
    }

    /// Everything as after plugging in.
    private func powerUp(at now: HostInstant) {
        state = U3State(memory.powerUp)
        replies = []
        for output in state.outputs.indices { drive(output, at: now) }
        applyLines()
        restartWatchdog(at: now)
    }

    // MARK: - Wires

    /// Puts digital outputs on their wires and lets go of the others.
    func applyLines() {
        for (pin, line) in pins.sorted(by: { $0.key < $1.key }) {
            let number = UInt8(pin)
            let isDriven = !state.isAnalog(line: number) && state.isOutput(line: number)
            gpio?.wire(line)?.driveFromHost(isDriven ? state.level(line: number) : nil)
        }
    }

    /// The level of a digital line: what it drives, or what is on its wire.
    func level(line: UInt8) -> Bool {
        let wire = pins[Int(line)].flatMap { gpio?.wire($0) }
        return state.isOutput(line: line) ? state.level(line: line) : wire?.level ?? true
    }

    /// Puts the voltage of an output's code on its terminal.
    func drive(_ output: Int, at now: HostInstant) {
        terminals.setVoltage(
            voltage(ofOutput: output), output: output, at: context.benchTime(at: now))
    }

    // MARK: - What a test looks at

    /// The 16-bit codes of the outputs.
    public var outputCodes: [UInt16] { state.outputs }
    /// The codes the unit starts with, of eight bits.
    public var powerUpCodes: [UInt8] { memory.powerUp.outputs }
    /// How often its flash was written.
    public var flashWrites: Int { memory.writes }
    /// Whether the watchdog would restart it, and after how many seconds.
    public var watchdogSeconds: Int? {
        memory.watchdog.restarts ? Int(memory.watchdog.seconds) : nil
    }
    /// How often the watchdog has acted.
    public private(set) var watchdogActions = 0

    /// Erases the calibration, as a careless program can.
    public func eraseCalibration() {
        memory.calibration = memory.calibration.map { _ in
            [UInt8](repeating: 0xFF, count: U3Memory.blockBytes)
        }
    }

    // MARK: - Bus

    /// A bus reset drops what nobody fetched.
    public func busReset(speed: USBSpeed, at now: HostInstant) {
        replies = []
        restartWatchdog(at: now)
    }

    /// There is one setting.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {}

    /// The unit knows no requests of its own.
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome { .stall }

    /// A command: one packet.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        guard endpoint == commandEndpoint else { return .stall }
        advance(to: now)
        restartWatchdog(at: now)
        if commandsToIgnore > 0 {
            commandsToIgnore -= 1
            return .ack
        }
        var reply = perform(Array(packet), at: now)
        if repliesToDamage > 0, reply.count > 6 {
            repliesToDamage -= 1
            reply[6] ^= 0x10
        }
        if !reply.isEmpty { replies.append(reply) }
        return .ack
    }

    /// The oldest reply; what does not fit the packet stays for the next.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        if endpoint == streamEndpoint { return .nak }
        guard endpoint == replyEndpoint else { return .stall }
        guard let reply = replies.first else { return .nak }
        let count = min(reply.count, buffer.count)
        buffer.copyBytes(from: reply[..<count])
        if count < reply.count {
            replies[0].removeFirst(count)
        } else {
            replies.removeFirst()
        }
        return .data(count: count)
    }

    // MARK: - Time

    /// Restarts the unit when its host has been silent for too long.
    public func advance(to now: HostInstant) {
        if let due = resetDue, due <= now { restart(at: due) }
        guard let deadline = watchdogDeadline, deadline <= now else { return }
        watchdogActions += 1
        let settings = memory.watchdog
        if settings.setsLine {
            state.set(line: settings.line & 0x1F, settings.line & 0x80 != 0)
            applyLines()
        }
        if settings.restarts {
            restart(at: deadline)
        } else {
            watchdogDeadline = nil
        }
    }

    /// The watchdog.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        [watchdogDeadline, resetDue].compactMap { $0 }.min()
    }

    /// A reset that was asked for comes once the reply has been fetched.
    func scheduleReset(at now: HostInstant) { resetDue = now + .milliseconds(50) }

    func restartWatchdog(at now: HostInstant) {
        let settings = memory.watchdog
        let isOn = settings.options != 0 && settings.seconds > 0
        watchdogDeadline = isOn ? now + .seconds(Int64(settings.seconds)) : nil
    }

    /// A reset of the processor: the unit leaves the bus.
    func restart(at now: HostInstant) {
        resetDue = nil
        powerUp(at: now)
        leavesBus = true
    }

    /// Whether it has been reset.
    public func takeRenumeration() -> USBRenumeration? {
        defer { leavesBus = false }
        return leavesBus
            ? USBRenumeration(leavesAfter: .zero, absence: Self.restartTime) : nil
    }

    /// From leaving the bus to being back on it.
    private static let restartTime = Duration.seconds(1)

    // MARK: - Faults

    /// The faults of the unit itself.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        switch fault.kind {
        case .checksumError: repliesToDamage += max(1, fault.detail ?? 1)
        case .ignoredCommand: commandsToIgnore += max(1, fault.detail ?? 1)
        case .wrongFirmware: firmware = (1, 2)
        case .reboot: powerUp(at: now)
        default: return false
        }
        return true
    }
}

/// What the lines and outputs of a U3 do.
struct U3State {
    var timerCounterConfig: UInt8
    /// FIO and EIO: which lines are analog inputs.
    var analog: [UInt8]
    /// FIO, EIO, CIO: which lines are outputs, and the level of those.
    var direction: [UInt8]
    var level: [UInt8]
    /// Codes of 16 bits.
    var outputs: [UInt16]

    init(_ powerUp: U3PowerUp) {
        let lines = powerUp.lines
        timerCounterConfig = powerUp.timerCounterConfig
        analog = [lines[0], lines[3]]
        direction = [lines[1], lines[4], lines[6]]
        level = [lines[2], lines[5], lines[7]]
        outputs = powerUp.outputs.map { UInt16($0) << 8 }
    }

    func isAnalog(line: UInt8) -> Bool {
        line < 16 && analog[Int(line) / 8] >> (line % 8) & 1 == 1
    }

    func isOutput(line: UInt8) -> Bool { direction[Int(line) / 8] >> (line % 8) & 1 == 1 }

    /// The level of a line; an open input is pulled up.
    func level(line: UInt8) -> Bool {
        isOutput(line: line) ? level[Int(line) / 8] >> (line % 8) & 1 == 1 : true
    }

    mutating func set(line: UInt8, _ isHigh: Bool) {
        guard line < 20, isOutput(line: line) else { return }
        let bit = UInt8(1) << (line % 8)
        if isHigh { level[Int(line) / 8] |= bit } else { level[Int(line) / 8] &= ~bit }
    }

    mutating func setDirection(line: UInt8, isOutput: Bool) {
        let bit = UInt8(1) << (line % 8)
        if isOutput { direction[Int(line) / 8] |= bit } else { direction[Int(line) / 8] &= ~bit }
    }
}
