import HostIO
import Quantities
import Synchronization

/// The first of several outcomes.
final class Race<Outcome: Sendable>: Sendable {
    private enum State {
        case open
        case waiting(CheckedContinuation<Result<Outcome, any Error>, Never>)
        case finished(Result<Outcome, any Error>)
    }
    private let state = Mutex(State.open)

    /// Reports an outcome; only the first counts.
    func finish(_ outcome: Result<Outcome, any Error>) {
        let waiting = state.withLock {
            state -> CheckedContinuation<Result<Outcome, any Error>, Never>? in
            switch state {
            case .open:
                state = .finished(outcome)
                return nil
            case .waiting(let continuation):
                state = .finished(outcome)
                return continuation
            case .finished: return nil
            }
        }
        waiting?.resume(returning: outcome)
    }

    /// Waits for the first outcome.
    func result() async throws -> Outcome {
        let outcome = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Outcome, any Error>, Never>) in
            let ready = state.withLock { state -> Result<Outcome, any Error>? in
                if case .finished(let outcome) = state { return outcome }
                state = .waiting(continuation)
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
        return try outcome.get()
    }
}

/// Runs `operation` on the time of `reactor`, but not beyond `limit`.
///
/// - Returns: the result, or nil when the operation was still running at the limit: a hang.
package func within<Result: Sendable>(
    _ limit: Duration, _ reactor: any Reactor,
    _ operation: @escaping @Sendable () async throws -> Result
) async throws -> Result? {
    let race = Race<Result?>()
    let work = reactor.start {
        do { race.finish(.success(try await operation())) } catch { race.finish(.failure(error)) }
    }
    let token = reactor.schedule(at: reactor.now + limit) {
        race.finish(.success(nil))
        work.cancel()
    }
    defer { reactor.cancel(token) }
    return try await race.result()
}
