import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// The way of an event through the FPGA tagger: input latches, counter, record, FIFO, and the packet
/// buffers of the FX2 chip (`strobe_latch.v`, `event_tagger.v`, `timetag.v`, `sample_multiplexer.v`).
///
/// Events are followed clock by clock where there are any. The few clocks that a pulse takes through
/// the latches are the same for all and left out.
struct TimetagEventPath {
    /// The part of the event path that talks USB.
    private(set) var packets: TimetagPacketBuffers
    /// The pattern outputs, which are also the delta inputs.
    private(set) var sequencer = PatternSequencer()
    /// The registers of capture control, strobe and delta mask.
    private(set) var captureControl: UInt32 = 0
    private(set) var strobeMask: UInt32 = 0
    private(set) var deltaMask: UInt32 = 0
    /// Records that were written to the FIFO, and records that found it full, since the last reset.
    private(set) var recordCount: UInt32 = 0
    private(set) var lostCount: UInt32 = 0
    /// Whether bit 0 of the FIFO control register keeps the FIFO empty.
    private(set) var isFIFOCleared = false

    private let inputs: any TaggerInputs
    private let oscillator: any LocalOscillator
    private let tick: TickPeriod
    private let layout: Layout
    private let depth: Int
    private var held: [InputPulse] = []
    private var lastEdge: [Int64]
    private var pulledThrough = Picoseconds(0)
    /// The counter at a clock; it moves on from there while it counts.
    private var counter: (clock: Int64, value: UInt64) = (0, 0)
    private var oldDelta: UInt64 = 0
    private var hasLost = false
    private var blockedUntil = Int64.min

    private static let batch = Picoseconds(10_000_000_000)
    /// An input is ready for another edge after one clock at low level. The bench does not know how
    /// long pulses are; they are taken to be high for two clocks.
    private static let rearmClocks: Int64 = 3

    /// Where the parts of a record are.
    private struct Layout {
        var counterMask: UInt64
        var channelShift: UInt64
        var delta: UInt64
        var wrap: UInt64
        var lost: UInt64
    }

    init(
        profile: DeviceProfile, inputs: any TaggerInputs, oscillator: any LocalOscillator
    ) throws(MissingProfileField) {
        self.inputs = inputs
        self.oscillator = oscillator
        let timeBase = try profile.requireTimeBase()
        tick = timeBase.tick
        layout = Layout(
            counterMask: 1 << UInt64(timeBase.counterBits) - 1,
            channelShift: UInt64(try profile.recordField("channels").low),
            delta: try profile.recordField("delta").mask,
            wrap: try profile.recordField("wrap").mask,
            lost: try profile.recordField("lost").mask)
        guard let depth = try profile.requireRecord().fifoRecords else {
            throw MissingProfileField(profile: profile.id, path: "record.fifo_records")
        }
        self.depth = depth
        lastEdge = profile.channels.map { _ in .min / 2 }
        packets = TimetagPacketBuffers(
            defaultLength: try profile.requireRecord().flush.packetBytes ?? 510,
            count: profile.integerQuirk("event_packets") ?? 3)
    }

    // MARK: - Registers

    private var isCapturing: Bool { captureControl & 1 != 0 }
    private var isCounting: Bool { captureControl & 2 != 0 && captureControl & 4 == 0 }

    /// Loses all state, as at power-up.
    mutating func powerUp(at time: Picoseconds) {
        pull(through: time)
        let now = clock(at: time)
        captureControl = 0
        strobeMask = 0
        deltaMask = 0
        recordCount = 0
        lostCount = 0
        hasLost = false
        oldDelta = 0
        counter = (now, 0)
        isFIFOCleared = false
        blockedUntil = .min
        sequencer = PatternSequencer()
        sequencer.run(to: now)
        packets.powerUp()
    }

    mutating func setCaptureControl(_ value: UInt32, at time: Picoseconds) {
        let now = settle(at: time)
        counter = (now, reading(at: now))
        captureControl = value
        if value & 4 != 0 { counter.value = 0 }
    }

    mutating func setStrobeMask(_ value: UInt32, at time: Picoseconds) {
        _ = settle(at: time)
        strobeMask = value
    }

    mutating func setDeltaMask(_ value: UInt32, at time: Picoseconds) {
        let now = settle(at: time)
        deltaMask = value
        latch(at: now, strobes: 0)
    }

