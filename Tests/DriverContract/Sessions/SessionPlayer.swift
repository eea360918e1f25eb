import DeviceProfiles
import HostIO
import Instruments
import Quantities
import Synchronization

/// Plays the instrument's part of a session to a driver.
///
/// The driver makes its requests as it likes; on each channel they are compared, in order, with
/// those of the session. A request ends at the time at which it ended when it was recorded, and what
/// arrived arrives then, but never before every request that stands above it was made. So a driver
/// on virtual time, which needs no time to think, lives through a session that was recorded from
/// hardware at the pace of the hardware. After the first difference nothing succeeds any more.
package final class SessionPlayer: Sendable {
    private struct State {
        var start: HostInstant?
        /// How many requests of each channel were made.
        var made: [String: Int] = [:]
        var isMade: [Bool]
        /// All requests above this event were made.
        var reached = 0
        /// How many arrivals of each channel were taken.
        var taken: [String: Int] = [:]
        var wakeUps: [String: WakeUp] = [:]
        var difference: SessionDifference?
    }

    /// What is played.
    package let session: Session
    private let reactor: any Reactor
    private let requests: [String: [Int]]
    private let arrivals: [String: [Int]]
    private let state: Mutex<State>

    /// A player on the time of `reactor`.
    package init(_ session: Session, reactor: any Reactor) {
        self.session = session
        self.reactor = reactor
        let indices = session.events.indices
        requests = Dictionary(grouping: indices.filter { !session.events[$0].isArrival }) {
            session.events[$0].channel
        }
        arrivals = Dictionary(grouping: indices.filter { session.events[$0].isArrival }) {
            session.events[$0].channel
        }
        var first = State(isMade: session.events.map(\.isArrival))
        Self.advance(&first)
        state = Mutex(first)
    }

    private static func advance(_ state: inout State) {
        while state.reached < state.isMade.count, state.isMade[state.reached] {
            state.reached += 1
        }
    }

    /// The ports that lead to the instrument that is played.
    package var ports: HostPorts {
        switch session.route {
        case .port:
            HostPorts(
                serial: ReplaySerialHost(self, isEmulated: session.isEmulated), reactor: reactor)
        case .usb(let summary): HostPorts(usb: ReplayUSBHost(self, summary), reactor: reactor)
        case .lines(let assignment):
            HostPorts(
                gpio: ReplayGPIOHost(
                    self, lines: Array(assignment.values), isEmulated: session.isEmulated,
                    reactor: reactor), reactor: reactor)
        }
    }

    /// What an operator would declare to reach it.
    package var wiring: BenchWiring {
        switch session.route {
        case .port(let addresses):
            BenchWiring(serial: [
                SerialWiring(
                    name: session.serial, profile: session.profile,
                    location: .path(ReplaySerialHost.path), addresses: addresses)
            ])
        case .usb: BenchWiring()
        case .lines(let assignment):
            BenchWiring(lines: [
                GPIOWiring(name: session.serial, profile: session.profile, lines: assignment)
            ])
        }
    }

    /// The first difference, or the first request of the session that nobody made.
    package var difference: SessionDifference? {
        state.withLock { state in
            if let difference = state.difference { return difference }
            guard state.reached < session.events.count else { return nil }
            return SessionDifference(
                line: session.lineNumbers[state.reached],
                expected: describe(session.events[state.reached]), found: "the end")
        }
    }

    private func describe(_ event: Session.Event) -> String {
        Session.describe(event.channel, event.operation, event.sent)
    }

    /// Whether the session and the driver went apart.
    var hasDiffered: Bool { state.withLock { $0.difference != nil } }

    private func wakeUp(_ channel: String, _ state: inout State) -> WakeUp {
        if let known = state.wakeUps[channel] { return known }
        let wakeUp = WakeUp(on: reactor)
        state.wakeUps[channel] = wakeUp
        return wakeUp
    }

    // MARK: What the replaying ports ask

    /// A request of the driver at the moment it is made.
    ///
    /// - Returns: what came of it and when, or nil when the session has something else there.
    func accept(
        _ channel: String, _ operation: String, sent: [UInt8]? = nil
    ) -> (event: Session.Event, end: HostInstant)? {
        let now = reactor.now
        let (answer, waiting) = state.withLock { state in
            let start = state.start ?? now
            state.start = start
            let answer = match(channel, operation, sent, &state).map { event in
                (event, HostInstant(nanoseconds: start.nanoseconds + event.time))
            }
            return (answer, state.wakeUps.sorted { $0.key < $1.key }.map(\.value))
        }
        for wakeUp in waiting { wakeUp.wake() }
        return answer
    }

    private func match(
        _ channel: String, _ operation: String, _ sent: [UInt8]?, _ state: inout State
    ) -> Session.Event? {
        guard state.difference == nil else { return nil }
        let number = state.made[channel] ?? 0
        let found = Session.describe(channel, operation, sent)
        guard let list = requests[channel], number < list.count else {
            state.difference = SessionDifference(
                line: session.lineNumbers.last ?? 1,
                expected: "nothing more of '\(channel)'", found: found)
            return nil
        }
        let event = session.events[list[number]]
        guard event.operation == operation, event.sent == sent else {
            state.difference = SessionDifference(
                line: session.lineNumbers[list[number]], expected: describe(event), found: found)
            return nil
        }
        state.made[channel] = number + 1
        state.isMade[list[number]] = true
        Self.advance(&state)
        return event
    }

    /// The same, once the request has ended.
    func request(
        _ channel: String, _ operation: String, sent: [UInt8]? = nil
    ) async -> Session.Event? {
        guard let (event, end) = accept(channel, operation, sent: sent) else { return nil }
        // A cancelled task does not wait; its request was recorded with how it ended.
        if reactor.now < end { try? await reactor.sleep(until: end) }
        return event
    }

    /// Why nothing arrives.
    enum Silence { case timedOut, cancelled, ended }

    /// The next thing that arrives on a channel.
    func arrival(
        _ channel: String, until deadline: HostInstant?, isClosed: () -> Bool
    ) async -> Result<Session.Event, SilenceError> {
        while true {
            if isClosed() || hasDiffered { return .failure(SilenceError(.ended)) }
            let now = reactor.now
            let (event, due, wakeUp) = state.withLock { state in
                next(channel, now, &state)
            }
            if let event { return .success(event) }
            if let deadline, now >= deadline { return .failure(SilenceError(.timedOut)) }
            let end = [deadline, due].compactMap { $0 }.min()
            if await wakeUp.wait(until: end) == .cancelled {
                return .failure(SilenceError(.cancelled))
            }
        }
    }

    /// `Silence` as an error.
    struct SilenceError: Error {
        let reason: Silence
        init(_ reason: Silence) { self.reason = reason }
    }

    private func next(
        _ channel: String, _ now: HostInstant, _ state: inout State
    ) -> (event: Session.Event?, due: HostInstant?, wakeUp: WakeUp) {
        let wakeUp = wakeUp(channel, &state)
        let number = state.taken[channel] ?? 0
        guard let list = arrivals[channel], number < list.count, list[number] < state.reached,
            let start = state.start
        else { return (nil, nil, wakeUp) }
        let event = session.events[list[number]]
        let due = HostInstant(nanoseconds: start.nanoseconds + event.time)
        guard due <= now else { return (nil, due, wakeUp) }
        state.taken[channel] = number + 1
        return (event, nil, wakeUp)
    }

    /// Wakes who waits on a channel, after it was closed.
    func wake(_ channel: String) { state.withLock { $0.wakeUps[channel] }?.wake() }

    /// Forgets what arrived on a channel by now and was not taken.
    func discardArrivals(_ channel: String) {
        let now = reactor.now
        state.withLock { state in
            while next(channel, now, &state).event != nil {}
        }
    }
}

extension SessionPlayer {
    /// The end of a time-out that begins now; none for one that means never.
    func deadline(after timeout: Duration) -> HostInstant? {
        timeout < .seconds(315_360_000) ? reactor.now + max(timeout, .zero) : nil
    }
}
