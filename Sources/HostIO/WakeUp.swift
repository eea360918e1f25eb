import Quantities
import Synchronization

/// Lets one task at a time wait until another wakes it, a deadline passes, or it is cancelled.
///
/// A wake-up that finds nobody waiting is kept for the next wait, once. It says only that something
/// may have changed: the waiter looks at its own condition, in a loop. Times come from a reactor.
package final class WakeUp: Sendable {
    /// Why a wait ended.
    package enum Outcome: Hashable, Sendable {
        case woken
        case timedOut
        case cancelled
    }

    private struct Waiter {
        let number: UInt64
        let continuation: CheckedContinuation<Outcome, Never>
        var timer: TimerToken?
    }

    private struct State {
        var isPending = false
        var lastNumber: UInt64 = 0
        var cancelledNumber: UInt64 = 0
        var waiter: Waiter?
    }

    private let state = Mutex(State())
    private let reactor: any Reactor

    package init(on reactor: any Reactor) { self.reactor = reactor }

    /// Ends the present wait, or the next one at once.
    package func wake() {
        let waiter = state.withLock { state -> Waiter? in
            guard let waiter = state.waiter else {
                state.isPending = true
                return nil
            }
            state.waiter = nil
            return waiter
        }
        if let waiter { finish(waiter, .woken) }
    }

    /// Waits; only one task may do so at a time.
    package func wait(until deadline: HostInstant? = nil) async -> Outcome {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                begin(Waiter(number: number, continuation: continuation), deadline)
            }
        } onCancel: {
            end(number, .cancelled)
        }
    }

    private func begin(_ waiter: Waiter, _ deadline: HostInstant?) {
        let early = state.withLock { state -> Outcome? in
            precondition(state.waiter == nil, "only one task waits at a time")
            if state.cancelledNumber == waiter.number { return .cancelled }
            if state.isPending {
                state.isPending = false
                return .woken
            }
            state.waiter = waiter
            return nil
        }
        if let early {
            waiter.continuation.resume(returning: early)
            return
        }
        guard let deadline else { return }
        let timer = reactor.schedule(at: deadline) { [self] in end(waiter.number, .timedOut) }
        let isLate = state.withLock { state in
            guard state.waiter?.number == waiter.number else { return true }
            state.waiter?.timer = timer
            return false
        }
        if isLate { reactor.cancel(timer) }
    }

    private func end(_ number: UInt64, _ outcome: Outcome) {
        let waiter = state.withLock { state -> Waiter? in
            guard let waiter = state.waiter, waiter.number == number else {
                if outcome == .cancelled { state.cancelledNumber = number }
                return nil
            }
            state.waiter = nil
            return waiter
        }
        if let waiter { finish(waiter, outcome) }
    }

    private func finish(_ waiter: Waiter, _ outcome: Outcome) {
        if let timer = waiter.timer, outcome != .timedOut { reactor.cancel(timer) }
        waiter.continuation.resume(returning: outcome)
    }
}
