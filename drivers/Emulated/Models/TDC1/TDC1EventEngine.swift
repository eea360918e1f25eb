import DeviceProfiles
import OpticalBench
import Quantities

/// The counters of the TDC1: gated counts, pair counts, and the stream of time stamps with its
/// FIFO and packets.
struct TDC1EventEngine {
    /// What the unit is doing.
    enum Activity: Hashable {
        case idle
        case counting(until: Picoseconds?, pairs: Bool)
        case streaming(until: Picoseconds?)
    }

    /// Words the unit holds when the host does not read. The real size is not published.
    private static let fifoWords = 4096
    private static let packetBytes = 512
    private static let batch = Picoseconds(10_000_000_000)

    private let inputs: any TaggerInputs
    private let oscillator: any LocalOscillator
    private let inputMasks: [UInt32]
    private let tick: Int64
    private let counterBits: UInt64
    private let timeLow: UInt32
    private let dummyBit: UInt32

    private var pulledThrough = Picoseconds(0)
    private var origin: Int64 = 0
    private var open: (ticks: UInt64, mask: UInt32)?
    private var nextDummy: UInt64 = 0
    private var recentTicks: [UInt64?] = [nil, nil, nil, nil]
    private var buffer: [UInt8] = []
    private var committed = 0
    private var faults = CounterFaults()
    private var lossUntil = Picoseconds(.min)
    private var slipPending = false

    /// What the unit is doing.
    private(set) var activity = Activity.idle
    /// Counts of the inputs since the gate opened.
    private(set) var singles: [UInt64] = [0, 0, 0, 0]
    /// Coincidences of inputs 1-3, 1-4, 2-3, 2-4 since the gate opened.
    private(set) var pairs: [UInt64] = [0, 0, 0, 0]
    /// Whether words were lost since the stream began.
    private(set) var hasOverflow = false
    /// Whether the input level lets pulses through.
    var isLevelGood = true
    /// Bits that are stuck at one in every word.
    var stuckBits: UInt32 = 0
    /// Words made since power-up.
    private(set) var wordCount: UInt64 = 0

    init(
        profile: DeviceProfile, inputs: any TaggerInputs, oscillator: any LocalOscillator
    ) throws(MissingProfileField) {
        self.inputs = inputs
        self.oscillator = oscillator
        inputMasks = profile.channels.map { $0.mask ?? 0 }
        let timeBase = try profile.requireTimeBase()
        tick = timeBase.tick.numerator / timeBase.tick.denominator
        counterBits = UInt64(timeBase.counterBits)
        timeLow = UInt32(try profile.recordField("time").low)
        dummyBit = 1 << UInt32(try profile.recordField("dummy").low)
    }

    // MARK: - Control

    mutating func startCounting(pairs: Bool, gate: Picoseconds?, at time: Picoseconds) {
        pull(through: time)
        singles = [0, 0, 0, 0]
        self.pairs = [0, 0, 0, 0]
        recentTicks = [nil, nil, nil, nil]
        origin = reading(at: time)
        activity = .counting(until: gate.map { time + $0 }, pairs: pairs)
    }

    mutating func startStream(gate: Picoseconds?, at time: Picoseconds) {
        pull(through: time)
        origin = reading(at: time)
        open = nil
        nextDummy = 1 << (counterBits - 1)
        hasOverflow = false
        activity = .streaming(until: gate.map { time + $0 })
    }

    /// Ends whatever runs; what the stream holds is handed to the host.
    mutating func stop(at time: Picoseconds) {
        pull(through: time)
        closeWord()
        activity = .idle
        commit()
    }

    /// Hands the packet being filled to the host.
    mutating func commit() { committed = buffer.count }

    mutating func reset() {
        activity = .idle
        buffer = []
        committed = 0
        open = nil
        hasOverflow = false
        faults = CounterFaults()
    }

    mutating func forceOverflow(until time: Picoseconds) {
        hasOverflow = true
        lossUntil = time
    }