    mutating func changeSequencer(
        at time: Picoseconds, _ change: (inout PatternSequencer) -> Void
    ) {
        let now = settle(at: time)
        change(&sequencer)
        latch(at: now, strobes: 0)
    }

    mutating func setFIFOControl(_ value: UInt32, at time: Picoseconds) {
        _ = settle(at: time)
        isFIFOCleared = value & 1 != 0
        if isFIFOCleared { packets.clearFIFO() }
    }

    mutating func resetRecordCount() { recordCount = 0 }
    mutating func resetLostCount() { lostCount = 0 }

    /// Makes the FIFO look full until `time`.
    mutating func block(until time: Picoseconds) { blockedUntil = clock(at: time) }

    private mutating func settle(at time: Picoseconds) -> Int64 {
        pull(through: time)
        return clock(at: time)
    }

    /// Lends the packet buffers.
    mutating func withPackets<Result>(
        _ body: (inout TimetagPacketBuffers) -> Result
    ) -> Result { body(&packets) }

    // MARK: - Time

    /// The edges of the acquisition clock up to `time`.
    private func clock(at time: Picoseconds) -> Int64 {
        let (whole, rest) = oscillator.reading(at: time).rawValue
            .quotientAndRemainder(dividingBy: tick.numerator)
        return whole * tick.denominator + rest * tick.denominator / tick.numerator
    }

    /// The counter at `clock`.
    private func reading(at clock: Int64) -> UInt64 {
        guard isCounting else { return counter.value }
        return (counter.value &+ UInt64(clock - counter.clock)) & layout.counterMask
    }

    /// The next clock at which the counter is zero while it counts.
    private func nextZero(from clock: Int64) -> Int64 {
        guard isCounting else { return .max }
        let value = reading(at: clock)
        return value == 0 ? clock : clock + Int64(layout.counterMask + 1 - value)
    }

    /// Lets all that happens before the clock at `time` happen.
    mutating func pull(through time: Picoseconds) {
        while pulledThrough < time {
            let start = clock(at: pulledThrough)
            let end = min(time, pulledThrough + Self.batch)
            let pulses = held + inputs.takePulses(through: end)
            pulledThrough = end
            run(pulses, from: start, to: clock(at: end))
        }
    }

    private mutating func run(_ pulses: [InputPulse], from start: Int64, to end: Int64) {
        var index = 0
        var zero = nextZero(from: start)
        while true {
            let pulse = index < pulses.count ? clock(at: pulses[index].time) : .max
            let now = min(pulse, zero, sequencer.nextChange ?? .max)
            guard now < end else { break }
            var strobes: UInt64 = 0
            while index < pulses.count, clock(at: pulses[index].time) == now {
                strobes |= edge(of: Int(pulses[index].input), at: now)
                index += 1
            }
            sequencer.run(to: now)
            latch(at: now, strobes: strobes)
            if now == zero { zero = nextZero(from: now + 1) }
        }
        // Pulses of the last clock may not be complete.
        held = Array(pulses[index...])
        sequencer.run(to: end - 1)
        packets.serve(until: end)
    }

    /// The bit of an input whose latch fires.
    private mutating func edge(of input: Int, at clock: Int64) -> UInt64 {
        guard lastEdge.indices.contains(input), clock - lastEdge[input] >= Self.rearmClocks else {
            return 0
        }
        lastEdge[input] = clock
        return 1 << UInt64(input)
    }

    /// One clock of the event tagger: a change of the delta inputs hides strobes.
    private mutating func latch(at clock: Int64, strobes: UInt64) {
        let time = reading(at: clock)
        let deltas = sequencer.outputs & UInt64(deltaMask)
        let strobes = strobes & UInt64(strobeMask)
        var record = time
        if deltas != oldDelta {
            oldDelta = deltas
            record |= layout.delta | deltas << layout.channelShift
        } else if strobes != 0 || (time == 0 && isCounting) {
            record |= strobes << layout.channelShift
        } else {
            return
        }
        if time == 0 { record |= layout.wrap }
        if isCapturing { write(record, at: clock) }
    }

    private mutating func write(_ record: UInt64, at clock: Int64) {
        packets.serve(until: clock)
        guard packets.fifoCount < depth, clock >= blockedUntil else {
            lostCount &+= 1
            hasLost = true
            return
        }
        recordCount &+= 1
        if !isFIFOCleared { packets.append(hasLost ? record | layout.lost : record) }
        hasLost = false
    }
}
