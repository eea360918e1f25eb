import DeviceProfiles
import HostIO
import OpticalBench
import Quantities

/// How long the parts of a start take, and a tag.
struct TICCTiming {
    /// The firmware prints 28 dots while it waits for a key.
    static let dots = 28

    let bootloader: Picoseconds
    /// What the firmware of 2025 waits before it prints anything.
    let beginWait: Picoseconds
    let dot: Picoseconds
    let syncWait: Picoseconds
    let restart: Picoseconds
    /// From one tag to the next when pulses wait.
    let service: Picoseconds
    /// How often the model looks at its inputs.
    let poll = Duration.milliseconds(5)

    init(_ profile: DeviceProfile) throws(MissingProfileField) {
        func time(_ name: String) throws(MissingProfileField) -> Picoseconds {
            guard let value = profile.timing[name] else {
                throw MissingProfileField(profile: profile.id, path: "timing.\(name)")
            }
            return Picoseconds(Int64(value * 1e9))
        }
        guard let rate = profile.limits["event_rate"]?.max else {
            throw MissingProfileField(profile: profile.id, path: "limits.event_rate")
        }
        bootloader = try time("bootloader_ms")
        beginWait =
            profile.timing["begin_wait_ms"] == nil
            ? Picoseconds(0) : try time("begin_wait_ms")
        dot = Picoseconds(try time("menu_wait_ms").rawValue / Int64(Self.dots))
        syncWait = try time("sync_wait_ms")
        restart = profile.timing["restart_ms"] == nil ? Picoseconds(0) : try time("restart_ms")
        service = Picoseconds(Int64(1e12 / rate))
    }
}

/// The serial line from the board's processor to its USB processor, and the ring in the latter.
struct TICCLineBuffer {
    private let byteTime: Int64
    /// What the firmware has written, by when its last bit is out.
    private var sending: [(done: Picoseconds, bytes: [UInt8])] = []
    private var free = Picoseconds(0)
    private var ring: [UInt8] = []
    /// Bytes lost because nobody took them.
    private(set) var overflowed = 0

    private static let ringSize = 128
    /// The firmware's own buffer; it waits when that is full.
    private static let portBuffer = 64

    init(baud: Int) { byteTime = 10_000_000_000_000 / Int64(baud) }

    /// When the firmware can go on after what it has written so far.
    var freeAt: Picoseconds { Picoseconds(free.rawValue - Int64(Self.portBuffer) * byteTime) }
    var nextArrival: Picoseconds? { sending.first?.done }

    mutating func print(_ bytes: [UInt8], at time: Picoseconds) {
        free = Picoseconds(max(free.rawValue, time.rawValue) + Int64(bytes.count) * byteTime)
        sending.append((free, bytes))
    }

    mutating func advance(to time: Picoseconds) {
        while let next = sending.first, next.done <= time {
            sending.removeFirst()
            let room = max(0, Self.ringSize - ring.count)
            ring += next.bytes.prefix(room)
            overflowed += max(0, next.bytes.count - room)
        }
    }

    mutating func reset(at time: Picoseconds) {
        sending = []
        free = time
    }

    mutating func take(upTo limit: Int) -> [UInt8] {
        let taken = Array(ring.prefix(limit))
        ring.removeFirst(taken.count)
        return taken
    }
}

/// The two TDC7200, the counter of 100 µs that completes their times, and the loop that serves them.
///
/// Each chip holds one pulse until the loop has read it, and sees no other until then.
struct TICCEngine {
    struct Tag: Hashable {
        var time: Int64
        var channel: Int
    }

    private let inputs: any TaggerInputs
    private let oscillator: any LocalOscillator
    private let group: Int
    private let service: Picoseconds
    private var origin: Int64 = 0
    private var stoppedAt: Int64?
    /// When each chip listens again, and what it has caught.
    private var armedFrom = [Picoseconds(0), Picoseconds(0)]
    private var caught: [(at: Picoseconds, time: Int64)?] = [nil, nil]
    private var readings = [0, 0]
    private var loopFree = Picoseconds(0)
    private var turn = 0
    private var held: [Tag] = []
    /// Pulses that met a chip which was not listening.
    private(set) var missed: UInt64 = 0

    /// Readings of each channel that the firmware drops after a start.
    private static let dropped = 2
    private static let batch = Picoseconds(100_000_000_000)
    private var pulledThrough = Picoseconds(0)

    init(
        inputs: any TaggerInputs, oscillator: any LocalOscillator, group: Int,
        service: Picoseconds
    ) {
        self.inputs = inputs
        self.oscillator = oscillator
        self.group = group
        self.service = service
    }

    /// Whether the reference is away.
    var isStopped: Bool { stoppedAt != nil }

    mutating func start(at time: Picoseconds) {
        origin = oscillator.reading(at: time).rawValue
        caught = [nil, nil]
        readings = [0, 0]
        held = []
        loopFree = time
        armedFrom = [time, time]
    }

    mutating func stop(at time: Picoseconds) {
        if stoppedAt == nil { stoppedAt = oscillator.reading(at: time).rawValue }
    }

    /// The counter goes on where it stood.
    mutating func resume(at time: Picoseconds) {
        guard let stoppedAt else { return }
        origin += oscillator.reading(at: time).rawValue - stoppedAt
        self.stoppedAt = nil
        armedFrom = [max(armedFrom[0], time), max(armedFrom[1], time)]
    }

    /// Lets pulses arrive up to `time`; what the loop prints, and when.
    ///
    /// - Parameter lineFree: when the serial port takes more.
    mutating func pull(
        through time: Picoseconds, isCounting: Bool, _ lineFree: Picoseconds
    ) -> [(at: Picoseconds, tags: [Tag])] {
        var printed: [(at: Picoseconds, tags: [Tag])] = []
        loopFree = max(loopFree, lineFree)
        while pulledThrough < time {
            let end = min(time, pulledThrough + Self.batch)
            for pulse in inputs.takePulses(through: end) where isCounting {
                serve(until: pulse.time, &printed)
                catchPulse(pulse)
            }
            if isCounting { serve(until: end, &printed) }
            pulledThrough = end
        }
        return printed
    }

    private mutating func catchPulse(_ pulse: InputPulse) {
        let channel = Int(pulse.input)
        guard caught.indices.contains(channel), stoppedAt == nil else { return }
        guard caught[channel] == nil, pulse.time >= armedFrom[channel] else {
            missed += 1
            return
        }
        caught[channel] = (pulse.time, oscillator.reading(at: pulse.time).rawValue - origin)
    }

    private mutating func serve(
        until limit: Picoseconds, _ printed: inout [(at: Picoseconds, tags: [Tag])]
    ) {
        while let first = caught.compactMap({ $0?.at }).min() {
            let start = max(loopFree, first)
            guard start <= limit else { return }
            let other = 1 - turn
            let channel = (caught[turn].map { $0.at <= start } ?? false) ? turn : other
            guard let reading = caught[channel] else { return }
            caught[channel] = nil
            turn = 1 - channel
            // It is read and armed again first, and printed then.
            armedFrom[channel] = start + Picoseconds(service.rawValue / 4)
            loopFree = start + service
            readings[channel] += 1
            guard readings[channel] > Self.dropped else { continue }
            held.append(Tag(time: reading.time, channel: channel))
            guard held.count >= group else { continue }
            // In order of channel; two of one channel as they came.
            let tags = held.filter { $0.channel == 0 } + held.filter { $0.channel == 1 }
            printed.append((start + Picoseconds(service.rawValue / 2), tags))
            held = []
        }
    }
}
