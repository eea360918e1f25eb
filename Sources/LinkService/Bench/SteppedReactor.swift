import HostIO
import LinuxIO
import Quantities
import Synchronization

/// Time that stands still until it is told to go on, on the thread of a live reactor.
///
/// Emulated instruments live in this time while sockets and terminals work as ever: what a client
/// sends arrives at once, and is answered when the clock is advanced past the time the answer takes.
final class SteppedReactor: Reactor, @unchecked Sendable {
    // @unchecked: all mutable state is inside the mutex.
    private struct State {
        var now: HostInstant
        var timers = TimerQueue()
        var isAdvancing = false
    }

    private let base: EpollReactor
    private let state: Mutex<State>

    /// Between two slices of an advance the programs at the fronts get a chance to answer.
    private static let slice: Int64 = 1_000_000

    /// A clock that stands at zero.
    init(on base: EpollReactor) {
        self.base = base
        state = Mutex(State(now: .zero))
    }

    var now: HostInstant { state.withLock { $0.now } }

    @discardableResult
    func schedule(
        at instant: HostInstant, _ work: @escaping @Sendable () -> Void
    ) -> TimerToken {
        let (token, isDue) = state.withLock { state in
            (state.timers.add(at: max(instant, state.now), work), instant <= state.now)
        }
        if isDue { base.schedule(at: base.now) { [self] in runDue() } }
        return token
    }

    func cancel(_ token: TimerToken) { state.withLock { $0.timers.cancel(token) } }

    func enqueue(_ job: consuming ExecutorJob) { base.enqueue(job) }

    func asUnownedSerialExecutor() -> UnownedSerialExecutor { base.asUnownedSerialExecutor() }

    func checkIsolated() { base.checkIsolated() }

    @discardableResult
    func start(_ operation: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
        base.start(operation)
    }

    /// Lets `duration` pass, with everything that is due in it in order.
    ///
    /// - Parameter onSlice: called on the reactor's thread at each whole millisecond, so that what
    ///   happens does not depend on the steps in which time is let pass.
    /// - Returns: false when somebody else is advancing the clock.
    func advance(by duration: Duration, onSlice: @escaping @Sendable () -> Void) async -> Bool {
        let start = state.withLock { state -> HostInstant? in
            guard !state.isAdvancing else { return nil }
            state.isAdvancing = true
            return state.now
        }
        guard let start else { return false }
        let end = start + duration
        while true {
            let present = now
            guard present < end else { break }
            let whole = HostInstant(
                nanoseconds: (present.nanoseconds / Self.slice + 1) * Self.slice)
            let goal = min(end, whole)
            await withCheckedContinuation { continuation in
                base.schedule(at: base.now) { [self] in
                    run(to: goal)
                    if goal == whole { onSlice() }
                    continuation.resume()
                }
            }
        }
        state.withLock { $0.isAdvancing = false }
        return true
    }

    private func run(to goal: HostInstant) {
        while let work = pop(dueAt: goal) { work() }
        state.withLock { $0.now = goal }
    }

    private func runDue() {
        while let work = pop(dueAt: now) { work() }
    }

    private func pop(dueAt goal: HostInstant) -> (@Sendable () -> Void)? {
        state.withLock { state in
            guard let timer = state.timers.popEarliest(dueAt: goal) else { return nil }
            state.now = max(state.now, timer.deadline)
            return timer.work
        }
    }
}
