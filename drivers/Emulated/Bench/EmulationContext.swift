import HostIO
import Quantities
import Synchronization

/// What all emulated devices of one bench share: time, a seed, and the lock that makes their hosts
/// safe to call from any thread.
///
/// Every entry of a host and every timer runs its work under the lock, so the device models and the
/// bench ports they hold need no synchronization of their own. On virtual time all of it happens on
/// one thread and the lock is never contended.
public final class EmulationContext: Sendable {
    /// The reactor that supplies time and timers.
    public let reactor: any Reactor
    /// The host time at which bench time is zero.
    public let origin: HostInstant
    /// The seed of every random choice made by the emulated devices.
    public let seed: UInt64
    private let lock = Mutex<Void>(())

    /// A context whose bench time starts at `origin`, by default now.
    public init(reactor: any Reactor, seed: UInt64, origin: HostInstant? = nil) {
        self.reactor = reactor
        self.seed = seed
        self.origin = origin ?? reactor.now
    }

    /// The present instant.
    public var now: HostInstant { reactor.now }

    /// The bench time that corresponds to a host instant.
    public func benchTime(at instant: HostInstant) -> Picoseconds {
        Picoseconds((instant.nanoseconds - origin.nanoseconds) &* 1000)
    }

    /// The host instant, rounded up to the nanosecond, at which bench time has reached `time`.
    public func hostInstant(at time: Picoseconds) -> HostInstant {
        let nanoseconds = (Double(time.rawValue) / 1000).rounded(.up)
        return HostInstant(nanoseconds: origin.nanoseconds + Int64(nanoseconds))
    }

    /// The random stream named `label`.
    public func generator(_ label: String) -> SeededGenerator {
        SeededGenerator(seed: seed, label: label)
    }

    /// Runs `work` while nothing else touches the emulated devices. Not reentrant.
    public func exclusively<Result: Sendable, Failure: Error>(
        _ work: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try lock.withLock { _ throws(Failure) in try work() }
    }

    /// Runs `work` under the lock at `instant`.
    @discardableResult
    public func schedule(
        at instant: HostInstant, _ work: @escaping @Sendable () -> Void
    ) -> TimerToken {
        reactor.schedule(at: instant) { [self] in exclusively(work) }
    }

    /// The instant `timeout` from now; timeouts of more than ten years mean never.
    package func deadline(after timeout: Duration) -> HostInstant? {
        guard timeout < .seconds(315_360_000) else { return nil }
        return reactor.now + max(timeout, .zero)
    }
}

/// A timer that holds at most one appointment; for models that know when they next have work.
package final class WakeTimer: @unchecked Sendable {
    // @unchecked: touched only under the lock of the context.
    private let context: EmulationContext
    private let work: @Sendable () -> Void
    private var appointment: (instant: HostInstant, token: TimerToken)?

    /// A timer that runs `work` under the lock of `context`.
    package init(context: EmulationContext, work: @escaping @Sendable () -> Void) {
        self.context = context
        self.work = work
    }

    /// Moves the appointment to `instant`, or removes it.
    package func set(_ instant: HostInstant?) {
        if let appointment {
            if appointment.instant == instant { return }
            context.reactor.cancel(appointment.token)
            self.appointment = nil
        }
        guard let instant else { return }
        let token = context.schedule(at: instant) { [weak self] in
            guard let self else { return }
            appointment = nil
            work()
        }
        appointment = (instant, token)
    }
}
