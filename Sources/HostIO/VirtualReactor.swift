import Glibc
import Quantities
import Synchronization

/// A reactor on virtual time: runs ready work, and when none is ready jumps to the next timer.
///
/// Everything started through it runs on the one thread that calls `run`, in an order that depends
/// on nothing but the program, so a run is reproducible bit for bit. Uses public API only.
public final class VirtualReactor: Reactor, TaskExecutor, @unchecked Sendable {
    // @unchecked: all mutable state is inside the mutex.
    private struct State {
        var now = HostInstant.zero
        var ready: [UnownedJob] = []
        var readyHead = 0
        var timers = TimerQueue()
        var thread: pthread_t?

        mutating func popReady() -> UnownedJob? {
            guard readyHead < ready.count else { return nil }
            let job = ready[readyHead]
            readyHead += 1
            if readyHead == ready.count || readyHead > 1024 {
                ready.removeFirst(readyHead)
                readyHead = 0
            }
            return job
        }
    }

    private let state = Mutex(State())

    /// A reactor whose clock stands at `HostInstant.zero`.
    public init() {}

    /// The virtual time.
    public var now: HostInstant { state.withLock { $0.now } }

    /// Queues a job of an actor or task that runs here.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        state.withLock { $0.ready.append(job) }
    }

    /// This reactor as an executor of actors.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    /// Traps unless called on the thread inside `run`.
    public func checkIsolated() {
        precondition(isOnRunningThread, "not on the virtual reactor's thread")
    }

    /// Whether the caller is on the thread inside `run`.
    public func isIsolatingCurrentContext() -> Bool? { isOnRunningThread }

    private var isOnRunningThread: Bool {
        state.withLock { state in
            guard let thread = state.thread else { return false }
            return pthread_equal(thread, pthread_self()) != 0
        }
    }

    /// Queues `work` for `instant`; an instant in the past means as soon as possible.
    @discardableResult
    public func schedule(
        at instant: HostInstant, _ work: @escaping @Sendable () -> Void
    ) -> TimerToken {
        state.withLock { $0.timers.add(at: max(instant, $0.now), work) }
    }

    /// Takes scheduled work back.
    public func cancel(_ token: TimerToken) { state.withLock { $0.timers.cancel(token) } }

    /// Starts a task all of whose nonisolated code runs here.
    @discardableResult
    public func start(_ operation: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
        Task(executorPreference: self) { await operation() }
    }

    /// Runs `operation` and everything it starts until it returns, advancing virtual time.
    ///
    /// - Throws: what `operation` throws, or `VirtualTimeDeadlock` when it waits for something
    ///   that nothing scheduled can bring about.
    public func run<Result: Sendable>(
        _ operation: @escaping @Sendable () async throws -> Result
    ) throws -> Result {
        let outcome = Mutex<Swift.Result<Result, any Error>?>(nil)
        state.withLock { state in
            precondition(state.thread == nil, "the virtual reactor is already running")
            state.thread = pthread_self()
        }
        defer { state.withLock { $0.thread = nil } }
        let task = start {
            do {
                let value = try await operation()
                outcome.withLock { $0 = .success(value) }
            } catch {
                outcome.withLock { $0 = .failure(error) }
            }
        }
        while true {
            if let job = state.withLock({ $0.popReady() }) {
                job.runSynchronously(
                    isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
                continue
            }
            if let finished = outcome.withLock({ $0 }) { return try finished.get() }
            guard let work = popTimer() else {
                task.cancel()
                throw VirtualTimeDeadlock(now: now)
            }
            work()
        }
    }

    /// Removes the earliest timer, moves the clock to it, and returns its work.
    private func popTimer() -> (@Sendable () -> Void)? {
        state.withLock { state in
            guard let timer = state.timers.popEarliest(dueAt: nil) else { return nil }
            state.now = timer.deadline
            return timer.work
        }
    }
}

/// The program on virtual time waits, and nothing is scheduled that could end the wait.
public struct VirtualTimeDeadlock: Error, Hashable, CustomStringConvertible {
    /// When everything stopped.
    public let now: HostInstant
    /// A sentence for people.
    public var description: String {
        "deadlock on virtual time at \(now.seconds) s: a task waits, but no timer is scheduled"
    }
}
