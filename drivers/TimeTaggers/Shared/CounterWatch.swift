import HostIO
import Instruments
import LinkTypes
import Quantities

/// What is wrong with the clock of a tagger, or with the counter behind its time stamps.
package enum CounterFault: Error, Hashable, Sendable {
    /// The counter is behind the host's clock by more than late delivery explains: it stood still.
    case behind(Duration)
    /// The counter is ahead of what the host's clock allows: it jumped.
    case ahead(Duration)
    /// The counter went back, or ahead, and goes on from there.
    case jumped
    /// Records come, and their time does not change.
    case standsStill
    /// A bit of the time never changes, although those below it do. Its weight is 2^bit ticks.
    case stuckBit(Int)
    /// The bits of these channels are set even in words without an event.
    case stuckChannels(UInt32)

    /// The error as the port reports it.
    package func driverError(instrument: String) -> DriverError {
        let (expected, found) =
            switch self {
            case .behind(let lag):
                ("a counter that keeps up with the host's clock", "one that fell behind by \(lag)")
            case .ahead(let lead):
                ("a counter that follows the host's clock", "one that is ahead by \(lead)")
            case .jumped: ("a counter that follows the host's clock", "one that jumped")
            case .standsStill: ("a counter that runs", "events at one and the same time")
            case .stuckBit(let bit):
                ("a counter all of whose bits change", "that the bit of 2^\(bit) ticks never does")
            case .stuckChannels(let mask):
                (
                    "no channel in words without an event",
                    "channel bits 0x" + String(mask, radix: 16) + " in all of them"
                )
            }
        return DriverError(
            code: .clockFault, instrument: instrument, operation: "read events",
            expected: expected, found: found,
            advice: "check the reference clock and its cable, then start the acquisition again; "
                + "have the instrument repaired if it happens again")
    }
}

/// Compares a tagger's counter with the host's clock.
///
/// The offset, host time at arrival less counter time of the newest record, is the true offset of the
/// two clocks plus the time the record took, which is never negative. So the least offset seen bounds
/// the true one from above, and as deliveries that were waited for take no longer than `allowance`,
/// it bounds it from below as well. Both bounds spread with the time since by the tolerance of the
/// two clocks.
///
/// - A record before the lower bound can not have been made yet: the counter jumped ahead. Known at
///   once for steps of more than twice the allowance; steps below the allowance can not be told from
///   records that were delivered more promptly.
/// - Records that come later than the upper bound by more than the allowance, all of them and for
///   half a second, were not held up: the counter lost time. Noticed for certain when it lost more
///   than twice the allowance. A backlog of the host drains and is not mistaken for it; while the
///   consumer holds the transfers back nothing is judged.
///
/// What no comparison with the host's clock can show: a step or a stop of less than the allowance, and
/// a change of frequency within the tolerance.
package struct CounterWatch {
    private let nanosecondsPerTick: Double
    /// The longest a record takes from its making to the host, in nanoseconds, when nothing is held
    /// up.
    package let allowance: Int64
    /// The promptest record: its offset, and when it came.
    private var prompt: (offset: Int64, at: HostInstant)?
    /// No true offset is below this one, which was certain at `at`.
    private var floor: (offset: Int64, at: HostInstant)
    private var arrivals = 0
    private var firstArrival: HostInstant?
    private var lag: (since: HostInstant, after: UInt64, least: Int64, arrivals: Int)?
    private var lastTicks: UInt64 = 0

    /// Tagger's and host's clock together are never off by more than this: the kernel slews its clock
    /// by up to 500 ppm, and crystals keep 100.
    package static let tolerance = 1e-3
    /// How long every record has to be late.
    static let confirmation = Duration.milliseconds(500)
    private static let fewestLate = 4
    /// Arrivals, and time, until the promptest is taken for prompt: the first ones may be late.
    private static let settling = (arrivals: 8, time: Duration.milliseconds(250))

    /// - Parameters:
    ///   - allowance: the longest delivery, by the buffers and flush timers of the instrument.
    ///   - start: about when the counter is started, by no more than the allowance before.
    package init(tickPeriod: TickPeriod, allowance: Duration, start: HostInstant) {
        nanosecondsPerTick = tickPeriod.picoseconds / 1000
        self.allowance = allowance.wholeNanoseconds
        floor = (start.nanoseconds - self.allowance, start)
    }

    /// The counter is started, or started anew, at about `instant`, by no more than the allowance
    /// before.
    package mutating func started(at instant: HostInstant) {
        floor = (instant.nanoseconds - allowance, instant)
        (prompt, firstArrival, lag, arrivals, lastTicks) = (nil, nil, nil, 0, 0)
    }

    /// The latest time the counter can show at `instant`.
    package func latestTick(at instant: HostInstant) -> UInt64 {
        let ticks = Double(instant.nanoseconds - leastOffset(at: instant)) / nanosecondsPerTick
        return UInt64(max(0, ticks))
    }

    /// The tick after which the counter seems to have lost time; nil while nothing is suspicious.
    package var suspectSince: UInt64? { lag?.after }

    /// The tick of the latest record that was compared.
    package var comparedThrough: UInt64 { lastTicks }

    private func leastOffset(at instant: HostInstant) -> Int64 {
        floor.offset - Self.drift(instant - floor.at)
    }

    private static func drift(_ time: Duration) -> Int64 {
        Int64(Double(max(0, time.wholeNanoseconds)) * tolerance)
    }

    /// The consumer holds transfers back, so what arrives next may be old.
    package mutating func holdBack() { (lag, firstArrival, arrivals) = (nil, nil, 0) }

    /// Compares the newest record of a transfer that has just arrived.
    package mutating func note(ticks: UInt64, at now: HostInstant) -> CounterFault? {
        defer { lastTicks = ticks }
        let offset = now.nanoseconds - Int64(Double(ticks) * nanosecondsPerTick)
        let least = leastOffset(at: now)
        if offset < least { return .ahead(.nanoseconds(least - offset)) }
        arrivals += 1
        let first = firstArrival ?? now
        firstArrival = first
        let greatest = prompt.map { $0.offset + Self.drift(now - $0.at) } ?? offset
        if offset <= greatest { prompt = (offset, now) }
        if let prompt, arrivals >= Self.settling.arrivals, now - first >= Self.settling.time {
            let raised = prompt.offset - allowance - Self.drift(now - prompt.at)
            if raised > least { floor = (raised, now) }
        }
        guard offset > greatest + allowance else {
            lag = nil
            return nil
        }
        var late = lag ?? (now, lastTicks, .max, 0)
        late.least = min(late.least, offset - greatest)
        late.arrivals += 1
        lag = late
        guard now - late.since >= Self.confirmation, late.arrivals >= Self.fewestLate else {
            return nil
        }
        return .behind(.nanoseconds(late.least))
    }
}
