import OpticalBench
import Quantities

/// The motors of all modules of a line. Modules move at the same time, so that they are stepped
/// together: the plates of a bench are turned in the order of time.
struct ElliptecDrive {
    /// How a motion ended.
    enum End: Hashable {
        case arrived
        /// The motor had run as long as it may.
        case timedOut
    }

    /// A motion that ended.
    struct Event: Hashable {
        var axis: Int
        var end: End
        var time: Picoseconds
    }

    private struct Motion {
        var target: Double
        /// Counts per second.
        var speed: Double
        /// When the motor stops by itself.
        var limit: Picoseconds?
    }

    /// A plate is turned at least this often while it moves.
    private static let stepTime = Picoseconds(1_500_000_000)

    private let plates: any RotatableWaveplates
    private let radiansPerCount: Double
    private var motions: [Motion?]
    private var clock: Picoseconds
    /// Where the axes stand, in counts with the fraction that the encoder does not show.
    private(set) var positions: [Double]
    /// The axes whose motors turn nothing.
    var stuck: Set<Int> = []

    init(
        plates: any RotatableWaveplates, radiansPerCount: Double, positions: [Double],
        at time: Picoseconds
    ) {
        self.plates = plates
        self.radiansPerCount = radiansPerCount
        self.positions = positions
        motions = positions.map { _ in nil }
        clock = time
        for axis in positions.indices { turn(axis, at: time) }
    }

    /// Whether an axis moves.
    func isMoving(_ axis: Int) -> Bool { motions[axis] != nil }

    /// Sets an axis in motion; the motor gives up after `limit`.
    mutating func start(_ axis: Int, to target: Double, speed: Double, limit: Picoseconds?) {
        motions[axis] = Motion(target: target, speed: speed, limit: limit.map { clock + $0 })
    }

    /// Ends a motion where the axis is.
    mutating func stop(_ axis: Int) { motions[axis] = nil }

    /// Counts whole turns anew; the plate stays where it is.
    mutating func rename(_ axis: Int, to position: Double) { positions[axis] = position }

    private func remaining(_ axis: Int, _ motion: Motion) -> Picoseconds {
        Picoseconds(seconds: abs(motion.target - positions[axis]) / motion.speed)
    }

    /// Lets the axes move up to `time`, or to the first motion that ends; returns those that did.
    mutating func advance(to time: Picoseconds) -> [Event] {
        while clock < time {
            let moving = motions.indices.filter { motions[$0] != nil }
            guard !moving.isEmpty else { break }
            var end = min(time, clock + Self.stepTime)
            for axis in moving {
                guard let motion = motions[axis] else { continue }
                if !stuck.contains(axis) { end = min(end, clock + remaining(axis, motion)) }
                if let limit = motion.limit { end = min(end, max(clock, limit)) }
            }
            let events = step(moving, to: end)
            clock = end
            if !events.isEmpty { return events }
        }
        clock = max(clock, time)
        return []
    }

    private mutating func step(_ moving: [Int], to end: Picoseconds) -> [Event] {
        var events: [Event] = []
        for axis in moving {
            guard let motion = motions[axis] else { continue }
            if !stuck.contains(axis) {
                let distance = motion.target - positions[axis]
                if clock + remaining(axis, motion) <= end {
                    positions[axis] = motion.target
                    motions[axis] = nil
                    events.append(Event(axis: axis, end: .arrived, time: end))
                } else {
                    let way = (end - clock).seconds * motion.speed
                    positions[axis] += distance < 0 ? -way : way
                }
                turn(axis, at: end)
            }
            if motions[axis] != nil, let limit = motion.limit, limit <= end {
                motions[axis] = nil
                events.append(Event(axis: axis, end: .timedOut, time: end))
            }
        }
        return events
    }

    /// When `advance` should be called again while something moves.
    var nextStep: Picoseconds? {
        let ends = motions.indices.compactMap { axis -> Picoseconds? in
            guard let motion = motions[axis] else { return nil }
            let way = stuck.contains(axis) ? Self.stepTime : remaining(axis, motion)
            return clock + max(Picoseconds(1000), min(Self.stepTime, way))
        }
        return ends.min()
    }

    private func turn(_ axis: Int, at time: Picoseconds) {
        plates.setMountAngle(Radians(positions[axis] * radiansPerCount), plate: axis, at: time)
    }
}
