import Glibc
import HostIO
import Quantities
import Synchronization

/// A reactor on the machine's monotonic clock, run by whoever calls `runDue`.
///
/// For fronts that serve one emulated device from a plain loop. A program with real work to do
/// uses the reactor of `LinuxIO`.
public final class MonotonicReactor: Reactor, @unchecked Sendable {
    // @unchecked: all mutable state is inside the mutex.
    private struct Timer {
        let deadline: HostInstant
        let sequence: UInt64
        let work: @Sendable () -> Void
    }

    private struct State {
        var jobs: [UnownedJob] = []
        var timers: [Timer] = []
        var nextSequence: UInt64 = 0
        var thread: pthread_t?
    }

    private let state = Mutex(State())

    /// A reactor with nothing to do.
    public init() {}

    /// The reading of CLOCK_MONOTONIC.
    public var now: HostInstant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return HostInstant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// Queues a job of an actor that runs here.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        state.withLock { $0.jobs.append(job) }
    }

    /// This reactor as an executor of actors.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    /// Traps unless called on the thread inside `runDue`.
    public func checkIsolated() {
        let isHere = state.withLock { state in
            state.thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false
        }
        precondition(isHere, "not on the reactor's thread")
    }

    /// Queues `work` for `instant`.
    @discardableResult
    public func schedule(
        at instant: HostInstant, _ work: @escaping @Sendable () -> Void
    ) -> TimerToken {
        state.withLock { state in
            let sequence = state.nextSequence
            state.nextSequence += 1
            let timer = Timer(deadline: instant, sequence: sequence, work: work)
            let position = state.timers.firstIndex { $0.deadline > instant } ?? state.timers.count
            state.timers.insert(timer, at: position)
            return TimerToken(rawValue: sequence)
        }
    }

    /// Takes scheduled work back.
    public func cancel(_ token: TimerToken) {
        state.withLock { $0.timers.removeAll { $0.sequence == token.rawValue } }
    }

    /// Starts a task on the shared pool.
    @discardableResult
    public func start(_ operation: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
        Task { await operation() }
    }

    /// Runs what is due on the calling thread; returns the deadline of the next timer.
    public func runDue() -> HostInstant? {
        state.withLock { $0.thread = pthread_self() }
        defer { state.withLock { $0.thread = nil } }
        while true {
            let jobs = state.withLock { state in
                defer { state.jobs = [] }
                return state.jobs
            }
            for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
            let present = now
            let timer = state.withLock { state -> Timer? in
                guard let first = state.timers.first, first.deadline <= present else { return nil }
                return state.timers.removeFirst()
            }
            if let timer {
                timer.work()
            } else if jobs.isEmpty {
                return state.withLock { $0.timers.first?.deadline }
            }
        }
    }
}
