import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The USB time stamp card of the Centre for Quantum Technologies, Singapore.
///
/// Follows its published firmware, `hardware/timestampfirmware/tp8.c` of
/// github.com/kurtsiefer/qcrypto, register by register where the host can see it, including what
/// it does wrong: commands without check of length or sum, stale argument bytes, string descriptor
/// 0, the type of the other-speed configuration, empty packets from the timed flush, and a first
/// timed flush that is 256 timer periods late. A bare card is a `FX2Chip` with this as application.
public final class TimestampCard: EmulatedUSBFunction, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    /// The descriptors.
    public private(set) var descriptors: USBDescriptorSet
    private let context: EmulationContext
    private let profile: DeviceProfile
    private let commandEndpoint: UInt8
    private let statusEndpoint: UInt8
    private let eventEndpoint: UInt8
    private var commands: [UInt8: String] = [:]
    private var path: TimestampEventPath

    // The registers of the firmware.
    private var commandBuffer = [UInt8](repeating: 0, count: 64)
    private var statusReply: UInt8?
    private var autoflush: UInt8 = 0
    private var flushCount: UInt8 = 0
    private var isTimerOn = false
    private var hitCount = 0
    private var oldByteCount = 0
    private var nextTick: HostInstant

    /// The codes of the eight converter channels.
    public private(set) var dacCodes = [UInt16](repeating: 0, count: 8)
    /// The word last sent to the clock synthesizer.
    public private(set) var radioFrequencyWord: UInt16 = 0x790
    /// Whether the internal oscillator is the reference.
    public private(set) var usesInternalReference = true

    private var lastPull = Picoseconds(0)
    private var recent: (records: UInt64, span: Picoseconds) = (0, Picoseconds(0))
    private var slipPending = false
    private var commandsToIgnore = 0

    /// The timer that drives the flush (tp8.c, SetupTimer0).
    private static let timerPeriod = Duration.milliseconds(10)

    /// A card with the cables `inputs`, run from `oscillator`.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a card.
    public init(
        profile: DeviceProfile, context: EmulationContext, inputs: any TaggerInputs,
        oscillator: any LocalOscillator, label: String
    ) throws(MissingProfileField) {
        self.context = context
        self.profile = profile
        commandEndpoint = try profile.endpoint("command").address
        statusEndpoint = try profile.endpoint("status").address
        eventEndpoint = try profile.endpoint("events").address
        descriptors = try Self.descriptors(of: profile)
        path = TimestampEventPath(
            inputs: inputs, oscillator: oscillator, encoder: try TimestampEncoder(profile: profile),
            inputMasks: profile.channels.map { Int($0.mask ?? 0) },
            watermark: profile.integerQuirk("overflow_watermark_records") ?? 3072,
            generator: context.generator("timestamp card " + label))
        nextTick = context.now + Self.timerPeriod
        for (name, command) in try profile.requireDialect().commands.entries {
            if let opcode = command.opcode { commands[UInt8(truncatingIfNeeded: opcode)] = name }
        }
        powerUp(at: context.now)
    }

    /// The strings exist at high speed only.
    private static func descriptors(
        of profile: DeviceProfile
    ) throws(MissingProfileField) -> USBDescriptorSet {
        let endpoints = [
            try profile.endpoint("command"), try profile.endpoint("status"),
            try profile.endpoint("events"),
        ]
        var set = try USBDescriptorSet(
            profile: profile, serial: profile.usb?.serial?.description ?? "", highSpeed: true,
            interfaces: { speed in
                (0..<2).map { alternate in
                    USBInterface(
                        number: 0, alternate: UInt8(alternate), classTriple: [0xFF, 0xFF, 0xFF],
                        endpoints: alternate == 0
                            ? [] : endpoints.map { $0.usbEndpoint(at: speed) })
                }
            })
        set.otherSpeedType = UInt8(profile.integerQuirk("other_speed_descriptor_type") ?? 7)
        if let language = profile.integerQuirk("string0_langid") {
            set.high?.strings[0] = USBDescriptorSet.languages(UInt16(language))
        }
        set.full.strings = []
        for index in 14...16 { set.full.device[index] = 0 }
        return set
    }

    private func powerUp(at now: HostInstant) {
        let standard: [(String, String)] = [
            ("dac_coincidence", "dac_coincidence_default"),
            ("dac_threshold", "dac_threshold_default"),
            ("dac_calibration", "dac_calibration_default"), ("dac_skew", "dac_skew_default"),
        ]
        dacCodes = [UInt16](repeating: 0, count: 8)
        for (channel, code) in standard {
            if let channel = try? profile.constant(channel), let code = try? profile.constant(code)
            {
                dacCodes[channel] = UInt16(code)
            }
        }
        commandBuffer = [UInt8](repeating: 0, count: 64)
        isTimerOn = false
        hitCount = 0
        oldByteCount = 0
        usesInternalReference = true
        path.isPulserOn = false
        statusReply = nil
        cleanState(at: now)
        updateThreshold()
    }

    /// Counts of pulses that became records, and of those that were lost, since power-up.
    public var tally: (records: UInt64, lost: UInt64) { (path.recordCount, path.lostCount) }

    // MARK: - Bus

    /// A bus reset does not touch the acquisition.
    public func busReset(speed: USBSpeed, at now: HostInstant) {
        path.recordsPerPacket = speed == .high ? 64 : 8
        statusReply = nil
    }

    /// Selecting setting 0 aborts the waveform engine.
    public func selectInterface(_ number: UInt8, alternate: UInt8, at now: HostInstant) {
        advance(to: now)
        if alternate == 0 { path.isTransferring = false }
    }

    /// The firmware knows no requests of its own.
    public func control(
        _ request: USBControlRequest, data: [UInt8], length: Int, at now: HostInstant
    ) -> USBControlOutcome { .stall }

    /// A command. The buffer keeps what earlier, longer packets left behind.
    public func packetOut(
        endpoint: UInt8, packet: UnsafeRawBufferPointer, at now: HostInstant
    ) -> USBHandshake {
        guard endpoint == commandEndpoint else { return .stall }
        advance(to: now)
        for (index, byte) in packet.prefix(64).enumerated() { commandBuffer[index] = byte }
        if commandsToIgnore > 0 {
            commandsToIgnore -= 1
        } else if let name = commands[commandBuffer[1]] {
            perform(name, at: now)
        }
        return .ack
    }

    /// A status byte or a packet of records.
    public func packetIn(
        endpoint: UInt8, into buffer: UnsafeMutableRawBufferPointer, at now: HostInstant
    ) -> USBInHandshake {
        switch endpoint {
        case statusEndpoint:
            guard let reply = statusReply else { return .nak }
            statusReply = nil
            buffer[0] = reply
            return .data(count: 1)
        case eventEndpoint:
            guard let count = path.takePacket(into: buffer) else { return .nak }
            guard slipPending, count > 8 else { return .data(count: count) }
            slipPending = false
            for index in 8..<count - 1 { buffer[index] = buffer[index + 1] }
            return .data(count: count - 1)
        default: return .stall
        }
    }

    // MARK: - Commands

    private func perform(_ name: String, at now: HostInstant) {
        let time = context.benchTime(at: now)
        let word = UInt16(commandBuffer[2]) | UInt16(commandBuffer[3]) << 8
        switch name {
        case "reset_card": resetCard(at: time)
        case "send_dac":
            // AD5318: bit 15 set addresses its control registers instead.
            if word & 0x8000 == 0 { dacCodes[Int(word >> 12)] = word & 0x0FFF }
            updateThreshold()
        case "initialize_dac":
            dacCodes = dacCodes.map { _ in 0 }
            updateThreshold()
        case "rf_reference": usesInternalReference = commandBuffer[2] != 0
        case "rf_parameter": radioFrequencyWord = word
        case "set_inhibit": path.isInhibitWanted = true
        case "clear_inhibit": path.isInhibitWanted = false
        case "calibration_off": path.isPulserOn = false
        case "calibration_on": path.isPulserOn = true
        case "initialize_fifo": path.resetEndpoint()
        case "stop":
            path.isTransferring = false
            path.commitPartial()
        case "autoflush":
            autoflush = commandBuffer[2]
            flushCount = 0
            isTimerOn = autoflush != 0
        case "start_transfer": path.isTransferring = true
        case "fresh_restart": cleanState(at: now)
        case "request_status": statusReply = status(commandBuffer[2]) ?? statusReply
        case "reset_slow_counter": path.resetCounter(at: time)
        case "reset_partial_fifo": path.resetFIFO()
        default: break
        }
    }

    private func resetCard(at time: Picoseconds) {
        path.isInhibitWanted = true
        path.resetFIFO()
        path.resetCounter(at: time)
    }

    private func cleanState(at now: HostInstant) {
        path.resetEndpoint()
        path.isTransferring = false
        path.isPulserOn = false
        flushCount = 0
        autoflush = 0
        radioFrequencyWord = 0x790
        resetCard(at: context.benchTime(at: now))
    }

    /// The byte for a status index; other indices are never answered.
    private func status(_ index: UInt8) -> UInt8? {
        switch index {
        case 0: (path.isInhibited ? 0x80 : 0) | (path.isAboveWatermark ? 0x10 : 0)
        case 1: path.isTransferring ? 0 : 0x80
        case 2: 1
        case 3: 0x22
        case 4: path.isEndpointEmpty ? 0x55 : 0x54
        case 5: 0xE4
        case 6: 0
        case 7: 1
        case 8: path.hasOverflow ? 1 : 0
        default: nil
        }
    }

    /// NIM pulses of −0.8 V fire while the threshold lies between their peak and the noise.
    ///
    /// Published is one point, code 3586 for about −0.5 V; the line through it and 0 V at full scale
    /// is an assumption.
    private func updateThreshold() {
        let volts = (Double(dacCodes[1]) - 4095) * 0.5 / 509
        path.isThresholdGood = volts > -0.8 && volts < -0.02
    }

    // MARK: - Time

    /// Lets pulses arrive and the timer tick.
    public func advance(to now: HostInstant) {
        while nextTick <= now {
            pull(to: nextTick)
            if isTimerOn { tick() }
            nextTick = nextTick + Self.timerPeriod
        }
        pull(to: now)
    }

    private func pull(to instant: HostInstant) {
        let time = context.benchTime(at: instant)
        let (before, start) = (path.recordCount, lastPull)
        guard time > start else { return }
        path.pull(through: time)
        lastPull = time
        // A rate from a few microseconds would be noise.
        if (time - start).rawValue > 50_000_000 {
            recent = (path.recordCount - before, time - start)
        }
    }

    /// One pass through the timer branch of the firmware's main loop: after `autoflush` periods it
    /// compares byte counts, and after more than two equal ones with nothing waiting it sends what
    /// there is.
    private func tick() {
        flushCount &-= 1
        guard flushCount == 0 else { return }
        flushCount = autoflush
        let count = path.partialBytes
        if count == oldByteCount, path.isEndpointEmpty {
            hitCount += 1
        } else {
            hitCount = 0
        }
        oldByteCount = count
        if hitCount > 1 {
            path.commitPartial()
            hitCount = 0
        }
    }

    /// While the host waits for records: the next tick, or sooner at high rates.
    public func nextWake(after now: HostInstant, polled: [UInt8]) -> HostInstant? {
        path.isHostWaiting = polled.contains(eventEndpoint)
        guard path.isHostWaiting, path.isTransferring else { return nil }
        let look = path.nextLook(after: context.benchTime(at: now), recent: recent)
        return min(max(nextTick, now + .microseconds(1)), context.hostInstant(at: look))
    }

    /// The faults of the card itself.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        let end = context.benchTime(at: now + (fault.duration ?? .milliseconds(1)))
        switch fault.kind {
        case .byteSlip: slipPending = true
        case .overflow: path.forceOverflow(until: end)
        case .stuckBit: path.stuckBits = 1 << UInt64((fault.detail ?? 9) & 63)
        case .clockLoss: path.stopClock(at: context.benchTime(at: now), until: end)
        case .clockStep:
            path.stepClock(by: fault.clockStep, at: context.benchTime(at: now))
        case .ignoredCommand: commandsToIgnore += fault.detail ?? 1
        case .wrongFirmware:
            descriptors.full.device[13] = 0x01
            descriptors.high?.device[13] = 0x01
        case .reboot: powerUp(at: now)
        default: return false
        }
        return true
    }
}
