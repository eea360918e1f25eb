import OpticalBench
import Quantities

/// Three paddles of which one moves at a time, at constant speed between encoder counts.
struct PaddleDrive {
    /// Why a paddle moves.
    enum Purpose: Hashable {
        case move
        case jog
        case home
    }

    /// A motion that ended.
    struct Arrival: Hashable {
        var paddle: Int
        var purpose: Purpose
        var time: Picoseconds
    }

    /// One paddle.
    struct Paddle {
        /// Where it stands, in encoder counts with the fraction that the encoder does not show.
        var position: Double
        var isEnabled = false
        var isHomed = false
        /// A target received while disabled.
        var stored: Double?
    }

    private struct Motion {
        var paddle: Int
        var purpose: Purpose
        /// The points to visit, in counts; homing first seeks the end of travel.
        var waypoints: [Double]
        /// Counts per second.
        var speed: Double
        /// Where it should stand, once the paddle hunts around that.
        var goal: Double?
    }

    /// The mount is turned at least this often while it moves.
    private static let stepTime = Picoseconds(1_500_000_000)
    /// The paddle comes to rest this far from the target at most, in counts.
    private static let positioningError = 0.4

    private let plates: any RotatableWaveplates
    private let radiansPerCount: Double
    private var generator: SeededGenerator
    private var queue: [Motion] = []
    private var clock = Picoseconds(0)

    /// The highest position in counts.
    let travel: Double
    /// The paddles.
    private(set) var paddles: [Paddle]
    /// Whether motions never end.
    var isStuck = false
    /// How far a paddle swings to either side of its target, in counts, without ever coming to
    /// rest; nil for a sound drive.
    var hunting: Double?

    init(
        plates: any RotatableWaveplates, count: Int, travel: Double, radiansPerCount: Double,
        start: Double, generator: SeededGenerator, at time: Picoseconds
    ) {
        self.plates = plates
        self.travel = travel
        self.radiansPerCount = radiansPerCount
        self.generator = generator
        paddles = (0..<count).map { _ in Paddle(position: start) }
        clock = time
        for index in paddles.indices { turn(index, at: time) }
    }

    /// Whether something moves.
    var isMoving: Bool { !queue.isEmpty }

    /// The count that the encoder of a paddle shows.
    func encoder(_ paddle: Int) -> Int { Int(paddles[paddle].position.rounded()) }

    /// What the present motion is, if `paddle` is the one that moves: its purpose and its speed in
    /// counts per second, negative downwards.
    func motion(of paddle: Int) -> (purpose: Purpose, speed: Double)? {
        guard let motion = queue.first, motion.paddle == paddle, let next = motion.waypoints.first
        else { return nil }
        return (motion.purpose, next >= paddles[paddle].position ? motion.speed : -motion.speed)
    }

    /// Whether a motion of `paddle` runs or waits.
    func hasMotion(_ paddle: Int) -> Bool { queue.contains { $0.paddle == paddle } }

    /// Sets a paddle in motion, behind the others; a motion it already has gets the new target.
    mutating func start(
        _ paddle: Int, _ purpose: Purpose, to target: Double, speed: Double
    ) {
        let error = max(-1, min(1, generator.gaussian() / 3)) * Self.positioningError
        let goal = max(0, min(travel, target + error))
        let motion = Motion(
            paddle: paddle, purpose: purpose, waypoints: purpose == .home ? [0, goal] : [goal],
            speed: speed)
        if let index = queue.firstIndex(where: { $0.paddle == paddle }) {
            queue[index] = motion
        } else {
            queue.append(motion)
        }
    }

    /// Where a jog or a move that follows would start: the target if one is pending.
    func reference(_ paddle: Int) -> Double {
        queue.first { $0.paddle == paddle }?.waypoints.last ?? paddles[paddle].position
    }

    /// Remembers a target for the time when the paddle is enabled.
    mutating func store(_ paddle: Int, _ target: Double) { paddles[paddle].stored = target }

    /// Enables exactly the paddles in `mask`; returns stored targets that are now to be executed.
    mutating func enable(mask: Int) -> [(paddle: Int, target: Double)] {
        var released: [(Int, Double)] = []
        for index in paddles.indices {
            paddles[index].isEnabled = mask >> index & 1 != 0
            if !paddles[index].isEnabled {
                stop(index)
            } else if let target = paddles[index].stored {
                paddles[index].stored = nil
                released.append((index, target))
            }
        }
        return released
    }

    /// Ends the motions of a paddle where it is.
    mutating func stop(_ paddle: Int) { queue.removeAll { $0.paddle == paddle } }

    mutating func stopAll() { queue = [] }

    /// Lets the paddles move up to `time`; returns the motions that ended.
    mutating func advance(to time: Picoseconds) -> [Arrival] {
        var arrivals: [Arrival] = []
        while clock < time, let motion = queue.first, let target = motion.waypoints.first {
            let paddle = motion.paddle
            let distance = target - paddles[paddle].position
            let remaining = Picoseconds(seconds: abs(distance) / motion.speed)
            let end = min(time, clock + min(Self.stepTime, isStuck ? Self.stepTime : remaining))
            if !isStuck, clock + remaining <= end {
                paddles[paddle].position = target
                clock = clock + remaining
                turn(paddle, at: clock)
                if queue[0].waypoints.count > 1 {
                    queue[0].waypoints.removeFirst()
                } else if let hunting {
                    // The controller overshoots to the other side of where it should stand.
                    swing(past: motion.goal ?? target, by: hunting)
                } else {
                    if motion.purpose == .home { paddles[paddle].isHomed = true }
                    arrivals.append(
                        Arrival(paddle: paddle, purpose: motion.purpose, time: clock))
                    queue.removeFirst()
                }
                continue
            }
            if !isStuck {
                let step = (end - clock).seconds * motion.speed
                paddles[paddle].position += distance < 0 ? -step : step
                turn(paddle, at: end)
            }
            clock = end
        }
        clock = max(clock, time)
        return arrivals
    }

    /// Sends the paddle that moves to the other side of `goal`.
    private mutating func swing(past goal: Double, by amplitude: Double) {
        let isAbove = queue[0].waypoints[0] > goal
        let side = goal + (isAbove ? -amplitude : amplitude)
        // At an end of travel it comes back to the goal instead.
        let reached = max(0, min(travel, side))
        queue[0].goal = goal
        queue[0].waypoints = [reached == queue[0].waypoints[0] ? goal : reached]
    }

    /// When `advance` should be called again while something moves.
    var nextStep: Picoseconds? {
        guard let motion = queue.first, let target = motion.waypoints.first else { return nil }
        let distance = abs(target - paddles[motion.paddle].position)
        let remaining = Picoseconds(seconds: distance / motion.speed)
        return clock
            + max(Picoseconds(1000), isStuck ? Self.stepTime : min(Self.stepTime, remaining))
    }

    private mutating func turn(_ paddle: Int, at time: Picoseconds) {
        plates.setMountAngle(
            Radians(paddles[paddle].position * radiansPerCount), plate: paddle, at: time)
    }
}
