import Quantities
import Synchronization

/// Monotonic time of the host, real or virtual.
public protocol HostClock: Sendable {
    /// The present instant.
    var now: HostInstant { get }
}

/// Names a scheduled piece of work so that it can be taken back.
public struct TimerToken: Hashable, Sendable {
    /// A number unique within one reactor.
    public let rawValue: UInt64
    /// Wraps a number.
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One thread that owns time, timers and I/O completions, and runs the driver actors.
///
/// Driver actors name it as their executor, so a completion callback is already on the right
/// actor. Production uses the epoll reactor of `LinuxIO`; tests and simulations use
/// `VirtualReactor`.
public protocol Reactor: SerialExecutor, HostClock {
    /// Runs `work` on the reactor's thread, not before `instant`. Safe to call from any thread.
    @discardableResult
    func schedule(at instant: HostInstant, _ work: @escaping @Sendable () -> Void) -> TimerToken

    /// Takes scheduled work back; does nothing if it has run.
    func cancel(_ token: TimerToken)

    /// Starts a top-level task whose nonisolated code runs where this reactor wants it: on the
    /// reactor itself on virtual time, on the shared pool in production.
    @discardableResult
    func start(_ operation: @escaping @Sendable () async -> Void) -> Task<Void, Never>
}

extension Reactor {
    /// Suspends until `deadline`.
    ///
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: HostInstant) async throws(CancellationError) {
        let sleeper = Sleeper()
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                sleeper.begin(continuation)
                let token = schedule(at: deadline) { sleeper.wake() }
                sleeper.onWake { [self] in cancel(token) }
            }
        } onCancel: {
            sleeper.wake()
        }
        if Task.isCancelled { throw CancellationError() }
    }

    /// Suspends for `duration`.
    ///
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(for duration: Duration) async throws(CancellationError) {
        try await sleep(until: now + duration)
    }
}

/// Resumes one continuation exactly once, whichever of timer and cancellation comes first.
private final class Sleeper: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<Void, Never>, cleanUp: (@Sendable () -> Void)?)
        case woken
    }
    private let state = Mutex(State.idle)

    func begin(_ continuation: CheckedContinuation<Void, Never>) {
        let isLate = state.withLock { state in
            if case .woken = state { return true }
            state = .waiting(continuation, cleanUp: nil)
            return false
        }
        if isLate { continuation.resume() }
    }

    func onWake(_ cleanUp: @escaping @Sendable () -> Void) {
        let isLate = state.withLock { state in
            guard case .waiting(let continuation, _) = state else { return true }
            state = .waiting(continuation, cleanUp: cleanUp)
            return false
        }
        if isLate { cleanUp() }
    }

    func wake() {
        let previous = state.withLock { state in
            let previous = state
            state = .woken
            return previous
        }
        if case .waiting(let continuation, let cleanUp) = previous {
            cleanUp?()
            continuation.resume()
        }
    }
}
