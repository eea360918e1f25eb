import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The TAPR TICC: an Arduino Mega 2560 whose USB processor resets the board when DTR rises, and whose
/// firmware prints a banner, waits for a key, and then prints tags.
///
/// Written from TICC.ino, config.cpp and misc.cpp of github.com/TAPR/TICC at 94a0aa7, d317e41 and
/// dc4a645, and from what the released programs of 2019 and 2020 print under simavr. The order, times
/// and bytes of the start are the firmware's; so are the passing over of pulses while it prints, the
/// first two readings that it drops, the pairs of the firmware of 2025, and the three ways to print a
/// time before zero.
///
/// Deviations: of the menus only leaving them is there; times carry no noise of the TDC7200; the time
/// in the boot loader is a guess; the USB processor drops what its ring of 128 bytes can not take,
/// where the real one overwrites.
public final class TICCUnit: EmulatedSerialDevice, @unchecked Sendable {
    // @unchecked: touched only under the lock of the context of its host.

    private enum State: Hashable {
        /// Printing the banner and waiting, until the counter may start.
        case starting
        /// No reference when the counter should start.
        case waitingForReference
        /// A client of another board that never starts it.
        case waitingForSync
        case running
        case menu(resumes: Bool)
        /// The reference went away; a key starts the board anew.
        case halted
    }

    private let context: EmulationContext
    private let oscillator: any LocalOscillator
    private let text: TICCText
    private let timing: TICCTiming
    /// Leaves a menu.
    private static let leaveKey: [UInt8] = Array("13".utf8)

    private var state = State.starting
    private var script: [(time: Picoseconds, step: Step)] = []
    private var engine: TICCEngine
    private var line: TICCLineBuffer
    private var isDTRHigh = false
    private var referenceReturns: Picoseconds?

    private enum Step: Hashable {
        case print([UInt8])
        case openMenuWindow, closeMenuWindow, begin
    }
    private var isMenuWindowOpen = false

    /// A board with the cables `inputs` and `oscillator` as its 10 MHz, powered now.
    ///
    /// - Throws: `MissingProfileField` when the profile does not describe such a board.
    public init(
        profile: DeviceProfile, context: EmulationContext, inputs: any TaggerInputs,
        oscillator: any LocalOscillator, settings: TICCSettings = TICCSettings()
    ) throws(MissingProfileField) {
        self.context = context
        self.oscillator = oscillator
        timing = try TICCTiming(profile)
        text = try TICCText(profile: profile, settings: settings)
        line = TICCLineBuffer(baud: profile.serialPort?.baud ?? 115_200)
        engine = TICCEngine(
            inputs: inputs, oscillator: oscillator, group: try profile.requireTextRecord().group,
            service: timing.service)
        reset(at: context.benchTime(at: context.now), through: timing.bootloader)
    }

    /// Pulses that the board has passed over since power-up.
    public var missedPulses: UInt64 { engine.missed }

    // MARK: - Serial port

    /// Bytes from the host: keys for the menu, the break character, or nothing of interest.
    public func receive(_ bytes: [UInt8], at now: HostInstant) {
        advance(to: now)
        let time = context.benchTime(at: now)
        for byte in bytes {
            switch state {
            case .starting where isMenuWindowOpen:
                // The firmware looks once a dot; a quarter of a second more or less.
                script.removeAll()
                isMenuWindowOpen = false
                openMenu(resumes: false, at: time)
            case .running where byte == UInt8(ascii: "#"):
                if text.breakOpensMenu {
                    for remark in text.stopping { line.print(remark, at: time) }
                    openMenu(resumes: true, at: time)
                } else {
                    line.print(text.leaving, at: time)
                    restart(at: time, through: timing.restart)
                }
            case .menu(let resumes) where Self.leaveKey.contains(byte):
                leaveMenu(resumes: resumes, at: time)
            case .halted:
                restart(at: time, through: Picoseconds(0))
            default: break
            }
        }
    }

    /// Bytes for the host.
    public func takeOutput(upTo limit: Int) -> [UInt8] { line.take(upTo: limit) }

    /// DTR pulls the reset pin low through a capacitor when it rises.
    public func modemLinesChanged(dtr: Bool, rts: Bool, at now: HostInstant) {
        advance(to: now)
        if dtr, !isDTRHigh { reset(at: context.benchTime(at: now), through: timing.bootloader) }
        isDTRHigh = dtr
    }

