import DeviceProfiles
import HostIO
import Instruments
import Quantities

/// One wired line: where it is, how it is asked for, and what its level means.
package struct TTLGatedLine: Hashable, Sendable {
    /// The part it plays.
    package var role: Instruments.LineRole
    /// Where it is.
    package var line: GPIOLineID
    /// Whether a low level means yes.
    package var isActiveLow: Bool
    /// For outputs: the logical level that is safe.
    package var safeLevel: Bool
    /// Activity forces the safe state.
    package var trips: Bool
    /// Inactivity forces the safe state.
    package var permits: Bool
    /// Whether it is watched all the time.
    package var isWatched: Bool { trips || permits }

    /// Whether a logical level of this line forbids operation.
    package func forbids(_ level: Bool) -> Bool { trips && level || permits && !level }

    /// The cause an event of this line is reported as.
    package var cause: DetectorSafetyEvent.Cause {
        switch role {
        case .overLight: .overLight
        case .interlock: .interlockOpened
        default: .fault
        }
    }
}

/// The meaning of the lines of a TTL-gated detector, from profile and wiring. Pure.
package enum TTLGatedWire {
    /// The lines that are wired, in the order of the profile: outputs first.
    ///
    /// - Throws: `missingLine` when the profile requires a line the wiring lacks.
    package static func lines(
        _ profile: DeviceProfile, _ wiring: LineAssignment
    ) throws(TTLGatedError) -> [TTLGatedLine] {
        var lines: [TTLGatedLine] = []
        for line in profile.lines {
            guard let role = Instruments.LineRole(rawValue: line.role) else { continue }
            guard let place = wiring[role] else {
                if line.required { throw .missingLine(role) }
                continue
            }
            lines.append(
                TTLGatedLine(
                    role: role, line: place, isActiveLow: line.active == .low,
                    safeLevel: line.safe == line.active, trips: line.trips, permits: line.permits))
        }
        return lines.filter(\.role.isOutput) + lines.filter { !$0.role.isOutput }
    }

    /// Whether an edge, and the level read after it when edges may have been lost, forbid operation.
    ///
    /// An edge into the forbidden state counts even when the line has left it again: somebody saw
    /// too much light, however short.
    package static func trips(_ line: TTLGatedLine, edge: GPIOEdge, levelAfter: Bool?) -> Bool {
        line.forbids(edge.isRising) || levelAfter.map(line.forbids) ?? false
    }
}
