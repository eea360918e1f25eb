import HostIO
import Quantities

/// The part a GPIO line plays on a BB84 bench.
public enum LineRole: String, Hashable, Sendable, CaseIterable {
    /// Output: opens a detector's gate.
    case gateEnable = "gate_enable"
    /// Output: switches a detector's bias on.
    case biasEnable = "bias_enable"
    /// Output: opens the shutter.
    case shutterCommand = "shutter_command"
    /// Input: a detector reports a fault.
    case fault
    /// Input: too much light on a detector.
    case overLight = "over_light"
    /// Input: a detector's cooler reports a fault.
    case coolerFault = "cooler_fault"
    /// Input: a detector is at its temperature.
    case coolerReady = "cooler_ready"
    /// Input: enclosure closed, laser key turned.
    case interlock
    /// Input: the shutter is fully closed.
    case shutterClosed = "shutter_closed"
    /// Input: the shutter is fully open.
    case shutterOpen = "shutter_open"
    /// Input: one pulse per second.
    case pulsePerSecond = "pps"

    /// Whether the host drives the line.
    public var isOutput: Bool {
        switch self {
        case .gateEnable, .biasEnable, .shutterCommand: true
        default: false
        }
    }
}

/// Which line plays which part.
public typealias LineAssignment = [LineRole: GPIOLineID]

/// Output lines by role; each has a safe level, applied at open and at close, and on process death
/// where the hardware allows.
public protocol DigitalOutputs: Actor {
    /// The roles wired up.
    var outputRoles: [LineRole] { get }
    /// Drives a line.
    func set(_ role: LineRole, _ level: Bool) async throws(DriverError)
}

/// Input lines by role, with their edges.
public protocol EdgeInputs: Actor {
    /// The roles wired up.
    var inputRoles: [LineRole] { get }
    /// The level of a line.
    func level(_ role: LineRole) async throws(DriverError) -> Bool
    /// The next edge of a line.
    func nextEdge(_ role: LineRole) async throws(DriverError) -> GPIOEdge
}