    /// Lets the board go on.
    public func advance(to now: HostInstant) {
        let time = context.benchTime(at: now)
        while let next = script.first, next.time <= time {
            script.removeFirst()
            perform(next.step, at: next.time)
        }
        if let back = referenceReturns, back <= time {
            referenceReturns = nil
            engine.resume(at: back)
            if state == .waitingForReference { begin(at: back) }
        }
        let isCounting = state == .running
        for (time, tags) in engine.pull(through: time, isCounting: isCounting, line.freeAt) {
            for tag in tags { line.print(text.line(tag.time, channel: tag.channel), at: time) }
        }
        line.advance(to: time)
    }

    /// The next byte, step of the start, or look at the inputs.
    public func nextWake(after now: HostInstant) -> HostInstant? {
        var next = [script.first?.time, line.nextArrival, referenceReturns].compactMap { $0 }
            .filter { $0.rawValue < .max }
            .map(context.hostInstant(at:))
        if state == .running { next.append(now + timing.poll) }
        return next.min().map { max($0, HostInstant(nanoseconds: now.nanoseconds + 1)) }
    }

    // MARK: - The life of the firmware

    /// A reset of the processor: what it had not sent yet is gone.
    private func reset(at time: Picoseconds, through delay: Picoseconds) {
        line.reset(at: time)
        restart(at: time, through: delay)
    }

    /// The firmware begins anew.
    private func restart(at time: Picoseconds, through delay: Picoseconds) {
        state = .starting
        isMenuWindowOpen = false
        script = []
        var at = time + delay + timing.beginWait
        func say(_ bytes: [UInt8]) { script.append((at, .print(bytes))) }
        for line in text.banner { say(line) }
        say(text.promptStart)
        script.append((at, .openMenuWindow))
        for _ in 0..<TICCTiming.dots {
            at = at + timing.dot
            say(Array(".".utf8))
        }
        script.append((at, .closeMenuWindow))
        say(text.promptEnd)
        if text.isClient {
            for line in text.waitingForSync { say(line) }
            return
        }
        script.append((at + timing.syncWait, .begin))
    }

    private func perform(_ step: Step, at time: Picoseconds) {
        switch step {
        case .print(let bytes): line.print(bytes, at: time)
        case .openMenuWindow: isMenuWindowOpen = true
        case .closeMenuWindow:
            isMenuWindowOpen = false
            if text.isClient { state = .waitingForSync }
        case .begin:
            if engine.isStopped {
                state = .waitingForReference
                for remark in text.noReference { line.print(remark, at: time) }
            } else {
                begin(at: time)
            }
        }
    }

    private func begin(at time: Picoseconds) {
        // Pulses until now met a counter that did not run.
        _ = engine.pull(through: time, isCounting: false, line.freeAt)
        engine.start(at: time)
        for header in text.header { line.print(header, at: time) }
        state = text.isTimestampMode ? .running : .waitingForSync
    }

    private func openMenu(resumes: Bool, at time: Picoseconds) {
        state = .menu(resumes: resumes)
        line.print(text.menuPrompt, at: time)
    }

    private func leaveMenu(resumes: Bool, at time: Picoseconds) {
        guard !resumes else {
            for remark in text.resuming { line.print(remark, at: time) }
            state = .running
            return
        }
        state = .starting
        script.append((time + timing.syncWait, .begin))
    }

    // MARK: - Faults

    /// The faults of the board and its reference.
    public func inject(_ fault: EmulatedFault, at now: HostInstant) -> Bool {
        advance(to: now)
        let time = context.benchTime(at: now)
        switch fault.kind {
        case .reboot: reset(at: time, through: timing.bootloader)
        case .wrongFirmware:
            text.version = "20160101.1"
            reset(at: time, through: timing.bootloader)
        case .clockLoss: loseReference(at: time, for: fault.duration)
        default: return false
        }
        return true
    }

    private func loseReference(at time: Picoseconds, for duration: Duration?) {
        engine.stop(at: time)
        referenceReturns = Picoseconds(.max)
        if let duration { referenceReturns = context.benchTime(at: context.now + duration) }
        guard state == .running, let remarks = text.referenceLost else { return }
        for remark in remarks { line.print(remark, at: time) }
        state = .halted
    }
}
