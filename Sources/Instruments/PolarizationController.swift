import HostIO
import Quantities

/// What one axis of a polarization controller is set to.
public enum ActuatorSetting: Hashable, Sendable {
    /// The mount angle of a rotatable plate or paddle.
    case angle(Radians)
    /// The drive voltage of a squeezer or liquid-crystal retarder.
    case voltage(Volts)

    /// The number in radians or volts.
    public var value: Double {
        switch self {
        case .angle(let angle): angle.rawValue
        case .voltage(let voltage): voltage.rawValue
        }
    }
}

/// One axis of a polarization controller, counted in the order the light passes it.
public struct PolarizationAxis: Hashable, Sendable {
    /// What moves.
    public enum Kind: String, Hashable, Sendable {
        /// A wave plate or fibre paddle turned about the beam.
        case rotatablePlate
        /// A retarder with a fixed axis and a voltage-controlled retardance.
        case variableRetarder
    }
    /// What moves.
    public var kind: Kind
    /// The smallest and largest setting, in radians or volts.
    public var range: ClosedRange<Double>
    /// The smallest step, in radians or volts.
    public var resolution: Double
    /// An axis.
    public init(kind: Kind, range: ClosedRange<Double>, resolution: Double) {
        self.kind = kind
        self.range = range
        self.resolution = resolution
    }
}

/// What a move did.
public struct MotionReport: Hashable, Sendable {
    /// The axis, counted from 0.
    public var axis: Int
    /// Where it was to go.
    public var requested: ActuatorSetting
    /// Where it is, by its own readback.
    public var reached: ActuatorSetting
    /// When the command was sent.
    public var started: HostInstant
    /// When the instrument reported the end of the motion.
    public var finished: HostInstant
    /// A report.
    public init(
        axis: Int, requested: ActuatorSetting, reached: ActuatorSetting, started: HostInstant,
        finished: HostInstant
    ) {
        self.axis = axis
        self.requested = requested
        self.reached = reached
        self.started = started
        self.finished = finished
    }
}

/// An instrument that turns the state of polarization.
public protocol PolarizationController: Instrument {
    /// The axes, in the order the light passes them.
    var axes: [PolarizationAxis] { get }
    /// Moves one axis and waits until it stands.
    func move(_ axis: Int, to setting: ActuatorSetting) async throws(DriverError) -> MotionReport
    /// Stops all motion at once.
    func halt() async throws(DriverError)
    /// Where the axes are, by their own readback.
    func settings() async throws(DriverError) -> [ActuatorSetting]
    /// Moves several axes and waits until all stand; reports in the order of the axes.
    func move(_ settings: [Int: ActuatorSetting]) async throws(DriverError) -> [MotionReport]
}

extension PolarizationController {
    /// Moves one axis after the other, in the order of the axes; drivers that can do better do.
    public func move(
        _ settings: [Int: ActuatorSetting]
    ) async throws(DriverError) -> [MotionReport] {
        var reports: [MotionReport] = []
        for (axis, setting) in settings.sorted(by: { $0.key < $1.key }) {
            reports.append(try await move(axis, to: setting))
        }
        return reports
    }
}