    mutating func stopClock(at time: Picoseconds, until end: Picoseconds) {
        faults.stop(at: time, until: end, reading: reading(at: time))
    }

    /// Loses one 16-bit word of the stream, as the path to the FX2 does at high rates.
    mutating func slipWord() { slipPending = true }

    /// Puts a text reply behind what waits for the host.
    mutating func reply(_ bytes: [UInt8]) {
        buffer += bytes
        committed = buffer.count
    }

    /// Bytes for the host.
    mutating func take(upTo limit: Int) -> [UInt8] {
        let count = min(limit, committed)
        guard count > 0 else { return [] }
        let bytes = Array(buffer[..<count])
        buffer.removeFirst(count)
        committed -= count
        return bytes
    }

    // MARK: - Events

    /// Lets the counter jump ahead at `time`.
    mutating func stepClock(by step: Picoseconds, at time: Picoseconds) {
        pull(through: time)
        faults.step(by: step)
    }

    private func reading(at time: Picoseconds) -> Int64 {
        faults.reading(oscillator.reading(at: time), at: time)
    }

    private func ticks(at time: Picoseconds) -> UInt64 {
        UInt64(max(0, reading(at: time) - origin) / tick)
    }

    /// Lets all pulses up to `time` arrive.
    mutating func pull(through time: Picoseconds) {
        while pulledThrough < time {
            let end = min(time, pulledThrough + Self.batch)
            let pulses = inputs.takePulses(through: end)
            switch activity {
            case .idle: break
            case .counting(_, let pairs):
                guard isLevelGood else { break }
                for pulse in pulses { count(pulse, pairs: pairs) }
            case .streaming:
                if isLevelGood { for pulse in pulses { stamp(pulse) } }
                let now = ticks(at: end)
                if let current = open, current.ticks < now { closeWord() }
                addDummies(through: now)
            }
            pulledThrough = end
        }
    }

    /// A pair is two pulses in the same or neighbouring ticks; the window of the real unit is not
    /// published.
    private mutating func count(_ pulse: InputPulse, pairs wantsPairs: Bool) {
        let input = Int(pulse.input & 3)
        singles[input] += 1
        guard wantsPairs else { return }
        let now = ticks(at: pulse.time)
        recentTicks[input] = now
        for other in input < 2 ? 2...3 : 0...1 {
            guard let last = recentTicks[other], now - min(now, last) <= 1 else { continue }
            pairs[(min(input, other) & 1) * 2 + (max(input, other) & 1)] += 1
        }
    }

    private mutating func stamp(_ pulse: InputPulse) {
        let now = ticks(at: pulse.time)
        let mask = inputMasks[Int(pulse.input & 3)]
        if pulse.time < lossUntil { return }
        if let current = open {
            if current.ticks == now {
                open = (now, current.mask | mask)
                return
            }
            closeWord()
        }
        addDummies(through: now)
        open = (now, mask)
    }

    private mutating func closeWord() {
        guard let current = open else { return }
        append(current.ticks, bits: current.mask)
        open = nil
    }

    /// A word without event whenever the most significant bit of the counter changes, so that every
    /// wrap can be seen.
    private mutating func addDummies(through now: UInt64) {
        while nextDummy <= now {
            closeWord()
            append(nextDummy, bits: dummyBit)
            nextDummy += 1 << (counterBits - 1)
        }
    }

    private mutating func append(_ ticks: UInt64, bits: UInt32) {
        guard buffer.count < Self.fifoWords * 4 else {
            hasOverflow = true
            return
        }
        let time = UInt32(truncatingIfNeeded: ticks & (1 << counterBits - 1))
        let word = time << timeLow | bits | stuckBits
        let dropped = slipPending ? 2 : 0
        slipPending = false
        withUnsafeBytes(of: word.littleEndian) { buffer.append(contentsOf: $0.dropFirst(dropped)) }
        wordCount += 1
        let full = buffer.count - buffer.count % Self.packetBytes
        if full > committed { committed = full }
    }
}
